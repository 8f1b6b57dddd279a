import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.errors import CannotRun, DataMissing
from benchmarks.tasks.camera_files import EVENT, checked, read_events
from benchmarks.tasks.evt3 import decode

EVENTS = np.array([(5, 7, 1, 50_100), (6, 8, 0, 50_350), (9, 2, 1, 54_200), (0, 9, 1, 140_000)], EVENT)
RAW_HEADER = b"% Date 2020-09-14 09:03:25\n% evt 2.0\n"
# What each sample holds: events, sensor, microseconds.
SAMPLES = {
    "evt2_sample.raw": (539_481, (600, 476), 50_000),
    "evt3_sample.raw": (219_596, (1280, 720), 8_801),
    "sample.aedat4": (111_954, (320, 240), 589_917),
    "sample_ncars.dat": (2_009, (78, 42), 99_952),
    "sample_nmnist.bin": (4_325, (34, 34), 310_521),
    "sample_stmnist.mat": (2_346, (10, 10), 699_119),
}


@pytest.fixture(params=[".dat", "evt2.raw", "evt3.raw", ".bin", ".mat"])
def file(request, tmp_path):
    """A file with `EVENTS` in one of the formats, but AEDAT 4, which nothing here can write."""
    path = tmp_path / f"recording{request.param.replace('evt', '.evt')}"
    _write(path)
    return path


@pytest.fixture
def sample():
    """`sample(name)` is the path of a real file; the test is skipped where the data folder has it not."""

    def find(name):
        path = Path(os.environ.get("KERAS_EGRU_DATA", "nowhere")) / "event_files" / name
        if not path.is_file():
            pytest.skip(f"KERAS_EGRU_DATA names no folder with event_files/{name}")
        if path.suffix == ".aedat4":
            pytest.importorskip("aedat")
        return path

    return find


def test_events_come_back_from_every_format_with_times_from_zero(file):
    recording = read_events(file)
    expected = EVENTS.copy()
    expected["t"] -= expected["t"][0]
    for axis in "xypt":
        np.testing.assert_array_equal(recording.events[axis], expected[axis])
    assert recording.events.dtype == EVENT
    assert (recording.width, recording.height) == (10, 10)


@pytest.mark.parametrize("name", SAMPLES)
def test_real_files_are_read(sample, name):
    recording = read_events(sample(name))
    assert (len(recording.events), (recording.width, recording.height), recording.events["t"][-1]) == SAMPLES[name]
    assert 0.2 < recording.events["p"].mean() < 0.8


def test_a_file_that_is_cut_within_an_event_is_refused(file):
    if file.suffix == ".mat":
        pytest.skip("its arrays are compressed as a whole")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataMissing, match=rf"{file.name} is cut off"):
        read_events(file)


def test_a_file_of_half_its_bytes_is_refused(sample, tmp_path):
    for name in ("sample.aedat4", "sample_stmnist.mat"):
        half = tmp_path / name
        content = sample(name).read_bytes()
        half.write_bytes(content[: len(content) // 2])
        with pytest.raises(DataMissing, match=rf"{name} cannot be read as events"):
            read_events(half)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_with_garbage_in_the_middle_is_refused(sample, tmp_path, name):
    content = sample(name).read_bytes()
    garbage, middle = np.random.default_rng(0).bytes(2_000), len(content) // 2
    broken = tmp_path / name
    broken.write_bytes(content[:middle] + garbage + content[middle + len(garbage) :])
    with pytest.raises(DataMissing, match=name):
        read_events(broken)


@pytest.mark.parametrize("name", ["a.dat", "a.raw", "a.bin", "a.mat", "a.aedat4"])
def test_a_file_without_events_is_refused(tmp_path, name):
    if name.endswith("aedat4"):
        pytest.importorskip("aedat")
    (tmp_path / name).write_bytes({".dat": b"% Version 2\n\x00\x08", ".raw": RAW_HEADER}.get(name[1:], b""))
    with pytest.raises(DataMissing, match=rf"{name} (holds no events|is corrupt or holds no events|cannot be read)"):
        read_events(tmp_path / name)


def test_files_that_are_something_else_are_refused(tmp_path):
    for name, content, words in (
        ("notes.txt", b"hello", r"must be a file of events \(\.aedat4"),
        ("a.raw", b"no header", r"must begin with a header that says EVT 2\.0 or EVT 3\.0"),
        ("a.dat", b"no header", r"must begin with the header of a \.dat file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataMissing, match=words):
            read_events(tmp_path / name)
    with pytest.raises(DataMissing, match=r"gone\.bin cannot be read as events"):
        read_events(tmp_path / "gone.bin")


def test_a_header_that_names_the_sensor_is_believed(tmp_path):
    path = tmp_path / "a.raw"
    for line, size in ((b"% geometry 640x480\n", (640, 480)), (b"% format EVT2;height=20;width=30\n", (30, 20))):
        _write(path)
        path.write_bytes(RAW_HEADER + line + path.read_bytes()[_header_length(path) :])
        recording = read_events(path)
        assert (recording.width, recording.height) == size
        path.unlink()


def test_words_of_evt_3_for_several_pixels_go_on_to_the_right():
    events = decode(
        np.array(
            [0x2005, 0x8FFF, 0x6010, 0x0007, 0x3864, 0x4801, 0x5003, 0x2009, 0x8000, 0x0008, 0x2809, 0x6FFF, 0x2001],
            "uint16",
        )
    )
    # The first word has no time yet. The upper bits of the time start anew with 0x8000, and the lower ones with them.
    assert events["x"].tolist() == [100, 111, 112, 113, 9, 9, 1]
    assert events["y"].tolist() == [7, 7, 7, 7, 7, 8, 8]
    assert events["p"].tolist() == [1, 1, 1, 1, 0, 1, 0]
    assert events["t"].tolist() == [0xFFF010] * 5 + [0x1000000, 0x1000FFF]
    with pytest.raises(ValueError, match="a word of the kind 9"):
        decode(np.array([0x8000, 0x9000], "uint16"))


def test_places_of_evt_3_are_those_that_expelliarmus_finds(sample):
    path = sample("evt3_sample.raw")
    peer = pytest.importorskip("expelliarmus").Wizard(encoding="evt3").read(str(path))
    events = read_events(path).events
    for axis in "xyp":
        np.testing.assert_array_equal(events[axis], peer[axis])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": [5, 6, 10, 0]}, "it must hold x from 0 to 9, received 10"),
        ({"y": [7, 8, -1, 9]}, "it must hold y from 0 to 9, received -1"),
        ({"p": [0, 1, 7, 1]}, "it must hold p from 0 to 1, received 7"),
        ({"t": [0, 90, 80, 100]}, "it must hold times in order, received 80 us after 90 us"),
        ({"t": [0, 1, 2, 7_200_000_000]}, "it must last 600 s at most, received 7200 s"),
        ({axis: [] for axis in "xypt"}, "it holds no events"),
    ],
)
def test_events_that_no_camera_sends_are_refused(change, words):
    events = {axis: EVENTS[axis].astype("int64") for axis in "xypt"} | {key: np.array(v) for key, v in change.items()}
    with pytest.raises(DataMissing, match=words):
        checked(events, (10, 10), (10, 10), "it")


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aedat", None)
    (tmp_path / "a.aedat4").write_bytes(b"")
    with pytest.raises(CannotRun, match=r"needs aedat, `pip install \"keras-egru\[benchmarks\]\"`"):
        read_events(tmp_path / "a.aedat4")


def _write(path):
    if path.suffix == ".bin":
        t = EVENTS["t"]
        rows = [EVENTS["x"], EVENTS["y"], EVENTS["p"] * 128 + (t >> 16), t >> 8 & 255, t & 255]
        path.write_bytes(np.stack(rows, axis=1).astype("uint8").tobytes())
    elif path.suffix == ".mat":
        scipy_io = pytest.importorskip("scipy.io")
        spikes = np.zeros((101, len(EVENTS)))
        spikes[EVENTS["y"] * 10 + EVENTS["x"], np.arange(len(EVENTS))] = np.where(EVENTS["p"], 1, -1)
        spikes[-1] = EVENTS["t"] / 1e6
        scipy_io.savemat(path, {"spiketrain": spikes})
    elif "evt3" in path.name:
        path.write_bytes(RAW_HEADER.replace(b"evt 2.0", b"evt 3.0") + _evt3())
    else:
        expelliarmus = pytest.importorskip("expelliarmus")
        encoding = "dat" if path.suffix == ".dat" else "evt2"
        events = np.empty(len(EVENTS), [("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "u1")])
        for axis in "xypt":
            events[axis] = EVENTS[axis]
        expelliarmus.Wizard(encoding=encoding).save(str(path), events)


def _evt3():
    """Words of 16 bits: the upper bits of the time whenever they change, as cameras do; lower bits, row, column."""
    words, high = [], EVENTS["t"][0] >> 12
    words.append(0x8000 | high)
    for x, y, p, t in EVENTS.tolist():
        while high < t >> 12:
            high += 1
            words.append(0x8000 | high)
        words += [0x6000 | t & 0xFFF, y, 0x2000 | p << 11 | x]
    return np.array(words, "<u2").tobytes()


def _header_length(path):
    return sum(len(line) for line in path.read_bytes().splitlines(keepends=True) if line.startswith(b"% "))
