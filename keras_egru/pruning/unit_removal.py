"""The EGRU paper's own compression: removal of the least active units (Subramoney et al. 2023, Sec. 5.3).

Units that never fire feed nobody, neither other units nor the read-out, so a model without them is the same function on
the data that showed it, and a smaller dense one everywhere.
"""

import numbers
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_egru.layers.recording import record_states
from keras_egru.pruning.channel_flow import directions, follow, functional
from keras_egru.pruning.masked import masked_layers
from keras_egru.pruning.recurrent_states import recurrent_states


class UnitRemoval(NamedTuple):
    """What `remove_units` returns.

    model: The smaller model.
    kept: `{layer name: indices}`, sorted, into the last axis of the layer's former output; only layers that lost units.
    activity: `{layer name: [units]}`, the share of valid steps at which each unit fired, of all layers looked at.
    """

    model: Any
    kept: dict[str, np.ndarray]
    activity: dict[str, np.ndarray]


def remove_units(model, x, *, units=None, min_activity=None, layers=None, batch_size: int = 256) -> UnitRemoval:
    """Returns a model whose EGRU layers are without their least active units; `model` is left as it is.

    The activity of a unit is the share of valid (sample, step) pairs of `x` at which it sent an event; masked steps are
    left out. By default the units go that never fire on `x`. Then the new model is the same function on `x`: outputs
    are equal to rounding, since sums over fewer terms may be added up in another order. (A state within rounding of its
    threshold can fire in one model and not in the other.) On data on which a removed unit would have fired, or with
    `units` and `min_activity` above what is silent, it is an approximation to be fine-tuned.

    `kernel`, `recurrent_kernel`, `bias` and `threshold` lose rows and columns gate by gate, and so do the kernels of
    the layers that read the events: Dense (alone or in TimeDistributed), Conv1D, EGRU, GRU, LSTM, SimpleRNN and
    Bidirectional ones, behind pooling, dropout, `ExponentialTrace`, Flatten or Concatenate. A Bidirectional EGRU that
    concatenates keeps equally many units in both directions, as many as the busier one needs.

    The new model has the names, the settings and the compile arguments of the old one, with a new optimizer. Recurrent
    states of stateful layers are zero during the measurement and put back after it; in the new model they are zero.

    ```python
    smaller, kept, activity = keras_egru.pruning.remove_units(model, x_train)
    ```

    Args:
        model: Functional or built Sequential model with `EGRU` layers at its top level.
        x: Data that shows which units matter: what the model takes, as arrays (or a list, tuple or dictionary of them)
            with samples along axis 0, or an iterable of batches such as a `tf.data.Dataset`, of inputs alone or of
            `(inputs, targets)`.
        units: How many units of each layer to keep, the most active ones: an integer, or `{layer name: integer}` (other
            layers are left alone then). Of a Bidirectional layer, how many in each direction. Default `None`.
        min_activity: Float in [0, 1]: units that are active less often than this go. Default `None`. With neither it
            nor `units`, units go that never fire. One unit always stays.
        layers: Names of the layers that may lose units. Default `None`: all EGRU layers of the model.
        batch_size: Samples a batch where `x` is arrays. Default 256.

    Returns:
        A `UnitRemoval`, `(model, kept, activity)`.

    Raises:
        ValueError: an argument is wrong, `x` has no valid step, or the removed units cannot be followed through the
            model: they reach its output or a layer that is not listed above (LayerNormalization, say), or their layer
            is quantized, returns its state or is given an initial one. The sentence names the layer, which `layers`
            can leave out. Or the model has masked layers.
    """
    _check_one_rule(units, min_activity)
    targets = _targets(model, layers, units)
    activity = _activity(model, targets, x, batch_size)
    kept = {}
    for layer in targets:
        indices = _most_active(layer, activity[layer.name], _of_layer(units, layer), min_activity)
        if len(indices) < len(activity[layer.name]):
            kept[layer] = indices
    smaller = _without(model, kept)
    return UnitRemoval(smaller, {layer.name: indices for layer, indices in kept.items()}, activity)


def _check_one_rule(units, min_activity):
    if units is not None and min_activity is not None:
        raise ValueError("`units` and `min_activity` cannot be given together.")
    if min_activity is not None and not 0.0 <= min_activity <= 1.0:
        raise ValueError(f"`min_activity` must lie in [0, 1], received {min_activity}.")
    for count in units.values() if isinstance(units, dict) else [units]:
        if count is not None and (isinstance(count, bool) or not isinstance(count, numbers.Integral) or count < 1):
            raise ValueError(f"`units` must be positive integers, how many to keep, received {count!r}.")


def _targets(model, names, units):
    """The layers that may lose units, in the order of the model."""
    masked = next(masked_layers(model), None)
    if masked is not None:
        raise ValueError(
            f"`model` has the masked layer '{masked.name}': take its masks away first, with `strip_pruning`."
        )
    found = {layer.name: layer for layer in functional(model).layers if directions(layer)}
    if not found:
        raise ValueError(f"`model` has no EGRU layer at its top level, received '{model.name}'.")
    for argument, given in (("layers", names), ("units", units if isinstance(units, dict) else None)):
        unknown = [name for name in given or () if name not in found]
        if unknown:
            raise ValueError(f"`{argument}` must name EGRU layers of the model, {list(found)}, received {unknown}.")
    if isinstance(units, dict):
        found = {name: layer for name, layer in found.items() if name in units}
    targets = [layer for name, layer in found.items() if names is None or name in names]
    if not targets:
        raise ValueError(f"`layers` and `units` leave no layer of the model to shorten, received {names} and {units}.")
    for layer in targets:
        size, wanted = directions(layer)[0].units, _of_layer(units, layer)
        if wanted is not None and wanted > size:
            raise ValueError(f"`units` must be at most {size}, the units of layer '{layer.name}', received {wanted}.")
    return targets


def _of_layer(units, layer):
    return units[layer.name] if isinstance(units, dict) else units


def _most_active(layer, activity, wanted, min_activity):
    """Indices of the units that stay, equally many of each direction."""
    directed = np.split(activity, len(directions(layer)))
    if wanted is None:
        least = np.nextafter(0.0, 1.0) if min_activity is None else min_activity
        wanted = max(1, *(np.count_nonzero(part >= least) for part in directed))
    kept = []
    for number, part in enumerate(directed):
        order = np.argsort(-part, kind="stable")  # Among equals the first stay.
        kept.append(number * len(part) + np.sort(order[:wanted]))
    return np.concatenate(kept)


def _activity(model, targets, x, batch_size):
    """`{layer name: [channels]}`, the share of valid steps at which each unit fired."""
    egrus = {egru for layer in targets for egru in directions(layer)}
    events = {egru: np.zeros(egru.units, "int64") for egru in egrus}
    steps = dict.fromkeys(egrus, 0)
    with _states_at_zero(model):
        for batch in _batches(x, batch_size):
            with record_states() as records:
                model(keras.tree.map_structure(ops.convert_to_tensor, batch), training=False)
            for record in records:
                if record.layer in egrus:
                    fired = ops.convert_to_numpy(record.y) != 0
                    valid = fired.shape[:2] if record.mask is None else ops.convert_to_numpy(record.mask)
                    if record.mask is not None:
                        fired = fired & valid[:, :, None]
                    events[record.layer] += fired.sum(axis=(0, 1))
                    steps[record.layer] += int(np.prod(valid) if record.mask is None else valid.sum())
    if not all(steps.values()):
        raise ValueError("`x` must have a valid step: it is empty, or every step is masked.")
    return {layer.name: np.concatenate([events[egru] / steps[egru] for egru in directions(layer)]) for layer in targets}


def _batches(x, batch_size) -> Iterator:
    """Batches of what the model takes."""
    leaves = keras.tree.flatten(x)
    if all(hasattr(leaf, "shape") for leaf in leaves):
        sizes = sorted({leaf.shape[0] if len(leaf.shape) else 0 for leaf in leaves})
        if len(sizes) != 1:
            raise ValueError(f"`x` must hold samples along axis 0, equally many in all its parts, received {sizes}.")
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be a positive integer, received {batch_size}.")
        for start in range(0, sizes[0], batch_size):
            yield keras.tree.map_structure(lambda leaf, start=start: leaf[start : start + batch_size], x)
        return
    batches = range(len(x)) if isinstance(x, keras.utils.PyDataset) else x
    for batch in batches:
        batch = x[batch] if isinstance(x, keras.utils.PyDataset) else batch
        yield keras.utils.unpack_x_y_sample_weight(batch)[0] if isinstance(batch, tuple) else batch


def _without(model, kept):
    """A clone of `model` without the units that are not in `kept`, `{layer: indices}`."""
    cuts = follow(model, kept)
    pairs = []

    def clone(layer):
        config = layer.get_config()
        for wrapped in _wrapped_configs(layer, config):
            # It would be built for the old number of channels.
            wrapped.pop("build_config", None)
        if layer in kept:
            wrapped = _wrapped_configs(layer, config)
            for part in [inner["config"] for inner in wrapped] or [config]:
                part["units"] = len(kept[layer]) // len(directions(layer))
        copy = type(layer).from_config(config)
        pairs.append((layer, copy))
        return copy

    smaller = keras.models.clone_model(model, clone_function=clone)
    for layer, copy in pairs:
        for old, new in zip(getattr(layer, "weights", ()), getattr(copy, "weights", ()), strict=True):
            new.assign(cuts.apply(old))
    return smaller


def _wrapped_configs(layer, config):
    """The parts of the `config` of a wrapper that describe the layers inside."""
    if not isinstance(layer, (keras.layers.Bidirectional, keras.layers.TimeDistributed)):
        return []
    return [config[part] for part in ("layer", "backward_layer") if part in config]


@contextmanager
def _states_at_zero(model):
    """Zeroes the states of stateful layers and puts them back at the end."""
    states = recurrent_states(model)
    before = [np.array(ops.convert_to_numpy(state)) for state in states]
    for state in states:
        state.assign(ops.zeros_like(state))
    try:
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)
