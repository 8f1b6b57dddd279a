import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.config import resolve
from benchmarks.errors import ConfigError, DataMissing
from benchmarks.tasks import TASKS, config_class, spiking_speech

SPEAKERS = (4, 7, 0)


def test_spikes_are_read_in_seconds_and_binned_in_milliseconds(tmp_path):
    _write_shd(tmp_path)
    dataset = TASKS["shd"].load(_config("shd", "dt=1", "trial_ms=1000"), str(tmp_path))
    assert dataset.train.x.shape[1:] == (1000, 700)
    for split in (dataset.train, dataset.validation, dataset.test):
        dense = np.asarray(split.x)
        # The word of label k has its spikes in the channels k to k + 2, at 1/16 s, 1/8 s and, beyond the trial, 1.25 s.
        wanted = [[[62, label], [125, label + 1]] for label in split.y]
        assert [np.argwhere(example).tolist() for example in dense] == wanted


def test_validation_hears_speakers_whom_training_does_not(tmp_path):
    _write_shd(tmp_path)
    dataset = TASKS["shd"].load(_config("shd", "validation_speakers=4,0"), str(tmp_path))
    assert [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)] == [4, 8, 6]
    assert dataset.train.y.tolist() == [1, 4, 7, 10]  # every third word is speaker 7's
    assert not dataset.complete
    with pytest.raises(ConfigError, match=r"validation_speakers must be some of \[0, 4, 7\], received 5"):
        TASKS["shd"].load(_config("shd", "validation_speakers=5"), str(tmp_path))
    with pytest.raises(ConfigError, match="train_size must be at most 4"):
        TASKS["shd"].load(_config("shd", "validation_speakers=4,0", "train_size=5"), str(tmp_path))


def test_without_speakers_validation_is_a_share_of_all_words(tmp_path):
    _write_shd(tmp_path)
    dataset = TASKS["shd"].load(_config("shd", "validation_speakers=", "validation_share=0.25"), str(tmp_path))
    assert [len(split.y) for split in (dataset.train, dataset.validation)] == [9, 3]
    assert sorted([*dataset.train.y, *dataset.validation.y]) == list(range(12))


def test_the_published_numbers_of_recordings_are_complete(tmp_path, monkeypatch):
    _write_shd(tmp_path)
    monkeypatch.setattr(spiking_speech.SHD, "published", (12, 6))
    assert TASKS["shd"].load(_config("shd"), str(tmp_path)).complete
    assert not TASKS["shd"].load(_config("shd", "test_size=5"), str(tmp_path)).complete
    assert not TASKS["shd"].load(_config("shd", "train_size=3"), str(tmp_path)).complete


def test_the_commands_have_a_validation_part_of_their_own(tmp_path):
    for part, words in {"train": 12, "valid": 5, "test": 6}.items():
        _write(tmp_path / "SSC" / f"ssc_{part}.h5", words)
    dataset = TASKS["ssc"].load(_config("ssc", "train_size=10"), str(tmp_path))
    assert [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)] == [10, 5, 6]
    assert dataset.classes == 35


def test_a_folder_tonic_is_found_within_the_data(tmp_path):
    _write_shd(tmp_path / "tonic")
    assert TASKS["shd"].load(_config("shd"), str(tmp_path)).name == "SHD"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"units": lambda units: units + 698}, "recording 0 of shd_train.h5 must hold channels from 0 to 699"),
        ({"times": lambda times: times[::-1]}, "recording 0 of shd_train.h5 must hold times in order"),
        ({"times": lambda times: times - 1}, "must hold times from 0 on, received -937.5 ms"),
        ({"times": lambda times: times * np.nan}, "must hold finite times, received nan"),
        ({"times": lambda times: times * 1_000}, "must end within 2000 ms, received an event at 1.25e[+]06 ms"),
        ({"times": lambda times: times[:2]}, "must hold as many times as channels"),
        ({"label": 20}, "shd_train.h5 must hold labels from 0 to 19, received 20"),
        ({"left_out": "spikes/units"}, "shd_train.h5 cannot be read as a file of SHD"),
        ({"speakers": 11}, "as many times and units as labels and speakers"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path, change, words):
    _write_shd(tmp_path)
    _write(tmp_path / "SHD" / "shd_train.h5", 12, **change)
    with pytest.raises(DataMissing, match=words):
        TASKS["shd"].load(_config("shd"), str(tmp_path))


def test_a_file_that_is_no_hdf5_is_refused(tmp_path):
    _write_shd(tmp_path)
    (tmp_path / "SHD" / "shd_test.h5").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataMissing, match="shd_test.h5 cannot be read as a file of SHD"):
        TASKS["shd"].load(_config("shd"), str(tmp_path))


@pytest.mark.parametrize("task", ["shd", "ssc"])
def test_absent_data_is_asked_of_tonic_by_its_part_and_then_missing(tmp_path, monkeypatch, task):
    datasets = pytest.importorskip("tonic").datasets
    asked = []

    def refuse(save_to, **options):
        asked.append((save_to, options))
        raise OSError("no network")

    monkeypatch.setattr(datasets, task.upper(), refuse)
    with pytest.raises(DataMissing, match=rf"{task.upper()} is not in .* \(OSError: no network\): name a folder"):
        TASKS[task].load(_config(task), str(tmp_path))
    assert asked == [(str(tmp_path), {"train": True} if task == "shd" else {"split": "train"})]


def test_the_real_digits_are_complete_where_a_folder_has_them():
    folder = os.environ.get("KERAS_EGRU_DATA")
    if not folder or not any(Path(folder).glob("**/SHD/shd_train.h5")):
        pytest.skip("KERAS_EGRU_DATA names no folder with SHD/shd_train.h5 in it")
    assert TASKS["shd"].load(_config("shd"), None).complete


def _write_shd(folder):
    _write(folder / "SHD" / "shd_train.h5", 12)
    _write(folder / "SHD" / "shd_test.h5", 6)


def _write(path, words, times=None, units=None, label=None, speakers=None, left_out=None):
    """A file in the format of SHD: word k has label k, and the speakers of `SPEAKERS` take turns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    all_times = [np.array([0.0625, 0.125, 1.25], "float16")] * words
    all_units = [np.arange(k, k + 3, dtype="uint16") for k in range(words)]
    if times:
        all_times = [times(array) for array in all_times]
    if units:
        all_units = [units(array) for array in all_units]
    with h5py.File(path, "w") as file:
        for name, arrays, kind in (("times", all_times, "float16"), ("units", all_units, "uint16")):
            rows = file.create_dataset(f"spikes/{name}", (words,), h5py.vlen_dtype(np.dtype(kind)))
            for index, array in enumerate(arrays):
                rows[index] = array
        file["labels"] = np.array([*range(words - 1), words - 1 if label is None else label], "uint16")
        file["extra/speaker"] = np.resize(SPEAKERS, speakers or words).astype("uint16")
        file["extra/keys"] = np.array([b"null", b"eins"])
        if left_out:
            del file[left_out]


def _config(task, *assignments):
    sizes = ["train_size=null", "test_size=null"]
    return resolve(config_class(task, "lif"), task, "smoke", "lif", [*sizes, *assignments])
