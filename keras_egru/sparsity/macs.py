"""Effective multiply-accumulates: those that an event-driven machine does, counted from data (EGRU paper, section 3.3).

Per sequence step: nonzero inputs x 3n + events x 3n + read-out, each times the share of live weights in the kernel that
they meet. The dense count takes every input, unit and weight as live. Elementwise work, O(n) a step, is not counted.
"""

from typing import NamedTuple

import numpy as np
from keras import ops

from keras_egru.sparsity.measures import count_silent, count_steps


class Macs(NamedTuple):
    """Multiply-accumulates, totals over all valid steps that were counted.

    effective: those with a nonzero activation and a live weight.
    dense: all of them.
    """

    effective: float = 0.0
    dense: int = 0

    def __add__(self, other):
        return Macs(self.effective + other.effective, self.dense + other.dense)


def product_macs(inputs, kernel, mask=None) -> Macs:
    """Counts the products of one kernel: nonzero entries of `inputs` x columns x share of live weights.

    Args:
        inputs: `[..., features]`, what multiplies the kernel.
        kernel: `[features, columns]`.
        mask: Bool `[...]`, False at steps to leave out; None to keep all.

    Returns:
        `Macs`, totals over the steps.

    Raises:
        ValueError: `inputs` and `kernel` disagree on the number of features, or `mask` on the leading shape.
    """
    kernel = ops.convert_to_numpy(kernel)
    features, columns = kernel.shape
    if inputs.shape[-1] != features:
        raise ValueError(
            f"`inputs` must have as many features as `kernel` has rows, {features}, received {inputs.shape[-1]}."
        )
    silent = count_silent(inputs, mask)
    live = np.count_nonzero(kernel) / kernel.size
    return Macs((silent.total - silent.zeros) * columns * live, silent.total * columns)


def recurrent_macs(inputs, y, kernel, recurrent_kernel, mask=None) -> Macs:
    """Counts a recurrent layer: nonzero inputs x 3n + events x 3n, each with its kernel's share of live weights.

    Args:
        inputs: `[batch, time, features]`.
        y: `[batch, time, units]`, the outputs; an event of step t is charged to step t.
        kernel: `[features, 3 units]`.
        recurrent_kernel: `[units, 3 units]`.
        mask: Bool `[batch, time]`, False at steps to leave out; None to keep all.

    Returns:
        `Macs`, totals over the steps; divide by the number of valid steps for the count of one step.

    Raises:
        ValueError: shapes disagree.
    """
    return product_macs(inputs, kernel, mask) + product_macs(y, recurrent_kernel, mask)


def dense_recurrent_macs(inputs, kernel, recurrent_kernel, mask=None) -> Macs:
    """Counts a layer that skips nothing (Keras's GRU, LSTM, SimpleRNN): effective equals dense."""
    columns = kernel.shape[0] * kernel.shape[1] + recurrent_kernel.shape[0] * recurrent_kernel.shape[1]
    total = count_steps(inputs, mask) * columns
    return Macs(float(total), total)
