"""The entry points of pruning by magnitude, named as tfmot's: models and layers are wrapped, and unwrapped again."""

import keras

from keras_egru.pruning.cloning import check_inner_layers, check_model, cloned
from keras_egru.pruning.engine import load_tfmot
from keras_egru.pruning.low_magnitude import PruneLowMagnitude
from keras_egru.pruning.masked import Masked
from keras_egru.pruning.prunable import prunable_weights


def prune_low_magnitude(
    to_prune,
    pruning_schedule=None,
    block_size=(1, 1),
    block_pooling_type: str = "AVG",
    *,
    sparsity_m_by_n=None,
    **kwargs,
):
    """Prunes the weights of least magnitude of a layer or model while it trains, with tfmot's schedules and engine.

    Pruned are the kernels of Dense, convolutional, attention and recurrent layers (EGRU, GRU, LSTM; both sides of
    `Bidirectional`; the cell of any `RNN`), embeddings, and what a layer's own `get_prunable_weights()` names. Weights
    are masked at every moment, in checkpoints too, and what is saved goes on where it stopped. See `PruneLowMagnitude`
    for how each mask is made and where this differs from tfmot.

    ```python
    schedule = keras_egru.pruning.PolynomialDecay(
        initial_sparsity=0.5, final_sparsity=0.9, begin_step=0, end_step=2000, frequency=100
    )
    pruned = keras_egru.pruning.prune_low_magnitude(model, schedule, block_size=(1, 16))
    pruned.compile("adam", "mse")
    pruned.fit(x, y, epochs=10, callbacks=[keras_egru.pruning.UpdatePruningStep()])
    smaller = keras_egru.pruning.strip_pruning(pruned)
    ```

    Args:
        to_prune: A layer, built or not, which then belongs to the wrapper; a list of layers; or a built Sequential or
            Functional model, which is left as it is. In models and lists, layers without prunable weights stay as they
            are, and so do layers that are pruned already.
        pruning_schedule: tfmot `PruningSchedule`. Default `None`: tfmot's, `ConstantSparsity(0.5, begin_step=0)`.
        block_size: (height, width) of blocks that are pruned together. Default `(1, 1)`.
        block_pooling_type: `"AVG"` or `"MAX"`: what stands for the magnitudes in a block. Default `"AVG"`.
        sparsity_m_by_n: (m, n): m zeros among n consecutive elements, at once. Default `None`.
        **kwargs: Of a layer only: `name`, `dtype` or `trainable` of the wrapper.

    Returns:
        `PruneLowMagnitude` wrapper of the layer, a list, or a new model with the weights of the old one, its layers
        wrapped, also in nested models, and not compiled.

    Raises:
        ImportError: tfmot is not installed; it comes with `pip install "keras-egru[pruning]"`.
        TypeError: an argument is of another type.
        ValueError: an argument has a wrong value; or the model is subclassed, not built, pruned already or has nothing
            to prune, or one of its layers has prunable weights in layers of its own.
    """
    if pruning_schedule is None:
        pruning_schedule = load_tfmot().ConstantSparsity(0.5, begin_step=0)
    options = {
        "pruning_schedule": pruning_schedule,
        "block_size": block_size,
        "block_pooling_type": block_pooling_type,
        "sparsity_m_by_n": sparsity_m_by_n,
    }
    if isinstance(to_prune, keras.layers.Layer) and not isinstance(to_prune, keras.Model):
        return PruneLowMagnitude(to_prune, **options, **kwargs)
    if kwargs:
        raise TypeError(f"`{next(iter(kwargs))}` is for a single layer; received {to_prune!r}.")
    if isinstance(to_prune, list):
        return [layer if _is_left(layer) else PruneLowMagnitude(layer, **options) for layer in to_prune]
    return _pruned_model(to_prune, options)


def strip_pruning(model):
    """Takes the masks of a pruned model or layer away and leaves the weights that they made zero.

    Args:
        model: A Sequential or Functional model, which is left as it is, or a `Masked` layer, whose masks are gone then.

    Returns:
        A new model with the names that its layers had before they were pruned, not compiled; or the layer that was
        wrapped. Outputs are the same.

    Raises:
        TypeError: `model` is neither a model nor a masked layer.
        ValueError: `model` is a subclassed model.
    """
    if isinstance(model, Masked):
        return model.unmask()
    check_model(model, "strip_pruning")
    for layer in model._flatten_layers():
        if isinstance(layer, Masked):
            layer.apply_masks()
    return cloned(
        model,
        source=lambda layer: layer.layer if isinstance(layer, Masked) else layer,
        finish=lambda layer, copy: copy,
    )


def _pruned_model(model, options):
    check_model(model, "prune_low_magnitude")
    if not model.built:
        raise ValueError(f"Model '{model.name}' must be built to be pruned: give it an Input, or call it on a batch.")
    layers = list(_layers_of(model))
    pruned_before = [layer for layer in layers if isinstance(layer, Masked)]
    to_wrap = [layer for layer in layers if not isinstance(layer, Masked) and prunable_weights(layer)]
    for layer in layers:
        if layer not in pruned_before and layer not in to_wrap:
            check_inner_layers(layer)
    if not to_wrap:
        nothing = "has nothing to prune: none of its layers has a kernel or embeddings"
        raise ValueError(f"Model '{model.name}' {'is pruned already' if pruned_before else nothing}.")
    return cloned(
        model,
        source=lambda layer: layer,
        finish=lambda layer, copy: PruneLowMagnitude(copy, **options) if layer in to_wrap else copy,
    )


def _layers_of(model):
    """The layers of a model and of the models in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers_of(layer)
        else:
            yield layer


def _is_left(layer):
    return isinstance(layer, keras.layers.InputLayer | Masked) or (layer.built and not prunable_weights(layer))
