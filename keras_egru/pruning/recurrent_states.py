"""The states that stateful recurrent layers carry from batch to batch: Keras does not list them among the variables."""

import keras


def recurrent_states(model) -> list:
    """The state variables of all stateful layers in `model`, however deeply nested, that are built."""
    return [
        state
        for layer in model._flatten_layers()
        if getattr(layer, "stateful", False)
        for state in keras.tree.flatten(getattr(layer, "states", None))
        if state is not None
    ]
