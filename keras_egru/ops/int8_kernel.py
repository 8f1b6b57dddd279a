"""A recurrent kernel in 8 bits, for inference: integers, and for every column the number that a one in it stands for.

The integers lie in [-127, 127], symmetric about zero, so that a weight of zero stays zero. A step streams the rows of
the recurrent kernel whose units spoke, so its time is that of reading them: a byte a weight instead of four.
"""

import numpy as np
from keras import ops

LARGEST = 127
WHY_NO_TRAINING = "it runs with training=False and has no gradient, since integers cannot follow one."


def quantize(kernel, dtype) -> tuple[np.ndarray, np.ndarray]:
    """The 8-bit form of a kernel: each column is divided by its scale, largest magnitude / 127, and rounded to nearest.

    Args:
        kernel: `[units, 3 units]`, finite.
        dtype: The type of the scale.

    Returns:
        `(integers, scale)`: int8 `[units, 3 units]`, and `[3 units]`, 1 for a column of zeros.

    Raises:
        ValueError: `kernel` holds NaN or Inf.
    """
    kernel = np.asarray(ops.convert_to_numpy(kernel), "float64")
    if not np.all(np.isfinite(kernel)):
        raise ValueError("The recurrent kernel holds NaN or Inf, which 8-bit integers cannot.")
    scale = (np.abs(kernel).max(axis=0) / LARGEST).astype(dtype)
    scale[scale == 0.0] = 1.0
    # A scale that was rounded down may put the largest weight above 127.
    return np.clip(np.rint(kernel / scale), -LARGEST, LARGEST).astype("int8"), scale


def widen(integers, scale):
    """The kernel that the integers stand for, in the type of `scale`, where no product reads them as they are."""
    return ops.cast(integers, scale.dtype) * scale


@ops.custom_gradient
def without_gradient(tensor):
    """`tensor`, whose gradient raises a RuntimeError."""

    def gradient(*_, upstream=None):
        raise RuntimeError(f"A gradient was asked for through an int8 recurrent kernel: {WHY_NO_TRAINING}")

    return tensor, gradient
