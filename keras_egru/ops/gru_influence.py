"""Keras's GRU as online learning needs it: the dense network that the EGRU is set beside.

Its state is what it sends, so that nothing vanishes: `passes` is one, and `leak` the update gate
(`h_t = z h_{t-1} + (1 - z) candidate`, gates in the order z, r, candidate).
"""

from keras import ops

from keras_egru.ops.carried import before
from keras_egru.ops.egru_influence import gated_terms
from keras_egru.ops.egru_step import gates


def gru_sequence(inputs, initial_y, kernel, recurrent_kernel, bias, *, reset_after, mask=None):
    """The state at every step, `[batch, time, units]`.

    Args:
        inputs: `[batch, time, features]`.
        initial_y: `[batch, units]`, before the first step.
        kernel: `[features, 3 units]`.
        recurrent_kernel: `[units, 3 units]`.
        bias: `[2, 3 units]` with `reset_after`, else `[3 units]`; or None.
        reset_after: As of `keras.layers.GRU`.
        mask: Bool `[batch, time]`, or None. Where False, the state is carried over.
    """
    projection, recurrent_bias = _projection(inputs, kernel, bias, reset_after)
    valid = ops.ones_like(projection[:, :, :1]) if mask is None else ops.cast(mask, projection.dtype)[:, :, None]
    width = projection.shape[-1]

    def step(y, current):
        z, _, candidate, _ = gates(current[:, :width], y, recurrent_kernel, recurrent_bias, reset_after)
        y = ops.where(current[:, width:] != 0, z * y + (1.0 - z) * candidate, y)
        return y, y

    # One tensor, since Keras 3.15 cannot scan several over an unknown number of steps.
    sequence = ops.swapaxes(ops.concatenate([projection, valid], axis=-1), 0, 1)
    return ops.swapaxes(ops.scan(step, initial_y, sequence)[1], 0, 1)


def gru_influence_terms(x, y, initial_y, kernel, recurrent_kernel, bias, *, reset_after, mask=None):
    """The `InfluenceTerms` of steps whose states are known; arguments as of `gru_sequence`, `y` what it returned."""
    past_y = before(y, initial_y)
    projection, recurrent_bias = _projection(x, kernel, bias, reset_after)
    z, r, candidate, h = gates(projection, past_y, recurrent_kernel, recurrent_bias, reset_after)
    passes = ops.ones_like(ops.concatenate([y[:, :1], y], axis=1))
    return gated_terms(
        x, past_y, by_u=(past_y - candidate) * z * (1.0 - z), slope_z=(1.0 - z) * (1.0 - candidate * candidate), r=r,
        h=h, leak=z, own=None, by_threshold=ops.zeros_like(y), passes=passes, kernel=recurrent_kernel, mask=mask,
    )  # fmt: skip


def _projection(inputs, kernel, bias, reset_after):
    """What enters the gates of the inputs, and the recurrent bias of `gates`."""
    projection, recurrent_bias = ops.matmul(inputs, kernel), None
    if reset_after:
        recurrent_bias = ops.zeros_like(kernel[0]) if bias is None else bias[1]
    if bias is not None:
        projection = projection + (bias[0] if reset_after else bias)
    return projection, recurrent_bias
