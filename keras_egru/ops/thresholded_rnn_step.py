"""One time step of the thresholded RNN, with `keras.ops`: what every faster path is held against."""

from keras import ops


def thresholded_rnn_step(projection, y, recurrent_kernel, threshold, *, surrogate):
    """Advances the activity `y` by one step (Subramoney 2023, Eq. 5, with a linear `F`).

    ```
    v_t = x_t U + y_{t-1} V - threshold
    y_t = H(v_t)                                dy_t/dv_t = surrogate.derivative(v_t)
    ```

    A unit whose `v_t` lies outside the surrogate's support passes no gradient, whatever it did before: there is no leak
    by which the past goes on, so that its row of the influence matrix is zero.

    Args:
        projection: `[batch, units]`, `x_t U`.
        y: `[batch, units]`, the activity of the step before, 0 or 1.
        recurrent_kernel: `[units, units]`.
        threshold: `[units]`.
        surrogate: `keras_egru.surrogates.Surrogate`.

    Returns:
        `(y_t, v_t)`, each `[batch, units]`.
    """
    v = projection + ops.matmul(y, recurrent_kernel) - threshold
    return surrogate.event(v), v


def thresholded_rnn_sequence(inputs, initial_y, kernel, recurrent_kernel, threshold, *, surrogate, mask=None):
    """The activity at every step, `[batch, time, units]`.

    Args:
        inputs: `[batch, time, features]`.
        initial_y: `[batch, units]`, before the first step.
        kernel: `[features, units]`.
        recurrent_kernel: `[units, units]`.
        threshold: `[units]`.
        surrogate: `keras_egru.surrogates.Surrogate`.
        mask: Bool `[batch, time]`, or None. Where False, the activity is carried over.
    """
    projection = ops.matmul(inputs, kernel)
    units = threshold.shape[-1]
    # One tensor, since Keras 3.15 cannot scan several over an unknown number of steps.
    valid = ops.ones_like(projection[:, :, :1]) if mask is None else ops.cast(mask, projection.dtype)[:, :, None]

    def step(y, current):
        stepped, _ = thresholded_rnn_step(current[:, :units], y, recurrent_kernel, threshold, surrogate=surrogate)
        y = ops.where(current[:, units:] != 0, stepped, y)
        return y, y

    if inputs.shape[1] == 1:
        return step(initial_y, ops.concatenate([projection, valid], axis=-1)[:, 0])[0][:, None]
    sequence = ops.swapaxes(ops.concatenate([projection, valid], axis=-1), 0, 1)
    return ops.swapaxes(ops.scan(step, initial_y, sequence)[1], 0, 1)
