"""States of a sequence as the next step, or a step that a mask leaves out, finds them."""

import numpy as np
from keras import ops


def before(states, initial):
    """What each step starts from, `[batch, time, units]`: `initial` `[batch, units]`, then all states but the last."""
    return ops.concatenate([initial[:, None], states[:, :-1]], axis=1)


def last_valid(values, initial, mask):
    """`initial`, then `values` at each step or, where `mask` is False, at the last step before where it is not.

    Args:
        values: `[batch, time, units]`.
        initial: `[batch, units]`.
        mask: Bool `[batch, time]`, or None for all True.

    Returns:
        `[batch, time + 1, units]`.
    """
    every = ops.concatenate([initial[:, None], values], axis=1)
    if mask is None:
        return every
    time = values.shape[1]
    steps = np.arange(1, time + 1)
    seen = ops.cast(mask, "int32")[:, None] * np.where(steps <= steps[:, None], steps, 0).astype("int32")
    last = ops.pad(ops.max(seen, axis=2), ((0, 0), (1, 0)))
    return ops.take_along_axis(every, last[:, :, None], axis=1)
