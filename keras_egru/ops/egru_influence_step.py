"""One step of real-time recurrent learning of the EGRU, dense: the definition that every sparse form is held against.

The influence matrix `M = d state / d parameters` goes forward in time with the state, and the gradient of a loss of y_t
is `dL/dy_t M^y_t`, with no look back (Subramoney 2023, Eq. 1-4). The paper writes it for units without a memory of
their own. The state c of an EGRU leaks, so that there are two matrices:

    M^c_t = leak_t M^c_{t-1} + J_t M^y_{t-1} + D_t        M^y_t = e_t M^c_t - (c_t H'(c_t - threshold) of the threshold)

with `leak = dc_t/dc_{t-1}`, a diagonal, `J = dc_t/dy_{t-1}`, D the direct influence, and `e = dy_t/dc_t`. Rows of M^y
vanish where e does; rows of M^c do not.
"""

from keras import ops

from keras_egru.ops.egru_step import advance, gates


def egru_influence_step(
    influence_y, influence_c, x, y, c, kernel, recurrent_kernel, bias, threshold, *, reset, reset_after, surrogate
):
    """Advances the state `[y, c]` and the influence of the parameters on it by one step of `egru_step`.

    Parameters are counted through `kernel`, `recurrent_kernel`, `bias` and `threshold`, each in the order of its
    entries.

    Args:
        influence_y: `[batch, units, parameters]`, of `y`; zero before the first step.
        influence_c: The same of `c`.
        x: `[batch, features]`.
        y: `[batch, units]`, the events of the step before.
        c: `[batch, units]`, the internal state of the step before.
        kernel: `[features, 3 units]`, gates u, r, z.
        recurrent_kernel: `[units, 3 units]`.
        bias: `[2, 3 units]` with `reset_after`, else `[3 units]`; or None.
        threshold: `[units]`.
        reset: `"threshold"`, `"subtract"` or `"zero"`.
        reset_after: Whether the gate r multiplies after the recurrent product.
        surrogate: `keras_egru.surrogates.Surrogate`.

    Returns:
        `(influence_y, influence_c, y, c)` of this step.
    """
    units = c.shape[-1]
    projection = ops.matmul(x, kernel)
    recurrent_bias = None
    if bias is not None:
        projection = projection + (bias[0] if reset_after else bias)
    if reset_after:
        recurrent_bias = ops.zeros_like(projection[0]) if bias is None else bias[1]
    u, r, z, h = gates(projection, y, recurrent_kernel, recurrent_bias, reset_after)
    next_y, next_c = advance(u, z, y, c, threshold, reset, surrogate)

    # dc_t of each unit by what enters the gates of each unit, `[batch, units, 3 units]`.
    by_u = _diagonal((z - (c - y if reset == "zero" else c)) * u * (1.0 - u))
    slope_z, slope_r = u * (1.0 - z * z), r * (1.0 - r)
    if reset_after:
        by_r = _diagonal(slope_z * h * slope_r)
        by_input = ops.concatenate([by_u, by_r, _diagonal(slope_z)], axis=-1)
        by_recurrent = ops.concatenate([by_u, by_r, _diagonal(slope_z * r)], axis=-1)
        sources = ops.repeat(y[:, :, None], 3 * units, axis=-1)
        by_y = ops.einsum("bkg,jg->bkj", by_recurrent, recurrent_kernel)
    else:
        # The gate r of a unit is behind the product, in the candidates of all others.
        through_z = slope_z[:, :, None] * ops.transpose(recurrent_kernel[:, 2 * units :])
        by_r = through_z * (y * slope_r)[:, None, :]
        by_input = by_recurrent = ops.concatenate([by_u, by_r, _diagonal(slope_z)], axis=-1)
        gated = [ops.repeat(source[:, :, None], units, axis=-1) for source in (y, y, r * y)]
        sources = ops.concatenate(gated, axis=-1)
        by_y = ops.einsum("bkg,jg->bkj", by_recurrent[:, :, : 2 * units], recurrent_kernel[:, : 2 * units])
        by_y = by_y + through_z * r[:, None, :]

    leak = 1.0 - u
    by_threshold = ops.zeros_like(by_u)
    if reset == "threshold":
        slope = surrogate.derivative(c - threshold)
        leak = leak - threshold * slope
        by_threshold = _diagonal(threshold * slope - ops.cast(c > threshold, c.dtype))
    elif reset == "subtract":
        by_y = by_y - _diagonal(ops.ones_like(c))
    else:
        by_y = by_y - _diagonal(1.0 - u)

    biases = [] if bias is None else [by_input, by_recurrent] if reset_after else [by_input]
    of_kernel = by_input[:, :, None, :] * x[:, None, :, None]
    of_recurrent_kernel = by_recurrent[:, :, None, :] * sources[:, None]
    flat = (-1, units)
    direct = ops.concatenate(
        [
            ops.reshape(of_kernel, (*flat, kernel.shape[0] * kernel.shape[1])),
            ops.reshape(of_recurrent_kernel, (*flat, recurrent_kernel.shape[0] * recurrent_kernel.shape[1])),
            *biases,
            by_threshold,
        ],
        axis=-1,
    )
    next_influence_c = leak[:, :, None] * influence_c + ops.matmul(by_y, influence_y) + direct

    slope = surrogate.derivative(next_c - threshold)
    passes = ops.cast(next_c > threshold, c.dtype) + next_c * slope
    before = direct.shape[-1] - units
    own_threshold = ops.pad(_diagonal(next_c * slope), ((0, 0), (0, 0), (before, 0)))
    return passes[:, :, None] * next_influence_c - own_threshold, next_influence_c, next_y, next_c


def _diagonal(values):
    """`[batch, units, units]`, with `values` `[batch, units]` on the diagonal."""
    return values[:, :, None] * ops.eye(values.shape[-1], dtype=values.dtype)
