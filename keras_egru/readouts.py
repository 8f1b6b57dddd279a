"""Reductions over time of the membrane potential of non-spiking output units, which a classifier reads.

`v` is `[batch, time, classes]`; `v[:, k]` is the potential at time `k dt`, and the trial lasts `steps * dt`. Integrals,
weighted integrals and maxima are those of Nowotny, Turner & Knight 2022, "Loss shaping enhances exact gradient learning
with Eventprop in spiking neural networks" (Eq. 2, section 2.2, appendix B); spike times of Wunderlich & Pehle 2021.
"""

import math

from keras import backend, ops

READOUTS = ("sum", "sum_exp", "max", "last", "first_spike")


def read_out(
    v, readout: str, dt: float = 1.0, time_constant: float | None = None, threshold: float = 1.0, phantom: float = 1.0
):
    """The reduction of that name: `[batch, classes]`.

    Args:
        v: Float tensor, `[batch, time, classes]`.
        readout: `"sum"`, `"sum_exp"`, `"max"`, `"last"` or `"first_spike"`.
        dt: Float > 0, milliseconds a step. Default 1.0.
        time_constant: Of `"sum_exp"` alone, see `exponential_sum`. Default `None`.
        threshold: Of `"first_spike"` alone. Default 1.0.
        phantom: Of `"first_spike"` alone, see `first_spike_time`. Default 1.0.

    Raises:
        ValueError: the name is none of these, a number is not positive, or `v` has another rank or no step.
    """
    check_readout(readout)
    if readout == "sum":
        return sum_over_time(v, dt)
    if readout == "sum_exp":
        return exponential_sum(v, dt, time_constant)
    if readout == "max":
        return maximum(v)
    if readout == "last":
        return last(v)
    return first_spike_time(v, dt, threshold, phantom)


def sum_over_time(v, dt: float = 1.0):
    """`sum_k v_k dt`, the integral of the potential over the trial (Nowotny et al., Eq. 2).

    Its unit is that of `dt`. Over a long trial in milliseconds such logits are large, and a softmax of them is
    saturated; `dt = 1 / steps` gives the mean over time.

    Args:
        v: Float tensor, `[batch, time, classes]`.
        dt: Float > 0. Default 1.0.

    Returns:
        `[batch, classes]`, summed in at least float32, of the type of `v`.

    Raises:
        ValueError: `dt` is not a positive finite number, or `v` has another rank or no step.
    """
    _check_potential(v)
    check_positive("dt", dt)
    return ops.cast(ops.sum(_at_least_float32(v), axis=1) * dt, v.dtype)


def exponential_sum(v, dt: float = 1.0, time_constant: float | None = None):
    """`sum_k exp(-k dt / time_constant) v_k dt`, in which early potentials count for more than late ones.

    With a plain integral the time of a spike hardly matters to the loss, so that hardly any gradient reaches the units
    behind; the weights give it one (Nowotny et al., section 2.2, the loss `L_sum_exp`).

    Args:
        v: Float tensor, `[batch, time, classes]`.
        dt: Float > 0, milliseconds a step. Default 1.0.
        time_constant: Float > 0, in milliseconds, or `None` (default): the duration of the trial, `steps * dt`, as in
            the paper. It is then the padded duration where sequences are padded.

    Returns:
        `[batch, classes]`, summed in at least float32, of the type of `v`.

    Raises:
        ValueError: `dt` or `time_constant` is not a positive finite number, or `v` has another rank or no step.
    """
    _check_potential(v)
    check_positive("dt", dt)
    if time_constant is not None:
        check_positive("time_constant", time_constant)
    values = _at_least_float32(v)
    steps = ops.shape(values)[1]
    times = ops.cast(ops.arange(steps), values.dtype)
    decays = times / ops.cast(steps, values.dtype) if time_constant is None else times * (dt / time_constant)
    return ops.cast(ops.einsum("t,btc->bc", ops.exp(-decays), values) * dt, v.dtype)


def maximum(v):
    """`max_k v_k` (Nowotny et al., Eq. 29; Wunderlich & Pehle 2021, Eq. 4); the gradient goes to one step alone.

    It is the step of the maximum, the first of them in a tie, whereas the gradient of `keras.ops.max` is shared out.

    Args:
        v: Float tensor, `[batch, time, classes]`.

    Returns:
        `[batch, classes]`.

    Raises:
        ValueError: `v` has another rank or no step.
    """
    _check_potential(v)
    # The first step of the maximum, of integers: of floats Keras's argmax minds the sign of zero, with ops that TF-Lite
    # does not have.
    return _at_step(v, ops.argmax(ops.cast(v == ops.max(v, axis=1, keepdims=True), "int32"), axis=1))


def last(v):
    """`v` at the last step, `[batch, classes]`.

    Raises:
        ValueError: `v` has another rank or no step.
    """
    _check_potential(v)
    return v[:, -1]


def first_spike_time(v, dt: float = 1.0, threshold: float = 1.0, phantom: float = 1.0):
    """Time of the first upward crossing of `threshold`, between steps by linear interpolation.

    With k the first step at which `v_k > threshold`, it is `(k - 1 + (threshold - v_(k-1)) / (v_k - v_(k-1))) dt`. Its
    gradient, summed over both steps, is `-1 / slope` with `slope = (v_k - v_(k-1)) / dt`: a potential that just touches
    the threshold has a large one.

    Two kinds of units have no slope at the threshold and get a *phantom* gradient, `-phantom` milliseconds a unit of
    potential: one that is above it at step 0, whose time is 0, with respect to `v_0`; and one that never crosses, whose
    time is `T = steps * dt`, with respect to the last step, as if it had spiked at T (Nowotny et al., section 4.1). The
    paper has it for the unit of the label alone. Here a silent unit of another class has it too, but `FirstSpikeLoss`
    hands it no more than its share of a softmax over `-t / tau_0`, next to nothing once another unit has spiked.

    A potential that does cross has the gradient `-tau_mem / (i - v)`. Where these push the units of labels below the
    threshold one after the other, a phantom of the order of `tau_mem` holds against them.

    Args:
        v: Float tensor, `[batch, time, classes]`.
        dt: Float > 0, milliseconds a step. Default 1.0.
        threshold: Float. Default 1.0.
        phantom: Float >= 0, of units that have no slope; 0 for none. Default 1.0.

    Returns:
        `[batch, classes]`, milliseconds in [0, steps * dt].

    Raises:
        ValueError: `dt` is not a positive finite number, `phantom` is negative or not finite, `threshold` is not
            finite, or `v` has another rank or no step.
    """
    _check_potential(v)
    check_positive("dt", dt)
    check_phantom(phantom)
    if not math.isfinite(threshold):
        raise ValueError(f"`threshold` must be a finite number, received {threshold!r}.")
    values = _at_least_float32(v)
    above = values > threshold
    crosses = ops.any(above, axis=1)
    step = ops.argmax(ops.cast(above, "int32"), axis=1)
    between = ops.logical_and(crosses, step > 0)
    after = _at_step(values, step)
    before = _at_step(values, ops.maximum(step - 1, 0))
    # 1 where nothing is interpolated, lest a division by 0 turn the gradient of the other branch into nan.
    rise = ops.where(between, after - before, ops.ones_like(after))
    reached = ops.where(between, threshold - before, ops.zeros_like(before)) / rise
    interpolated = (ops.cast(step, values.dtype) - 1.0 + reached) * dt
    duration = ops.cast(ops.shape(values)[1], values.dtype) * dt
    at_start = _phantom(values[:, 0], ops.zeros_like(duration), phantom)
    at_end = _phantom(values[:, -1], duration, phantom)
    times = ops.where(between, interpolated, ops.where(crosses, at_start, at_end))
    return ops.cast(times, v.dtype)


def check_readout(readout, choices=READOUTS):
    """Raises a ValueError where `readout` is none of the names in `choices`."""
    if readout not in choices:
        raise ValueError(f"`readout` must be one of {', '.join(map(repr, choices))}, received {readout!r}.")


def check_positive(name, value):
    """Raises a ValueError that names the argument where `value` is not a positive finite number."""
    if not 0.0 < value < math.inf:
        raise ValueError(f"`{name}` must be a positive finite number, received {value!r}.")


def check_phantom(value):
    """Raises a ValueError where `value`, of the argument `phantom`, is negative or not finite."""
    if not 0.0 <= value < math.inf:
        raise ValueError(f"`phantom` must be a finite number of at least 0, received {value!r}.")


def _check_potential(v):
    if len(v.shape) != 3 or v.shape[1] == 0:
        raise ValueError(
            f"`v` must be [batch, time, classes] with at least one step, received the shape {tuple(v.shape)}."
        )


def _at_least_float32(v):
    # Half precision cannot add up hundreds of steps.
    return ops.cast(v, "float32") if backend.standardize_dtype(v.dtype) in ("float16", "bfloat16") else v


def _at_step(v, step):
    """`v[b, step[b, c], c]`, `[batch, classes]`."""
    return ops.squeeze(ops.take_along_axis(v, step[:, None, :], axis=1), axis=1)


def _phantom(v, time, phantom):
    """`time` with the gradient `-phantom` for `v`: the bracket is exactly zero."""
    return time - phantom * (v - ops.stop_gradient(v))
