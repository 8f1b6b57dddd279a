"""One step of real-time recurrent learning of the thresholded RNN, dense: what every sparse form is held against."""

from keras import ops

from keras_egru.ops.thresholded_rnn_step import thresholded_rnn_step


def thresholded_influence_step(influence, x, y, kernel, recurrent_kernel, threshold, *, surrogate):
    """Advances the activity `y` and the influence of the parameters on it by one step of `thresholded_rnn_step`.

    `M_t = H'(v_t) (V^T M_{t-1} + D_t)` (Subramoney 2023, Eq. 10), with D the direct influence on v_t: rows of units
    whose surrogate is zero vanish. The gradient of a loss of y_t is `dL/dy_t M_t`.

    Parameters are counted through `kernel`, `recurrent_kernel` and `threshold`, each in the order of its entries.

    Args:
        influence: `[batch, units, parameters]`; zero before the first step.
        x: `[batch, features]`.
        y: `[batch, units]`, the activity of the step before.
        kernel: `[features, units]`.
        recurrent_kernel: `[units, units]`.
        threshold: `[units]`.
        surrogate: `keras_egru.surrogates.Surrogate`.

    Returns:
        `(influence, y)` of this step.
    """
    units = y.shape[-1]
    next_y, v = thresholded_rnn_step(ops.matmul(x, kernel), y, recurrent_kernel, threshold, surrogate=surrogate)
    own = ops.eye(units, dtype=v.dtype)
    # Of a source's weights, unit k reads the k-th: `[batch, units, sources, units]`.
    direct = [
        ops.reshape(own[None, :, None, :] * source[:, None, :, None], (-1, units, source.shape[-1] * units))
        for source in (x, y)
    ]
    direct.append(ops.broadcast_to(-own, ops.shape(direct[0])[:1] + own.shape))
    past = ops.matmul(ops.transpose(recurrent_kernel), influence)
    slope = surrogate.derivative(v)
    return slope[:, :, None] * (past + ops.concatenate(direct, axis=-1)), next_y
