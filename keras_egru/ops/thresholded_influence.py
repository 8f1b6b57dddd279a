"""What the influence of a thresholded RNN's parameters is made of (see `influence_sequence`).

`M_t = H'(v_t) (V^T M_{t-1} + D_t)` (Subramoney 2023, Eq. 10): N is the bracket and `passes` the slope H'. Without a
leak, rows whose slope is zero vanish.
"""

from keras import ops

from keras_egru.ops.carried import before, last_valid
from keras_egru.ops.influence_sequence import InfluenceTerms
from keras_egru.ops.thresholded_rnn_step import thresholded_rnn_step


def thresholded_influence_terms(
    x, y, initial_y, initial_slope, kernel, recurrent_kernel, threshold, *, surrogate, mask=None
):
    """`(terms, slope)` of steps whose activity is known.

    Args:
        x: `[batch, time, features]`.
        y: `[batch, time, units]`, the activity of each step.
        initial_y: `[batch, units]`, before the first step.
        initial_slope: `[batch, units]`, `H'(v)` of the step before the first; zeros where that state is a constant.
        kernel: `[features, units]`; zero where pruned, as `recurrent_kernel`.
        recurrent_kernel: `[units, units]`.
        threshold: `[units]`.
        surrogate: `keras_egru.surrogates.Surrogate`.
        mask: Bool `[batch, time]`, False at steps that were left out; or None.

    Returns:
        `InfluenceTerms`, and the slope after the last step, `[batch, units]`.
    """
    past_y = before(y, initial_y)
    _, v = thresholded_rnn_step(ops.matmul(x, kernel), past_y, recurrent_kernel, threshold, surrogate=surrogate)
    slopes = last_valid(surrogate.derivative(v), initial_slope, mask)
    one = ops.ones_like(v)
    terms = InfluenceTerms(
        kernel=recurrent_kernel, leak=None, passes=slopes, gain=one[:, :, None], own=None, candidate=None, opened=None,
        turned=None, direct=ops.stack([one, -one], 2), source=ops.concatenate([x, past_y, one[:, :, :1]], -1),
        mask=mask,
    )  # fmt: skip
    return terms, slopes[:, -1]
