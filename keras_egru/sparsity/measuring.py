"""Sparsity and effective MACs of a whole model on data."""

from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_egru.layers.recording import record_states
from keras_egru.sparsity.macs import Macs, dense_recurrent_macs, product_macs
from keras_egru.sparsity.measures import Count, count_blocked, count_flat, count_silent, count_steps
from keras_egru.sparsity.watching import LayerCall, watch_calls

# Recurrent layers that multiply every unit at every step, silent or not.
DENSE_RECURRENT = (keras.layers.GRU, keras.layers.LSTM, keras.layers.SimpleRNN)


def measure(model, x, batch_size: int = 256) -> dict[str, Any]:
    """Runs `model` on `x` at inference and counts what was active.

    Counts are added up over batches and layers before any share is taken; masked steps are left out. Keras's own GRU,
    LSTM and SimpleRNN are counted as the dense layers that they are, so that a model can be set beside its dense twin.
    Layers before the first recurrent one are not counted; Dense layers after it are, as read-out, as often as they are
    called: a read-out of the last step alone is spread over the steps of its sequence. States of stateful layers are
    put back afterwards.

    Args:
        model: A Keras model or layer that holds event-based layers (`EGRU`, `EventLIF`).
        x: What the model takes: an array or tensor, or a list, tuple or dictionary of them; samples along axis 0.
        batch_size: Samples a batch. Default 256.

    Returns:
        A dictionary with `activity_sparsity`, `backward_sparsity`, `surrogate_sparsity` (floats over all event-based
        layers; None where the model has none), `effective_macs`, `dense_macs` (floats per sequence step, all layers and
        read-outs, a step being one of the first recurrent layer) and `layers`, `{layer name: the same five}` for each
        recurrent layer. Of spikes a gradient passes where the surrogate derivative is not zero, and with Eventprop at
        the spikes themselves: then there is no `surrogate_sparsity`.

    Raises:
        ValueError: `batch_size` is not positive, `x` holds no sample or not the same number everywhere, the model has
            no recurrent layer, or every step is masked.
    """
    samples = _number_of_samples(x)
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be a positive integer, received {batch_size}.")
    tallies: dict[Any, _Tally] = {}
    readout, steps = Macs(), 0
    with _states_restored(model):
        for start in range(0, samples, batch_size):
            calls = _run(model, _slice(x, start, start + batch_size))
            # A Dense layer that comes before the first recurrent one is no read-out.
            while calls and isinstance(calls[0], LayerCall) and not isinstance(calls[0].layer, DENSE_RECURRENT):
                calls.pop(0)
            if not calls:
                raise ValueError(f"`{model.name}` has no recurrent layer to measure.")
            steps += count_steps(calls[0].inputs, calls[0].mask)
            for call in calls:
                if isinstance(call, LayerCall) and not isinstance(call.layer, DENSE_RECURRENT):
                    readout += _readout_macs(call)
                else:
                    tallies[call.layer] = tallies.get(call.layer, _Tally()) + _tally(call)
    if steps == 0:
        raise ValueError("`x` leaves nothing to measure: every step is masked.")
    return {
        **sum(tallies.values(), _Tally(macs=readout)).figures(steps),
        "layers": {name: tally.figures(steps) for name, tally in zip(_names(tallies), tallies.values(), strict=True)},
    }


class _Tally(NamedTuple):
    """Counts of one layer over all batches."""

    silent: Count = Count()
    blocked: Count = Count()
    flat: Count = Count()
    macs: Macs = Macs()

    def __add__(self, other):
        return _Tally(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def figures(self, steps):
        def share(count):
            return count.share if count.total else None

        return {
            "activity_sparsity": share(self.silent),
            "backward_sparsity": share(self.blocked),
            "surrogate_sparsity": share(self.flat),
            "effective_macs": float(self.macs.effective) / steps,
            "dense_macs": self.macs.dense / steps,
        }


def _run(model, batch):
    """Every recurrent and Dense call of one pass, in the order in which they came."""
    batch = keras.tree.map_structure(ops.convert_to_tensor, batch)
    with record_states() as calls, watch_calls(_watched_layers(model), calls.append):
        model(batch, training=False)
    return calls


def _watched_layers(model):
    """Dense and dense recurrent layers; a TimeDistributed read-out is watched in place of its Dense layer, whose calls
    come without the mask."""
    layers = model._flatten_layers()
    distributed = [layer for layer in layers if isinstance(layer, keras.layers.TimeDistributed)]
    inner = [layer.layer for layer in distributed if isinstance(layer.layer, keras.layers.Dense)]
    watched = [
        layer for layer in layers if isinstance(layer, (keras.layers.Dense, *DENSE_RECURRENT)) and layer not in inner
    ]
    return watched + [layer for layer in distributed if layer.layer in inner]


def _tally(call):
    if isinstance(call, LayerCall):
        cell = call.layer.cell
        return _Tally(macs=dense_recurrent_macs(call.inputs, cell.kernel, cell.recurrent_kernel, call.mask))
    cell = getattr(call.layer, "cell", call.layer)
    macs = product_macs(call.inputs, cell.kernel, call.mask)
    if call.y is None:
        return _Tally(macs=macs)
    if cell.recurrent_kernel is not None:
        macs += product_macs(call.y, cell.recurrent_kernel, call.mask)
    silent = count_silent(call.y, call.mask)
    if call.surrogate is None:
        return _Tally(silent=silent, blocked=silent, macs=macs)
    internal = (call.c, call.threshold, call.surrogate, call.mask)
    flat = count_flat(*internal)
    return _Tally(silent=silent, blocked=flat if call.binary else count_blocked(*internal), flat=flat, macs=macs)


def _readout_macs(call):
    layer = call.layer.layer if isinstance(call.layer, keras.layers.TimeDistributed) else call.layer
    mask = call.mask
    if mask is not None and len(mask.shape) != len(call.inputs.shape) - 1:
        mask = None  # The mask of a sequence that has been summed up before the read-out.
    return product_macs(call.inputs, layer.kernel, mask)


def _names(layers):
    """Names of the layers, or their paths where two share a name."""
    names = [layer.name for layer in layers]
    return [layer.path if names.count(layer.name) > 1 else layer.name for layer in layers]


def _number_of_samples(x):
    sizes = sorted({np.shape(part)[0] if np.ndim(part) else 0 for part in keras.tree.flatten(x)})
    if len(sizes) != 1 or sizes[0] == 0:
        raise ValueError(f"`x` must hold samples along axis 0, equally many in all its parts, received {sizes}.")
    return sizes[0]


def _slice(x, start, stop):
    return keras.tree.map_structure(lambda part: part[start:stop], x)


@contextmanager
def _states_restored(model):
    """Puts the states of stateful layers back at the end."""
    states = [
        state
        for layer in model._flatten_layers()
        if getattr(layer, "stateful", False)
        for state in keras.tree.flatten(getattr(layer, "states", None))
        if state is not None
    ]
    before = [np.array(ops.convert_to_numpy(state)) for state in states]
    try:
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)
