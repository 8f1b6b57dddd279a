"""Which weights of a layer can be pruned, and where they are.

A layer that has tfmot's `get_prunable_weights()` says it itself. Of all others it is the matrices and filters that hold
nearly all of their parameters, never biases, thresholds or scales.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

# The attributes in which Keras's layers and cells, and ours, keep what can be pruned.
ATTRIBUTES = ("kernel", "recurrent_kernel", "embeddings", "depthwise_kernel", "pointwise_kernel")
PROJECTIONS = ("query", "key", "value", "output")  # of MultiHeadAttention


class PrunableWeight(NamedTuple):
    """One weight: its name within the layer, the variable, and of how many equal matrices its last axis consists."""

    name: str
    variable: Any
    gates: int


def prunable_weights(layer) -> list[PrunableWeight]:
    """The prunable weights of a built layer, in an order that does not change; an empty list where there are none.

    Args:
        layer: A built Keras layer. Of an RNN it is the weights of its cell, of `Bidirectional` those of both sides, of
            another wrapper those of the wrapped layer.

    Raises:
        ValueError: `get_prunable_weights()` returns something else than floating-point variables of the layer, or a
            weight is not a plain floating-point variable because the layer is quantized or LoRA is enabled.
    """
    found: dict[str, Any] = {}
    for name, variable in _named_variables(layer):
        if not isinstance(variable, keras.Variable) or not keras.backend.is_float_dtype(variable.dtype):
            raise ValueError(
                f"`{name}` of layer '{layer.name}' must be a floating-point variable to be pruned, received "
                f"{variable!r}; prune before quantizing or enabling LoRA."
            )
        if all(variable is not other for other in found.values()):
            found[_unused(name, found)] = variable
    return [PrunableWeight(name, variable, _gates(name, variable)) for name, variable in found.items()]


def parts(layer, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields `(prefix of the weights' names, layer or cell)` for the innermost layers and cells that hold weights."""
    if isinstance(layer, keras.layers.Bidirectional):
        yield from parts(layer.forward_layer, f"{prefix}forward_")
        yield from parts(layer.backward_layer, f"{prefix}backward_")
    elif isinstance(layer, keras.layers.StackedRNNCells):
        for i, cell in enumerate(layer.cells):
            yield from parts(cell, f"{prefix}cell_{i}_")
    elif isinstance(layer, keras.layers.MultiHeadAttention):
        for projection in PROJECTIONS:
            yield from parts(getattr(layer, f"_{projection}_dense"), f"{prefix}{projection}_")
    elif isinstance(layer, keras.layers.Wrapper):
        yield from parts(layer.layer, prefix)
    elif isinstance(getattr(layer, "cell", None), keras.layers.Layer):
        yield from parts(layer.cell, prefix)
    else:
        yield prefix, layer


def has_own_choice(layer) -> bool:
    """Whether the layer has tfmot's `get_prunable_weights()`."""
    return callable(getattr(layer, "get_prunable_weights", None))


def _named_variables(layer):
    if has_own_choice(layer):
        for variable in layer.get_prunable_weights():
            yield getattr(variable, "name", "get_prunable_weights()"), variable
        return
    for prefix, part in parts(layer):
        if has_own_choice(part):
            for variable in part.get_prunable_weights():
                yield prefix + getattr(variable, "name", "get_prunable_weights()"), variable
            continue
        for attribute in ATTRIBUTES:
            variable = getattr(part, attribute, None)
            if variable is not None:
                yield prefix + attribute, variable


def _unused(name, names):
    """`name`, with a number behind it if a weight has that name already."""
    unused, number = name, 0
    while unused in names:
        number += 1
        unused = f"{name}_{number}"
    return unused


def _gates(name, variable):
    """A recurrent kernel is `[..., units, gates * units]`."""
    if not name.endswith("recurrent_kernel") or len(variable.shape) < 2:
        return 1
    rows, columns = variable.shape[-2:]
    return columns // rows if columns % rows == 0 else 1
