import json

import keras
import numpy as np
import pytest

from benchmarks import speed
from benchmarks.imposed import TOLERANCE, egru_with_sparsity
from benchmarks.peers import PEERS, keras_gru, tensorflow_call
from keras_egru.layers.recording import record_states
from keras_egru.ops import fused_egru

needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)
KEYS = {
    "case",
    "units",
    "batch",
    "steps",
    "features",
    "mode",
    "activity_sparsity",
    "backward_sparsity",
    "parameter_sparsity",
    "milliseconds",
    "ratio_to_fastest_peer",
    "peak_memory_mib",
}


@pytest.fixture
def inputs():
    return np.random.default_rng(1).normal(size=(8, 15, 5)).astype("float32")


@pytest.mark.parametrize("activity", [0.0, 0.25, 0.5, 0.8, 0.95])
def test_the_sparsity_asked_for_is_the_one_that_the_layer_has(inputs, activity):
    imposed = egru_with_sparsity(40, inputs, activity)
    assert imposed.activity_sparsity == pytest.approx(activity, abs=TOLERANCE)
    outputs = np.asarray(imposed.layer(inputs))
    assert np.mean(outputs == 0) == pytest.approx(imposed.activity_sparsity)


@pytest.mark.parametrize("reset", ["threshold", "subtract", "zero"])
def test_backward_sparsity_comes_from_the_width_of_the_surrogate(inputs, reset):
    imposed = egru_with_sparsity(40, inputs, 0.8, 0.4, reset=reset)
    assert imposed.activity_sparsity == pytest.approx(0.8, abs=TOLERANCE)
    assert imposed.backward_sparsity == pytest.approx(0.4, abs=0.01)
    with record_states() as records:
        imposed.layer(inputs)
    y, c, threshold = (np.asarray(tensor) for tensor in (records[0].y, records[0].c, records[0].threshold))
    outside = np.abs(c - threshold) >= imposed.layer.surrogate.width
    assert np.mean(outside & (y == 0)) == pytest.approx(imposed.backward_sparsity, abs=1e-3)


def test_backward_sparsity_is_at_most_the_activity_sparsity(inputs):
    imposed = egru_with_sparsity(40, inputs, 0.3, 0.9)
    assert imposed.backward_sparsity == pytest.approx(imposed.activity_sparsity, abs=0.01)


@needs_op
def test_the_counters_of_the_op_agree_with_the_sparsity_that_is_reported(inputs):
    imposed = egru_with_sparsity(40, inputs, 0.7, 0.2, implementation="fused")
    layer, zeros = imposed.layer, np.zeros((8, 40), "float32")
    from keras_egru.ops import egru_sequence

    counters = egru_sequence(
        inputs, zeros, zeros, layer.kernel, layer.recurrent_kernel, layer.bias, layer.threshold,
        surrogate=layer.surrogate, implementation="fused",
    ).counters  # fmt: skip
    entries = 8 * 15 * 40
    assert 1 - int(counters.events) / entries == pytest.approx(imposed.activity_sparsity)
    assert 1 - int(counters.backward_entries) / entries == pytest.approx(imposed.backward_sparsity, abs=1e-3)


@needs_op
def test_the_training_call_computes_the_gradients_of_all_weights(inputs):
    grad = np.random.default_rng(2).normal(size=(8, 15, 40)).astype("float32")
    layer = egru_with_sparsity(40, inputs, 0.5, implementation="fused").layer
    gradients = tensorflow_call(layer, inputs, grad, "training")()
    assert [tuple(g.shape) for g in gradients] == [(5, 120), (40, 120), (2, 120), (40,)]
    assert all(np.any(np.asarray(g) != 0) for g in gradients)


def test_the_training_call_of_the_peer_computes_the_gradients_of_all_weights(inputs):
    grad = np.random.default_rng(2).normal(size=(8, 15, 40)).astype("float32")
    gradients = keras_gru(40, inputs, grad, "training")()
    assert [tuple(g.shape) for g in gradients] == [(5, 120), (40, 120), (2, 120)]
    assert all(np.any(np.asarray(g) != 0) for g in gradients)


def test_the_median_is_taken_over_interleaved_rounds_and_the_absent_is_none(monkeypatch):
    monkeypatch.setattr(speed, "SHORTEST", 0.0)
    order = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b"), "c": None}
    medians = speed.interleaved_medians(calls, repeats=4)
    measured = "".join(order)[2 * (speed.WARM_UPS + 1) :]
    assert measured == "abbaabba"
    assert medians["c"] is None
    assert medians["a"] >= 0.0


@needs_op
def test_a_speed_record_has_the_fields_of_its_format(call, tmp_path):
    path = tmp_path / "speed.json"
    result = call(
        "speed", "--units", 24, "--batch", 8, "--steps", 12, "--features", 2, "--activity-sparsity", "0.5,0.8",
        "--backward-sparsity", 0.3, "--repeats", 2, "--reference", "--json", "--out", path,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert json.loads(path.read_text()) == record
    assert [(case["mode"], round(case["activity_sparsity"], 1)) for case in record["cases"]] == [
        ("inference", 0.5),
        ("inference", 0.8),
        ("training", 0.5),
        ("training", 0.8),
    ]
    for case in record["cases"]:
        assert case.keys() == KEYS
        assert case["milliseconds"].keys() == case["peak_memory_mib"].keys() == {"ours", "ours_dense", *PEERS}
        peers = [case["milliseconds"][name] for name in PEERS if case["milliseconds"][name] is not None]
        assert case["ratio_to_fastest_peer"] == pytest.approx(case["milliseconds"]["ours"] / min(peers))
        assert case["milliseconds"]["ours_dense"] > 0
    assert record["repeats"] == 2
    assert record["versions"]["keras"] == keras.__version__


@needs_op
def test_the_table_of_speeds_names_the_sparsity_and_the_gain(call):
    result = call(
        "speed", "--units", 16, "--batch", 8, "--steps", 12, "--features", 2, "--activity-sparsity", "0.5",
        "--repeats", 1, "--mode", "inference",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "silent" in result.stdout
    assert "gain" in result.stdout


def test_without_the_op_nothing_is_measured(call, monkeypatch):
    monkeypatch.setattr(fused_egru, "why_not", lambda *_: "its library is missing.")
    result = call("speed", "--units", 8, "--repeats", 1)
    assert result.exit_code == 4
    assert "its library is missing" in result.stderr


@pytest.mark.parametrize("mode", speed.MODES)
@pytest.mark.parametrize("name", PEERS)
def test_every_peer_that_is_installed_runs_a_whole_sequence(inputs, name, mode):
    grad = np.ones((8, 15, 12), "float32")
    run = PEERS[name](12, inputs, grad, mode)
    if run is None:
        pytest.skip(f"{name} is not installed or does not know {mode}")
    result = run()
    if mode == "inference":
        outputs = np.asarray(result[0] if name == "onnxruntime_gru" else result)
        assert outputs.size == 8 * 15 * 12
        assert np.isfinite(outputs).all()
