"""The custom op `KerasEgru>EgruSequence` behind `egru_sequence`: when it can run, its call and its gradient."""

import keras

from keras_egru.ops import checkpointed, library
from keras_egru.ops.op_gradients import attribute, is_filled_in
from keras_egru.surrogates import Triangular

# Of the op: inputs, initial y and c, kernel, recurrent kernel, bias, threshold, mask, zoneout, the kernels' masks.
INPUTS = 11
OPTIONS = ("reset", "reset_after", "surrogate_height", "surrogate_width", "products")  # of the op and its gradient


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
    *, mask, zoneout, reset, reset_after, surrogate, training, kernel_mask=None, recurrent_mask=None,
    keep=checkpointed.STATES, products="auto",
):  # fmt: skip
    """`(y, c, counters)` of `egru_sequence`; with `training`, every step of `y` and `c`, whatever `keep` says.

    `products`, forward and backward: `"auto"` (by what is faster for the counted density), `"sparse"` or `"dense"`.
    """
    import tensorflow as tf

    _register_gradient()
    tensors = _of_one_type(inputs, initial_y, initial_c, kernel, recurrent_kernel, bias, threshold)
    mask, zoneout = _or_empty(mask, [0, 0], tf.bool), _or_empty(zoneout, [0], inputs.dtype)
    masks = [_or_empty(weights_mask, [0, 0], inputs.dtype) for weights_mask in (kernel_mask, recurrent_mask)]
    y, c, _, _, counters = library.load().keras_egru_egru_sequence(
        *tensors, mask, zoneout, *masks,
        reset=reset, reset_after=reset_after,
        surrogate_height=surrogate.height, surrogate_width=surrogate.width, products=products,
        save_for_backward=bool(training), all_y=bool(training) or "y" in keep, all_c=bool(training) or "c" in keep,
    )  # fmt: skip
    return y, c, tf.unstack(counters, num=5)


def run_int8(
    inputs, initial_y, initial_c, kernel, recurrent_kernel, bias, threshold,
    *, recurrent_scale, mask, zoneout, reset, reset_after, surrogate, keep=checkpointed.STATES, products="auto",
):  # fmt: skip
    """`run` with an int8 `recurrent_kernel`, read as it is; an op without a gradient."""
    import tensorflow as tf

    before = _of_one_type(inputs, initial_y, initial_c, kernel)
    after = _of_one_type(inputs, recurrent_scale, bias, threshold)[1:]
    mask, zoneout = _or_empty(mask, [0, 0], tf.bool), _or_empty(zoneout, [0], inputs.dtype)
    y, c, counters = library.load().keras_egru_egru_sequence_int8(
        *before, recurrent_kernel, *after, mask, zoneout,
        reset=reset, reset_after=reset_after,
        surrogate_height=surrogate.height, surrogate_width=surrogate.width, products=products,
        all_y="y" in keep, all_c="c" in keep,
    )  # fmt: skip
    return y, c, tf.unstack(counters, num=5)


def _of_one_type(inputs, *tensors):
    import tensorflow as tf

    return [tf.convert_to_tensor(tensor, inputs.dtype) for tensor in (inputs, *tensors)]


def _or_empty(tensor, shape, dtype):
    """`tensor` as the op takes it, empty and of `shape` for None."""
    import tensorflow as tf

    return tf.zeros(shape, dtype) if tensor is None else tf.convert_to_tensor(tensor, dtype)


def _gradient(op, grad_y, grad_c, *_):
    """Exact gradients: those of dense autodiff with the surrogate, from sparse products."""

    raw = library.load()
    options = {name: attribute(op, name) for name in OPTIONS}
    inputs = op.inputs[:INPUTS]
    y, c, gates, candidate = op.outputs[:4]
    if not op.get_attr("save_for_backward"):
        y, c, gates, candidate, _ = raw.keras_egru_egru_sequence(*inputs, **options, save_for_backward=True)
    grad_y = _of_all_steps(grad_y, op.get_attr("all_y"), inputs[0])
    grad_c = _of_all_steps(grad_c, op.get_attr("all_c"), inputs[0])
    grads = raw.keras_egru_egru_sequence_grad(
        *inputs, y, c, gates, candidate, grad_y, grad_c, **options,
    )  # fmt: skip
    grad_inputs = raw.keras_egru_egru_input_grad(
        inputs[0], inputs[3], grads.grad_gates, grads.grad_candidate,
        reset_after=options["reset_after"], products=options["products"],
    )  # fmt: skip
    return [
        grad_inputs, grads.grad_initial_y, grads.grad_initial_c, grads.grad_kernel, grads.grad_recurrent_kernel,
        grads.grad_bias, grads.grad_threshold, None, None, None, None,
    ]  # fmt: skip


def _of_all_steps(grad, all_steps, inputs):
    """The gradient of a whole sequence, empty where nobody asked for it; `grad` may be of the last step alone."""
    import tensorflow as tf

    if is_filled_in(grad):
        return tf.zeros([0, 0, 0], inputs.dtype)
    return grad if all_steps else checkpointed.at_the_end(grad[:, 0], tf.shape(inputs)[1])


_registered = False


def _register_gradient():
    global _registered
    if not _registered:
        import tensorflow as tf

        tf.RegisterGradient("KerasEgru>EgruSequence")(_gradient)
        _registered = True
