"""Which units had an event at which step of one sequence: what the rasters of a report are drawn from."""

import numpy as np
from keras import ops

from benchmarks.streams import reset_states

MOST_STEPS, MOST_UNITS = 200, 128


def event_sample(network, sequence) -> dict:
    """The events of the first steps and units of each event-based layer, in the order of time.

    Args:
        network: A Keras model; stateful layers begin from zero states.
        sequence: `[1, time, ...]`, what the model takes.

    Returns:
        `{layer: {"units": n, "steps": t, "unit": [...], "step": [...]}}`: unit `unit[i]` of n had an event at step
        `step[i]` of t. Empty where no layer has events.
    """
    from keras_egru.layers.recording import record_states

    reset_states(network)
    with record_states() as calls:
        network(ops.convert_to_tensor(sequence), training=False)
    return {call.layer.name: _events(call) for call in calls if call.y is not None}


def _events(call):
    fired = ops.convert_to_numpy(call.y)[0] != 0
    if call.mask is not None:
        fired = fired & ops.convert_to_numpy(call.mask)[0][:, None]
    fired = fired[:MOST_STEPS, :MOST_UNITS]
    step, unit = np.nonzero(fired)
    return {"units": fired.shape[1], "steps": fired.shape[0], "unit": unit.tolist(), "step": step.tolist()}
