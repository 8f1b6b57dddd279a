"""One step of leaky integrate-and-fire units, the reference of both gradients, on any Keras backend.

The membrane `v` (before a reset) and, with a synapse, the current `i` follow

    tau_mem dv/dt = -(v - v_rest) + i      tau_syn di/dt = -i

solved exactly over a step of length dt. With u the membrane after the reset and s = H(v - threshold), H(0) = 0:

    with a current      v_t = v_rest + alpha (u_{t-1} - v_rest) + gamma i_{t-1}      i_t = beta i_{t-1} + x_t W + s_t V
    without (tau_syn is None, Perez-Nieves & Goodman 2021, Eq. 2)
                        v_t = v_rest + alpha (u_{t-1} - v_rest) + x_t W + s_{t-1} V
    reset="subtract"    u_t = v_t - (threshold - v_reset) s_t
    reset="zero"        u_t = v_reset where s_t, else v_t
    alpha = exp(-dt / tau_mem)      beta = exp(-dt / tau_syn)      gamma = tau_syn / (tau_mem - tau_syn) (alpha - beta)

After a spike the membrane stays at v_reset for `refractory` steps, in which currents go on. (The paper prints the leak
of its Eq. 17 with a minus sign; the dynamics that it describes need the form above.)

The two gradients share these values:

- `"surrogate"`: ds/dv is a surrogate derivative, and none passes through the reset (the recursion of the paper's
  Proposition 1 needs that).
- `"eventprop"`: that of the continuous-time network (Wunderlich & Pehle 2021; Nowotny, Turner & Knight, Table 6). A
  spike is differentiable in its time t*, dt*/dv = -1 / v'(t*-), and its time is all that those behind it see:
  v goes on from v_reset at t*, and a jump w of a current at t* changes with t* as w / tau_syn, minus w / tau_mem for v.
"""

from typing import NamedTuple

from keras import ops

GRADIENTS = ("surrogate", "eventprop")
RESETS = ("subtract", "zero")


class LIFState(NamedTuple):
    """The state between two steps, each `[batch, units]`.

    v: The membrane potential before a reset.
    i: The current, or None without a synapse.
    y: The spikes of the last step, 0 or 1.
    wait: Refractory steps to come, or None where there is no refractory period.
    """

    v: object
    i: object
    y: object
    wait: object


class Decays(NamedTuple):
    """What a step leaves: `alpha` of the membrane, `beta` of the current, and `gamma` of a current on the membrane.

    Each is `[units]`; `beta` and `gamma` are None without a synapse.
    """

    alpha: object
    beta: object
    gamma: object


def decays(tau_mem, tau_syn, dt) -> Decays:
    """The `Decays` of time constants `[units]` for steps of length `dt`, all in the same unit.

    They may be equal: `gamma` goes to its limit there.
    """
    alpha = ops.exp(-dt / tau_mem)
    if tau_syn is None:
        return Decays(alpha, None, None)
    beta = ops.exp(-dt / tau_syn)
    # gamma = dt / tau_mem beta (exp(r) - 1) / r, without the cancellation of alpha - beta where r is small.
    r = dt * (tau_mem - tau_syn) / (tau_mem * tau_syn)
    small = ops.abs(r) < 0.05
    series = 1.0 + r / 2.0 * (1.0 + r / 3.0 * (1.0 + r / 4.0 * (1.0 + r / 5.0 * (1.0 + r / 6.0 * (1.0 + r / 7.0)))))
    safe = ops.where(small, ops.ones_like(r), r)
    return Decays(alpha, beta, dt / tau_mem * beta * ops.where(small, series, ops.expm1(safe) / safe))


class Timing(NamedTuple):
    """What Eventprop differentiates instead of spikes; zero in value, each `[batch, units]`.

    shift: Of the time of a spike, in steps.
    delay: The same, kept through the refractory period after it.
    """

    shift: object
    delay: object


class LIFConstants(NamedTuple):
    """What does not change from step to step: see `lif_sequence`; `refractory` is in steps."""

    gradient: str
    spiking: bool
    reset: str
    threshold: float
    v_reset: float
    v_rest: float
    refractory: int
    surrogate: object


def lif_step(drive, shift, state, recurrent_kernel, decay, constants, u, delay):
    """One step.

    Args:
        drive: `[batch, units]`, the weighted inputs x_t W.
        shift: None, or `[batch, units]`: zero, and differentiable in the times of those inputs, the weights included.
        state: `LIFState`.
        recurrent_kernel: `[units, units]`, or None.
        decay: `Decays`.
        constants: `LIFConstants`.
        u: `[batch, units]`, the membrane after the reset of the step before.
        delay: `Timing.delay` of the step before; None for a surrogate gradient.

    Returns:
        `(state, u, Timing)`, the timing None for a surrogate gradient.
    """
    alpha, beta, gamma = decay
    k = constants
    eventprop = k.gradient == "eventprop"
    current = state.i
    if beta is None:
        if recurrent_kernel is not None:
            drive = drive + ops.matmul(state.y, recurrent_kernel)
        v = k.v_rest + alpha * (u - k.v_rest) + drive
    else:
        v = k.v_rest + alpha * (u - k.v_rest) + gamma * current
        current = beta * current
    if not k.spiking:
        if beta is not None:
            current = current + drive
        u, current = _shifted(v, current, shift, decay)
        return LIFState(v, current, state.y, None), u, None

    free = None if state.wait is None else state.wait <= 0
    if free is not None:
        v = ops.where(free, v, k.v_reset)
    if not eventprop:
        y = k.surrogate.event(v - k.threshold)
        if free is not None:
            y = ops.where(free, y, 0.0)
        s = ops.stop_gradient(y)
        u = reset_of(v, s, k)
        if beta is not None:
            current = current + drive
            if recurrent_kernel is not None:
                current = current + ops.matmul(y, recurrent_kernel)
        return LIFState(v, current, y, _wait(state.wait, s, k)), u, None

    fired = ops.stop_gradient(v) > k.threshold
    if free is not None:
        fired = ops.logical_and(fired, free)
    s = ops.stop_gradient(ops.cast(fired, v.dtype))
    per_membrane = -ops.log(ops.stop_gradient(alpha))
    slope = ops.stop_gradient(_slope_before(v, current, decay, per_membrane, k))
    # Zero, and of the gradient 1 / v'(t*-) where the unit fired.
    late = s * (v - ops.stop_gradient(v)) / ops.where(fired, slope, ops.ones_like(slope))
    after = ops.stop_gradient((current - (k.v_reset - k.v_rest)) * per_membrane)
    u = ops.stop_gradient(reset_of(v, s, k))
    u = ops.where(fired, u + late * after if state.wait is None else u, v)
    timing = -late
    current = current + drive
    if recurrent_kernel is not None:
        current = current + ops.matmul(s, recurrent_kernel)
        own = ops.matmul(timing, ops.stop_gradient(recurrent_kernel))
        shift = own if shift is None else shift + own
    wait = _wait(state.wait, s, k)
    if state.wait is not None:
        # The unit goes on from v_reset when its refractory period ends, as much later as it fired.
        delay = ops.where(fired, late, delay)
        ends = ops.logical_and(state.wait == 1, wait == 0)
        after = ops.stop_gradient((current - (k.v_reset - k.v_rest)) * per_membrane)
        u = ops.where(ends, k.v_reset + delay * after, u)
    u, current = _shifted(u, current, shift, decay)
    return LIFState(v, current, s, wait), u, Timing(timing, delay)


def _shifted(u, current, shift, decay):
    """A jump w of the current that comes later by a step leaves w / tau_syn more of it, and -w / tau_mem on v."""
    if shift is None:
        return u, current
    alpha, beta, _ = (None if x is None else ops.stop_gradient(x) for x in decay)
    return u + shift * ops.log(alpha), current - shift * ops.log(beta)


def _slope_before(v, current, decay, per_membrane, k):
    """dv/dt in steps at the threshold, where a spike was; at least a tenth of what v rose by in the step.

    The spike lies on the grid of steps, a little late, where the membrane may already turn.
    """
    alpha, beta, gamma = decay
    slope = (current - (k.threshold - k.v_rest)) * per_membrane
    before = k.v_rest + (v - k.v_rest - gamma * current / beta) / alpha
    return ops.maximum(slope, 0.1 * (v - before))


def _wait(wait, s, k):
    if wait is None:
        return None
    return ops.where(s > 0, ops.full_like(wait, k.refractory), ops.maximum(wait - 1.0, 0.0))


def reset_of(v, y, constants):
    """The membrane after the reset that spikes `y` of the last step ask for; none of it is differentiated in `y`."""
    s = ops.stop_gradient(y)
    if constants.reset == "subtract":
        return v - (constants.threshold - constants.v_reset) * s
    return ops.where(s > 0, constants.v_reset, v)
