import contextlib
import importlib.resources
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from keras_egru import EGRU, EventLIF, ExponentialTrace, LeakyReadout
from keras_egru.export import saved_model
from keras_egru.export.saved_model import load_saved_model, to_saved_model
from keras_egru.layers.recording import record_states
from keras_egru.ops import library
from keras_egru.pruning import random_mask

SERVER = Path(__file__).parent / "saved_model_server.py"
LIBRARY = importlib.resources.files("keras_egru") / "ops" / library.LIBRARY
STRONG = keras.initializers.RandomNormal(0.5, 2.0, seed=3)


@pytest.fixture(autouse=True)
def _seeds():
    keras.utils.set_random_seed(0)


def sequential(*stack, steps=None):
    return keras.Sequential([keras.Input((steps, 6), name="sequences"), *stack])


def several():
    """Two inputs, of which one is a stream, and outputs of one layer and of another."""
    sequences, static = keras.Input((None, 6), name="sequences"), keras.Input((3,), name="static")
    y, last_y, last_c = EGRU(5, return_sequences=True, return_state=True, name="z")(sequences)
    hidden = EventLIF(4, return_sequences=True, kernel_initializer=STRONG, name="a")(y)
    both = layers.Concatenate()([layers.GRU(3)(hidden), static])
    return keras.Model([sequences, static], {"classes": layers.Dense(2)(both), "states": [last_y, last_c]})


def quantized():
    model = sequential(EGRU(8, return_sequences=True, name="hidden"), layers.Dense(3))
    model.layers[0].quantize("int8")
    return model


MODELS = {
    "egru": lambda: sequential(
        EGRU(16, return_sequences=True, dropout=0.2, output_dropout=0.1, dropconnect=0.3, zoneout=0.1, name="hidden",
             checkpoint_steps=3),
        ExponentialTrace(), layers.Dense(3, "softmax"),
    ),
    "lif": lambda: sequential(
        layers.Masking(),
        EventLIF(8, recurrent=True, tau_syn=5.0, gradient="eventprop", return_sequences=True, kernel_initializer=STRONG,
                 name="hidden", threshold=0.5),
        LeakyReadout(3, tau_syn=5.0, readout="sum_exp"),
    ),
    "both_ways": lambda: sequential(
        layers.Bidirectional(EGRU(4, return_sequences=True), name="hidden"), layers.Bidirectional(layers.LSTM(3)),
    ),
    "fixed_steps": lambda: sequential(
        layers.Dropout(0.5), EGRU(6, return_sequences=True, name="hidden"), ExponentialTrace(return_sequences=True),
        steps=20,
    ),
    "pruned": lambda: random_mask(sequential(EGRU(16, return_sequences=True, name="hidden"), layers.Dense(3)), 0.8),
    "quantized": quantized,
    "several": several,
    "keras_only": lambda: sequential(layers.GRU(4)),
}  # fmt: skip


def inputs_of(model, batch=3, steps=13):
    rng = np.random.default_rng(0)
    arrays = {}
    for x in model.inputs:
        shape = (batch, steps, x.shape[-1]) if len(x.shape) > 2 else (batch, x.shape[-1])
        arrays[x.name] = rng.normal(size=shape).astype("float32")
        if len(x.shape) > 2:
            arrays[x.name][0, -4:] = 0.0  # masked where there is a mask
    return arrays


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """All models, written with either op and served in a process of TensorFlow alone."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("served")
    models = {name: make() for name, make in MODELS.items()}
    for name, model in models.items():
        np.savez(folder / f"{name}.npz", **inputs_of(model))
        for op in saved_model.OPS:
            to_saved_model(model, folder / f"{name}-{op}", op)
    subprocess.run([sys.executable, SERVER, folder, str(LIBRARY)], check=True)
    return folder, models


@pytest.mark.parametrize("op", saved_model.OPS)
@pytest.mark.parametrize("name", MODELS)
def test_tensorflow_alone_serves_what_the_model_computes(served, name, op):
    folder, models = served
    model, found = models[name], dict(np.load(folder / f"{name}-{op}.npz"))
    inputs = inputs_of(model)
    with record_states() as records:
        outputs = model(list(inputs.values()) if len(inputs) > 1 else inputs["sequences"], training=False)
    events = {record.layer.name: np.asarray(record.y) for record in records if record.y is not None}
    if name == "several":
        outputs = dict(zip(("classes", "states", "states_1"), keras.tree.flatten(outputs), strict=True))
    else:
        outputs = {model.layers[-1].name: outputs}
    expected = {f"serving_default.{key}": np.asarray(value) for key, value in outputs.items()}
    expected |= {f"events.{key}": value for key, value in events.items()}
    assert set(found) == set(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
        if key.startswith("events"):
            assert 0.02 < np.mean(value != 0) < 0.95, key
    if name in ("egru", "lif", "both_ways", "several"):
        assert events


def test_without_the_library_tensorflow_names_the_op_and_a_text_beside_the_model_the_call(served):
    folder, _ = served
    assert "KerasEgru>EgruSequence" in (folder / "egru-custom.error").read_text()
    text = (folder / "egru-custom" / "assets.extra" / "README.txt").read_text()
    assert "KerasEgru>EgruSequence" in text
    assert f"call `tf.load_op_library` on {library.LIBRARY}" in text
    assert not (folder / "egru-portable" / "assets.extra").exists()
    assert not (folder / "keras_only-custom.error").exists()


def test_files_hold_no_names_of_this_machines_folders(served):
    folder, _ = served
    written = [
        file for name in ("egru", "lif") for op in saved_model.OPS for file in (folder / f"{name}-{op}").rglob("*")
    ]
    assert len(written) > 12
    for file in written:
        if file.is_file():
            content = file.read_bytes()
            for path in (str(Path(keras.__file__).parents[1]), str(Path(__file__).parents[2]), str(folder)):
                assert path.encode() not in content, file


@pytest.mark.parametrize("name", ["egru", "lif"])
def test_the_report_tells_ops_size_and_differences(tmp_path, name):
    model = MODELS[name]()
    x = inputs_of(model, batch=70)["sequences"]
    labels = np.argmax(np.asarray(model(x)), axis=-1)
    labels[:7] = (labels[:7] + 1) % 3
    reports = {op: to_saved_model(model, tmp_path / op, op, data=(x, labels)) for op in saved_model.OPS}
    ours = "KerasEgru>EgruSequence" if name == "egru" else "KerasEgru>LifSequence"
    assert reports["custom"].ops[ours] >= 2  # of each signature
    assert not any("KerasEgru" in op for op in reports["portable"].ops)
    for op, report in reports.items():
        assert report.path == str(tmp_path / op)
        assert report.format == "saved_model"
        assert report.signatures == ("events", "serving_default")
        assert report.size == sum(file.stat().st_size for file in (tmp_path / op).rglob("*") if file.is_file())
        assert report.samples == 70
        assert report.max_difference < 1e-4
        assert report.flipped_events == 0.0
        assert (report.keras_accuracy, report.accuracy) == (0.9, 0.9)
        assert json.loads(report.to_json())["signatures"] == ["events", "serving_default"]
    assert reports["custom"].max_difference == 0.0
    plain = to_saved_model(MODELS["keras_only"](), tmp_path / "plain", data=x)
    assert plain.signatures == ("serving_default",)
    assert (plain.max_difference, plain.flipped_events, plain.accuracy) == (0.0, None, None)


def test_the_report_sees_a_difference(tmp_path, monkeypatch):
    model = MODELS["egru"]()
    x = inputs_of(model)["sequences"]
    load = saved_model._observe

    def of_other_data(loaded, signatures, sequences):
        return load(loaded, signatures, -sequences)

    monkeypatch.setattr(saved_model, "_observe", of_other_data)
    report = to_saved_model(model, tmp_path / "model", data=x)
    assert report.max_difference > 0.01
    assert report.flipped_events > 0.05


def test_the_number_of_steps_is_free_where_layers_allow_it(tmp_path):
    def steps_of(*stack, op="portable"):
        to_saved_model(sequential(*stack, steps=20), folder := tmp_path / str(len(list(tmp_path.iterdir()))), op)
        (spec,) = load_saved_model(folder).signatures["serving_default"].structured_input_signature[1].values()
        assert (spec.name, spec.shape[0], spec.shape[2]) == ("sequences", None, 6)
        return spec.shape[1]

    assert steps_of(EGRU(3)) is None
    assert steps_of(EventLIF(3), op="custom") is None
    assert steps_of(layers.GRU(3, unroll=True)) == 20
    assert steps_of(layers.TimeDistributed(layers.Dense(3)), EGRU(3)) == 20


def test_masked_sequences_keep_their_masks(served):
    folder, models = served
    found = dict(np.load(folder / "lif-portable.npz"))
    assert np.any(found["events.hidden"][0, :-4])
    assert not np.any(found["events.hidden"][0, -4:])


def test_the_model_itself_is_left_as_it_was(tmp_path):
    model = MODELS["egru"]()
    x = inputs_of(model)["sequences"]
    before = np.asarray(model(x))
    to_saved_model(model, tmp_path / "model", "portable")
    assert model.layers[0].implementation == "auto"
    np.testing.assert_array_equal(model(x), before)


REFUSED = {
    "stateful": (
        lambda: keras.Sequential([keras.Input((None, 6), batch_size=2), EGRU(3, stateful=True, name="kept")]), "'kept'",
    ),
    "unbuilt": (lambda: keras.Sequential([EGRU(3)], name="raw"), "'raw' must be built"),
    "steps": (lambda: sequential(layers.TimeDistributed(layers.Dense(2), name="each")), "'each'.*steps"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_by_name(tmp_path, name):
    make, sentence = REFUSED[name]
    with pytest.raises(ValueError, match=sentence):
        to_saved_model(make(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments_leave_nothing_behind(tmp_path):
    model = sequential(EGRU(3))
    x = inputs_of(model)["sequences"]
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="`path`"):
        to_saved_model("not even looked at", tmp_path / "there")
    with pytest.raises(ValueError, match="`op`"):
        to_saved_model(model, tmp_path / "new", "fast")
    with pytest.raises(TypeError, match="`model`"):
        to_saved_model(EGRU(3), tmp_path / "new")
    with pytest.raises(ValueError, match="`data`"):
        to_saved_model(model, tmp_path / "new", data=(x, [0]))
    with pytest.raises(ValueError, match="`data`.*one input"):
        to_saved_model(several(), tmp_path / "new", data=x)
    with pytest.raises(ValueError, match="labels"):  # found out when the model is written already
        to_saved_model(model, tmp_path / "new", data=(x, np.zeros((3, 2))))
    (tmp_path / "there" / "file").write_text("mine")
    with pytest.raises(OSError, match="`path`"):
        to_saved_model(model, tmp_path / "there" / "file" / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_portable_means_that_no_custom_op_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_model, "portable", lambda model: contextlib.nullcontext())
    with pytest.raises(RuntimeError, match="KerasEgru>EgruSequence"):
        to_saved_model(sequential(EGRU(3)), tmp_path / "new", "portable")
    assert list(tmp_path.iterdir()) == []


def test_where_the_library_does_not_load_a_sentence_says_so(tmp_path, monkeypatch):
    model = sequential(EGRU(3))
    to_saved_model(model, tmp_path / "custom")
    to_saved_model(model, tmp_path / "portable", "portable")
    monkeypatch.setattr(library, "why_not", lambda: "the custom op library is not there.")
    with pytest.raises(RuntimeError, match=r"library is not there.*`tf.load_op_library`.*portable"):
        load_saved_model(tmp_path / "custom")
    load_saved_model(tmp_path / "portable")
    with pytest.raises(RuntimeError, match=r'op="custom".*library is not there.*op="portable"'):
        to_saved_model(model, tmp_path / "new")
    to_saved_model(sequential(layers.GRU(2)), tmp_path / "plain")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["custom", "plain", "portable"]
    with pytest.raises(OSError, match="`path`.*SavedModel"):
        load_saved_model(tmp_path / "nowhere")
