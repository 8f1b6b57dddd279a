"""The custom op `KerasEgru>EgruSequence` behind `egru_sequence`: when it can run, its call and its gradient."""

import keras

from keras_egru.ops import library
from keras_egru.surrogates import Triangular

INPUTS = 9  # of the op: inputs, initial y and c, kernel, recurrent kernel, bias, threshold, mask, zoneout


def why_not(dtype="float32", surrogate=None, recurrent_dropout_mask=None) -> str | None:
    """Why the fused implementation cannot run with these arguments, as a sentence; None where it can."""
    dtype = keras.backend.standardize_dtype(dtype)
    if dtype not in ("float32", "float64"):
        return f"the custom op computes in float32 or float64, received {dtype}."
    if surrogate is not None and type(surrogate) is not Triangular:
        return f"the custom op knows the Triangular surrogate only, received {surrogate!r}."
    if recurrent_dropout_mask is not None:
        return "the custom op has no recurrent dropout; `dropconnect` and `zoneout` regularise the recurrence instead."
    return library.why_not()


def run(
    inputs, initial_y, initial_c, kernel, recurrent_kernel, bias, threshold,
    *, mask, zoneout, reset, reset_after, surrogate, training,
):  # fmt: skip
    """`(y, c, counters)` of `egru_sequence`."""
    import tensorflow as tf

    _register_gradient()
    dtype = inputs.dtype
    tensors = [
        tf.convert_to_tensor(x, dtype)
        for x in (inputs, initial_y, initial_c, kernel, recurrent_kernel, bias, threshold)
    ]
    mask = tf.zeros([0, 0], tf.bool) if mask is None else tf.convert_to_tensor(mask)
    zoneout = tf.zeros([0], dtype) if zoneout is None else tf.convert_to_tensor(zoneout, dtype)
    y, c, _, _, counters = library.load().keras_egru_egru_sequence(
        *tensors, mask, zoneout,
        reset=reset, reset_after=reset_after,
        surrogate_height=surrogate.height, surrogate_width=surrogate.width, save_for_backward=bool(training),
    )  # fmt: skip
    return y, c, tf.unstack(counters, num=5)


def _gradient(op, grad_y, grad_c, *_):
    """Exact gradients: those of dense autodiff with the surrogate, from sparse products."""
    import tensorflow as tf

    raw = library.load()
    options = {name: op.get_attr(name) for name in ("reset", "reset_after", "surrogate_height", "surrogate_width")}
    options["reset"] = options["reset"].decode() if isinstance(options["reset"], bytes) else options["reset"]
    inputs = op.inputs[:INPUTS]
    y, c, gates, candidate = op.outputs[:4]
    if not op.get_attr("save_for_backward"):
        y, c, gates, candidate, _ = raw.keras_egru_egru_sequence(*inputs, **options, save_for_backward=True)
    nothing = tf.zeros([0, 0, 0], y.dtype)
    grads = raw.keras_egru_egru_sequence_grad(
        *inputs, y, c, gates, candidate,
        nothing if grad_y is None else grad_y, nothing if grad_c is None else grad_c, **options,
    )  # fmt: skip
    grad_inputs = raw.keras_egru_egru_input_grad(
        inputs[0], inputs[3], grads.grad_gates, grads.grad_candidate, reset_after=options["reset_after"]
    )
    return [
        grad_inputs, grads.grad_initial_y, grads.grad_initial_c, grads.grad_kernel, grads.grad_recurrent_kernel,
        grads.grad_bias, grads.grad_threshold, None, None,
    ]  # fmt: skip


_registered = False


def _register_gradient():
    global _registered
    if not _registered:
        import tensorflow as tf

        tf.RegisterGradient("KerasEgru>EgruSequence")(_gradient)
        _registered = True
