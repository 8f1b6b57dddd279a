"""TF-Lite files give what the Keras model gives, with builtin ops alone, in a process that has LiteRT alone."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_egru import EGRU, EventLIF, ExponentialTrace, LeakyReadout
from keras_egru.export import to_tflite
from keras_egru.export.tflite_file import count_ops, read

FEATURES = 5
STRONG = keras.initializers.RandomNormal(0.2, 0.8, seed=1)  # so that units do spike
RUNNER = Path(__file__).parent / "litert_runner.py"


@pytest.fixture(autouse=True)
def _seeds():
    keras.utils.set_random_seed(0)


def sequences(samples=3, steps=20, features=FEATURES):
    return np.random.default_rng(0).normal(size=(samples, steps, features)).astype("float32")


def sequential(*parts, features=FEATURES, time=None):
    return keras.Sequential([keras.Input((time, features)), *parts])


def small():
    return sequential(EGRU(8, return_sequences=True), ExponentialTrace(), layers.Dense(3))


def lif(units=6, **options):
    return EventLIF(units, **{"return_sequences": True, "kernel_initializer": STRONG, **options})


def egru128(pruned=None):
    biases = keras.initializers.RandomNormal(stddev=0.3, seed=2)
    egru = EGRU(128, return_sequences=True, bias_initializer=biases)
    model = sequential(egru, ExponentialTrace(), layers.Dense(10))
    if pruned is not None:
        cell = model.layers[0].cell
        for variable in (cell.kernel, cell.recurrent_kernel):
            weights = variable.numpy()
            variable.assign(weights * (np.abs(weights) > np.quantile(np.abs(weights), pruned)))
    return model


def run_alone(path, x):
    """The outputs of a fresh process that imports numpy and ai_edge_litert alone."""
    np.save(path.with_suffix(".npy"), x)
    command = [sys.executable, str(RUNNER), str(path), str(path.with_suffix(".npy"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return np.asarray(json.loads(done.stdout), "float32")


NETWORKS = {
    "egru": small,
    "egru, paper's form": lambda: sequential(EGRU(8, reset="subtract", reset_after=False, zoneout=0.1)),
    "egru, zero reset": lambda: sequential(EGRU(8, reset="zero", use_bias=False, shared_threshold=True)),
    "deep": lambda: sequential(
        EGRU(8, return_sequences=True), layers.GRU(7, return_sequences=True), layers.LSTM(6), layers.Dense(3, "softmax")
    ),
    "lif": lambda: sequential(lif(tau_syn=5.0, refractory=2.0, recurrent=True, reset="zero"), LeakyReadout(3)),
    "sum_exp": lambda: sequential(lif(), LeakyReadout(3, readout="sum_exp", time_constant=5.0, tau_syn=3.0)),
    "max": lambda: sequential(lif(), LeakyReadout(3, readout="max")),
    "first spike": lambda: sequential(lif(), LeakyReadout(3, readout="first_spike", threshold=0.3)),
    "eventprop": lambda: sequential(lif(tau_syn=5.0, gradient="eventprop"), LeakyReadout(3, tau_syn=5.0)),
    "sequences": lambda: sequential(EGRU(8, return_sequences=True), ExponentialTrace(return_sequences=True)),
}


@pytest.mark.parametrize("mode", ["sequence", "streaming"])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_the_models_with_builtins_alone(name, mode, tmp_path):
    model, x = NETWORKS[name](), sequences()
    report = to_tflite(model, tmp_path / "model.tflite", mode=mode, data=x)
    assert np.any(np.asarray(model(x)) != 0.0)
    assert report.max_difference <= 1e-5
    assert report.flipped_events == 0.0
    assert all(op.isupper() and not op.startswith("FLEX") for op in report.ops)
    assert report.signatures == (("serving_default",) if mode == "sequence" else ("init", "step"))
    assert report.size == (tmp_path / "model.tflite").stat().st_size
    assert report.ops == count_ops((tmp_path / "model.tflite").read_bytes())


@pytest.mark.parametrize("mode", ["sequence", "streaming"])
def test_five_hundred_steps_in_a_process_with_litert_alone(mode, tmp_path):
    model, x = egru128(), sequences(samples=2, steps=500)
    report = to_tflite(model, tmp_path / "model.tflite", mode=mode, batch_size=2)
    assert not [op for op in report.ops if op == "CUSTOM" or op.startswith("Flex") or not op.isupper()]
    np.testing.assert_allclose(run_alone(tmp_path / "model.tflite", x), model(x), atol=1e-5)


def test_backwards_and_bidirectional_layers_as_whole_sequences(tmp_path):
    model = sequential(layers.Bidirectional(EGRU(6, return_sequences=True)), EGRU(4, go_backwards=True))
    assert to_tflite(model, tmp_path / "model.tflite", data=sequences()).max_difference <= 1e-5


def test_time_varies_unless_the_model_fixes_it(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    for time in (None, 20):
        model = sequential(EGRU(4), time=time)
        to_tflite(model, tmp_path / f"{time}.tflite", data=sequences())
        run = Interpreter(str(tmp_path / f"{time}.tflite")).get_signature_runner("serving_default")
        assert list(run.get_input_details()["input"]["shape_signature"]) == [1, -1 if time is None else time, FEATURES]
        if time is None:
            for steps in (1, 7):
                x = sequences(1, steps)
                np.testing.assert_allclose(run(input=x)["output"], model(x), atol=1e-5)


def test_several_inputs_and_outputs_by_name(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    x, context = keras.Input((None, FEATURES), name="camera-events"), keras.Input((2,), name="context")
    events = EGRU(4, return_sequences=True)(x)
    summary = layers.Concatenate()([ExponentialTrace()(events), context])
    model = keras.Model([x, context], [events, summary])
    given = {"camera_events": sequences(1), "context": np.ones((1, 2), "float32")}
    expected = [np.asarray(y) for y in model(list(given.values()))]
    to_tflite(model, tmp_path / "sequence.tflite")
    outputs = Interpreter(str(tmp_path / "sequence.tflite")).get_signature_runner("serving_default")(**given)
    for k in range(2):
        np.testing.assert_allclose(outputs[f"output_{k}"], expected[k], atol=1e-5)

    to_tflite(model, tmp_path / "stream.tflite", mode="streaming")
    loaded = Interpreter(str(tmp_path / "stream.tflite"))
    state, step = loaded.get_signature_runner("init")(), loaded.get_signature_runner("step")
    for t in range(20):
        outputs = step(camera_events=given["camera_events"][:, t], context=given["context"], **state)
        state = {name: outputs[name] for name in state}
        np.testing.assert_allclose(outputs["output_0"], expected[0][:, t], atol=1e-5)
    np.testing.assert_allclose(outputs["output_1"], expected[1], atol=1e-5)


@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8"])
@pytest.mark.parametrize("sparse_weights", [True, False])
def test_smaller_precisions_stay_near(quantize, sparse_weights, tmp_path):
    x = sequences()
    options = {"mode": "streaming", "representative_data": x, "sparse_weights": sparse_weights}
    model = egru128(pruned=0.8)
    plain = to_tflite(model, tmp_path / "plain.tflite", mode="streaming", sparse_weights=sparse_weights)
    report = to_tflite(model, tmp_path / "model.tflite", quantize=quantize, data=x, **options)
    assert report.size < (0.75 if sparse_weights else 0.6) * plain.size
    assert 0.0 < report.max_difference < 0.1 * np.abs(model(x)).max()
    assert report.flipped_events < 0.01
    np.testing.assert_allclose(
        run_alone(tmp_path / "model.tflite", x[:1]), model(x[:1]), atol=report.max_difference + 1e-5
    )


def test_int8_products_are_of_integers_and_states_are_floats(tmp_path):
    to_tflite(egru128(), tmp_path / "model.tflite", mode="streaming", quantize="int8", representative_data=sequences())
    file = read((tmp_path / "model.tflite").read_bytes())
    step = file.subgraphs[0]
    kinds = {step.tensors[place].name.decode(): step.tensors[place].type for place in (*step.inputs, *step.outputs)}
    assert set(kinds.values()) == {0}, kinds
    products = [op for op in step.operators if op.builtinOptions.__class__.__name__ == "FullyConnectedOptionsT"]
    integers = [step.tensors[op.inputs[1]].type == step.tensors[op.inputs[0]].type == 9 for op in products]
    assert sorted(integers) == [
        False,
        True,
        True,
    ]  # in float: the 5 inputs, whose scales would take more than they save


def test_int8_of_a_network_with_nothing_to_gain_is_its_float_file(tmp_path):
    report = to_tflite(
        small(), tmp_path / "model.tflite", mode="streaming", quantize="int8", representative_data=sequences(),
        data=sequences(),
    )  # fmt: skip
    assert report.max_difference <= 1e-5


def test_a_pruned_file_of_eight_bits_is_a_fifth_of_the_dense_one(tmp_path):
    dense = to_tflite(egru128(), tmp_path / "dense.tflite", mode="streaming")
    x = sequences(2, 50)
    pruned = to_tflite(
        egru128(pruned=0.8), tmp_path / "pruned.tflite", mode="streaming", quantize="int8", representative_data=x
    )
    assert pruned.size <= 0.2 * dense.size


@pytest.mark.parametrize("mode", ["sequence", "streaming"])
@pytest.mark.parametrize("quantize", [None, "float16", "dynamic"])
def test_packed_weights_are_those_that_were_pruned(mode, quantize, tmp_path):
    """Unpacked they give the same outputs, beside rounding: of 8 bits activations stay float, which is nearer."""
    from keras_egru.export.tflite_runner import run_sequences, run_steps

    model, x = egru128(pruned=0.9), sequences(2)
    files = []
    for sparse in (True, False):
        path = tmp_path / f"{sparse}.tflite"
        to_tflite(model, path, mode=mode, quantize=quantize, sparse_weights=sparse)
        files.append(path.read_bytes())
    assert len(files[0]) < 0.7 * len(files[1])
    assert count_ops(files[0])["DENSIFY"] == 2
    run = run_sequences if mode == "sequence" else run_steps
    more = () if mode == "sequence" else ([False], [])
    packed, whole = (run(content, x, 1, False, *more).outputs[0] for content in files)
    np.testing.assert_allclose(packed, whole, atol=0.05 if quantize == "dynamic" else 1e-6)


@pytest.mark.parametrize("mode", ["sequence", "streaming"])
@pytest.mark.parametrize("kind", ["egru", "egru int8", "lif"])
def test_packed_weights_of_the_sparse_op(kind, mode, tmp_path):
    model = sequential(
        lif(80, recurrent=True) if kind == "lif" else EGRU(80, return_sequences=True), ExponentialTrace()
    )
    kernel = model.layers[0].cell.recurrent_kernel
    kernel.assign(kernel.numpy() * (np.random.default_rng(0).random(kernel.shape) < 0.2))
    if kind == "egru int8":
        model.layers[0].quantize("int8")
    options = {"mode": mode, "op": "sparse", "data": sequences()}
    packed = to_tflite(model, tmp_path / "packed.tflite", **options)
    whole = to_tflite(model, tmp_path / "whole.tflite", sparse_weights=False, **options)
    assert packed.ops["DENSIFY"] == 1
    assert "DENSIFY" not in whole.ops
    assert packed.size < 0.75 * whole.size
    assert packed.max_difference == whole.max_difference <= 1e-5
    assert packed.flipped_events == 0.0


def test_dense_models_are_not_packed(tmp_path):
    assert "DENSIFY" not in to_tflite(egru128(), tmp_path / "model.tflite").ops


def test_narrow_and_empty_matrices_are_packed_right(tmp_path):
    model = sequential(EGRU(128), layers.Dense(9, use_bias=False), features=9)
    cell = model.layers[0].cell
    cell.recurrent_kernel.assign(np.zeros((128, 384), "float32"))
    mask = np.random.default_rng(0).random((9, 384)) < 0.1
    mask[:, :50] = False
    cell.kernel.assign(cell.kernel.numpy() * mask)
    x = sequences(features=9)
    for quantize in (None, "dynamic"):
        path = tmp_path / f"{quantize}.tflite"
        report = to_tflite(model, path, mode="streaming", quantize=quantize, data=x)
        assert report.ops["DENSIFY"] == 2
        assert report.max_difference <= (1e-5 if quantize is None else 0.02)


def test_words_and_quantized_layers(tmp_path):
    model = keras.Sequential([keras.Input((None,), dtype="int32"), layers.Embedding(11, 4), EGRU(6), layers.Dense(2)])
    model.layers[1].quantize("int8")
    words = np.random.default_rng(0).integers(0, 11, size=(3, 8)).astype("int32")
    for mode in ("sequence", "streaming"):
        assert to_tflite(model, tmp_path / f"{mode}.tflite", mode=mode, data=words).max_difference <= 1e-5


def test_accuracy_and_flipped_events_are_those_of_the_file(tmp_path):
    model, x = small(), sequences(8)
    labels = np.argmax(np.asarray(model(x)), axis=-1)
    labels[:2] = (labels[:2] + 1) % 3
    report = to_tflite(model, tmp_path / "model.tflite", data=(x, labels), batch_size=3)
    assert report.samples == 8
    assert report.keras_accuracy == report.accuracy == 0.75
    assert json.loads(report.to_json())["accuracy"] == 0.75
    assert "accuracy: 75.00% (Keras model: 75.00%)" in str(report)


def test_the_model_is_left_as_it_was(tmp_path):
    model, x = small(), sequences()
    before = model(x)
    to_tflite(model, tmp_path / "model.tflite")
    assert model.layers[0].implementation == "auto"
    np.testing.assert_array_equal(model(x), before)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mode": "stream"}, r"`mode` must be one of \('sequence', 'streaming'\), received 'stream'"),
        ({"op": "custom"}, "`op` must be one of"),
        ({"quantize": "int4"}, "`quantize` must be one of"),
        ({"batch_size": None}, "`batch_size` must be a positive integer, since TF-Lite's loops want a known batch"),
        ({"batch_size": 0}, "received 0"),
        ({"batch_size": True}, "received True"),
        ({"quantize": "int8", "representative_data": 1}, 'quantize="int8" is for mode="streaming"'),
        ({"quantize": "int8", "mode": "streaming"}, "`representative_data` must be given with quantize="),
        ({"quantize": "int8", "mode": "streaming", "representative_data": np.ones(3)}, r"received \(3,\)"),
        (
            {"quantize": "int8", "mode": "streaming", "representative_data": sequences(1), "batch_size": 2},
            "at least `batch_size` sequences, received 1 for 2",
        ),
        ({"op": "sparse", "quantize": "dynamic"}, "`quantize` is for op=\"builtins\", received 'dynamic'"),
        ({"data": np.ones(3)}, r"`data` must hold sequences \[samples, time, features\], received \(3,\)"),
        ({"data": (sequences(3), np.ones(2))}, "a label for each sequence, received 2 for 3"),
        ({"data": (sequences(3), np.ones((3, 2)))}, r"must be the classes of one output \[..., classes\]"),
    ],
)
def test_wrong_arguments(options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        to_tflite(small(), tmp_path / "model.tflite", **options)
    assert not list(tmp_path.iterdir())


def test_models_that_have_no_tflite_form(tmp_path):
    path = tmp_path / "model.tflite"
    with pytest.raises(TypeError, match="`model` must be a Keras model, received EGRU"):
        to_tflite(EGRU(4), path)
    with pytest.raises(ValueError, match="must be built before it is exported"):
        to_tflite(keras.Sequential([EGRU(4)]), path)
    with pytest.raises(ValueError, match=r"'kept' keeps its state between calls"):
        to_tflite(keras.Sequential([keras.Input((None, 5), batch_size=1), EGRU(4, stateful=True, name="kept")]), path)
    with pytest.raises(ValueError, match="does not have among its builtins: .*Betainc"):
        to_tflite(sequential(layers.Lambda(_without_builtin), EGRU(4)), path)
    with pytest.raises(ValueError, match=r"must have known sizes beside batch and time, received \(None, None, None\)"):
        to_tflite(keras.Sequential([keras.Input((None, None)), layers.ReLU()]), path)
    x = [keras.Input((None, 5)), keras.Input((None, 5))]
    two = keras.Model(x, EGRU(4)(layers.Add()(x)))
    with pytest.raises(ValueError, match="`data` and `representative_data` are for models with one input"):
        to_tflite(two, path, data=sequences())
    assert not list(tmp_path.iterdir())


def _without_builtin(x):
    import tensorflow as tf

    return tf.math.betainc(tf.ones_like(x), tf.ones_like(x), tf.sigmoid(x))


def test_nothing_is_written_where_something_is_or_can_not_be(tmp_path, monkeypatch):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(FileExistsError, match="`path` must be new, and there is something at .*taken"):
        to_tflite(small(), taken)
    assert taken.read_text() == "mine"
    with pytest.raises(OSError, match="`path` .*taken/model.tflite cannot be written: "):
        to_tflite(small(), taken / "model.tflite")

    def full(self, content):
        with open(self, "wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="cannot be written: No space left on device"):
        to_tflite(small(), tmp_path / "model.tflite")
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]
