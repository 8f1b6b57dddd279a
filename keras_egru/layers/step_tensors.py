"""The types and weights that a layer's step computes with, whatever the layer's own type."""

from keras import ops


def step_dtype(layer) -> str:
    """The type in which a layer computes: spikes come of a comparison, which half precision would blur."""
    return "float64" if layer.compute_dtype == "float64" else "float32"


def kernel_tensor(variable, mask, dtype):
    """A kernel in `dtype`, without its pruned weights where it has a mask."""
    if variable is None:
        return None
    weights = ops.cast(ops.convert_to_tensor(variable), dtype)
    return weights if mask is None else weights * ops.cast(ops.convert_to_tensor(mask), dtype)
