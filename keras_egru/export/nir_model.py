"""A Keras model of a NIR graph, the way back from `to_nir`, whose module has the mapping.

What NIR says comes from the nodes themselves. The metadata only adds what it has no place for: the length of a step,
reductions over time, which gradient a layer trains with, and time constants before they were rounded to seconds.
"""

import io
from os import PathLike
from typing import NamedTuple

import keras
import numpy as np

from keras_egru.export.nir_graph import import_nir
from keras_egru.layers import EGRU, EventLIF, ExponentialTrace, LeakyReadout


def read_nir(path):
    """The `nir.NIRGraph` in a file, as `nir.read` gives it, also where it holds the extension node `EGRU`.

    Args:
        path: A file's name, or a binary file object.

    Raises:
        ImportError: the package `nir` is not installed.
        OSError: the file cannot be read, or is no HDF5 file.
    """
    nir = import_nir()
    import h5py  # comes with `nir`
    from nir.serialization import hdf2dict

    from keras_egru.export.nir_egru import EGRU as EGRUNode

    with h5py.File(path, "r") as file:
        graph = hdf2dict(file["node"])
    nodes = {
        name: EGRUNode.from_dict(node) if node["type"] == "EGRU" else nir.dict2NIRNode(node)
        for name, node in graph["nodes"].items()
    }
    edges = [tuple(name.decode() for name in edge) for edge in graph["edges"]]
    return nir.NIRGraph(nodes, edges, metadata=graph.get("metadata", {}))


def from_nir(graph) -> keras.Sequential:
    """The Keras model of a graph that `to_nir` has made, or of one like it.

    It computes what the model did that the graph was made of, and has the same dynamics; of what matters in training
    alone it knows the `gradient` of an `EventLIF`. The metadata of the graph must have `dt`, the length of a step, and
    `time_unit`, the seconds in the unit of `dt`.

    Args:
        graph: A `nir.NIRGraph`, or the name of a file.

    Returns:
        A built Sequential model of `[batch, time, features]`.

    Raises:
        ValueError: the graph is no chain, or a node has no layer here; the sentence names it.
        ImportError: the package `nir` is not installed.
        OSError: the file cannot be read.
    """
    import_nir()
    if isinstance(graph, (str, PathLike, io.IOBase)):
        graph = read_nir(graph)
    for name in ("dt", "time_unit"):
        if name not in graph.metadata:
            raise ValueError(f"The metadata of the graph must have {name!r}: NIR itself knows no steps.")
    names, loops = _chain(graph)
    time = _Time(float(graph.metadata["dt"]), float(graph.metadata["time_unit"]))
    features = int(graph.nodes[names[0]].output_type["output"][0])
    made: list = []
    kernel = None  # a Linear node whose place is not known yet: the kernel of the next node, or a layer
    for name in names[1:-1]:
        node = graph.nodes[name]
        kind = type(node).__name__
        if kind in _WITH_KERNEL and node.metadata.get("layer") != "ExponentialTrace":
            if kernel is None:
                raise ValueError(f"Node '{name}' must have a Linear node before it, which becomes its kernel.")
            loop = [graph.nodes[inner] for inner in loops.get(name, ())]
            made.append(_WITH_KERNEL[kind](name, node, kernel[1], loop, time))
            kernel = None
            continue
        if kernel is not None:
            made.append(_dense(*kernel, time))
        kernel = (name, node) if kind == "Linear" else None
        if kind not in _ALONE:
            raise ValueError(f"Node '{name}' ({kind}) has no layer here.")
        if kernel is None:
            made.append(_ALONE[kind](name, node, time))
    if kernel is not None:
        made.append(_dense(*kernel, time))
    model = keras.Sequential([keras.Input((None, features)), *(layer for layer, _ in made)])
    for layer, weights in made:
        for name, value in weights.items():
            getattr(getattr(layer, "cell", layer), name).assign(value)
    return model


class _Time(NamedTuple):
    """The length of a step, and the seconds in its unit."""

    dt: float
    unit: float


def _chain(graph):
    """`(names, loops)`: the nodes from the input to the output, and what leads from a spiking node back into itself."""
    nir = import_nir()
    before: dict[str, list] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        before[target].append(source)
    loops = {}
    for name, node in graph.nodes.items():
        if isinstance(node, (nir.LIF, nir.CubaLIF)):
            loops[name] = max((_loop(graph, before, source, name) for source in before[name]), key=len, default=[])
    inside = {inner for loop in loops.values() for inner in loop}
    names = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    if len(names) != 1:
        raise ValueError(f"The graph must have one Input, received {len(names)}.")
    while not isinstance(graph.nodes[names[-1]], nir.Output):
        after = [target for source, target in graph.edges if source == names[-1] and target not in inside]
        if len(after) != 1 or after[0] in names:
            raise ValueError(f"Node '{names[-1]}' must lead to one other to be part of a chain, received {after}.")
        names += after
    if left := sorted(set(graph.nodes) - set(names) - inside):
        raise ValueError(f"Nodes {left} lie on no chain from the Input to the Output.")
    return names, loops


def _loop(graph, before, source, end):
    """The names of the nodes that lead from `end` to `source`, which leads into `end`; none if there is another way."""
    nir = import_nir()
    loop: list = []
    while source != end:
        if not isinstance(graph.nodes[source], (nir.Linear, nir.Delay)) or len(before[source]) != 1 or source in loop:
            return []
        loop.insert(0, source)
        source = before[source][0]
    return loop


def _event_lif(name, node, linear, loop, time):
    """`(layer, weights)`, as all of these: the weights by name, of the cell where the layer has one."""
    nir = import_nir()
    taus, jump, options, weights = _leak(name, node, time)
    delays = [inner.delay for inner in loop if isinstance(inner, nir.Delay)]
    kernels = [inner.weight for inner in loop if isinstance(inner, nir.Linear)]
    if loop:
        # What spikes jump on tells when they arrive: see `to_nir`.
        expected = [] if "tau_syn" in taus else [time.dt * time.unit]
        if len(kernels) != 1 or len(delays) != len(expected) or not np.allclose(delays, expected, rtol=1e-6):
            raise ValueError(
                f"The spikes of '{name}' must come back through one Linear and "
                + ("no Delay, as they do with a synapse." if "tau_syn" in taus else "a Delay of dt.")
            )
        weights["recurrent_kernel"] = kernels[0].T * jump
    layer = EventLIF(
        jump.size,
        **taus,
        dt=time.dt,
        threshold=_common(name, "v_threshold", node),
        v_reset=_common(name, "v_reset", node),
        v_rest=_common(name, "v_leak", node),
        reset="zero",
        recurrent=bool(loop),
        gradient=node.metadata.get("gradient", "surrogate"),
        return_sequences=bool(node.metadata.get("return_sequences", True)),
        **options,
    )
    return layer, {"kernel": linear.weight.T * jump, **weights}


def _leaky_readout(name, node, linear, loop, time):
    taus, jump, options, weights = _leak(name, node, time)
    if _common(name, "v_leak", node) != 0.0:
        raise ValueError(f"Node '{name}' has v_leak = {node.v_leak[0]}, and the units of a LeakyReadout rest at 0.")
    kept = {key: node.metadata[key] for key in ("time_constant", "threshold", "phantom") if key in node.metadata}
    layer = LeakyReadout(
        jump.size,
        readout=node.metadata.get("readout"),
        **taus,
        dt=time.dt,
        **{key: float(value) for key, value in kept.items()},
        **options,
    )
    return layer, {"kernel": linear.weight.T * jump, **weights}


def _leak(name, node, time):
    """`(taus, jump, options, weights)` of LI, CubaLI, LIF and CubaLIF.

    taus: The arguments `tau_mem` and `tau_syn`: numbers, or initializers where units differ.
    jump: By how much an impulse of area 1 makes the membrane or the current of each unit jump; 1 of `to_nir`.
    options: Further arguments.
    weights: The time constants of units that differ.
    """
    if hasattr(node, "tau_syn"):
        seconds, jump = {"tau_mem": node.tau_mem, "tau_syn": node.tau_syn}, node.r * (node.w_in / node.tau_syn)
    else:
        seconds, jump = {"tau_mem": node.tau}, node.r / node.tau
    taus, weights = {}, {}
    for key, value in seconds.items():
        kept = node.metadata.get(key)
        if kept is None or not np.array_equal((kept * time.unit).astype(value.dtype), value):
            kept = value / time.unit  # another's node, or one that was changed
        taus[key] = float(kept[0])
        if not np.all(kept == kept[0]):
            taus[key] = keras.initializers.Constant(taus[key])
            weights[f"{key}_of_units"] = kept
    return taus, jump, {"name": name, "dtype": jump.dtype.name}, weights


def _common(name, field, node) -> float:
    """The value of all units, as the shortest decimal number of that value."""
    values = getattr(node, field)
    if np.any(values != values.flat[0]):
        raise ValueError(f"Node '{name}' must have one {field} for all units, received {values}.")
    return float(str(values.flat[0]))


def _dense(name, node, time):
    bias = {"bias": node.bias} if hasattr(node, "bias") else {}
    layer = keras.layers.Dense(node.weight.shape[0], use_bias=bool(bias), name=name, dtype=node.weight.dtype.name)
    return layer, {"kernel": node.weight.T, **bias}


def _exponential_trace(name, node, time):
    steps = node.metadata.get("time_constant", 0.0)
    if np.any((np.full_like(node.tau, steps * time.dt * time.unit)) != node.tau):
        steps = _common(name, "tau", node) / (time.dt * time.unit)
    layer = ExponentialTrace(
        float(steps), return_sequences=bool(node.metadata["return_sequences"]), name=name, dtype=node.tau.dtype.name
    )
    return layer, {}


def _egru(name, node, time):
    bias = node.bias
    if node.reset_after and bias is not None:
        bias = np.stack([bias, node.recurrent_bias])
    layer = EGRU(
        node.recurrent_weight.shape[1],
        use_bias=bias is not None,
        shared_threshold=node.threshold.shape == (1,),
        reset=node.reset,
        reset_after=node.reset_after,
        zoneout=node.zoneout,
        return_sequences=bool(node.metadata.get("return_sequences", True)),
        name=name,
        dtype=node.weight.dtype.name,
    )
    weights = {"kernel": node.weight.T, "recurrent_kernel": node.recurrent_weight.T, "threshold": node.threshold}
    return layer, weights if bias is None else {**weights, "bias": bias}


_WITH_KERNEL = {"LIF": _event_lif, "CubaLIF": _event_lif, "LI": _leaky_readout, "CubaLI": _leaky_readout}
_ALONE = {"Linear": _dense, "Affine": _dense, "LI": _exponential_trace, "EGRU": _egru}
