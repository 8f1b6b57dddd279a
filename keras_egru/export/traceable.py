"""What a model must be like to become a function of TensorFlow: in the streaming form, or of whole sequences."""

import keras


def check_traceable(model) -> None:
    """Raises unless `model` is a built Keras model, on TensorFlow.

    Raises:
        TypeError: it is no Keras model.
        ValueError: it is not built.
        RuntimeError: Keras runs on another backend.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a Keras model, received {type(model).__name__}.")
    if not getattr(model, "inputs", None):
        raise ValueError(f"Model '{model.name}' must be built before it is exported: begin it with `keras.Input`.")
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Exports are traced by TensorFlow, and this process has Keras's backend {keras.backend.backend()!r}."
        )


def check_whole_sequences(model) -> None:
    """Raises a ValueError if a layer of `model` gives something else when it is traced; the sentence names it."""
    unknown = any(len(x.shape) > 2 and x.shape[1] is None for x in model.inputs)
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False):
            raise ValueError(
                f"Layer '{layer.name}' keeps its state between calls (`stateful=True`), which an exported function of "
                "whole sequences does not: build the model with stateful=False, or step it with `StreamingModel`."
            )
        if unknown and isinstance(layer, keras.layers.TimeDistributed):
            raise ValueError(
                f"Layer '{layer.name}' (TimeDistributed) is exported for a known number of steps alone, since Keras "
                "3.15 runs over wrong ones where it is not known: begin the model with `keras.Input((steps, ...))`."
            )
