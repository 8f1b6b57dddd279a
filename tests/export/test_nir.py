import json
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import nir
import numpy as np
import pytest

from keras_egru import EGRU, EventLIF, ExponentialTrace, LeakyReadout
from keras_egru.export import nir_graph
from keras_egru.export.nir_graph import to_nir
from keras_egru.export.nir_model import from_nir, read_nir
from keras_egru.initializers import GammaTimeConstants
from keras_egru.pruning import random_mask

STEPPER = Path(__file__).parent / "nir_stepper.py"
STRONG = keras.initializers.RandomNormal(0.3, 0.5, seed=3)


@pytest.fixture(autouse=True)
def _seeds():
    keras.utils.set_random_seed(0)


def spikes(features=6, batch=3, time=40, share=0.2, seed=0):
    return (np.random.default_rng(seed).random((batch, time, features)) < share).astype("float32")


def sequential(*layers, features=6):
    return keras.Sequential([keras.Input((None, features)), *layers])


def lif(units=5, **options):
    return EventLIF(
        units, **{"reset": "zero", "return_sequences": True, "kernel_initializer": STRONG, "tau_mem": 12.5, **options}
    )


def stepped(path, inputs, tmp_path):
    """The values of all nodes of a file, integrated by a process that knows NIR alone."""
    np.save(tmp_path / "inputs.npy", inputs)
    subprocess.run([sys.executable, STEPPER, path, tmp_path / "inputs.npy", tmp_path / "values.npz"], check=True)
    return np.load(tmp_path / "values.npz")


SYNAPSES = pytest.mark.parametrize("tau_syn", [None, 5.0], ids=["jumps", "synapse"])


@SYNAPSES
@pytest.mark.parametrize("recurrent", [False, True])
def test_the_equations_of_the_written_graph_have_the_spikes_and_potentials_of_the_model(tmp_path, tau_syn, recurrent):
    layer = lif(
        2, tau_syn=tau_syn, recurrent=recurrent, v_rest=0.1, v_reset=-0.2, tau_mem=GammaTimeConstants(15.0, 3, seed=1),
        threshold=0.7, dt=0.5, recurrent_initializer=keras.initializers.RandomNormal(0.2, 0.5, seed=5), name="hidden",
    )  # fmt: skip
    readout = LeakyReadout(3, readout=None, tau_mem=9.0, tau_syn=tau_syn, dt=0.5, name="readout")
    model = sequential(layer, readout)
    inputs = spikes(time=60)
    report = to_nir(model, tmp_path / "model.nir")
    values = stepped(tmp_path / "model.nir", inputs, tmp_path)
    events = np.asarray(layer(inputs))
    assert 0.05 < events.mean() < 0.6
    np.testing.assert_array_equal(values["hidden"], events)
    # The file has time constants in float32, and the model computes in it.
    np.testing.assert_allclose(values["output"], model(inputs), rtol=1e-4, atol=2e-5)
    assert report.ops["Delay" if recurrent and tau_syn is None else "Linear"] >= 1
    assert ("Delay" in report.ops) == (recurrent and tau_syn is None)


def test_the_trace_and_the_dense_layer_are_the_equations_too(tmp_path):
    model = sequential(
        lif(name="hidden", dt=0.5),
        ExponentialTrace(7.0, return_sequences=True, name="trace"),
        keras.layers.Dense(3, name="classes", bias_initializer="ones"),
    )
    inputs = spikes()
    to_nir(model, tmp_path / "model.nir", time_unit=1.0)
    np.testing.assert_allclose(
        stepped(tmp_path / "model.nir", inputs, tmp_path)["output"], model(inputs), rtol=1e-4, atol=1e-5
    )


def egru_of(node, inputs):
    """The equations of the node's docstring."""
    units = node.recurrent_weight.shape[1]
    y = c = np.zeros((len(inputs), units))
    rows = []
    b = np.zeros(3 * units) if node.bias is None else node.bias
    d = np.zeros(3 * units) if node.recurrent_bias is None else node.recurrent_bias
    wu, wr, wz = np.split(node.weight, 3)
    vu, vr, vz = np.split(node.recurrent_weight, 3)
    (bu, br, bz), (du, dr, dz) = np.split(b, 3), np.split(d, 3)
    for x in inputs.swapaxes(0, 1):
        u = 1 / (1 + np.exp(-(x @ wu.T + y @ vu.T + bu + du)))
        r = 1 / (1 + np.exp(-(x @ wr.T + y @ vr.T + br + dr)))
        if node.reset_after:
            z = np.tanh(x @ wz.T + bz + r * (y @ vz.T + dz))
        else:
            z = np.tanh(x @ wz.T + bz + (r * y) @ vz.T)
        new = {
            "threshold": u * z + (1 - u) * c - node.threshold * (y != 0),
            "subtract": u * z + (1 - u) * c - y,
            "zero": u * z + (1 - u) * (c - y),
        }[node.reset]
        c = node.zoneout * c + (1 - node.zoneout) * new
        y = np.where(c > node.threshold, c, 0.0)
        rows.append(y)
    return np.stack(rows, axis=1)


@pytest.mark.parametrize("reset", ["threshold", "subtract", "zero"])
@pytest.mark.parametrize("reset_after", [True, False])
def test_the_extension_node_says_what_an_egru_computes(tmp_path, reset, reset_after):
    layer = EGRU(
        8, reset=reset, reset_after=reset_after, zoneout=0.2, return_sequences=True, name="hidden",
        bias_initializer=keras.initializers.RandomNormal(0.0, 0.5, seed=1), shared_threshold=reset == "zero", seed=2,
    )  # fmt: skip
    to_nir(sequential(layer), tmp_path / "model.nir")
    inputs = np.random.default_rng(0).normal(size=(3, 30, 6)).astype("float32")
    expected = np.asarray(layer(inputs))
    assert 0.1 < np.mean(expected != 0) < 0.9
    np.testing.assert_allclose(
        egru_of(read_nir(tmp_path / "model.nir").nodes["hidden"], inputs), expected, rtol=1e-4, atol=1e-5
    )


MODELS = {
    "lif": lambda: sequential(lif(recurrent=True), keras.layers.Dropout(0.5), lif(4, name="last")),
    "synapse": lambda: sequential(
        lif(tau_syn=3.3, recurrent=True, gradient="eventprop"), LeakyReadout(3, readout="sum_exp", tau_syn=3.3)
    ),
    "time_constants": lambda: sequential(
        lif(
 tau_mem=GammaTimeConstants(20.0, 3, seed=1), tau_syn=GammaTimeConstants(5.0, 3, seed=2), threshold=0.3
),
        LeakyReadout(3, readout="max", tau_mem=GammaTimeConstants(20.0, 3, seed=3), kernel_initializer=STRONG),
    ),
    "trained_time_constants": lambda: sequential(lif(tau_mem=20 / 3, train_time_constants=True)),
    "last": lambda: sequential(
        lif(return_sequences=False), keras.layers.Flatten(), keras.layers.Dense(4, use_bias=False),
        keras.layers.Dense(2),
    ),
    "first_spike": lambda: sequential(lif(), LeakyReadout(3, readout="first_spike", threshold=0.3, phantom=2.0)),
    "weighted": lambda: sequential(LeakyReadout(3, readout="sum_exp", time_constant=11.0, dt=0.3)),
    "egru": lambda: sequential(
        EGRU(7, return_sequences=True, bias_initializer=STRONG), ExponentialTrace(4.5), keras.layers.Dense(3)
    ),
    "egru_paper": lambda: sequential(
        EGRU(7, return_sequences=True, reset="subtract", reset_after=False, shared_threshold=True, use_bias=False),
        EGRU(40, zoneout=0.1, reset="zero"),
    ),
    "dense_first": lambda: sequential(
        keras.layers.Dense(4, use_bias=False), lif(), ExponentialTrace(return_sequences=True)
    ),
    "float64": lambda: sequential(lif(dtype="float64", tau_mem=7.123456789012), LeakyReadout(2, dtype="float64")),
    "nested": lambda: sequential(keras.Sequential([lif(), keras.Sequential([lif(3)])]), LeakyReadout(2)),
}  # fmt: skip

DYNAMICS = (
    "units", "tau_syn", "dt", "threshold", "v_reset", "v_rest", "reset", "recurrent", "gradient", "return_sequences",
    "readout", "time_constant", "phantom", "reset_after", "shared_threshold", "use_bias", "zoneout", "name",
)  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_as_it_was(tmp_path, name):
    model = MODELS[name]()
    to_nir(model, tmp_path / "model.nir")
    again = from_nir(tmp_path / "model.nir")
    inputs = spikes()
    np.testing.assert_array_equal(again(inputs), model(inputs))
    assert np.any(np.asarray(model(inputs)))

    def own(layers):
        for layer in layers:
            if isinstance(layer, keras.Sequential):
                yield from own(layer.layers)
            elif not isinstance(layer, (keras.layers.Dropout, keras.layers.Flatten)):
                yield layer

    for before, after in zip(own(model.layers), own(again.layers), strict=True):
        assert type(before) is type(after)
        for key in DYNAMICS:
            if isinstance(value := getattr(before, key, None), (int, float, str, type(None))):
                assert getattr(after, key, None) == value, key
        for key in ("kernel", "recurrent_kernel", "bias", "threshold", "tau_mem_of_units", "tau_syn_of_units"):
            mine, other = (getattr(getattr(layer, "cell", layer), key, None) for layer in (before, after))
            if mine is not None:
                np.testing.assert_array_equal(np.broadcast_to(other, np.shape(mine)), mine)


def test_a_lif_graph_is_one_that_nir_itself_reads(tmp_path):
    to_nir(sequential(lif(recurrent=True, name="hidden"), LeakyReadout(3)), tmp_path / "model.nir")
    graph = nir.read(tmp_path / "model.nir")
    np.testing.assert_array_equal(from_nir(graph)(spikes()), from_nir(tmp_path / "model.nir")(spikes()))
    assert {type(node).__name__ for node in graph.nodes.values()} == {"Input", "Linear", "LIF", "Delay", "LI", "Output"}
    for parameter in ("tau", "r", "v_leak", "v_threshold", "v_reset"):
        assert getattr(graph.nodes["hidden"], parameter).dtype == "float32"


def test_time_constants_are_in_seconds():
    model = sequential(lif(tau_mem=20.0, tau_syn=5.0, name="hidden"), LeakyReadout(2, tau_mem=10.0, name="readout"))
    nodes = to_nir(model).graph.nodes
    np.testing.assert_allclose(nodes["hidden"].tau_mem, 0.02, rtol=1e-6)
    np.testing.assert_allclose(nodes["hidden"].w_in, 0.005, rtol=1e-6)
    np.testing.assert_array_equal(nodes["hidden"].r, 1.0)
    np.testing.assert_allclose(nodes["readout"].tau, 0.01, rtol=1e-6)
    np.testing.assert_allclose(to_nir(model, time_unit=1e-6).graph.nodes["readout"].r, 10e-6, rtol=1e-6)


def test_what_was_changed_in_a_graph_counts_and_not_the_metadata():
    graph = to_nir(sequential(lif(tau_mem=20.0, name="hidden"), ExponentialTrace(5.0, name="trace"))).graph
    graph.nodes["hidden"].tau *= 2
    graph.nodes["trace"].tau *= 2
    layers = from_nir(graph).layers
    assert layers[0].tau_mem == pytest.approx(40.0)
    # R is what it was, so that impulses count half.
    np.testing.assert_allclose(layers[0].kernel, graph.nodes["hidden_weight"].weight.T / 2, rtol=1e-6)
    assert layers[1].time_constant == pytest.approx(10.0)


def test_metadata_of_nodes_may_be_missing():
    model = sequential(lif(tau_syn=5.0), LeakyReadout(3, readout=None))
    graph = to_nir(model).graph
    for node in graph.nodes.values():
        node.metadata = {}
    np.testing.assert_allclose(from_nir(graph)(spikes()), model(spikes()), rtol=1e-5, atol=1e-6)


def test_a_functional_chain_and_pruned_and_quantized_layers_are_taken_as_they_compute():
    inputs = keras.Input((None, 6))
    hidden = EGRU(16, return_sequences=True, name="hidden")
    model = keras.Model(
        inputs,
        keras.layers.Dense(
            3,
            name="output",  # a name that the graph has too
        )(ExponentialTrace()(hidden(inputs))),
    )
    pruned = random_mask(model, 0.5, seed=1)
    x = np.random.default_rng(0).normal(size=(2, 20, 6)).astype("float32")
    graph = to_nir(pruned).graph
    assert np.mean(graph.nodes["hidden"].recurrent_weight == 0) > 0.4
    np.testing.assert_array_equal(from_nir(graph)(x), pruned(x))
    hidden.quantize("int8")
    np.testing.assert_allclose(from_nir(to_nir(model).graph)(x), model(x), atol=1e-6)


def test_the_report_tells_nodes_size_and_difference(tmp_path):
    model = sequential(lif(name="hidden"), LeakyReadout(3, name="readout"))
    x = spikes(batch=8)
    labels = np.argmax(np.asarray(model(x)), axis=-1)
    labels[:2] = (labels[:2] + 1) % 3
    report = to_nir(model, tmp_path / "model.nir", data=(x, labels))
    assert report.path == str(tmp_path / "model.nir")
    assert report.format == "nir"
    assert report.size == (tmp_path / "model.nir").stat().st_size
    assert report.ops == {"Input": 1, "LI": 1, "LIF": 1, "Linear": 2, "Output": 1}
    assert (report.samples, report.max_difference, report.flipped_events) == (8, 0.0, 0.0)
    assert (report.keras_accuracy, report.accuracy) == (0.75, 0.75)
    assert json.loads(report.to_json())["ops"] == report.ops
    assert set(report.graph.nodes) == {"input", "hidden_weight", "hidden", "readout_weight", "readout", "output"}
    assert to_nir(model).size == report.size


REFUSED = {
    "soft_reset": (lambda: sequential(lif(reset="subtract", name="soft")), "'soft'.*reset=\"zero\""),
    "refractory": (lambda: sequential(lif(refractory=2.0, name="tired")), "'tired'.*refractory"),
    "backwards": (lambda: sequential(lif(go_backwards=True, name="back")), "'back'.*go_backwards"),
    "stateful": (lambda: keras.Sequential([keras.Input((None, 6), batch_size=2), lif(stateful=True, name="kept")]),
                 "'kept'.*stateful"),
    "unknown_layer": (lambda: sequential(keras.layers.GRU(3, name="gated")), r"'gated' \(GRU\)"),
    "bidirectional": (lambda: sequential(keras.layers.Bidirectional(EGRU(3), name="both")), "'both'"),
    "activation": (lambda: sequential(lif(), keras.layers.Dense(3, "softmax", name="classes")), "'classes'.*softmax"),
    "after_readout": (lambda: sequential(LeakyReadout(3, name="readout"), keras.layers.Dense(2, name="late")),
                      "'late'.*'readout'.*'sum'"),
    "flatten": (lambda: keras.Sequential([keras.Input((4, 6)), keras.layers.Flatten(name="flat")]), "'flat'"),
    "steps": (lambda: sequential(lif(), LeakyReadout(3, dt=0.5, name="fine")), "`dt`.*'fine'"),
    "unbuilt": (lambda: keras.Sequential([lif()], name="raw"), "'raw' must be built"),
    "no_sequences": (lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="flat"), "'flat'.*time"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_nir_cannot_say_is_refused_by_name(tmp_path, name):
    make, sentence = REFUSED[name]
    with pytest.raises(ValueError, match=sentence):
        to_nir(make(), tmp_path / "model.nir")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_no_chain_is_refused():
    inputs = keras.Input((None, 6))
    twice = keras.Model(inputs, keras.layers.Add(name="sum")([lif()(inputs), lif()(inputs)]))
    with pytest.raises(ValueError, match="'sum'.*one input"):
        to_nir(twice)
    with pytest.raises(ValueError, match="one output"):
        to_nir(keras.Model(inputs, [lif()(inputs), lif()(inputs)]))
    with pytest.raises(TypeError, match="`model`"):
        to_nir(lif())


def test_bad_arguments_leave_nothing_behind(tmp_path):
    model = sequential(lif())
    (tmp_path / "there.nir").write_text("mine")
    with pytest.raises(FileExistsError, match="`path`"):
        to_nir("not even looked at", tmp_path / "there.nir")
    with pytest.raises(ValueError, match="`time_unit`"):
        to_nir(model, tmp_path / "new.nir", time_unit=0.0)
    with pytest.raises(ValueError, match="`data`"):
        to_nir(model, tmp_path / "new.nir", data=(spikes(), [1, 2]))
    with pytest.raises(OSError, match="`path`"):
        to_nir(model, tmp_path / "there.nir" / "new.nir")
    assert [path.name for path in tmp_path.iterdir()] == ["there.nir"]
    assert (tmp_path / "there.nir").read_text() == "mine"


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ImportError, match=r'pip install "keras-egru\[export\]"'):
        nir_graph.to_nir(sequential(lif()))
    with pytest.raises(ImportError, match=r'pip install "keras-egru\[export\]"'):
        from_nir("model.nir")


def graph_of(*layers):
    return to_nir(sequential(*layers)).graph


def test_graphs_that_no_layer_computes_are_refused_by_the_name_of_the_node():
    graph = graph_of(lif(recurrent=True, name="hidden"))
    graph.nodes["hidden_delay"].delay *= 2
    with pytest.raises(ValueError, match="'hidden'.*Delay of dt"):
        from_nir(graph)
    graph = graph_of(lif(recurrent=True, tau_syn=5.0, name="hidden"))
    nodes = {**graph.nodes, "twice": nir.Linear(np.eye(5, dtype="float32"))}
    edges = [e for e in graph.edges if e != ("hidden", "hidden_recurrent_weight")]
    edges += [("hidden", "twice"), ("twice", "hidden_recurrent_weight")]
    with pytest.raises(ValueError, match="'hidden'.*one Linear"):
        from_nir(nir.NIRGraph(nodes, edges, metadata=graph.metadata))
    nodes = {**graph.nodes, "late": nir.Delay(np.full(5, 1e-3, "float32"))}
    edges = [e for e in graph.edges if e != ("hidden", "hidden_recurrent_weight")]
    edges += [("hidden", "late"), ("late", "hidden_recurrent_weight")]
    with pytest.raises(ValueError, match="'hidden'.*no Delay"):
        from_nir(nir.NIRGraph(nodes, edges, metadata=graph.metadata))
    graph = graph_of(lif(name="hidden"))
    graph.nodes["hidden"].v_threshold[1] = 2.0
    with pytest.raises(ValueError, match="'hidden'.*v_threshold"):
        from_nir(graph)
    graph = graph_of(LeakyReadout(3, name="readout"))
    graph.nodes["readout"].v_leak[:] = 1.0
    with pytest.raises(ValueError, match="'readout'.*v_leak"):
        from_nir(graph)
    metadata = {"dt": 1.0, "time_unit": 1e-3}
    ones = np.ones(2)
    with pytest.raises(ValueError, match="'dt'"):
        from_nir(nir.NIRGraph.from_list(nir.Input([2]), nir.IF(ones, ones), nir.Output([2])))
    graph = nir.NIRGraph.from_list(nir.Input([2]), nir.IF(ones, ones), nir.Output([2]))
    graph.metadata = metadata
    with pytest.raises(ValueError, match=r"'if' \(IF\)"):
        from_nir(graph)
    graph = nir.NIRGraph.from_list(nir.Input([2]), nir.LIF(ones, ones, ones, ones), nir.Output([2]))
    graph.metadata = metadata
    with pytest.raises(ValueError, match="'lif'.*Linear"):
        from_nir(graph)
    weight = nir.Linear(np.eye(2))
    graph = nir.NIRGraph(
        {"input": nir.Input([2]), "a": weight, "b": weight, "output": nir.Output([2])},
        [("input", "a"), ("input", "b"), ("a", "output"), ("b", "output")],
        metadata=metadata,
    )
    with pytest.raises(ValueError, match="'input'.*one other"):
        from_nir(graph)


def test_nir_itself_refuses_a_file_with_the_extension_node(tmp_path):
    """It must not take it for something else."""
    to_nir(sequential(EGRU(3, name="hidden")), tmp_path / "model.nir")
    with h5py.File(tmp_path / "model.nir") as file:
        assert file["node/nodes/hidden/type"][()] == b"EGRU"
    with pytest.raises(AssertionError):
        nir.read(tmp_path / "model.nir")
