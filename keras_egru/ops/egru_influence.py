"""What the influence of an EGRU's parameters is made of (see `influence_sequence`).

The paper writes real-time recurrent learning for units without a memory of their own (Subramoney 2023, Eq. 1-4). The
state c of an EGRU leaks, so that there are two influence matrices, on c and on `y = c H(c - threshold)`:

    M^c_t = leak_t M^c_{t-1} + J_t M^y_{t-1} + D_t            leak = dc_t/dc_{t-1}, a diagonal;  J = dc_t/dy_{t-1}
    M^y_t = e_t M^c_t - (c_t H'(c_t - threshold) in the column of each unit's own threshold)        e = dy_t/dc_t

Rows of M^y vanish where e does; rows of M^c do not. One matrix is enough: with `shift = c H' / e`, zero where e is, and
`N = M^c` less `shift` in the column of each unit's own threshold, `M^y = e N`, and the shift is a part of the direct
influence of thresholds.
"""

from keras import ops

from keras_egru.ops.carried import before, last_valid
from keras_egru.ops.egru_step import gates
from keras_egru.ops.influence_sequence import InfluenceTerms


def egru_influence_terms(
    x, y, c, initial_y, initial_c, initial_slope, kernel, recurrent_kernel, bias, threshold,
    *, reset, reset_after, surrogate, mask=None,
):  # fmt: skip
    """`(terms, slope)` of steps whose states are known.

    Args:
        x: `[batch, time, features]`.
        y: `[batch, time, units]`, the events of each step.
        c: `[batch, time, units]`, the internal state of each step.
        initial_y: `[batch, units]`, before the first step.
        initial_c: `[batch, units]`.
        initial_slope: `[batch, units]`, `H'(c - threshold)` of the step before the first, with the threshold that it
            had; zeros where that state is a constant.
        kernel: `[features, 3 units]`, gates u, r, z; zero where pruned, as `recurrent_kernel`.
        recurrent_kernel: `[units, 3 units]`.
        bias: `[2, 3 units]` with `reset_after`, else `[3 units]`; or None.
        threshold: `[units]`.
        reset: `"threshold"`, `"subtract"` or `"zero"`.
        reset_after: Whether the gate r multiplies after the recurrent product.
        surrogate: `keras_egru.surrogates.Surrogate`.
        mask: Bool `[batch, time]`, False at steps that were left out; or None.

    Returns:
        `InfluenceTerms`, and the slope after the last step, `[batch, units]`.
    """
    past_y, past_c = before(y, initial_y), before(c, initial_c)
    projection = ops.matmul(x, kernel)
    recurrent_bias = None
    if bias is not None:
        projection = projection + (bias[0] if reset_after else bias)
    if reset_after:
        recurrent_bias = ops.zeros_like(projection[0, 0]) if bias is None else bias[1]
    u, r, z, h = gates(projection, past_y, recurrent_kernel, recurrent_bias, reset_after)

    slopes = last_valid(surrogate.derivative(c - threshold), initial_slope, mask)
    all_y, all_c = (ops.concatenate([first[:, None], rest], 1) for first, rest in ((initial_y, y), (initial_c, c)))
    events, rise = ops.cast(all_y != 0, c.dtype), all_c * slopes
    passes = events + rise
    shift = ops.where(events != 0, rise / (1.0 + rise * events), ops.cast(rise != 0, c.dtype))

    leak, own, by_threshold = 1.0 - u, None, 0.0
    if reset == "threshold":
        slope = surrogate.derivative(past_c - threshold)
        leak = leak - threshold * slope
        by_threshold = threshold * slope - ops.cast(past_c > threshold, c.dtype)
    elif reset == "subtract":
        own = -ops.ones_like(c)
    else:
        own = u - 1.0
    by_threshold = by_threshold + leak * shift[:, :-1] - shift[:, 1:]

    by_u = (z - (past_c - past_y if reset == "zero" else past_c)) * u * (1.0 - u)
    terms = gated_terms(
        x, past_y, by_u=by_u, slope_z=u * (1.0 - z * z), r=r, h=h, leak=leak, own=own, by_threshold=by_threshold,
        passes=passes, kernel=recurrent_kernel, mask=mask,
    )  # fmt: skip
    return terms, slopes[:, -1]


def gated_terms(x, past_y, *, by_u, slope_z, r, h, leak, own, by_threshold, passes, kernel, mask):
    """The `InfluenceTerms` of any unit with an update gate, a reset gate and a candidate.

    Args:
        x: `[batch, time, features]`.
        past_y: `[batch, time, units]`, what the step before sent.
        by_u: The same, how the state changes with what enters the update gate.
        slope_z: The same, with what enters the candidate.
        r: The same, the reset gate.
        h: The same, the recurrent part of the candidate on which r acts, or None where r acts before the product.
        leak: As in `InfluenceTerms`, like the arguments that follow.
        own: See there.
        by_threshold: `[batch, time, units]`, the direct influence of thresholds.
        passes: See there.
        kernel: See there.
        mask: See there.
    """
    slope_r, one = r * (1.0 - r), ops.ones_like(x[:, :, :1])
    if h is not None:
        by_r = slope_z * h * slope_r
        gain, candidate, turned = [by_u, by_r, slope_z * r], None, None
        direct = [by_u, by_r, slope_z, slope_z * r, by_threshold]
        source = [x, past_y, one]
    else:
        gain, candidate, turned = [by_u], slope_z, past_y * slope_r
        direct = [by_u, turned, slope_z, by_threshold]
        source = [x, past_y, r * past_y, one]
    return InfluenceTerms(
        kernel=kernel, leak=leak, passes=passes, gain=ops.stack(gain, 2), own=own, candidate=candidate,
        opened=None if candidate is None else r, turned=turned, direct=ops.stack(direct, 2),
        source=ops.concatenate(source, -1), mask=mask,
    )  # fmt: skip
