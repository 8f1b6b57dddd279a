"""Streams whose activity is imposed, recorded step by step.

A layer is given the activity that is asked for on a whole sequence (`imposed.py`, `lif_imposed.py`). The sequence is
then run as a stream by Keras, and of every step but the first its inputs, the states before it and what came of it are
kept. Those steps are what is timed, so that every contender computes the same ones, however its numbers are rounded.
"""

from typing import NamedTuple

import keras
import numpy as np

from benchmarks import imposed
from benchmarks.device_cases import INPUT_SPIKES
from benchmarks.errors import CannotRun
from benchmarks.lif_cases import LIFCase
from benchmarks.lif_imposed import layer_for, weights_with_activity
from benchmarks.workload import gru_weights
from keras_egru.export import StreamingModel


class Recorded(NamedTuple):
    """Steps of a model's stream; arrays are float32 `[steps, 1, ...]`.

    states, following: By name, before and after each step.
    events: Names of the states that are events.
    """

    model: keras.Model
    inputs: np.ndarray
    states: dict[str, np.ndarray]
    outputs: np.ndarray
    following: dict[str, np.ndarray]
    events: tuple[str, ...]

    @property
    def activity_sparsity(self) -> float:
        """Share of silent entries among the events that the steps are given."""
        return float(np.mean([np.mean(self.states[name] == 0.0) for name in self.events]))


def recorded(case) -> Recorded:
    """The steps of a case.

    Raises:
        CannotRun: the activity cannot be imposed.
        ConfigError: the blocks do not divide the kernel of a gate.
    """
    inputs = inputs_of(case)
    layer = _egru(case, inputs) if case.network == "egru" else _lif(case, inputs)
    found = record(_alone(layer, case), inputs)
    reached, most = found.activity_sparsity, imposed.tolerance(case.activity) + 1.0 / case.steps
    if abs(reached - case.activity) > most:
        raise CannotRun(f"the recorded steps have an activity sparsity of {reached:.3f} instead of {case.activity}.")
    return found


def recorded_gru(case) -> Recorded:
    """The same of a Keras GRU of the same size, on the same inputs."""
    layer = keras.layers.GRU(case.units, return_sequences=True)
    model = _alone(layer, case)
    layer.set_weights(list(gru_weights(case.units, case.features)))
    return record(model, inputs_of(case))


def record(model, inputs) -> Recorded:
    """Runs `inputs` `[1, steps + 1, features]` as a stream, and keeps the last `steps` steps."""
    stream = StreamingModel(model)
    state, befores, outputs, afters = stream.initial_state(), [], [], []
    for t in range(inputs.shape[1]):
        befores.append({name: np.asarray(value) for name, value in state.items()})
        y, state = stream.step(inputs[:, t], state)
        outputs.append(np.asarray(y))
        afters.append({name: np.asarray(value) for name, value in state.items()})
    states, following = (
        {name: np.stack([step[name] for step in steps[1:]]) for name in stream.state_names}
        for steps in (befores, afters)
    )
    x = np.ascontiguousarray(np.swapaxes(inputs[:, 1:], 0, 1))
    return Recorded(model, x, states, np.stack(outputs[1:]), following, tuple(stream.event_names))


def inputs_of(case, seed=0) -> np.ndarray:
    """float32 `[1, steps + 1, features]`: normal numbers, of a spiking layer spikes."""
    if case.network == "lif":
        return _as_lif_case(case).inputs(seed)
    return np.random.default_rng(seed).standard_normal((1, case.steps + 1, case.features), "float32")


def _alone(layer, case):
    return keras.Sequential([keras.Input((None, case.features)), layer])


def _egru(case, inputs):
    return imposed.egru_with_sparsity(
        case.units, inputs, case.activity, parameter=case.parameter, block=case.block, implementation="fused"
    ).layer


def _lif(case, inputs):
    as_lif = _as_lif_case(case)
    if case.activity == 0.0:
        raise CannotRun("an activity sparsity of 0 cannot be imposed on spiking layers.")
    weights = weights_with_activity(as_lif, inputs, 1.0 - case.activity).weights
    layer = layer_for(as_lif, "fused")
    layer.build(inputs.shape)
    for variable, value in zip(layer.trainable_variables, weights, strict=True):
        variable.assign(value)
    return layer


def _as_lif_case(case):
    steps = case.steps + 1
    return LIFCase(case.name, case.units, 1, steps, case.features, spikes=INPUT_SPIKES * steps, recurrent=True)
