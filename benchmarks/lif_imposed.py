"""Spiking layers that are as active as one asks for, on the inputs one gives them.

Weights are drawn, then each layer's kernel is scaled, layer by layer, until the wanted share of its entries are spikes:
the scale is doubled until there are too many, then bisected. Recurrent weights stay as they were drawn.
"""

from typing import NamedTuple

import numpy as np

from benchmarks.errors import CannotRun
from keras_egru.layers import EventLIF
from keras_egru.ops import lif_sequence

TOLERANCE = 0.05  # of the share of spikes, relative
CLOSE = 0.01  # relative; nothing closer is looked for
SMALLEST_SCALE = 1e-2  # of a kernel that is drawn even within 1 / sqrt(features)
DOUBLINGS, HALVINGS = 24, 24
RECURRENT = 0.3  # times 1 / sqrt(units), the standard deviation, about that of Nowotny, Turner & Knight (Table 3)


class ImposedLIF(NamedTuple):
    """Weights layer by layer, and what was counted when the layers ran on the inputs, of all layers together.

    activity: Share of entries (sample, step, unit) that are spikes.
    active_share: Share that a gradient passes: within the surrogate's support or, with Eventprop, spikes.
    """

    weights: list[np.ndarray]
    activity: float
    active_share: float


def layer_for(case, implementation, return_sequences=True):
    """A layer with the options of a case, not built."""
    return EventLIF(
        case.units, tau_mem=case.tau_mem, tau_syn=case.tau_syn, dt=case.dt, reset=case.reset, recurrent=case.recurrent,
        gradient=case.gradient, implementation=implementation, return_sequences=return_sequences,
    )  # fmt: skip


def weights_with_activity(case, inputs, activity, seed=0) -> ImposedLIF:
    """Weights with which the share `activity` of every layer's entries are spikes, to within `TOLERANCE`.

    Raises:
        CannotRun: no scale of the kernel gives it.
    """
    rng = np.random.default_rng(seed)
    weights, found = [], []
    for _ in range(case.layers):
        layer = layer_for(case, "fused")
        layer.build(inputs.shape)
        drawn = rng.uniform(-1.0, 1.0, layer.kernel.shape).astype("float32") / np.sqrt(inputs.shape[-1])
        if case.recurrent:
            layer.recurrent_kernel.assign(rng.normal(0.0, RECURRENT / np.sqrt(case.units), (case.units, case.units)))
        layer.kernel.assign(_scale_for(layer, drawn, inputs, activity) * drawn)
        result = run(layer, inputs)
        found.append(result.counters)
        # Without the time constants, which are not trained.
        weights += [np.asarray(variable.value) for variable in layer.trainable_variables]
        inputs = np.asarray(result.y)
    entries = case.layers * inputs.size
    events, active = (sum(int(getattr(c, name)) for c in found) for name in ("events", "active_entries"))
    return ImposedLIF(weights, events / entries, active / entries)


def run(layer, inputs):
    """The `LIFSequence` of a built layer in training, which has the counters."""
    cell = layer.cell
    kernel, recurrent_kernel, decay = cell.step_weights()
    return lif_sequence(
        inputs, cell.to_state(cell.get_initial_state(len(inputs))), kernel, recurrent_kernel, decay,
        gradient=cell.gradient, reset=cell.reset, surrogate=cell.surrogate, training=True, implementation="fused",
    )  # fmt: skip


def _scale_for(layer, drawn, inputs, activity):
    """The best scale met; more of it is not always more spikes, with recurrence."""
    best = (np.inf, None)

    def too_active(scale):
        nonlocal best
        layer.kernel.assign(scale * drawn)
        y = np.asarray(layer(inputs, training=False))
        reached = np.count_nonzero(y) / y.size
        best = min(best, (abs(reached / activity - 1.0), scale))
        return reached > activity

    low = high = SMALLEST_SCALE
    for _ in range(DOUBLINGS):
        if too_active(high):
            break
        low, high = high, 2.0 * high
    for _ in range(HALVINGS):
        if best[0] < CLOSE:
            break
        middle = np.sqrt(low * high)
        low, high = (low, middle) if too_active(middle) else (middle, high)
    if best[0] > TOLERANCE:
        raise CannotRun(f"a share of spikes of {activity} cannot be imposed to within {TOLERANCE:.0%} of it here.")
    return best[1]
