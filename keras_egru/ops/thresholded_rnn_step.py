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
