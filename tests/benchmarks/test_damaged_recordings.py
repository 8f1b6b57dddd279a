"""Files of events that are cut off, changed, empty or not to be read: each is named in one sentence."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.config import resolve
from benchmarks.errors import DataMissing
from benchmarks.tasks import TASKS, config_class, data_folder

SUBSET = "nmnist_subset/nmnist_1_1.npz"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[: len(content) // 2], "cannot be read as recordings of N-MNIST"),
        (lambda content: content.replace(b"\x05\x06\x07", b"\x05\x06\x08"), "cannot be read .*Bad CRC-32"),
        (lambda content: b"", "cannot be read as recordings of N-MNIST"),
        (lambda content: b"no zip", "cannot be read as recordings of N-MNIST"),
    ],
)
def test_a_damaged_file_of_some_recordings_is_named(tmp_path, damage, words):
    path = _write_subset(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataMissing, match=f"^nmnist_1_1.npz {words}"):
        _load("nmnist", tmp_path)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    _write_subset(tmp_path)
    monkeypatch.setattr(np, "load", _refuse)  # the superuser of a test machine may read all
    with pytest.raises(DataMissing, match=r"^nmnist_1_1.npz cannot be read .*Permission denied"):
        _load("nmnist", tmp_path)


def test_the_published_file_is_verified_and_another_is_not(tmp_path):
    path = _write_subset(tmp_path)
    assert _load("nmnist", tmp_path).describe()["verified"] is None
    path.rename(path.with_name("nmnist_1000_100.npz"))
    with pytest.raises(DataMissing, match=r"^nmnist_1000_100.npz is not the published file, .* 14,552,120 are wanted"):
        _load("nmnist", tmp_path)
    assert _load("nmnist", tmp_path, "verify_data=false").describe()["verified"] is False


def test_a_file_of_gestures_is_verified(tmp_path):
    path = tmp_path / "dvs_gesture_subset" / "dvs128_gesture_10.npz"
    path.parent.mkdir()
    path.write_bytes(b"PK")
    with pytest.raises(DataMissing, match=r"^dvs128_gesture_10.npz is not the published file, it has 2 bytes where"):
        _load("gesture", tmp_path)


def test_a_recording_without_events_is_refused(tmp_path):
    _write_subset(tmp_path, offsets_test=np.array([0, 0, 3, 6]), label_test=np.zeros(3, int))
    with pytest.raises(DataMissing, match="^recording 0 of nmnist_1_1.npz holds no events"):
        _load("nmnist", tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no events"),
        (b"\x01\x01\x80\x00\x64\x02", "cannot be read as a recording of N-MNIST .it ends 1 bytes into an event of 5"),
        (b"\x01\xc8\x80\x00\x64", "must hold y from 0 to 33, received 200"),
    ],
)
def test_a_damaged_file_of_the_full_data_set_is_named(tmp_path, monkeypatch, content, words):
    tonic = pytest.importorskip("tonic")
    monkeypatch.setattr(tonic.datasets.NMNIST, "_check_exists", lambda self: True)  # it counts 10,000 files
    for part in ("Train", "Test"):
        for number in range(3):
            path = tmp_path / "NMNIST" / part / "0" / f"{number}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\x01\x01\x80\x00\x64")
    assert len(_load("nmnist", tmp_path).test.y) == 3
    path.write_bytes(content)
    with pytest.raises(DataMissing, match=f"^{path} {words}"):
        _load("nmnist", tmp_path)


def test_a_file_of_spoken_words_is_named_wherever_it_is_cut_or_changed(tmp_path):
    path = tmp_path / "SHD" / "shd_train.h5"
    _write_speech(path)
    _write_speech(path.with_name("shd_test.h5"))
    content = path.read_bytes()
    for length in range(0, len(content) - 8, len(content) // 20):
        path.write_bytes(content[:length])
        with pytest.raises(DataMissing, match=r"^shd_train.h5 cannot be read as a file of SHD"):
            _load("shd", tmp_path)
    told, rng = [], np.random.default_rng(0)
    for place in rng.integers(0, len(content), 100):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            _load("shd", tmp_path)
        except DataMissing as error:  # any other exception fails this test
            told.append("shd_train.h5" in str(error))
    assert told
    assert all(told)
    with h5py.File(path, "w") as file:
        file.create_group("labels")
    with pytest.raises(DataMissing, match=r"^shd_train.h5 cannot be read as a file of SHD"):
        _load("shd", tmp_path)


def test_a_data_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(data_folder.os, "access", lambda path, mode: False)
    with pytest.raises(DataMissing, match=f"^the data folder {tmp_path} may not be read"):
        _load("nmnist", tmp_path)


def _write_subset(folder, **change):
    """A file of two training recordings and one for the test, of three events each."""
    arrays = {}
    for part, recordings in {"train": 2, "test": 1}.items():
        arrays |= {f"{axis}_{part}": np.full(3 * recordings, 1, "uint8") for axis in "yp"}
        arrays |= {
            f"x_{part}": np.tile(np.array([5, 6, 7], "uint8"), recordings),
            f"t_{part}": np.tile(np.arange(3, dtype="int32"), recordings),
            f"offsets_{part}": 3 * np.arange(recordings + 1),
            f"label_{part}": np.zeros(recordings, "int64"),
        }
    arrays |= change
    for axis in "xypt":
        arrays[f"{axis}_test"] = np.resize(arrays[f"{axis}_test"], arrays["offsets_test"][-1])
    arrays["t_test"] = np.zeros(len(arrays["t_test"]), "int32")
    path = Path(folder) / SUBSET
    path.parent.mkdir()
    np.savez(path, **arrays)
    return path


def _write_speech(path):
    """Two words of three spikes, in the format of SHD."""
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values, kind in (("times", [0.0625, 0.125, 0.25], "float16"), ("units", [1, 2, 3], "uint16")):
            rows = file.create_dataset(f"spikes/{name}", (2,), h5py.vlen_dtype(np.dtype(kind)))
            for index in range(2):
                rows[index] = np.array(values, kind)
        file["labels"] = np.arange(2, dtype="uint16")
        file["extra/speaker"] = np.arange(2, dtype="uint16")


def _refuse(*arguments, **options):
    raise PermissionError(13, "Permission denied")


def _load(task, folder, *assignments):
    sizes = {"nmnist": ["train_size=null", "test_size=null", "validation_share=0.5"], "shd": ["train_size=null"]}
    sizes = sizes.get(task, [])
    config = resolve(config_class(task, "lif"), task, "smoke", "lif", [*sizes, *assignments])
    return TASKS[task].load(config, str(folder))
