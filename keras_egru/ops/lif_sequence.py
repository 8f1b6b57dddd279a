"""Leaky integrate-and-fire units over a whole sequence: one function, two implementations.

`reference` is `lif_step` in a scan, on any Keras backend. `fused` is the custom TensorFlow op `KerasEgru>LifSequence`,
which keeps lists of what was active and goes backwards through those; its values and gradients equal the reference's to
rounding.
"""

from typing import NamedTuple

import keras
from keras import ops

from keras_egru import surrogates
from keras_egru.ops import fused_lif, replicas
from keras_egru.ops.lif_step import GRADIENTS, RESETS, LIFConstants, LIFState, lif_step, reset_of

IMPLEMENTATIONS = ("auto", "fused", "reference")


class SpikeLink(NamedTuple):
    """How a layer hands its spikes to the next one: what was active, instead of a sequence that is mostly zero.

    Without it a gradient of spikes is one of their amplitude, at every step. With it the next layer gives the gradient
    where it is needed and nowhere else, and for Eventprop that of the spikes' times.

    gradient: `"surrogate"` or `"eventprop"`.
    counts, codes, carrier: The entries, of the fused implementation; else None. `carrier` carries the
        gradient; its values mean nothing.
    shift: Of the reference with Eventprop `[batch, time, units]`: zero, and differentiable in the times of the spikes,
        in steps; else None.
    """

    gradient: str
    counts: object
    codes: object
    carrier: object
    shift: object


class LIFCounters(NamedTuple):
    """Integer counts over the valid (unmasked) steps of a call.

    steps: valid (sample, step) pairs.
    input_events: nonzero entries of the input.
    events: spikes.
    active_entries: entries that a gradient passes: those within the surrogate's support or, with Eventprop, spikes.
    """

    steps: object
    input_events: object
    events: object
    active_entries: object


class LIFSequence(NamedTuple):
    """What `lif_sequence` returns.

    y: `[batch, time, units]`, the spikes, 0 or 1; None without spiking. Zero at masked steps.
    v: `[batch, time, units]`, or `[batch, 1, units]` with `all_v=False`: the membrane before a reset.
    state: The `LIFState` after the last step.
    link: `SpikeLink` for the next layer, or None.
    counters: `LIFCounters`; None in the reference.
    penalty: With `rate_strength` and Eventprop: zero, to be added to the loss for its gradient; else None.
    """

    y: object
    v: object
    state: LIFState
    link: SpikeLink | None
    counters: LIFCounters | None
    penalty: object = None


def lif_sequence(
    inputs,
    state,
    kernel,
    recurrent_kernel,
    decay,
    *,
    gradient="surrogate",
    spiking=True,
    reset="subtract",
    threshold=1.0,
    v_reset=0.0,
    v_rest=0.0,
    refractory=0,
    surrogate=None,
    link=None,
    mask=None,
    rate_target=0.0,
    rate_strength=0.0,
    train_decays=False,
    all_v=False,
    training=False,
    implementation="auto",
) -> LIFSequence:
    """Runs leaky integrate-and-fire units over a sequence; `lif_step` has the equations.

    Args:
        inputs: `[batch, time, features]`, float; zeros cost nothing in the fused implementation.
        state: `LIFState` before the first step: `i` with a synapse, `wait` with a refractory period, else None.
        kernel: `[features, units]`.
        recurrent_kernel: `[units, units]`, or None.
        decay: `Decays`, each `[units]`; its `beta` and `gamma` are None without a synapse.
        gradient: `"surrogate"` (default), or `"eventprop"`, which needs a synapse.
        spiking: Whether units spike; without it they are a leaky read-out. Default True.
        reset: `"subtract"` (default) or `"zero"`, to `v_reset`.
        threshold: Float above `v_reset`. Default 1.
        v_reset: Float, default 0.
        v_rest: Float, default 0.
        refractory: Steps after a spike in which the membrane stays at `v_reset`. Default 0.
        surrogate: A `keras_egru.surrogates.Surrogate`; default `FastSigmoid()`.
        link: The `SpikeLink` of the layer that spiked `inputs`, or None for any inputs.
        mask: Bool `[batch, time]`, or None. Where False, the step is skipped and the state carried over.
        rate_target: Spikes a sequence that Eventprop's regularisation aims at, with `rate_strength`.
        rate_strength: Float, default 0; dL/dv of a spike grows by `rate_strength tau_mem (mean - rate_target) / batch`,
            with tau_mem in steps and the unit's mean number of spikes a sequence (Nowotny, Turner & Knight, Eq. 7).
        train_decays: Whether the gradients of `decay` are wanted; the fused implementation runs forward once more for
            them, and leaves them zero without. Default False.
        all_v: Whether to return the membranes of every step, or of the last one. Default False.
        training: Whether a gradient is likely to be asked for. Without it the fused implementation keeps nothing; a
            gradient is still exact then, at the price of a second forward pass. Default False.
        implementation: `"auto"` (default) takes the custom op where it can run, else the reference; `"fused"` insists
            on the op, `"reference"` on plain `keras.ops`.

    Returns:
        `LIFSequence(y, v, state, link, counters)`. The gradient of `y` is one of amplitude: for Eventprop, which knows
        times of spikes alone, what matters is how it changes from step to step. `link` is the exact way on.

    Raises:
        ValueError: a shape, an option or a value of an argument is wrong.
        TypeError: the inputs are not of a floating-point type.
        RuntimeError: `implementation="fused"` cannot run here; the sentence says why.
    """
    surrogate = surrogates.FastSigmoid() if surrogate is None else surrogates.get(surrogate)
    constants = LIFConstants(gradient, spiking, reset, threshold, v_reset, v_rest, refractory, surrogate)
    inputs, kernel = ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel)
    _validate(inputs, state, kernel, recurrent_kernel, decay, constants, mask, implementation)
    if mask is not None:
        mask = ops.cast(mask, "bool")
    regularized = spiking and gradient == "eventprop" and rate_strength != 0.0
    reason = fused_lif.why_not(inputs.dtype, constants) if implementation != "reference" else ""
    if reason and implementation == "fused":
        raise RuntimeError(f'implementation="fused" cannot run: {reason}')
    if reason is None:
        if link is not None and (link.counts is None or link.gradient != gradient):
            link = None
        y, v, state, counts, codes, carrier, spikes, counters = fused_lif.run(
            inputs, state, kernel, recurrent_kernel, decay, constants, link=link, mask=mask,
            train_decays=train_decays, all_v=all_v, training=training,
        )  # fmt: skip
        link, penalty = SpikeLink(gradient, counts, codes, carrier, None) if spiking and training else None, None
        if regularized:
            jumps = _rate_jumps(spikes, ops.shape(y)[0], decay.alpha, rate_target, rate_strength)
            penalty = ops.sum(jumps * (spikes - ops.stop_gradient(spikes)))
        return LIFSequence(y if spiking else None, v, state, link, LIFCounters(*counters), penalty)
    y, v, state, shift = _reference(inputs, state, kernel, recurrent_kernel, decay, constants, link, mask)
    link = penalty = None
    if regularized:
        jumps = _rate_jumps(ops.sum(y, axis=(0, 1)), ops.shape(y)[0], decay.alpha, rate_target, rate_strength)
        penalty = ops.sum(jumps * y * (v - ops.stop_gradient(v)))
    if spiking and gradient == "eventprop":
        link, y = SpikeLink(gradient, None, None, None, shift), y + _amplitude(shift)
    return LIFSequence(y if spiking else None, v if all_v else v[:, -1:], state, link, None, penalty)


def _reference(inputs, state, kernel, recurrent_kernel, decay, constants, link, mask):
    eventprop = constants.gradient == "eventprop"
    shift = None
    if eventprop and link is not None and link.shift is not None:
        inputs = ops.stop_gradient(inputs)
        shift = ops.matmul(link.shift, ops.stop_gradient(kernel))
    parts = [ops.matmul(inputs, kernel)]
    if shift is not None:
        parts.append(shift)
    if mask is not None:
        parts.append(ops.cast(mask, inputs.dtype)[:, :, None])
    # One tensor, since Keras 3.15 cannot scan several over an unknown number of steps.
    sequence = ops.swapaxes(ops.concatenate(parts, axis=-1), 0, 1)
    n = kernel.shape[1]
    zeros = ops.zeros_like(state.v)
    present = [name for name in LIFState._fields if getattr(state, name) is not None]

    def pack(state, u, delay):
        return [*(getattr(state, name) for name in present), u, *([delay] if eventprop else [])]

    def step(carry, current):
        before = LIFState(**{**dict.fromkeys(LIFState._fields), **dict(zip(present, carry, strict=False))})
        u, delay = carry[len(present)], carry[-1] if eventprop else None
        after, next_u, timing = lif_step(
            current[:, :n], None if shift is None else current[:, n : 2 * n], before, recurrent_kernel, decay,
            constants, u, delay,
        )  # fmt: skip
        following = pack(after, next_u, delay if timing is None or timing.delay is None else timing.delay)
        seen = [after.y, after.v, zeros if timing is None else timing.shift]
        if mask is not None:
            valid = current[:, -1:] != 0
            following = [ops.where(valid, new, old) for new, old in zip(following, carry, strict=True)]
            seen = [ops.where(valid, seen[0], 0.0), ops.where(valid, seen[1], before.v), ops.where(valid, seen[2], 0.0)]
        # Keras 3.15 scans on TensorFlow only what has as many outputs as states.
        return following, seen + [zeros] * (len(carry) - len(seen))

    u = reset_of(state.v, state.y, constants) if constants.spiking else state.v
    carry = pack(state, u, zeros)
    if keras.backend.backend() == "torch":
        rows = []
        for t in range(inputs.shape[1]):
            carry, seen = step(carry, sequence[t])
            rows.append(seen)
        y, v, shift = [ops.stack(steps, axis=1) for steps in zip(*rows, strict=True)][:3]
    else:
        carry, seen = ops.scan(step, carry, sequence)
        y, v, shift = (ops.swapaxes(steps, 0, 1) for steps in seen[:3])
    last = LIFState(**{**dict.fromkeys(LIFState._fields), **dict(zip(present, carry, strict=False))})
    return y, v, last, shift


def _amplitude(shift):
    """Zero, of a gradient g(t) of amplitude turned into dg/dt: central differences inside, one-sided at the ends."""
    if shift.shape[1] == 1:
        return ops.zeros_like(shift)
    half = ops.concatenate([shift[:, :1], 0.5 * shift[:, 1:-1], shift[:, -1:]], axis=1)
    later = ops.concatenate([-half[:, :1], half[:, :-1]], axis=1)
    earlier = ops.concatenate([half[:, 1:], -half[:, -1:]], axis=1)
    return later - earlier


def _rate_jumps(spikes, batch, alpha, target, strength):
    """What the rate regularisation adds to dL/dv of a unit at each of its spikes, `[units]`; a constant."""
    batch = ops.maximum(ops.cast(batch, alpha.dtype), 1.0)
    tau_mem = -1.0 / ops.log(alpha)
    return ops.stop_gradient(strength * tau_mem / batch * (spikes / batch - target))


def _validate(inputs, state, kernel, recurrent_kernel, decay, constants, mask, implementation):
    """Checks what is static; dynamic sizes are the op's to check."""
    for name, value, allowed in (
        ("gradient", constants.gradient, GRADIENTS),
        ("reset", constants.reset, RESETS),
        ("implementation", implementation, IMPLEMENTATIONS),
    ):
        if value not in allowed:
            raise ValueError(f"`{name}` must be one of {allowed}, received {value!r}.")
    if not keras.backend.is_float_dtype(inputs.dtype):
        raise TypeError(f"`inputs` must be of a floating-point type, received {inputs.dtype}.")
    if len(inputs.shape) != 3:
        raise ValueError(f"`inputs` must have the shape [batch, time, features], received {tuple(inputs.shape)}.")
    batch, time, features = inputs.shape
    if time == 0 or (batch == 0 and not replicas.may_be_left_empty()):
        raise ValueError(
            f"`inputs` must hold at least one sequence of at least one step, received the shape {tuple(inputs.shape)}."
        )
    if not constants.threshold > constants.v_reset:
        raise ValueError(
            f"`threshold` must lie above `v_reset`, received {constants.threshold} and {constants.v_reset}."
        )
    if constants.gradient == "eventprop" and decay.beta is None:
        raise ValueError(
            'gradient="eventprop" needs a synapse, `decay.beta` and `decay.gamma`, received none: where spikes jump on '
            "the membrane itself, they cross the threshold with no slope."
        )
    units = kernel.shape[1]
    expected = {"kernel": (kernel, (features, units)), "alpha": (decay.alpha, (units,))}
    if recurrent_kernel is not None:
        expected["recurrent_kernel"] = (recurrent_kernel, (units, units))
    if decay.beta is not None:
        expected |= {
            "beta": (decay.beta, (units,)),
            "gamma": (decay.gamma, (units,)),
            "state.i": (state.i, (batch, units)),
        }
    expected |= {"state.v": (state.v, (batch, units)), "state.y": (state.y, (batch, units))}
    if constants.refractory:
        expected["state.wait"] = (state.wait, (batch, units))
    if mask is not None:
        expected["mask"] = (mask, (batch, time))
    for name, (tensor, shape) in expected.items():
        if tensor is None or not _compatible(tensor.shape, shape):
            received = "nothing" if tensor is None else tuple(tensor.shape)
            raise ValueError(f"`{name}` must have the shape {shape}, received {received}.")


def _compatible(shape, expected):
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )
