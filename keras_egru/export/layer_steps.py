"""What each layer does with one time step: the states that it carries, and its output.

At every step the output is what the layer would return for the sequence up to there: the step of a whole sequence
where it returns one, and else its result as if the sequence ended there.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from keras import ops, tree

from keras_egru.layers import (
    EGRU,
    EGRUCell,
    EventLIF,
    EventLIFCell,
    ExponentialTrace,
    LeakyReadout,
    ThresholdedRNNCell,
    time_constants,
)
from keras_egru.layers.leaky_readout import INTEGRATORS
from keras_egru.layers.step_tensors import kernel_tensor, step_dtype
from keras_egru.ops.lif_step import LIFState, lif_step
from keras_egru.pruning import Masked

# Layers that see each step for itself; with an `axis` it must be the last one.
STEPWISE = (
    keras.layers.ActivityRegularization,
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.AlphaDropout,
    keras.layers.Average,
    keras.layers.BatchNormalization,
    keras.layers.Concatenate,
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.ELU,
    keras.layers.Embedding,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.LayerNormalization,
    keras.layers.LeakyReLU,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.Multiply,
    keras.layers.Normalization,
    keras.layers.ReLU,
    keras.layers.Rescaling,
    keras.layers.Softmax,
    keras.layers.SpatialDropout1D,
    keras.layers.Subtract,
    keras.layers.TimeDistributed,
    keras.layers.UnitNormalization,
)


class LayerStep(NamedTuple):
    """One layer in a stream.

    names: Of the states.
    initial: `initial(batch_size)`, a list of their values before the first step.
    step: `step(x, states)` with x `[batch, 1, ...]`, a list of the layer's outputs and the states after it.
    streams: Of each output whether it has a time axis, of length 1; those that have none are the last result so far.
    events: Whether the first state is the layer's events.
    """

    names: tuple[str, ...]
    initial: Callable[[Any], list]
    step: Callable[[Any, list], tuple[list, list]]
    streams: tuple[bool, ...]
    events: bool = False


def layer_step(layer, shape) -> LayerStep:
    """The `LayerStep` of a layer that is given a stream of `shape`, `(batch, time, ...)`.

    Raises:
        ValueError: the layer has no step; the sentence names it.
    """
    if isinstance(layer, Masked):
        return layer_step(layer.layer, shape)  # pruned weights are zero
    if isinstance(layer, keras.layers.RNN):
        return _recurrent(layer)
    if isinstance(layer, ExponentialTrace):
        return _trace(layer, shape[-1])
    if isinstance(layer, LeakyReadout):
        return _leaky_readout(layer)
    if isinstance(layer, keras.layers.GlobalAveragePooling1D):
        return _average(layer, shape[-1])
    if isinstance(layer, keras.layers.GlobalMaxPooling1D):
        return _maximum(layer, shape[-1])
    _check_stepwise(layer, len(shape))
    return LayerStep((), lambda batch_size: [], lambda x, states: ([layer(x)], []), (True,))


def check_unmasked(layer) -> None:
    """Raises a ValueError if the layer masks steps."""
    if isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False):
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}) masks steps, and a stream has none to mask: leave steps "
            "out of it instead."
        )


def _check_stepwise(layer, rank):
    name, kind = layer.name, type(layer).__name__
    if not isinstance(layer, STEPWISE):
        raise ValueError(
            f"Layer '{name}' ({kind}) is not among those that have a step for streaming: EGRU, EventLIF, Keras's "
            "recurrent layers, ExponentialTrace, LeakyReadout, global pooling, and layers that see each step alone."
        )
    axis = getattr(layer, "axis", None)
    axes = [axis] if isinstance(axis, int) else list(axis or ())
    along_time = [a for a in axes if a in (1, 1 - rank)]
    if isinstance(layer, keras.layers.Normalization):
        fits = not along_time  # it keeps what lies along its axes apart
    else:
        fits = not along_time and 0 not in axes
    if not fits:
        raise ValueError(
            f"Layer '{name}' ({kind}) works along the time axis, `axis={axis}`: streaming wants `axis=-1`."
        )


def _recurrent(layer):
    if layer.go_backwards:
        raise ValueError(
            f"Layer '{layer.name}' goes backwards through sequences, and a stream has no end to start from: "
            "streaming wants `go_backwards=False`."
        )
    with_membrane = isinstance(layer, EventLIF) and layer.return_membrane
    names = _state_names(layer)
    template = layer.get_initial_state(1)

    def step(x, states):
        states = tree.pack_sequence_as(template, list(states))
        if isinstance(layer, (EGRU, EventLIF)) and layer.implementation != "reference":
            last, outputs, following = layer.inner_loop(x, states, None)
        else:
            last, following = layer.cell(ops.squeeze(x, axis=1), states)
            outputs = last[:, None]
        following = list(tree.flatten(following))
        results = [outputs if layer.return_sequences else last]
        if with_membrane:
            membrane = following[1]
            results.append(membrane[:, None] if layer.return_sequences else membrane)
        return results + (following if layer.return_state else []), following

    streams = (layer.return_sequences,) * (2 if with_membrane else 1)
    if layer.return_state:
        streams += (False,) * len(names)

    def initial(batch_size):
        return list(tree.flatten(layer.get_initial_state(batch_size)))

    return LayerStep(names, initial, step, streams, events=isinstance(layer, (EGRU, EventLIF)))


def _state_names(layer):
    cell = layer.cell
    if isinstance(cell, EGRUCell):
        return ("y", "c")
    if isinstance(cell, EventLIFCell):
        return ("y", "v", *(["i"] if cell.tau_syn is not None else []), *(["wait"] if cell.refractory_steps else []))
    if isinstance(cell, ThresholdedRNNCell):
        return ("y",)
    if isinstance(cell, (keras.layers.GRUCell, keras.layers.SimpleRNNCell)):
        return ("h",)
    if isinstance(cell, keras.layers.LSTMCell):
        return ("h", "c")
    return tuple(f"state_{k}" for k in range(len(tree.flatten(layer.get_initial_state(1)))))


def _trace(layer, features):
    dtype = step_dtype(layer)

    def initial(batch_size):
        return [ops.zeros((batch_size, features), dtype)]

    def step(x, states):
        alpha = ops.exp(-layer._rate(dtype))
        trace = alpha * states[0] + ops.cast(ops.squeeze(x, axis=1), dtype)
        output = ops.cast(trace, layer.compute_dtype)
        return [output[:, None] if layer.return_sequences else output], [trace]

    return LayerStep(("trace",), initial, step, (layer.return_sequences,))


def _leaky_readout(layer):
    dtype, currents = step_dtype(layer), layer.tau_syn is not None
    if layer.readout == "sum_exp" and layer.time_constant is None:
        raise ValueError(
            f"Layer '{layer.name}' weighs steps by the length of the sequence, which a stream has not: give its "
            "`time_constant`."
        )
    running = _RUNNING[layer.readout] if layer.readout is not None else None

    def initial(batch_size):
        zeros = [ops.zeros((batch_size, layer.units), dtype) for _ in range(1 + currents)]
        if running is None:
            return zeros
        return zeros + [ops.full((batch_size, 1 if one else layer.units), value, dtype) for one, value in running.start]

    def step(x, states):
        v, i, kept = states[0], states[1] if currents else None, list(states[1 + currents :])
        drive = ops.matmul(
            ops.cast(ops.squeeze(x, axis=1), dtype), kernel_tensor(layer.kernel, layer.kernel_mask, dtype)
        )
        state = LIFState(v, i, None, None)
        decay = time_constants.decays_of(layer, dtype)
        state, _, _ = lif_step(drive, None, state, None, decay, INTEGRATORS, v, None)
        result = state.v
        if running is not None:
            result, kept = running.step(layer, state.v, kept)
        result = ops.cast(result, layer.compute_dtype)
        states = [state.v, *([state.i] if currents else []), *kept]
        return [result[:, None] if running is None else result], states

    names = ("v", *(["i"] if currents else []), *(running.names if running else ()))
    return LayerStep(names, initial, step, (running is None,))


class _Running(NamedTuple):
    """A read-out of potentials so far: names and starts (one for all units?, value) of what it keeps, and its step."""

    names: tuple[str, ...]
    start: tuple[tuple[bool, float], ...]
    step: Callable[[Any, Any, list], tuple[Any, list]]


def _sum(layer, v, kept):
    total = kept[0] + v * layer.dt
    return total, [total]


def _exponential_sum(layer, v, kept):
    total, weight = kept
    total = total + weight * v * layer.dt
    return total, [total, weight * math.exp(-layer.dt / layer.time_constant)]


def _running_maximum(layer, v, kept):
    largest, steps = kept
    largest = ops.where(steps > 0.0, ops.maximum(largest, v), v)
    return largest, [largest, ops.ones_like(steps)]


def _last(layer, v, kept):
    return v, kept


def _first_spike(layer, v, kept):
    """The time of the first crossing, negative until there is one; `steps` were before this one."""
    before, time, steps = kept
    above = v > layer.threshold
    rise = ops.where(above, v - before, ops.ones_like(v))
    between = (steps - 1.0 + (layer.threshold - before) / rise) * layer.dt
    crossing = ops.where(steps > 0.0, between, ops.zeros_like(v))
    time = ops.where(ops.logical_and(above, time < 0.0), crossing, time)
    steps = steps + 1.0
    return ops.where(time < 0.0, steps * layer.dt, time), [v, time, steps]


_RUNNING = {
    "sum": _Running(("sum",), ((False, 0.0),), _sum),
    "sum_exp": _Running(("sum", "weight"), ((False, 0.0), (True, 1.0)), _exponential_sum),
    "max": _Running(("max", "steps"), ((False, 0.0), (True, 0.0)), _running_maximum),
    "last": _Running((), (), _last),
    "first_spike": _Running(("before", "time", "steps"), ((False, 0.0), (False, -1.0), (True, 0.0)), _first_spike),
}


def _average(layer, features):
    def initial(batch_size):
        return [ops.zeros((batch_size, features), layer.compute_dtype), ops.zeros((batch_size, 1))]

    def step(x, states):
        total, steps = states[0] + ops.squeeze(x, axis=1), states[1] + 1.0
        mean = total / ops.cast(steps, total.dtype)
        return [mean[:, None] if layer.keepdims else mean], [total, steps]

    _check_pooling(layer)
    return LayerStep(("sum", "steps"), initial, step, (False,))


def _maximum(layer, features):
    def initial(batch_size):
        return [ops.zeros((batch_size, features), layer.compute_dtype), ops.zeros((batch_size, 1))]

    def step(x, states):
        x = ops.squeeze(x, axis=1)
        largest = ops.where(states[1] > 0.0, ops.maximum(states[0], x), x)
        return [largest[:, None] if layer.keepdims else largest], [largest, ops.ones_like(states[1])]

    _check_pooling(layer)
    return LayerStep(("max", "steps"), initial, step, (False,))


def _check_pooling(layer):
    if layer.data_format != "channels_last":
        raise ValueError(
            f"Layer '{layer.name}' pools along its last axis: streaming wants `data_format='channels_last'`."
        )
