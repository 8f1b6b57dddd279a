"""Copies of models in which layers are wrapped, or unwrapped, and which models can be copied so."""

from contextlib import contextmanager

import keras
from keras.src.models.functional import Functional, functional_like_constructor

from keras_egru.pruning.prunable import prunable_weights


def cloned(model, source, finish):
    """A copy of the model with copies of `source(layer)`, as `finish(layer, copy)` returns them, and their weights."""
    copies = []

    def clone(layer):
        original = source(layer)
        copy = type(original).from_config(original.get_config())
        if not isinstance(layer, keras.layers.Layer):
            return copy  # a `keras.ops` function
        copies.append((original, copy))
        return finish(layer, copy)

    with _without_compilation(model):
        new_model = keras.models.clone_model(model, clone_function=clone, recursive=True)
    for original, copy in copies:
        _copy_weights(original, copy)
    return new_model


def _copy_weights(layer, copy):
    for inner, inner_copy in zip(layer._flatten_layers(), copy._flatten_layers(), strict=True):
        store: dict = {}
        inner.save_own_variables(store)
        inner_copy.load_own_variables({name: keras.ops.convert_to_numpy(value) for name, value in store.items()})


@contextmanager
def _without_compilation(model):
    """`clone_model` compiles the copy, which fails where a loss cannot be serialized."""
    compiled = [layer for layer in model._flatten_layers() if isinstance(layer, keras.Model) and layer.compiled]
    for inner in compiled:
        inner.compiled = False
    try:
        yield
    finally:
        for inner in compiled:
            inner.compiled = True


def check_model(model, function):
    """Raises TypeError where `model` is no model, ValueError where it cannot be cloned; `function` is who asks."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"`{function}` takes a Keras layer or model, received {model!r}.")
    for inner in model._flatten_layers():
        if isinstance(inner, keras.Model) and not _can_be_cloned(inner):
            raise ValueError(
                f"Model '{inner.name}' is of the subclass {type(inner).__name__}, which cannot be taken apart: wrap "
                "its layers with `keras_egru.pruning.prune_low_magnitude(layer, ...)` where it makes them."
            )


def _can_be_cloned(model):
    return type(model) is keras.Sequential or (
        isinstance(model, Functional)
        and not isinstance(model, keras.Sequential)
        and functional_like_constructor(type(model))
    )


def check_inner_layers(layer):
    """Raises ValueError where a layer has weights to prune in a layer that nobody wraps."""
    inner = next((inner for inner in layer._flatten_layers(include_self=False) if prunable_weights(inner)), None)
    if inner is not None:
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}) has prunable weights in its inner layer '{inner.name}', "
            "which would stay dense: wrap that one where it is made, or give the layer `get_prunable_weights()`."
        )
