"""The custom op `KerasEgru>LifSequence` behind `lif_sequence`: when it can run, its call and its gradient."""

import keras

from keras_egru.ops import library
from keras_egru.ops.lif_step import LIFState
from keras_egru.ops.op_gradients import attribute, is_filled_in
from keras_egru.surrogates import Boxcar, FastSigmoid, Triangular

SURROGATES = {Triangular: "triangular", FastSigmoid: "fast_sigmoid", Boxcar: "boxcar"}
INPUTS = 14  # of the op
SAVED = ("counts", "codes", "values", "input_counts", "input_index", "input_value")  # outputs that its gradient reads
OPTIONS = (
    "gradient", "spiking", "reset", "threshold", "v_reset", "v_rest", "refractory", "surrogate", "surrogate_height",
    "surrogate_slope", "surrogate_width", "all_v",
)  # fmt: skip


def why_not(dtype, constants) -> str | None:
    """Why the fused implementation cannot run with these arguments, as a sentence; None where it can."""
    dtype = keras.backend.standardize_dtype(dtype)
    if dtype not in ("float32", "float64"):
        return f"the custom op computes in float32 or float64, received {dtype}."
    if constants.gradient == "surrogate" and constants.spiking and type(constants.surrogate) not in SURROGATES:
        known = ", ".join(surrogate.__name__ for surrogate in SURROGATES)
        return f"the custom op knows the surrogates {known}, received {constants.surrogate!r}."
    return library.why_not()


def run(
    inputs, state, kernel, recurrent_kernel, decay, constants,
    *, link, mask, train_decays, all_v, training,
):  # fmt: skip
    """`(y, v, state, counts, codes, carrier, spikes, counters)` of `lif_sequence`.

    `spikes`, `[units]`, counts those of the batch; its gradient is added to dL/dv of a unit at each of its spikes.
    """
    import tensorflow as tf

    _register_gradient()
    dtype = inputs.dtype

    def given(tensor, rank):
        return tf.zeros([0] * rank, dtype) if tensor is None else tf.convert_to_tensor(tensor, dtype)

    surrogate = constants.surrogate
    out = library.load().keras_egru_lif_sequence(
        inputs if link is None else inputs[:, :, :0],  # the spikes are in the link: none are kept for the backward pass
        tf.zeros([0, 0], tf.int32) if link is None else link.counts,
        tf.zeros([0], tf.int32) if link is None else link.codes,
        given(None if link is None else link.carrier, 1),
        given(state.v, 2), given(state.i, 2), given(state.y, 2), given(state.wait, 2),
        given(kernel, 2), given(recurrent_kernel, 2),
        given(decay.alpha, 1), given(decay.beta, 1), given(decay.gamma, 1),
        tf.zeros([0, 0], tf.bool) if mask is None else mask,
        gradient=constants.gradient, spiking=constants.spiking, reset=constants.reset, threshold=constants.threshold,
        v_reset=constants.v_reset, v_rest=constants.v_rest, refractory=constants.refractory,
        surrogate=SURROGATES.get(type(surrogate), "boxcar"), surrogate_height=getattr(surrogate, "height", 1.0),
        surrogate_slope=getattr(surrogate, "slope", 1.0), surrogate_width=getattr(surrogate, "width", 1.0),
        all_v=all_v, save_for_backward=bool(training), time_constants=bool(train_decays),
    )  # fmt: skip
    y = out.y[:, -1] if constants.spiking else state.y
    if mask is not None and constants.spiking:
        y = _last_valid(out.y, mask, state.y)
    last = LIFState(
        out.v[:, -1],
        None if state.i is None else out.last_i,
        y,
        None if state.wait is None else out.last_wait,
    )
    return out.y, out.v, last, out.counts, out.codes, out.carrier, out.spikes, tf.unstack(out.counters, num=4)


def _last_valid(y, mask, initial):
    """`y` at the last step that is not masked, or the initial one."""
    import tensorflow as tf

    steps = tf.range(1, tf.shape(mask)[1] + 1)
    last = tf.reduce_max(tf.where(mask, steps, 0), axis=1)
    return tf.where((last > 0)[:, None], tf.gather(y, tf.maximum(last - 1, 0), batch_dims=1), initial)


def _gradient(op, *grads_of_outputs):
    import tensorflow as tf

    given = dict(zip(NAMES, grads_of_outputs, strict=True))

    raw = library.load()
    inputs = list(op.inputs)
    options = {name: attribute(op, name) for name in OPTIONS}
    saved = {name: output for name, output in zip(NAMES, op.outputs, strict=True) if name in SAVED}
    if not op.get_attr("save_for_backward"):
        out = raw.keras_egru_lif_sequence(*inputs, **options, save_for_backward=True, time_constants=False)
        saved = {name: getattr(out, name) for name in SAVED}
    dtype = inputs[0].dtype
    upstream = [
        tf.zeros([0] * rank, dtype) if is_filled_in(given[name]) else given[name]
        for name, rank in (("y", 3), ("v", 3), ("last_i", 2), ("carrier", 1), ("spikes", 1))
    ]
    arguments = (*inputs, *saved.values(), *upstream)
    grads = raw.keras_egru_lif_sequence_grad(*arguments, **options, time_constants=op.get_attr("time_constants"))
    linked = inputs[1].shape[1] != 0  # the counts of a link are [batch, time], those of none [0, 0]
    grad_inputs = None
    if not linked:
        drive = raw.keras_egru_lif_drive_grad(*arguments, **options)
        grad_inputs = tf.matmul(drive, inputs[8], transpose_b=True)
    return [
        grad_inputs, None, None, grads.grad_link_carrier, grads.grad_initial_v, grads.grad_initial_i,
        grads.grad_initial_y, None, grads.grad_kernel, grads.grad_recurrent_kernel,
        grads.grad_alpha, grads.grad_beta, grads.grad_gamma, None,
    ]  # fmt: skip


NAMES = (
    "y", "v", "last_i", "last_wait", "counts", "codes", "values", "carrier", "input_counts", "input_index",
    "input_value", "spikes", "counters",
)  # fmt: skip


_registered = False


def _register_gradient():
    global _registered
    if not _registered:
        import tensorflow as tf

        tf.RegisterGradient("KerasEgru>LifSequence")(_gradient)
        _registered = True
