import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks.config import resolve
from benchmarks.errors import ConfigError, DataMissing
from benchmarks.frame_classification import build
from benchmarks.front_ends import front_end_macs
from benchmarks.sparsities import sparsity
from benchmarks.tasks import TASKS, config_class
from benchmarks.tasks.dataset import Dataset, Split
from keras_egru.export.tflite_runner import run_steps

LENGTH = 700_000  # microseconds of a recording
NETWORK = ["front_end=cnn", "layers=2", "image_size=8", "units=8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder with a file like that of the ten recordings: class k moves in column `12 k`."""
    folder = tmp_path_factory.mktemp("gestures")
    _write_subset(folder)
    return folder


@pytest.fixture(scope="module")
def exported(folder, call, tmp_path_factory):
    """`(folder of the run, record)` of a run with front end, two layers, augmentation and export."""
    out = tmp_path_factory.mktemp("runs") / "run"
    options = [text for assignment in (*NETWORK, "augment=true", "train_size=20") for text in ("--set", assignment)]
    result = call(
        "run", "gesture", "--preset", "smoke", "--data-dir", folder, "--out", out, *options, "--export", "--json"
    )
    assert result.exit_code == 0, result.stderr
    return out, json.loads(result.stdout)


def test_splits_within_recordings_share_no_event_and_are_labelled_as_such(folder):
    dataset = _load(folder, "train_size=null", "hop_ms=20")
    assert dataset.name == "DVS128 Gesture, 10 recordings, split within recordings"
    assert not dataset.complete
    # 420, 105 and 175 ms of each recording, in windows of 100 ms.
    assert [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)] == [160, 10, 40]
    for split in (dataset.train, dataset.validation, dataset.test):
        assert np.bincount(split.y).tolist() == [len(split.y) // 10] * 10
        columns = np.asarray(split.x).reshape(-1, 10, 8, 8, 2).sum(axis=(1, 2, 4)).argmax(axis=1)
        np.testing.assert_array_equal(columns, split.y * 12 * 8 // 128)
    # Row k is where events are from k to k + 1 sixths of the time, seen by no split but the one to which they belong.
    rows = [np.asarray(split.x).reshape(-1, 8, 8, 2).sum(axis=(0, 2, 3)) > 0 for split in (dataset.train, dataset.test)]
    assert not (rows[0] & rows[1]).any()


def test_a_shuffled_part_of_the_training_windows_can_be_asked_for(folder):
    all_of_them, some = _load(folder, "train_size=null"), _load(folder, "train_size=7")
    assert len(some.train.y) == 7
    np.testing.assert_array_equal(some.train.y, all_of_them.train.y[:7])
    assert len(set(some.train.y.tolist())) > 3
    with pytest.raises(ConfigError, match="train_size must be at most 160, received 161"):
        _load(folder, "train_size=161")


def test_spiking_networks_get_frames_of_zeros_and_ones(folder):
    frames = np.asarray(_load(folder, model="lif").validation.x)
    assert set(np.unique(frames).tolist()) == {0.0, 1.0}
    counts = np.asarray(_load(folder, "full_count=20").validation.x)
    assert counts.max() == 5 / 20
    np.testing.assert_array_equal(frames, counts > 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label_inferred": None}, "cannot be read as recordings of gestures"),
        ({"label_inferred": np.arange(3)}, "as many events as offsets says, and a label for each"),
        ({"x": np.zeros(3, "uint8")}, "as many events as offsets says"),
        ({"label_inferred": np.arange(1, 11)}, r"recording 9 of .* must have a label from 0 to 9, received 10"),
        ({"p": 2}, r"recording 0 of .* must hold p from 0 to 1, received 2"),
        ({"offsets": 0}, r"recording 0 of .* holds no events"),
    ],
)
def test_a_file_that_holds_no_gestures_is_refused(tmp_path, change, words):
    _write_subset(tmp_path, **change)
    with pytest.raises(DataMissing, match=words):
        _load(tmp_path)


def test_a_file_that_is_cut_or_a_recording_that_is_too_short_is_refused(folder, tmp_path):
    with pytest.raises(DataMissing, match=r"recording 0 of .* 200 ms of a window \(trial_ms\) in each of its parts"):
        _load(folder, "trial_ms=200")
    shutil.copytree(folder / "dvs_gesture_subset", tmp_path / "dvs_gesture_subset")
    (path,) = tmp_path.glob("*/*.npz")
    path.write_bytes(path.read_bytes()[:5_000])
    with pytest.raises(DataMissing, match="cannot be read as recordings of gestures"):
        _load(tmp_path)


def test_without_data_the_folder_is_asked_for(tmp_path, monkeypatch):
    with pytest.raises(DataMissing, match=r"the data folder .*nowhere does not exist"):
        _load(tmp_path / "nowhere")
    tonic = pytest.importorskip("tonic")
    monkeypatch.setattr(tonic.datasets.DVSGesture, "download", _no_network)
    with pytest.raises(DataMissing, match=r"DVSGesture is not in .* \(OSError: no network\)"):
        _load(tmp_path)
    monkeypatch.delenv("KERAS_EGRU_DATA", raising=False)
    with pytest.raises(DataMissing, match="DVSGesture needs a folder"):
        TASKS["gesture"].load(_config(), None)


def test_the_published_data_set_is_read_through_tonic_and_persons_validate(tmp_path, monkeypatch):
    tonic = pytest.importorskip("tonic")
    monkeypatch.setattr(tonic.datasets.DVSGesture, "_check_exists", lambda self: True)  # it wants the archive too
    for part, persons in (("Train", (1, 2, 3)), ("Test", (24,))):
        for person in persons:
            place = tmp_path / "DVSGesture" / f"ibmGesture{part}" / f"user{person:02}_led"
            place.mkdir(parents=True)
            for label in (0, 10):
                np.save(place / f"{label}.npy", _rows(column=person, milliseconds=250))
    dataset = _load(tmp_path, "train_size=null", "hop_ms=null", "denoise_ms=0", "image_size=128")
    assert (dataset.name, dataset.classes, dataset.complete) == ("DVS128 Gesture", 11, True)
    columns = [_columns(split) for split in (dataset.train, dataset.validation, dataset.test)]
    assert columns == [{1, 2}, {3}, {24}]
    assert [sorted(split.y.tolist()) for split in (dataset.train, dataset.test)] == [[0] * 4 + [10] * 4, [0, 0, 10, 10]]
    assert not _load(tmp_path, "train_size=3").complete
    np.save(tmp_path / "DVSGesture" / "ibmGestureTest" / "user24_led" / "11.npy", _rows(1, 250))
    with pytest.raises(DataMissing, match=r"11.npy must have a label from 0 to 10, received 11"):
        _load(tmp_path)
    (tmp_path / "DVSGesture" / "ibmGestureTest" / "user24_led" / "11.npy").write_bytes(b"half of")
    (tmp_path / "DVSGesture" / "ibmGestureTest" / "user24_led" / "11.npy").rename(place / "5.npy")
    with pytest.raises(DataMissing, match=r"5.npy cannot be read as a recording of DVS128 Gesture"):
        _load(tmp_path)


def test_own_recordings_are_split_as_whole_files(tmp_path):
    expelliarmus = pytest.importorskip("expelliarmus")
    for name in ("up", "down"):
        place = tmp_path / "recordings" / name
        place.mkdir(parents=True)
        (place / ".hidden").write_bytes(b"")
        for number in range(4):
            rows = _rows(column=10 * (name == "up") + number, milliseconds=220)
            events = np.empty(len(rows), [("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "u1")])
            events["x"], events["y"], events["p"], events["t"] = *rows.T[:3], rows[:, 3] * 1000
            expelliarmus.Wizard(encoding="dat").save(str(place / f"{number}.dat"), events)
    dataset = _load(tmp_path, "train_size=null", "hop_ms=null", "image_size=15")
    assert (dataset.name, dataset.classes, dataset.complete) == ("own recordings of 2 classes", 2, False)
    columns = [_columns(split) for split in (dataset.train, dataset.validation, dataset.test)]
    assert [len(found) for found in columns] == [4, 2, 2]
    assert set.union(*columns) == {*range(4), *range(10, 14)}
    for split, found in zip((dataset.train, dataset.validation, dataset.test), columns, strict=True):
        ups = sum(column >= 10 for column in found)
        assert np.bincount(split.y).tolist() == [2 * (len(found) - ups), 2 * ups]  # "down" comes first
    (tmp_path / "recordings" / "up" / "0.dat").unlink()
    (tmp_path / "recordings" / "up" / "1.dat").write_bytes(b"% Version 2\n\x00\x08 broken")
    with pytest.raises(DataMissing, match=r"up/1.dat is cut off"):
        _load(tmp_path)
    (tmp_path / "recordings" / "up" / "1.dat").unlink()
    with pytest.raises(DataMissing, match=r"up must hold 3 recordings at least, .* and holds 2"):
        _load(tmp_path)
    shutil.rmtree(tmp_path / "recordings" / "up")
    with pytest.raises(DataMissing, match="a folder of recordings for each of two classes"):
        _load(tmp_path)


def test_one_command_goes_from_events_to_a_file_that_classifies_them_step_by_step(exported, folder):
    out, record = exported
    document = json.loads((out / "export.json").read_text())
    (row,) = document["forms"]
    assert (row["file"], row["kind"], row["op"]) == ("model.tflite", "streaming", "builtins")
    assert row["bytes"] == (out / "model.tflite").stat().st_size
    assert (document["samples"], document["run"]["name"]) == (40, record["name"])
    assert document["keras_accuracy"] == pytest.approx(record["test_accuracy"])
    assert row["accuracy"] == pytest.approx(record["test_accuracy"])
    assert row["max_difference"] < 1e-4
    assert row["flipped_events"] < 1e-3
    test = _load(folder, *NETWORK).test
    outputs = run_steps((out / "model.tflite").read_bytes(), np.asarray(test.x), 1, False, [False], []).outputs[0]
    assert np.mean(outputs.argmax(-1) == test.y) == pytest.approx(row["accuracy"])


def test_the_front_end_is_counted_and_has_no_sparsity(exported):
    record = exported[1]
    network = keras.saving.load_model(exported[0] / "model.keras")
    # 4 x 4 places of 5 x 5 x 2 x 8 products, 2 x 2 of 3 x 3 x 8 x 16, and one of 3 x 3 x 16 x 16.
    macs = 4 * 4 * 5 * 5 * 2 * 8 + 2 * 2 * 3 * 3 * 8 * 16 + 3 * 3 * 16 * 16
    assert front_end_macs(network) == macs
    assert record["layers"]["front_end"] == {
        "activity_sparsity": None, "backward_sparsity": None, "surrogate_sparsity": None,
        "effective_macs": macs, "dense_macs": macs,
    }  # fmt: skip
    assert list(record["layers"]) == ["front_end", "recurrent_1", "recurrent_2"]
    readout = 8 * 10 / 10  # once in ten steps
    recurrent = 3 * 8 * (16 + 8) + 3 * 8 * (8 + 8)
    assert record["dense_macs"] == pytest.approx(macs + recurrent + readout)
    assert macs < record["effective_macs"] < record["dense_macs"]
    assert 0.0 < record["activity_sparsity"] < 1.0


def test_the_upper_layer_of_two_multiplies_events_of_the_lower_one():
    config = _config("layers=2", "image_size=2", "units=6", "update_gate_bias=1")
    network = build(config, "egru", _random(config), seed=0)
    assert [layer.name for layer in network.layers[1:]] == ["recurrent_1", "recurrent_2", "readout", "classifier"]
    for number in (1, 2):
        assert np.ravel(network.get_layer(f"recurrent_{number}").cell.bias)[:6].tolist() == [1.0] * 6
    first, second = (network.get_layer(f"recurrent_{number}").cell.threshold for number in (1, 2))
    assert np.abs(np.asarray(first) - np.asarray(second)).max() > 0.01
    x = np.random.default_rng(0).random((5, 10, 8)).astype("float32")
    layers = sparsity(network, x, 5)["layers"]
    events = 1.0 - layers["recurrent_1"]["activity_sparsity"]
    own = 1.0 - layers["recurrent_2"]["activity_sparsity"]
    assert layers["recurrent_2"]["effective_macs"] == pytest.approx(6 * 18 * (events + own))


def test_alexnet_is_of_the_papers_cost():
    config = _config("image_size=128", "front_end=alexnet", "units=4")
    network = build(config, "gru", _random(config), seed=0)
    assert 70e6 < front_end_macs(network) < 80e6
    assert network.get_layer("front_end").output.shape[-1] == 3 * 3 * 48


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["front_end=alexnet"], "front_end=alexnet needs an image_size of 64 at least, received 8"),
        (["front_end=cnn", "image_size=4"], "front_end=cnn needs an image_size of 8 at least, received 4"),
        (["front_end=cnn", "prune=0.5", "prune_weights=all"], "convolutions are not pruned"),
        (["validation_share=0.5", "test_share=0.5"], "must leave a share to train on"),
    ],
)
def test_options_that_do_not_fit_are_refused(assignments, words):
    with pytest.raises(ConfigError, match=words):
        _config(*assignments)


def test_a_network_without_steps_is_refused_before_it_is_trained(call, folder, tmp_path):
    options = ("--preset", "smoke", "--model", "lif", "--set", "input_dropout=0.1", "--export")
    result = call("run", "gesture", *options, "--data-dir", folder, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "--export wants a network that goes step by step: Layer 'spike_dropout" in result.stderr
    assert "epoch" not in result.stderr
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def test_the_real_recordings_are_sound():
    folder = os.environ.get("KERAS_EGRU_DATA")
    if not folder or not any(Path(folder).glob("dvs_gesture_subset/*.npz")):
        pytest.skip("KERAS_EGRU_DATA names no folder with dvs_gesture_subset/*.npz in it")
    dataset = _load(folder, "trial_ms=200", "hop_ms=null", "train_size=null", "image_size=32", "validation_share=0.2")
    assert [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)] == [30, 10, 10]
    share = (np.asarray(dataset.train.x) > 0).mean()
    assert 0.02 < share < 0.2


def _load(folder, *assignments, model="egru"):
    return TASKS["gesture"].load(_config(*assignments, model=model), str(folder))


def _config(*assignments, model="egru"):
    return resolve(config_class("gesture", model), "gesture", "smoke", model, ["train_size=null", *assignments])


def _random(config):
    split = Split(np.zeros((2, config.steps, config.channels), "float32"), np.zeros(2, "int32"))
    return Dataset("none", None, 3, False, split, split, split)


def _write_subset(folder, **change):
    t = np.arange(0, LENGTH, 1_000)
    events = {
        "x": np.repeat(np.arange(10) * 12, len(t)),
        "y": np.tile(t * 6 // LENGTH * 16, 10),
        "p": np.tile(t // 1_000 % 2, 10),
        "t": np.tile(t, 10),
        "offsets": np.arange(11) * len(t),
        "label_inferred": np.arange(10),
    }
    for name, value in change.items():
        if isinstance(value, int):
            events[name][1 if name == "offsets" else 0] = value
        else:
            events[name] = value
    (folder / "dvs_gesture_subset").mkdir()
    np.savez(
        folder / "dvs_gesture_subset" / "some.npz", **{k: array for k, array in events.items() if array is not None}
    )


def _rows(column, milliseconds):
    """Rows of x, y, p and ms, as the published files have them."""
    t = np.arange(milliseconds)
    return np.stack([np.full(len(t), column), t % 15, t % 2, t], axis=1)


def _columns(split):
    side = round((split.x.shape[-1] / 2) ** 0.5)
    return set(np.flatnonzero(np.asarray(split.x).reshape(-1, side, side, 2).sum(axis=(0, 1, 3))).tolist())


def _no_network(self):
    raise OSError("no network")
