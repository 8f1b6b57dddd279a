"""Events from the files that event cameras and published data sets of their recordings come in.

Decoding is done by `tonic`, by `expelliarmus`, which tonic brings along, by `aedat`, by `scipy` and by `evt3.py`. They
return whatever a damaged file makes of itself, or raise anything: what they return is checked here, and so is the
length of files whose events all have one size.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.errors import CannotRun, DataMissing
from benchmarks.tasks import evt3

EVENT = np.dtype([("x", "int16"), ("y", "int16"), ("p", "bool"), ("t", "int64")])
LONGEST_S = 600  # a recording that seems to be longer has broken times
ATIS = (304, 240)
LARGEST = (1280, 720)  # of the cameras that write EVT 2, EVT 3 and .dat
TACTILE_SIDE = 10  # ST-MNIST's array of touch sensors


class Recording(NamedTuple):
    """`events`: of the dtype `EVENT`, in order, times in microseconds from the first event on. `width` and `height` of
    the sensor: as the file says, else as large as its events need."""

    events: np.ndarray
    width: int
    height: int


def read_events(path) -> Recording:
    """The recording in a file of AEDAT 4 (`.aedat4`), EVT 2 or EVT 3 (`.raw`), N-Cars (`.dat`), N-MNIST (`.bin`) or
    ST-MNIST (`.mat`).

    Raises:
        CannotRun: the library that decodes the format is not installed.
        DataMissing: the file cannot be read, is of another format, is cut off or corrupt, or holds no event.
    """
    path = Path(path)
    decode = FORMATS.get(path.suffix.lower())
    if decode is None:
        raise DataMissing(f"{path} must be a file of events ({', '.join(FORMATS)}).")
    try:
        decoded = decode(path)
    except ImportError as error:
        raise CannotRun(f'{path} needs {error.name}, `pip install "keras-egru[benchmarks]"`.') from None
    except DataMissing:
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise DataMissing(f"{path} cannot be read as events ({type(error).__name__}: {error}).") from None
    return checked(*decoded, name=str(path))


def checked(events, size, limit, name) -> Recording:
    """The `Recording` of decoded events.

    Args:
        events: Has `x`, `y`, `p` and `t` in microseconds by these names.
        size: `(width, height)` of the sensor, or None where it is not known.
        limit: `(width, height)` that a sensor of this format does not exceed.
        name: What to call the recording in an error.

    Raises:
        DataMissing: there are no events, or a camera cannot have sent them.
    """
    x, y, t = (np.asarray(events[axis], "int64") for axis in "xyt")
    p = np.asarray(events["p"])
    if not t.size:
        raise DataMissing(f"{name} holds no events.")
    width, height = size or limit
    for axis, values, end in (("x", x, width), ("y", y, height), ("p", p.astype("int64"), 2)):
        outside = values[(values < 0) | (values >= end)]
        if outside.size:
            raise DataMissing(f"{name} must hold {axis} from 0 to {end - 1}, received {outside[0]}.")
    backwards = np.flatnonzero(np.diff(t) < 0)
    if backwards.size:
        before, after = t[backwards[0] : backwards[0] + 2]
        raise DataMissing(f"{name} must hold times in order, received {after} us after {before} us.")
    if t[-1] - t[0] > LONGEST_S * 1_000_000:
        raise DataMissing(f"{name} must last {LONGEST_S} s at most, received {(t[-1] - t[0]) / 1e6:.0f} s.")
    sound = np.empty(len(t), EVENT)
    sound["x"], sound["y"], sound["p"], sound["t"] = x, y, p, t - t[0]
    width, height = size or (int(x.max()) + 1, int(y.max()) + 1)
    return Recording(sound, width, height)


def _aedat4(path):
    import aedat

    decoder = aedat.Decoder(str(path))
    streams = {key: stream for key, stream in decoder.id_to_stream().items() if stream["type"] == "events"}
    if not streams:
        raise DataMissing(f"{path} holds no stream of events.")
    first = min(streams)
    packets = [packet["events"] for packet in decoder if packet["stream_id"] == first]
    size = (streams[first]["width"], streams[first]["height"])
    if not packets:
        raise DataMissing(f"{path} holds no events.")
    events = np.concatenate(packets)
    return {"x": events["x"], "y": events["y"], "p": events["on"], "t": events["t"]}, size, LARGEST


def _raw(path):
    header = _header(path)
    version = re.search(r"evt ([23])\.|format EVT([23])", header)
    if version is None:
        raise DataMissing(f"{path} must begin with a header that says EVT 2.0 or EVT 3.0.")
    if "2" in version.groups():
        return _decoded(path, "evt2", header, start=0, event_bytes=4)
    _check_length(path, path.stat().st_size - len(header), 2)
    return evt3.decode(np.fromfile(path, "<u2", offset=len(header))), _size(header), LARGEST


def _dat(path):
    header = _header(path)
    if not header:
        raise DataMissing(f"{path} must begin with the header of a .dat file.")
    return _decoded(path, "dat", header, start=2, event_bytes=8)  # type and size of the events come first


def _decoded(path, encoding, header, start, event_bytes):
    from expelliarmus import Wizard

    _check_length(path, path.stat().st_size - len(header) - start, event_bytes)
    events = Wizard(encoding=encoding).read(str(path))
    if events is None:  # what is wrong goes to standard error, from C
        raise DataMissing(f"{path} is corrupt or holds no events of the format {encoding}.")
    return events, _size(header), LARGEST


def _bin(path):
    from tonic.io import read_mnist_file

    _check_length(path, path.stat().st_size, 5)
    dtype = np.dtype([(axis, "int64") for axis in "xytp"])
    return read_mnist_file(str(path), dtype), None, ATIS


def _mat(path):
    """A row a touch sensor, 1 and -1 where it sends, and a last row of times in seconds."""
    import scipy.io

    spikes = np.asarray(scipy.io.loadmat(path)["spiketrain"], "float64")
    if spikes.ndim != 2 or len(spikes) != TACTILE_SIDE**2 + 1 or not np.isfinite(spikes).all():
        raise DataMissing(f"{path} must hold a finite spiketrain of {TACTILE_SIDE**2 + 1} rows, not {spikes.shape}.")
    column, sensor = np.nonzero(spikes[:-1].T)
    events = {
        "x": sensor % TACTILE_SIDE,
        "y": sensor // TACTILE_SIDE,
        "p": spikes[sensor, column] > 0,
        "t": np.round(spikes[-1, column] * 1e6),
    }
    side = (TACTILE_SIDE, TACTILE_SIDE)
    return events, side, side


FORMATS = {".aedat4": _aedat4, ".raw": _raw, ".dat": _dat, ".bin": _bin, ".mat": _mat}


def _header(path):
    """The lines of text at the beginning, each with a `%` in front."""
    lines = []
    with path.open("rb") as file:
        while (line := file.readline(1000)).startswith(b"% ") and line.endswith(b"\n"):
            lines.append(line)
    return b"".join(lines).decode("latin-1")


def _size(header):
    """`(width, height)` as a header says, or None."""
    geometry = re.search(r"geometry (\d+)x(\d+)", header)
    if geometry:
        return int(geometry[1]), int(geometry[2])
    sides = [re.search(rf"{side}[ =](\d+)", header, re.IGNORECASE) for side in ("width", "height")]
    return tuple(int(side[1]) for side in sides) if all(sides) else None


def _check_length(path, size, event_bytes):
    if size % event_bytes:
        raise DataMissing(f"{path} is cut off: {size:,} bytes of events are no multiple of {event_bytes}.")
