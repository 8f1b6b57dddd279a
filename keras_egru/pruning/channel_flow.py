"""Which weights lose rows or columns when EGRU layers lose units: what stays is followed through a model.

Without silent units the function stays the same where zeros stay zeros, so only layers that keep them, channel by
channel, let channels pass; what mixes channels without a weight for each (LayerNormalization) or makes something of
zero (BatchNormalization, most activations) is refused by name.
"""

from typing import NamedTuple

import keras
import numpy as np

from keras_egru.layers import EGRU, ExponentialTrace

# Layers that act on every channel alone and turn zeros into zeros.
PASSING = (
    ExponentialTrace,
    keras.layers.ActivityRegularization,
    keras.layers.AveragePooling1D,
    keras.layers.Cropping1D,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.Identity,
    keras.layers.MaxPooling1D,
    keras.layers.RepeatVector,
    keras.layers.SpatialDropout1D,
    keras.layers.UpSampling1D,
    keras.layers.ZeroPadding1D,
)
RECURRENT = (EGRU, keras.layers.GRU, keras.layers.LSTM, keras.layers.SimpleRNN)


class Channels(NamedTuple):
    """What is left of the last axis of a tensor.

    kept: Sorted indices of the channels that stay.
    sources: Names of the layers whose units are missing.
    """

    kept: np.ndarray
    sources: tuple[str, ...]


class Cuts(dict):
    """`{(id of a variable, axis): indices that stay, or None for all}`."""

    def add(self, layer, variable, axis, indices):
        key = (id(variable), axis)
        if key in self and not _same(self[key], indices):
            raise ValueError(
                f"`model` calls layer '{layer.name}' on several inputs, and they would lose different channels: "
                "leave the layers that feed it out with `layers`."
            )
        self[key] = indices

    def apply(self, variable) -> np.ndarray:
        """The value of `variable` without what was cut off."""
        value = keras.ops.convert_to_numpy(variable)
        for axis in range(value.ndim):
            indices = self.get((id(variable), axis))
            if indices is not None:
                value = np.take(value, indices, axis=axis)
        return value


def follow(model, kept) -> Cuts:
    """Follows the channels that stay from the layers that lose units to the layers that read them.

    Args:
        model: A built Functional or Sequential model.
        kept: `{layer: indices}`, for every layer that loses units: an `EGRU`, or a Bidirectional one that concatenates.
            The indices are sorted and count along the last axis of the layer's output.

    Returns:
        The `Cuts` of all weights concerned.

    Raises:
        ValueError: the channels reach a layer through which they cannot be followed, or an output of the model.
    """
    graph = functional(model)
    cuts = Cuts()
    flowing: dict[int, Channels] = {}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            incoming = [flowing.get(id(tensor)) for tensor in node.input_tensors]
            outgoing = _outgoing(node, incoming, kept, cuts)
            if outgoing is not None:
                flowing.update({id(tensor): outgoing for tensor in node.outputs})
    for tensor in graph.outputs:
        if id(tensor) in flowing:
            names = _names(flowing[id(tensor)])
            raise ValueError(
                f"`model` returns the channels of {names}, so that its output would shrink: "
                f"leave {names} out with `layers`."
            )
    return cuts


def functional(model):
    """The graph of layers of a Functional or built Sequential model.

    Raises:
        ValueError: `model` is neither.
    """
    graph = getattr(model, "_functional", None) if isinstance(model, keras.Sequential) else model
    if not hasattr(graph, "_nodes_by_depth"):
        raise ValueError(
            "`model` must be a Functional model, or a Sequential one that is built, "
            f"received {type(model).__name__} '{getattr(model, 'name', model)}'."
        )
    return graph


def directions(layer) -> tuple:
    """The EGRU layers whose outputs, one after the other, are the channels of `layer`; empty if there are none."""
    if type(layer) is EGRU:
        return (layer,)
    if type(layer) is keras.layers.Bidirectional:
        both = (layer.forward_layer, layer.backward_layer)
        return both if all(type(direction) is EGRU for direction in both) else ()
    return ()


def _outgoing(node, incoming, kept, cuts):
    """The `Channels` of the outputs of `node`, None if nothing is missing; notes what its layer loses in `cuts`."""
    layer = node.operation
    reads = _reads(layer)
    if reads and not any(incoming[1:]):
        for kernel, axis in reads:
            cuts.add(layer, kernel, axis, None if incoming[0] is None else incoming[0].kept)
    elif any(incoming):
        return _passed(node, incoming)
    if layer not in kept:
        return None
    _check_removal(node)
    for direction, indices in _split(layer, kept[layer]):
        _cut_units(direction, indices, cuts)
    return Channels(kept[layer], (layer.name,))


def _reads(layer) -> list:
    """`(kernel, axis)` of each kernel with a row for each channel of the input; empty for any other layer."""
    if getattr(layer, "quantization_mode", None) is not None or getattr(layer, "lora_enabled", False):
        return []
    if type(layer) is keras.layers.Dense:
        return [(layer.kernel, 0)]
    if type(layer) is keras.layers.Conv1D and layer.groups == 1 and layer.data_format == "channels_last":
        return [(layer.kernel, 1)]
    if type(layer) in RECURRENT:
        return [(layer.cell.kernel, 0)]
    if type(layer) is keras.layers.Bidirectional:
        return [read for direction in (layer.forward_layer, layer.backward_layer) for read in _reads(direction)]
    if type(layer) is keras.layers.TimeDistributed and type(layer.layer) is keras.layers.Dense:
        return _reads(layer.layer)
    return []


def _passed(node, incoming):
    """The `Channels` behind a layer without weights."""
    layer, shapes = node.operation, [tensor.shape for tensor in node.input_tensors]
    inner = layer.layer if type(layer) is keras.layers.TimeDistributed else layer
    channels_last = getattr(inner, "data_format", "channels_last") == "channels_last"
    if type(inner) in PASSING and channels_last:
        return incoming[0]
    if type(layer) is keras.layers.Flatten and channels_last and None not in shapes[0][1:]:
        repeats = int(np.prod(shapes[0][1:-1]))
        starts = shapes[0][-1] * np.arange(repeats)
        return incoming[0]._replace(kept=np.add.outer(starts, incoming[0].kept).ravel())
    if type(layer) is keras.layers.Concatenate and layer.axis in (-1, len(shapes[0]) - 1):
        sizes = [shape[-1] for shape in shapes]
        parts = [
            np.arange(size) if channels is None else channels.kept
            for size, channels in zip(sizes, incoming, strict=True)
        ]
        starts = np.cumsum([0, *sizes[:-1]])
        sources = tuple(source for channels in incoming if channels is not None for source in channels.sources)
        return Channels(np.concatenate([start + part for start, part in zip(starts, parts, strict=True)]), sources)
    names = _names(*incoming)
    raise ValueError(
        f"`model` passes the channels of {names} to layer '{layer.name}' ({type(inner).__name__}), through which their "
        f"removal cannot be followed: leave {names} out with `layers`."
    )


def _check_removal(node):
    """Raises a ValueError if the layer of `node` cannot lose units."""
    layer = node.operation
    arguments = node.arguments
    initial_state = arguments.kwargs.get("initial_state", arguments.args[1] if len(arguments.args) > 1 else None)
    reason = None
    if initial_state is not None:
        reason = "it is called with an `initial_state`"
    elif layer.return_state:
        reason = "it returns its state, in which a silent unit is not zero"
    elif any(direction.quantization_mode is not None for direction in directions(layer)):
        reason = "it is quantized (quantize after the removal)"
    elif getattr(layer, "merge_mode", "concat") != "concat":
        reason = f'its `merge_mode` is {layer.merge_mode!r} and not "concat"'
    if reason is not None:
        raise ValueError(f"Layer '{layer.name}' cannot lose units, since {reason}: leave it out with `layers`.")


def _split(layer, indices):
    """`(EGRU, indices of its units)` for each direction of `layer`."""
    start = 0
    for direction in directions(layer):
        own = indices[(indices >= start) & (indices < start + direction.units)]
        yield direction, own - start
        start += direction.units


def _cut_units(egru, indices, cuts):
    gates = np.concatenate([gate * egru.units + indices for gate in range(3)])
    cuts.add(egru, egru.kernel, 1, gates)
    cuts.add(egru, egru.recurrent_kernel, 0, indices)
    cuts.add(egru, egru.recurrent_kernel, 1, gates)
    if egru.bias is not None:
        cuts.add(egru, egru.bias, len(egru.bias.shape) - 1, gates)
    if not egru.shared_threshold:
        cuts.add(egru, egru.threshold, 0, indices)


def _same(first, second):
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)


def _names(*channels):
    return ", ".join(f"'{source}'" for some in channels if some is not None for source in some.sources)
