"""The functions that a TF-Lite file holds, traced from a Keras model: whole sequences, or one step of a stream."""

import re
from typing import Any

from keras import tree

from keras_egru.export.streaming import StreamingModel
from keras_egru.layers.recording import record_states

SEQUENCE, STEP, INIT = "serving_default", "step", "init"


def input_specs(model, batch_size, streams=None):
    """`tf.TensorSpec` of each input by name: `input` of a model with one, else the names of its inputs.

    Args:
        streams: Of each input, whether it is without its time axis, at a step of a stream; None for whole sequences.
    """
    import tensorflow as tf

    names = ["input"] if len(model.inputs) == 1 else [identifier(x.name) for x in model.inputs]
    specs = {}
    for name, x, stream in zip(names, model.inputs, streams or [False] * len(names), strict=True):
        sizes = x.shape[2:] if stream else x.shape[1:]
        if None in (sizes if streams else sizes[1:]):
            raise ValueError(
                f"Input '{x.name}' of the model must have known sizes beside batch and time, received {tuple(x.shape)}."
            )
        specs[name] = tf.TensorSpec([batch_size, *sizes], x.dtype, name=name)
    return specs


def sequence_function(model, batch_size, with_events=False):
    """The concrete function of whole sequences, `[batch, time, ...]`; `with_events` also returns those of all layers.

    The outputs are named `output`, or `output_0` and so on, and `events_0` and so on.
    """
    import tensorflow as tf

    specs = input_specs(model, batch_size)

    def run(**inputs):
        given = list(inputs.values())
        with record_states() as records:
            outputs = model(given[0] if len(given) == 1 else given, training=False)
        named = named_outputs(outputs)
        if with_events:
            events = [record.y for record in records if record.y is not None]
            named |= {f"events_{k}": y for k, y in enumerate(events)}
        # Without this an output that is an input, or one that is returned twice, loses its name.
        return {name: tf.identity(value, name) for name, value in named.items()}

    return tf.function(run, autograph=False).get_concrete_function(**specs)


def step_function(stream: StreamingModel, batch_size):
    """The concrete function of one step: inputs `[batch, ...]` and states by name, outputs and states by name."""
    import tensorflow as tf

    specs = input_specs(stream.model, batch_size, stream.input_is_stream)
    states = {
        name: tf.TensorSpec(value.shape, value.dtype, name=name)
        for name, value in stream.initial_state(batch_size).items()
    }

    def run(**given):
        inputs = [given[name] for name in specs]
        outputs, state = stream.step(inputs[0] if len(inputs) == 1 else inputs, {name: given[name] for name in states})
        return {name: tf.identity(value, name) for name, value in (named_outputs(outputs) | state).items()}

    return tf.function(run, autograph=False).get_concrete_function(**specs, **states)


def named_outputs(outputs) -> dict[str, Any]:
    """A model's outputs by name: `output`, or of several `output_0` and so on."""
    flat = tree.flatten(outputs)
    return {"output": flat[0]} if len(flat) == 1 else {f"output_{k}": value for k, value in enumerate(flat)}


def identifier(name: str) -> str:
    """`name` as a signature can have it."""
    return re.sub(r"\W", "_", name)
