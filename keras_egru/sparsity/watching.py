"""Sees what layers are called with, for as long as a measurement lasts."""

import inspect
from contextlib import contextmanager
from typing import Any, NamedTuple

from keras.src import backend


class LayerCall(NamedTuple):
    """One call of a layer: its input and the mask that came with it, or None."""

    layer: Any
    inputs: Any
    mask: Any


@contextmanager
def watch_calls(layers, seen):
    """Calls `seen(LayerCall)` before each call of one of `layers`; the layers are as before afterwards.

    Args:
        layers: Keras layers whose first call argument is a tensor.
        seen: Callable that takes a `LayerCall`.
    """
    layers = list(layers)
    for layer in layers:
        layer.call = _watched(layer, seen)
    try:
        yield
    finally:
        for layer in layers:
            # The instance attribute hid the method of the class.
            del layer.call


def _watched(layer, seen):
    call = layer.call
    signature = inspect.signature(call)

    def watched(*args, **kwargs):
        arguments = signature.bind(*args, **kwargs).arguments
        inputs = next(iter(arguments.values()))
        mask = arguments.get("mask")
        seen(LayerCall(layer, inputs, backend.get_keras_mask(inputs) if mask is None else mask))
        return call(*args, **kwargs)

    return watched
