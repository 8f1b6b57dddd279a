"""Tracing a model without the custom op: its layers run on `keras.ops` alone inside a block."""

from collections.abc import Iterator
from contextlib import contextmanager

from keras_egru.layers import EGRU, EventLIF, LeakyReadout


@contextmanager
def portable(model) -> Iterator[None]:
    """Inside the block the layers of `model` take their reference implementations, so that what is traced from it
    holds no custom op. The weights are the model's own.

    Args:
        model: A Keras model or layer, of any kind.
    """
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, (EGRU, EventLIF, LeakyReadout))]
    before = [layer.implementation for layer in layers]
    try:
        for layer in layers:
            layer.implementation = "reference"
        yield
    finally:
        for layer, implementation in zip(layers, before, strict=True):
            layer.implementation = implementation
