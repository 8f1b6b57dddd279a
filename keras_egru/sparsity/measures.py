"""Sparsity as shares, counted from tensors and never by the code whose savings they describe.

Every measure is a share of (sample, step, unit) entries; steps that a mask leaves out are left out of both counts.
`backward_sparsity` counts entries where no gradient passes, `e = dy/dc = H(v) + c H'(v) = 0` with `v = c - threshold`;
`surrogate_sparsity` counts `H'(v) = 0`, the figure that the EGRU papers print as backward sparsity.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_egru import surrogates


class Count(NamedTuple):
    """Zeros among a number of entries; counts add up over batches where shares would not.

    zeros: entries that are zero.
    total: all entries.
    """

    zeros: int = 0
    total: int = 0

    def __add__(self, other):
        return Count(self.zeros + other.zeros, self.total + other.total)

    @property
    def share(self) -> float:
        """Zeros as a share of all entries, in [0, 1]."""
        if self.total == 0:
            raise ValueError("There is nothing to take a share of: every step is masked or the tensor is empty.")
        return self.zeros / self.total


def activity_sparsity(y, mask=None) -> float:
    """Share of entries of `y` that are zero: units that sent nothing.

    Args:
        y: `[batch, time, units]`, outputs of an event-based layer.
        mask: Bool `[batch, time]`, False at steps to leave out; None to keep all.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: `mask` does not have the leading shape of `y`, or leaves nothing to count.
    """
    return count_silent(y, mask).share


def backward_sparsity(c, threshold, surrogate=None, mask=None) -> float:
    """Share of entries where no gradient passes from `y` to `c`: `e = H(v) + c H'(v) = 0`, `v = c - threshold`.

    Args:
        c: `[batch, time, units]`, internal states before the reset.
        threshold: `[units]` or `[1]`.
        surrogate: A `keras_egru.surrogates.Surrogate`; default `Triangular()`.
        mask: Bool `[batch, time]`, False at steps to leave out; None to keep all.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: `mask` does not have the leading shape of `c`, or leaves nothing to count.
    """
    return count_blocked(c, threshold, surrogate, mask).share


def surrogate_sparsity(c, threshold, surrogate=None, mask=None) -> float:
    """Share of entries where the surrogate derivative `H'(c - threshold)` is zero.

    An event outside the support of `H'` still passes a gradient (`e = 1`), so this is at least `backward_sparsity`
    wherever c differs from 0.

    Args:
        c: `[batch, time, units]`, internal states before the reset.
        threshold: `[units]` or `[1]`.
        surrogate: A `keras_egru.surrogates.Surrogate`; default `Triangular()`.
        mask: Bool `[batch, time]`, False at steps to leave out; None to keep all.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: `mask` does not have the leading shape of `c`, or leaves nothing to count.
    """
    return count_flat(c, threshold, surrogate, mask).share


def parameter_sparsity(layer_or_model) -> dict[str, Any]:
    """Share of weights that are zero, per kernel and over all kernels.

    Kernels are the weights that multiply an activation (`kernel`, `recurrent_kernel`, ...); biases, thresholds and
    embeddings are not counted.

    Args:
        layer_or_model: A built Keras layer or model.

    Returns:
        `{"overall": share, "kernels": {variable path: share}}`.

    Raises:
        ValueError: there is no kernel, as in a layer that is not built yet.
    """
    counts = {}
    for variable in layer_or_model.weights:
        if variable.name.endswith("kernel"):
            weights = ops.convert_to_numpy(variable.value)
            counts[variable.path] = Count(weights.size - int(np.count_nonzero(weights)), weights.size)
    if not counts:
        raise ValueError(f"`{layer_or_model.name}` has no kernel to measure; is it built?")
    return {
        "overall": sum(counts.values(), Count()).share,
        "kernels": {path: count.share for path, count in counts.items()},
    }


def count_silent(y, mask=None) -> Count:
    """Counts behind `activity_sparsity`."""
    return _count_zeros(ops.convert_to_tensor(y), mask, of="y")


def count_blocked(c, threshold, surrogate=None, mask=None) -> Count:
    """Counts behind `backward_sparsity`."""
    c, v = _distance(c, threshold)
    fires = ops.cast(v > 0, c.dtype)
    return _count_zeros(fires + c * surrogates.get(surrogate).derivative(v), mask, of="c")


def count_flat(c, threshold, surrogate=None, mask=None) -> Count:
    """Counts behind `surrogate_sparsity`."""
    _, v = _distance(c, threshold)
    return _count_zeros(surrogates.get(surrogate).derivative(v), mask, of="c")


def count_steps(entries, mask=None) -> int:
    """Number of steps of `entries` (`[..., features]`) that `mask` (`[...]`) keeps; all of them without a mask."""
    return int(np.prod(entries.shape[:-1])) if mask is None else int(np.count_nonzero(_as_bool(mask)))


def _distance(c, threshold):
    c = ops.convert_to_tensor(c)
    return c, c - ops.cast(threshold, c.dtype)


def _count_zeros(entries, mask, of):
    zero = ops.convert_to_numpy(entries == 0)
    if mask is not None:
        mask = _as_bool(mask)
        if mask.shape != zero.shape[:-1]:
            raise ValueError(
                f"`mask` must have the leading shape of `{of}`, {zero.shape[:-1]}, received {tuple(mask.shape)}."
            )
        zero = zero[mask]
    return Count(int(np.count_nonzero(zero)), zero.size)


def _as_bool(mask):
    return np.asarray(ops.convert_to_numpy(mask), dtype=bool)
