"""`python -m keras_egru.export`, and what it says of checkpoints that it cannot export."""

import json
import re
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from keras_egru import EGRU, EventLIF, ExponentialTrace, LeakyReadout
from keras_egru.export.__main__ import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two checkpoints and a file of data."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints")
    model = keras.Sequential(
        [keras.Input((None, 4)), EGRU(48, return_sequences=True), ExponentialTrace(), keras.layers.Dense(3)]
    )
    model.save(folder / "egru.keras")
    spiking = keras.Sequential(
        [keras.Input((None, 4)), EventLIF(5, reset="zero", return_sequences=True), LeakyReadout(2)]
    )
    spiking.save(folder / "lif.keras")
    x = np.random.default_rng(0).normal(size=(4, 6, 4)).astype("float32")
    np.savez(folder / "data.npz", x=x, y=np.argmax(np.asarray(model(x)), axis=-1))
    return folder


def test_a_process_of_its_own_writes_a_file_and_tells_of_it(folder, tmp_path):
    options = "--to tflite --mode streaming --quantize int8 --representative-data data.npz --data data.npz --json"
    command = [sys.executable, "-m", "keras_egru.export", "egru.keras", *options.split()]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "a.tflite")], cwd=folder, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["path"] == str(tmp_path / "a.tflite")
    assert report["size"] == (tmp_path / "a.tflite").stat().st_size
    assert report["keras_accuracy"] == 1.0
    assert report["signatures"] == ["init", "step"]


def test_the_file_lies_beside_the_checkpoint_unless_told(folder, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(folder / "egru.keras", run / "model.keras")
    shutil.copy(folder / "lif.keras", tmp_path / "lif.keras")
    assert main([str(run), "--to", "tflite"]) == 0
    assert (tmp_path / "run.tflite").is_file()
    assert main([str(run / "model.keras"), "--to", "saved_model", "--op", "portable"]) == 0
    assert (run / "model_saved_model" / "saved_model.pb").is_file()
    assert main([str(tmp_path / "lif.keras"), "--to", "nir", "--time-unit", "0.01"]) == 0
    assert (tmp_path / "lif.nir").is_file()
    assert "tflite" in capsys.readouterr().out


def _edited(source, target, change):
    """A copy of a .keras file with another configuration or metadata."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))


def _newer_keras(name, content):
    return content.replace(b'"3.', b'"9.') if name == "metadata.json" else content


def _newer_layer(name, content):
    return content.replace(b'"reset_after"', b'"dendrites": 3, "reset_after"') if name == "config.json" else content


def _unknown_layer(name, content):
    return content.replace(b"EGRU", b"QGRU") if name == "config.json" else content


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_newer_keras, r"was saved by Keras 9\.\S+, and this is 3\.\S+: update Keras"),
        (_newer_layer, r"holds 'dendrites', which keras-egru \S+ and Keras \S+ do not know: it was saved by a newer"),
        (_unknown_layer, r"holds 'QGRU', which keras-egru"),
    ],
)
def test_checkpoints_of_newer_versions(change, sentence, folder, tmp_path, capsys):
    _edited(folder / "egru.keras", tmp_path / "newer.keras", change)
    assert main([str(tmp_path / "newer.keras"), "--to", "tflite"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: `checkpoint`")
    assert error.count("\n") == 1
    assert re.search(sentence, error), error
    assert [file.name for file in tmp_path.iterdir()] == ["newer.keras"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.keras", "--to", "tflite"], "must be a .keras file or a folder with model.keras, and there is no"),
        (["data.npz", "--to", "tflite"], "must be a Keras model (.keras), and data.npz is none or is damaged"),
        (
            ["egru.keras", "--to", "tflite", "--quantize", "int8", "--mode", "streaming"],
            "`representative_data` must be",
        ),
        (["egru.keras", "--to", "tflite", "--out", "data.npz"], "`path` must be new"),
        (["egru.keras", "--to", "tflite", "--data", "nowhere.npz"], "`--data` must be an .npz file"),
        (["egru.keras", "--to", "tflite", "--data", "other.npz"], "`--data` must hold sequences `x`"),
        (["egru.keras", "--to", "nir", "--mode", "streaming"], "`--mode` has no use with --to nir"),
        (
            ["egru.keras", "--to", "saved_model", "--dense-weights"],
            "`--dense-weights` has no use with --to saved_model",
        ),
        (["egru.keras", "--to", "saved_model", "--op", "sparse"], "`op` must be one of ('custom', 'portable')"),
    ],
)
def test_what_it_refuses(arguments, sentence, folder, monkeypatch, capsys):
    np.savez(folder / "other.npz", z=np.ones(2))
    monkeypatch.chdir(folder)
    before = sorted(file.name for file in folder.iterdir())
    assert main(arguments) == 1
    assert sentence in capsys.readouterr().err
    assert sorted(file.name for file in folder.iterdir()) == before


def test_a_wrong_command_line_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["egru.keras", "--to", "onnx"])
    assert stop.value.code == 2
    assert "invalid choice: 'onnx'" in capsys.readouterr().err


def test_zeros_are_written_where_asked(tmp_path):
    model = keras.Sequential([keras.Input((None, 4)), EGRU(48)])
    kernel = model.layers[0].cell.recurrent_kernel
    kernel.assign(np.eye(48, 144, dtype="float32"))
    model.save(tmp_path / "pruned.keras")
    sizes = []
    for name, options in (("packed", []), ("whole", ["--dense-weights"])):
        out = tmp_path / f"{name}.tflite"
        assert main([str(tmp_path / "pruned.keras"), "--to", "tflite", "--out", str(out), *options]) == 0
        sizes.append(out.stat().st_size)
    assert sizes[0] < sizes[1] - 20_000
