"""One time step of the EGRU, written once with `keras.ops`: the definition that every fast path is held against."""

from keras import ops

RESETS = ("threshold", "subtract", "zero")


def egru_step(
    projection,
    y,
    c,
    recurrent_kernel,
    recurrent_bias,
    threshold,
    *,
    reset,
    reset_after,
    surrogate,
    zoneout=None,
    recurrent_dropout_mask=None,
):
    """Advances the state `[y, c]` by one step (EGRU paper, Eq. 1-4).

    ```
    a_g = projection_g + y_{t-1} V_g          g in {u, r};  u = sigmoid(a_u), r = sigmoid(a_r)
    reset_after=False   a_z = projection_z + (r * y_{t-1}) V_z
    reset_after=True    a_z = projection_z + r * (y_{t-1} V_z + recurrent_bias_z)
    z = tanh(a_z)
    reset="threshold"   c_t = u z + (1 - u) c_{t-1} - threshold * H(c_{t-1} - threshold)
    reset="subtract"    c_t = u z + (1 - u) c_{t-1} - y_{t-1}                 (the paper, Eq. 2)
    reset="zero"        c_t = u z + (1 - u) (c_{t-1} - y_{t-1})
    y_t = c_t H(c_t - threshold)
    ```

    Args:
        projection: `[batch, 3 units]`, `x_t U + b`, gates in the order u, r, z.
        y: `[batch, units]`, the events of the step before, zero at silent units.
        c: `[batch, units]`, the internal state of the step before.
        recurrent_kernel: `[units, 3 units]`.
        recurrent_bias: `[3 units]` with `reset_after`, else None.
        threshold: `[units]` or `[1]`, inside (0, 1).
        reset: One of "threshold", "subtract", "zero".
        reset_after: Whether the gate r multiplies after the recurrent product.
        surrogate: `keras_egru.surrogates.Surrogate`.
        zoneout: None, or a float or a tensor that broadcasts with `[batch, units]`: the share of `c_{t-1}` that is
            kept.
        recurrent_dropout_mask: None or `[batch, units]`, multiplies `y` in the products; the reset takes `y` as it is.

    Returns:
        `(y_t, c_t)`, each `[batch, units]`.
    """
    seen = y if recurrent_dropout_mask is None else y * recurrent_dropout_mask
    u, _, z, _ = gates(projection, seen, recurrent_kernel, recurrent_bias, reset_after)
    return advance(u, z, y, c, threshold, reset, surrogate, zoneout)


def gates(projection, y, recurrent_kernel, recurrent_bias, reset_after):
    """`(u, r, z, h)`, each `[batch, units]`: the gates, the candidate, and the recurrent part of z before r acts.

    Without `reset_after` there is no such part, and `h` is None.
    """
    units = y.shape[-1]
    x_u, x_r, x_z = ops.split(projection, 3, axis=-1)
    if reset_after:
        h_u, h_r, h_z = ops.split(ops.matmul(y, recurrent_kernel) + recurrent_bias, 3, axis=-1)
        u, r = ops.sigmoid(x_u + h_u), ops.sigmoid(x_r + h_r)
        return u, r, ops.tanh(x_z + r * h_z), h_z
    h_u, h_r = ops.split(ops.matmul(y, recurrent_kernel[:, : 2 * units]), 2, axis=-1)
    u, r = ops.sigmoid(x_u + h_u), ops.sigmoid(x_r + h_r)
    return u, r, ops.tanh(x_z + ops.matmul(r * y, recurrent_kernel[:, 2 * units :])), None


def advance(u, z, y, c, threshold, reset, surrogate, zoneout=None):
    """`(y_t, c_t)` of a gate and a candidate."""
    if reset == "threshold":
        next_c = u * z + (1.0 - u) * c - threshold * surrogate.event(c - threshold)
    elif reset == "subtract":
        next_c = u * z + (1.0 - u) * c - y
    else:
        next_c = u * z + (1.0 - u) * (c - y)
    if zoneout is not None:
        next_c = zoneout * c + (1.0 - zoneout) * next_c
    return next_c * surrogate.event(next_c - threshold), next_c
