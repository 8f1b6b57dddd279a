"""Export to NIR, the Neuromorphic Intermediate Representation (Pedersen et al. 2024): graphs of differential equations.

How the layers become nodes; t_k = k dt is the time of step k, and the input x_k is a Dirac impulse of that area at t_k:

- `EventLIF` without a synapse, kernel W: `Linear(W)`, then `LIF`: tau dv/dt = (v_leak - v) + R I. An impulse of area a
  makes v jump by R a / tau: with R = tau by a.
- `EventLIF` with a synapse: `Linear(W)`, then `CubaLIF`: tau_syn dI/dt = -I + w_in S and
  tau_mem dv/dt = (v_leak - v) + R I. With w_in = tau_syn and R = 1 the current jumps by a, and it is the `i` of
  `keras_egru.ops.lif_step`.
- `recurrent=True`: an edge from the node through `Linear(V)` back into it. Without a synapse spikes jump on the
  membrane one step after they were sent, so that a `Delay` of dt lies before `Linear(V)`; with one they jump on the
  current at once, and there is none.
- `LeakyReadout`: `Linear(W)`, then `LI` or `CubaLI`, of the same R and w_in, and v_leak = 0.
- `ExponentialTrace`: `LI` with tau = R = time_constant dt.
- `Dense` without an activation: `Affine` or `Linear`. `EGRU`: the extension `keras_egru.export.nir_egru.EGRU`.

Both sides solve the equations between two impulses; what the layers add is that v > v_threshold is asked at every t_k
and not in between. Without a synapse, and with v_rest below the threshold, nothing can cross in between, so that the
graph in continuous time has these spikes. With a synapse a simulator has them if it asks at the t_k too. At t_k the
order is: without a synapse the impulses, the comparison, the reset; with one the comparison and the reset, then the
impulses, those of the spikes just sent among them. State starts at v_leak, without current.

A simulator that feeds a spike in as the number 1 for a step, and not as 1 / dt, needs R (of LIF, LI) and w_in divided
by dt in seconds.
"""

import dataclasses
import io
import math
from collections import Counter
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers as keras_layers
from keras.src.models.functional import Functional

from keras_egru.export.comparing import figures, observe, split_data
from keras_egru.export.destinations import check_new, new_file
from keras_egru.export.report import ExportReport
from keras_egru.layers import EGRU, EventLIF, ExponentialTrace, LeakyReadout, quantization
from keras_egru.layers.step_tensors import kernel_tensor, step_dtype
from keras_egru.pruning.masked import Masked

_IDENTITIES = (
    keras_layers.InputLayer,
    keras_layers.Dropout,
    keras_layers.SpatialDropout1D,
    keras_layers.GaussianDropout,
    keras_layers.GaussianNoise,
)


@dataclasses.dataclass(frozen=True)
class NIRReport(ExportReport):
    """An `ExportReport` with the graph itself.

    Attributes:
        graph: The `nir.NIRGraph`.
    """

    graph: Any = dataclasses.field(default=None, repr=False, compare=False)

    def to_json(self) -> str:
        fields = dataclasses.fields(ExportReport)
        return ExportReport(**{field.name: getattr(self, field.name) for field in fields}).to_json()


def to_nir(model, path=None, *, time_unit: float = 1e-3, data=None) -> NIRReport:
    """Writes a model as a NIR graph; the docstring of the module has the mapping and in what sense it is exact.

    NIR describes streams: the output of the graph is a value at every step. What Keras makes of the steps at the end,
    `return_sequences=False` or the `readout` of a `LeakyReadout`, has no node; it stands in the `metadata` of the node
    whose values are reduced (`return_sequences`, `readout`, and what the read-out needs), where `from_nir` finds it.
    So do `dt` and `time_unit` in that of the graph. Dropout and noise are left out, as in inference; of quantized
    recurrent kernels the graph holds the floats that the integers stand for.

    Args:
        model: A built Sequential model, or a Functional one that is a chain of layers, of `[batch, time, features]`.
        path: Where the graph is written (HDF5, as `nir.write` does); nothing must be there. Default `None`: nowhere.
        time_unit: Seconds in the unit of the layers' `dt` and time constants; NIR's unit is the second. Default 1e-3.
        data: Sequences `[samples, time, features]`, or a pair of them and labels, on which the report compares the
            model with one that `from_nir` makes of the written bytes. Default `None`.

    Returns:
        A `NIRReport`, whose `graph` is the `nir.NIRGraph`; without `path` its `path` is empty and its `size` that of
        the file which would be written.

    Raises:
        TypeError: `model` is neither Sequential nor Functional.
        ValueError: the model is no chain, is not built, or has a layer or an option that NIR has no node for; the
            sentence names the layer. Or another argument is wrong.
        FileExistsError: there is something at `path`.
        OSError: `path` cannot be written; nothing is left there.
        ImportError: the package `nir` is not installed.
    """
    from keras_egru.export.nir_model import from_nir, read_nir

    nir = import_nir()
    if not 0.0 < time_unit < math.inf:
        raise ValueError(f"`time_unit` must be a positive number of seconds, received {time_unit!r}.")
    if path is not None:
        check_new(path)
    graph = _graph(model, float(time_unit))
    file = io.BytesIO()
    nir.write(file, graph)
    compared = {}
    if data is not None:
        sequences, labels = split_data(data)
        read_back = from_nir(read_nir(file))
        compared = figures(observe(model, sequences), observe(read_back, sequences), labels)
    if path is not None:
        with new_file(path) as temporary:
            temporary.write_bytes(file.getvalue())
    kinds = Counter(type(node).__name__ for node in graph.nodes.values())
    return NIRReport(
        path="" if path is None else str(path),
        format="nir",
        ops=dict(sorted(kinds.items())),
        size=len(file.getvalue()),
        graph=graph,
        **compared,
    )


def import_nir():
    """The package `nir`.

    Raises:
        ImportError: it is not installed; the sentence says how to install it.
    """
    try:
        import nir
    except ImportError as error:
        raise ImportError('NIR needs the package `nir`: pip install "keras-egru[export]".') from error
    return nir


class _Time(NamedTuple):
    """`dt` of the layers, and the seconds in its unit."""

    dt: float
    unit: float


class _Part(NamedTuple):
    """The nodes that one layer becomes.

    chain: `(name, node)`, one behind the other.
    loop: The same of what leads from the last node of the chain back into it.
    """

    chain: list
    loop: list


def _graph(model, time_unit):
    nir = import_nir()
    layers = _chain(model)
    time = _Time(_step_length(layers), time_unit)
    features = _features(model)
    nodes = {"input": nir.Input({"input": np.array([features])})}
    edges, last, reduction = [], "input", None
    for layer in layers:
        if isinstance(layer, _IDENTITIES):
            continue
        if reduction is not None and not isinstance(layer, (keras_layers.Dense, keras_layers.Flatten)):
            raise ValueError(f"Layer '{layer.name}' follows '{reduction.name}', which returns no sequence.")
        if isinstance(layer, keras_layers.Flatten) and reduction is not None:
            continue  # [batch, units] already
        if isinstance(reduction, LeakyReadout) and reduction.readout != "last":
            raise ValueError(
                f"Layer '{layer.name}' comes after the read-out '{reduction.name}', whose {reduction.readout!r} over "
                "time NIR has no node for: the read-out must be the last layer."
            )
        part = _part(layer, nodes[last].output_type["output"], time)
        for name, node in part.chain:
            edges.append((last, last := _add(nodes, name, node)))
        source = last
        for name, node in part.loop:
            edges.append((source, source := _add(nodes, name, node)))
        if part.loop:
            edges.append((source, last))
        if not _returns_sequences(layer):
            reduction = layer
    edges.append((last, _add(nodes, "output", nir.Output({"output": np.array(nodes[last].output_type["output"])}))))
    return nir.NIRGraph(nodes, edges, metadata={"dt": time.dt, "time_unit": time.unit})


def _add(nodes, name, node):
    """Adds the node under `name`, or the like where that is taken, and returns its name."""
    while name in nodes:
        name += "_"
    nodes[name] = node
    return name


def _chain(model) -> list:
    """The layers of a model in the order in which data passes them, without wrappers that prune."""
    if isinstance(model, keras.Sequential):
        layers = list(model.layers)
    elif isinstance(model, Functional):
        layers = _functional_chain(model)
    else:
        raise TypeError(f"`model` must be a Sequential or Functional model, received {type(model).__name__}.")
    if not model.built:
        raise ValueError(f"Model '{model.name}' must be built: call it once, or begin it with `keras.Input`.")
    flat: list = []
    for layer in layers:
        if isinstance(layer, Masked):
            layer = layer.layer
        flat += _chain(layer) if isinstance(layer, (keras.Sequential, Functional)) else [layer]
    return flat


def _functional_chain(model) -> list:
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            f"Model '{model.name}' must have one input and one output, received {len(model.inputs)} and "
            f"{len(model.outputs)}."
        )
    layers: list = []
    tensor = model.outputs[0]
    while tensor is not model.inputs[0]:
        layer, index, _ = tensor._keras_history
        sources = layer._inbound_nodes[index].input_tensors
        if len(sources) != 1:
            raise ValueError(
                f"Layer '{layer.name}' of model '{model.name}' must have one input to be part of a chain, received "
                f"{len(sources)}."
            )
        layers.insert(0, layer)
        tensor = sources[0]
    return layers


def _features(model) -> int:
    shape = model.inputs[0].shape
    if len(shape) != 3 or shape[-1] is None:
        raise ValueError(f"Model '{model.name}' must take [batch, time, features], received the input {shape}.")
    return shape[-1]


def _step_length(layers) -> float:
    """The one `dt` of all layers that have one, else 1."""
    stepped = [layer for layer in layers if isinstance(layer, (EventLIF, LeakyReadout))]
    for layer in stepped[1:]:
        if layer.dt != stepped[0].dt:
            raise ValueError(
                f"Layers of one graph must share `dt`, received {stepped[0].dt} of '{stepped[0].name}' and {layer.dt} "
                f"of '{layer.name}'."
            )
    return stepped[0].dt if stepped else 1.0


def _returns_sequences(layer) -> bool:
    if isinstance(layer, LeakyReadout):
        return layer.readout is None
    return getattr(layer, "return_sequences", True)


def _part(layer, width, time) -> _Part:
    makers = {
        EventLIF: _event_lif,
        LeakyReadout: _leaky_readout,
        ExponentialTrace: _exponential_trace,
        EGRU: _egru,
        keras_layers.Dense: _dense,
    }
    if type(layer) is keras_layers.Flatten:
        raise ValueError(f"Layer '{layer.name}' flattens sequences, steps and all, which a stream has no end for.")
    if type(layer) not in makers:
        names = ", ".join(kind.__name__ for kind in makers)
        raise ValueError(f"Layer '{layer.name}' ({type(layer).__name__}) has no node in NIR, unlike {names}.")
    for option in ("go_backwards", "stateful", "return_state", "return_membrane"):
        if getattr(layer, option, False):
            raise ValueError(f"Layer '{layer.name}' has {option}=True, which a NIR graph cannot say.")
    return makers[type(layer)](layer, width, time)


def _event_lif(layer, width, time):
    nir, cell, name = import_nir(), layer.cell, layer.name
    if cell.reset != "zero":
        raise ValueError(
            f"Layer '{name}' has reset={cell.reset!r}, and a spike of NIR sets the membrane to v_reset, which "
            'reset="zero" means here.'
        )
    if cell.refractory_steps:
        raise ValueError(f"Layer '{name}' has refractory={cell.refractory}, and NIR has no refractory period.")
    kernel, recurrent_kernel = (None if x is None else np.asarray(x) for x in cell.step_weights()[:2])
    metadata = {"layer": "EventLIF", "gradient": cell.gradient, "return_sequences": layer.return_sequences}
    parameters, metadata = _leak(cell, cell.v_rest, kernel.dtype, time, metadata)
    ones = np.ones(cell.units, kernel.dtype)
    kind = nir.LIF if cell.tau_syn is None else nir.CubaLIF
    node = kind(**parameters, v_threshold=cell.threshold * ones, v_reset=cell.v_reset * ones, metadata=metadata)
    loop = []
    if recurrent_kernel is not None:
        if cell.tau_syn is None:
            loop.append((f"{name}_delay", nir.Delay(time.dt * time.unit * ones)))
        loop.append((f"{name}_recurrent_weight", nir.Linear(_weight(recurrent_kernel))))
    return _Part([(f"{name}_weight", nir.Linear(_weight(kernel))), (name, node)], loop)


def _leaky_readout(layer, width, time):
    nir = import_nir()
    kernel = np.asarray(kernel_tensor(layer.kernel, layer.kernel_mask, step_dtype(layer)))
    kept = {name: getattr(layer, name) for name in ("readout", "time_constant", "threshold", "phantom")}
    metadata = {"layer": "LeakyReadout", **{name: value for name, value in kept.items() if value is not None}}
    parameters, metadata = _leak(layer, 0.0, kernel.dtype, time, metadata)
    kind = nir.LI if layer.tau_syn is None else nir.CubaLI
    weight = (f"{layer.name}_weight", nir.Linear(_weight(kernel)))
    return _Part([weight, (layer.name, kind(**parameters, metadata=metadata))], [])


def _leak(layer, v_leak, dtype, time, metadata):
    """What LI, CubaLI, LIF and CubaLIF have in common, and `metadata` with the time constants in the layer's unit.

    Those in seconds are rounded to the type of the weights: simulators do not like two types.
    """
    kept = {
        name: np.broadcast_to(np.asarray(value, "float64"), (layer.units,)).copy()
        for name, value in (("tau_mem", layer.tau_mem_of_units), ("tau_syn", layer.tau_syn_of_units))
        if value is not None
    }
    seconds = {name: (value * time.unit).astype(dtype) for name, value in kept.items()}
    leak = np.full(layer.units, v_leak, dtype)
    metadata = {**metadata, **kept}
    if "tau_syn" not in seconds:
        tau = seconds["tau_mem"]
        return {"tau": tau, "r": tau.copy(), "v_leak": leak}, metadata
    return {**seconds, "r": np.ones_like(leak), "v_leak": leak, "w_in": seconds["tau_syn"].copy()}, metadata


def _exponential_trace(layer, width, time):
    nir = import_nir()
    steps = layer.time_constant
    if layer.log_time_constant is not None:
        steps = math.exp(float(np.asarray(layer.log_time_constant)))
    dtype = "float64" if layer.compute_dtype == "float64" else "float32"
    tau = np.full(tuple(width), steps * time.dt * time.unit, dtype)
    metadata = {"layer": "ExponentialTrace", "time_constant": steps, "return_sequences": layer.return_sequences}
    node = nir.LI(tau=tau, r=tau.copy(), v_leak=np.zeros_like(tau), metadata=metadata)
    return _Part([(layer.name, node)], [])


def _egru(layer, width, time):
    from keras_egru.export.nir_egru import EGRU as EGRUNode

    cell = layer.cell
    kernel, recurrent_kernel, bias, threshold = cell.step_weights()
    bias = None if bias is None else np.asarray(bias)
    node = EGRUNode(
        weight=_weight(np.asarray(kernel)),
        recurrent_weight=_weight(np.asarray(quantization.widened(cell, recurrent_kernel))),
        threshold=np.asarray(threshold),
        reset=cell.reset,
        reset_after=cell.reset_after,
        bias=bias[0] if bias is not None and cell.reset_after else bias,
        recurrent_bias=bias[1] if bias is not None and cell.reset_after else None,
        zoneout=cell.zoneout,
        metadata={"layer": "EGRU", "return_sequences": layer.return_sequences},
    )
    return _Part([(layer.name, node)], [])


def _dense(layer, width, time):
    nir = import_nir()
    if layer.activation is not keras.activations.linear:
        name = getattr(layer.activation, "__name__", layer.activation)
        raise ValueError(f"Layer '{layer.name}' has the activation {name}, and NIR has linear and affine maps alone.")
    if layer.quantization_mode is not None:
        raise ValueError(f"Layer '{layer.name}' is quantized ({layer.quantization_mode}); export it before that.")
    weight = _weight(np.asarray(layer.kernel))
    node = nir.Linear(weight) if layer.bias is None else nir.Affine(weight, np.asarray(layer.bias))
    return _Part([(layer.name, node)], [])


def _weight(kernel):
    """`[out, in]` of `[in, out]`."""
    return np.ascontiguousarray(kernel.T)
