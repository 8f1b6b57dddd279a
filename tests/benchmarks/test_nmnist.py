import sys
import types

import numpy as np
import pytest

from benchmarks.config import resolve
from benchmarks.errors import CannotRun, ConfigError, DataMissing
from benchmarks.tasks import TASKS, config_class
from benchmarks.tasks.nmnist import camera_events, places
from benchmarks.tasks.spike_trains import Recordings

EVENTS = {"x": [0, 33, 5], "y": [0, 33, 2], "p": [1, 0, 1], "t": [0, 1_999, 299_999]}


@pytest.mark.parametrize(
    ("polarity", "channels", "step"),
    [
        ("merged", [0, 1_155, 73], [0, 1, 299]),
        ("both", [1_156, 1_155, 1_229], [0, 1, 299]),
        ("on", [0, 73], [0, 299]),
        ("off", [1_155], [1]),
    ],
)
def test_a_pixel_is_a_channel_and_a_millisecond_a_step(polarity, channels, step):
    config = _config(f"polarity={polarity}", "trial_ms=300", "dt=1")
    assert _steps_and_channels(config) == (step, channels)
    assert config.channels == (2_312 if polarity == "both" else 1_156)


def test_blocks_of_pixels_can_share_a_channel():
    config = _config("polarity=both", "downscale=2", "trial_ms=300", "dt=1")
    assert config.channels == 2 * 17 * 17
    assert _steps_and_channels(config)[1] == [289, 288, 289 + 17 + 2]
    with pytest.raises(ConfigError, match="downscale must divide 34, received 3"):
        _config("downscale=3")


def test_a_recording_is_moved_as_a_whole_and_loses_what_leaves_the_sensor():
    config = _config("polarity=both", "downscale=2", "trial_ms=300", "dt=1")
    to_the_right = places(config, right=1)
    assert _steps_and_channels(config, to_the_right) == ([0, 299], [289, 289 + 17 + 3])
    assert _steps_and_channels(config, places(config, down=-2)) == ([1, 299], [15 * 17 + 16, 289 + 2])
    assert (places(config, right=34) == -1).all()


def test_training_recordings_alone_are_moved_by_as_much_as_was_asked_for(tmp_path):
    _write_subset(tmp_path, recordings=20)
    plain = TASKS["nmnist"].load(_config("train_size=null"), str(tmp_path))
    config = _config("train_size=null", "max_shift=2")
    moving = TASKS["nmnist"].load(config, str(tmp_path))
    assert plain.augment is None
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(np.asarray(getattr(moving, split).x), np.asarray(getattr(plain, split).x))
    nine = int(np.flatnonzero(moving.train.y == 9)[0])  # ten events in the first row, at x from 0 to 9
    one = moving.train.x[[nine]]
    draws = {_nonzero(moving.augment(one, [np.random.default_rng(seed)])[0]) for seed in range(100)}
    moves = [(right, down) for right in range(-2, 3) for down in range(-2, 3)]
    assert draws == {_nonzero(one.dense([places(config, *move)])[0]) for move in moves}


def test_events_after_the_trial_are_left_out():
    step, channel = camera_events({**EVENTS, "t": [0, 100_000, 336_040]}, _config("trial_ms=100", "dt=1"), "it")
    assert (step.tolist(), channel.tolist()) == ([0], [34 * 34])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": [0, 34, 5]}, "it must hold x from 0 to 33, received 34"),
        ({"y": [0, -1, 5]}, "it must hold y from 0 to 33, received -1"),
        ({"p": [0, 1, 2]}, "it must hold p from 0 to 1, received 2"),
        ({"t": [5_000, 4_000, 6_000]}, "times in order, received 4 ms after 5 ms"),
        ({"t": [-1_000, 4_000, 6_000]}, "times from 0 on, received -1 ms"),
        ({"t": [0, 4_000, 6_000_000]}, "end within 400 ms, received an event at 6000 ms"),
        ({"t": [0, np.nan, 6_000]}, "finite times, received nan"),
    ],
)
def test_events_that_the_camera_cannot_send_are_refused(change, words):
    with pytest.raises(DataMissing, match=words):
        camera_events({**EVENTS, **change}, _config(), "it")


def test_a_file_of_some_recordings_is_split_and_is_not_complete(tmp_path):
    _write_subset(tmp_path, recordings=20)
    dataset = TASKS["nmnist"].load(_config("train_size=null", "validation_share=0.25", "test_size=15"), str(tmp_path))
    assert [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)] == [15, 5, 15]
    assert not dataset.complete
    # The recording of label k has k + 1 events, so that labels can be told from what is recorded.
    for split in (dataset.train, dataset.validation, dataset.test):
        np.testing.assert_array_equal(np.asarray(split.x).sum(axis=(1, 2)), split.y + 1)
    assert sorted([*dataset.train.y, *dataset.validation.y]) == sorted([*range(10)] * 2)
    with pytest.raises(ConfigError, match="train_size must be at most 15"):
        TASKS["nmnist"].load(_config("train_size=16", "validation_share=0.25"), str(tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label_train": None}, "cannot be read as recordings of N-MNIST"),
        ({"label_train": np.arange(3)}, "a label for each recording"),
        ({"x_train": np.zeros(3, "uint8")}, "as many events as offsets_train says"),
        ({"offsets_train": np.array([0, 4, 2])}, "as many events as offsets_train says"),
        ({"label_train": np.full(20, 10)}, "labels from 0 to 9, received 10"),
    ],
)
def test_a_file_that_holds_no_recordings_is_refused(tmp_path, change, words):
    _write_subset(tmp_path, recordings=20, **change)
    with pytest.raises(DataMissing, match=words):
        TASKS["nmnist"].load(_config("train_size=null"), str(tmp_path))


def test_the_full_data_set_is_read_through_tonic(tmp_path, monkeypatch):
    tonic = pytest.importorskip("tonic")
    for part, labels in {"Train": (0, 3, 3, 7), "Test": (1, 9)}.items():
        for number, label in enumerate(labels):
            folder = tmp_path / "NMNIST" / part / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:05}.bin").write_bytes(_atis(events=label + 1))
    monkeypatch.setattr(tonic.datasets.NMNIST, "_check_exists", lambda self: True)  # it counts 10,000 files
    dataset = TASKS["nmnist"].load(_config("train_size=null", "validation_share=0.25"), str(tmp_path))
    assert [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)] == [3, 1, 2]
    for split in (dataset.train, dataset.validation, dataset.test):
        np.testing.assert_array_equal(np.asarray(split.x).sum(axis=(1, 2)), split.y + 1)


def test_without_tonic_a_folder_without_the_data_cannot_be_filled(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tonic", None)
    monkeypatch.setitem(sys.modules, "tonic.datasets", None)
    with pytest.raises(CannotRun, match=r"NMNIST needs tonic, `pip install \"keras-egru\[benchmarks\]\"`"):
        TASKS["nmnist"].load(_config(), str(tmp_path))


def test_data_that_cannot_be_downloaded_is_missing(tmp_path, monkeypatch):
    datasets = types.ModuleType("tonic.datasets")
    datasets.NMNIST = _no_network
    tonic = types.ModuleType("tonic")
    tonic.datasets = datasets
    monkeypatch.setitem(sys.modules, "tonic", tonic)
    monkeypatch.setitem(sys.modules, "tonic.datasets", datasets)
    with pytest.raises(DataMissing, match=r"NMNIST is not in .* \(OSError: no network\): name a folder"):
        TASKS["nmnist"].load(_config(), str(tmp_path))
    monkeypatch.delenv("KERAS_EGRU_DATA", raising=False)
    with pytest.raises(DataMissing, match="NMNIST needs a folder"):
        TASKS["nmnist"].load(_config(), None)


def test_the_recordings_of_the_subset_are_sound(nmnist_folder):
    dataset = TASKS["nmnist"].load(_config("trial_ms=300", "dt=1", "train_size=null", "test_size=null"), None)
    assert [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)] == [900, 100, 100]
    together = np.concatenate([dataset.train.y, dataset.validation.y])
    assert np.bincount(together).tolist() == [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]
    # Recordings have 4,133 events on average, and few of them share a pixel and a millisecond.
    assert 2_000 < np.asarray(dataset.validation.x).sum() / 100 < 6_000


def _steps_and_channels(config, moved=None):
    """Of what a recording of `EVENTS` becomes."""
    recordings = Recordings([camera_events(EVENTS, config, "it")], config.steps, config.channels, places(config))
    frames = np.asarray(recordings)[0] if moved is None else recordings.dense([moved])[0]
    step, channel = np.nonzero(frames)
    return step.tolist(), channel.tolist()


def _nonzero(frames):
    return tuple(map(tuple, np.argwhere(frames).tolist()))


def _write_subset(folder, recordings, **change):
    arrays = {}
    for part in ("train", "test"):
        labels = np.arange(recordings) % 10
        offsets = np.cumsum([0, *(labels + 1)])
        number = offsets[-1]
        within = np.concatenate([np.arange(label + 1) for label in labels])
        arrays |= {
            f"x_{part}": within.astype("uint8"),
            f"y_{part}": np.zeros(number, "uint8"),
            f"p_{part}": np.ones(number, "uint8"),
            f"t_{part}": (within * 5_000).astype("int32"),
            f"offsets_{part}": offsets,
            f"label_{part}": labels,
        }
    arrays = {name: array for name, array in (arrays | change).items() if array is not None}
    (folder / "nmnist_subset").mkdir()
    np.savez(folder / "nmnist_subset" / "nmnist_20_20.npz", **arrays)


def _atis(events):
    """N-MNIST's format, five bytes an event: x, y, a bit of polarity and 23 of microseconds."""
    rows = [(number, 4, 0x80, 0, 100 + number) for number in range(events)]
    return np.array(rows, "uint8").tobytes()


def _no_network(**options):
    raise OSError("no network")


def _config(*assignments):
    return resolve(config_class("nmnist", "lif"), "nmnist", "smoke", "lif", ["test_size=null", *assignments])
