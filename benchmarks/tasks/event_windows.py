"""Windows of a camera's recording as sequences of frames (EGRU paper, section 5.1): events are counted over short times
in two channels, one a polarity, and each block of pixels keeps its largest count.

tonic filters noise and finds the windows. Its frames are dense at the camera's resolution, gigabytes of nearly nothing;
here a window stays a list of counts, and becomes dense with its batch.
"""

from typing import NamedTuple

import numpy as np

from benchmarks.errors import CannotRun, DataMissing

POLARITIES = 2


class Counts(NamedTuple):
    """Where one window has events: arrays of equal length, no place twice. `count` is how many."""

    step: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray
    count: np.ndarray


class EventWindows:
    """Stands in a `Split` in the place of float32 `[examples, steps, 2 * image_size**2]`, as `Recordings` does.

    A step's features are an image `[row, column, polarity]` in a row. `numpy.asarray` makes it dense.

    Args:
        windows: A list of `Counts`.
        sensor: `(width, height)` of the camera, which becomes `image_size` blocks wide and high.
        steps: Length of the sequences.
        image_size: Blocks along a side.
        full_count: The count that becomes 1, as larger ones do; None for 1 wherever there is an event.
    """

    ndim, dtype = 3, np.dtype("float32")

    def __init__(self, windows, sensor, steps, image_size, full_count):
        self.sensor, self.steps, self.image_size, self.full_count = sensor, steps, image_size, full_count
        self._windows = windows

    @property
    def shape(self):
        return len(self), self.steps, POLARITIES * self.image_size**2

    def __len__(self):
        return len(self._windows)

    def __getitem__(self, chosen):
        if isinstance(chosen, slice):
            windows = self._windows[chosen]
        else:
            windows = [self._windows[i] for i in chosen]
        return EventWindows(windows, self.sensor, self.steps, self.image_size, self.full_count)

    def __array__(self, dtype=None, copy=None):
        return self.dense(self._windows).astype(dtype or self.dtype, copy=False)

    def dense(self, windows):
        """Frames of the `Counts` of some windows, these or others of the same camera."""
        frames = np.zeros((len(windows), self.steps * POLARITIES * self.image_size**2), self.dtype)
        width, height = self.sensor
        for frame, (step, x, y, p, count) in zip(frames, windows, strict=True):
            column = x.astype("int64") * self.image_size // width
            row = y.astype("int64") * self.image_size // height
            place = ((step.astype("int64") * self.image_size + row) * self.image_size + column) * POLARITIES + p
            np.maximum.at(frame, place, 1.0 if self.full_count is None else count.astype("float32"))
        if self.full_count is not None:
            np.minimum(frames / self.full_count, 1.0, out=frames)
        return frames.reshape(len(windows), self.steps, -1)

    def moved(self, move):
        """Dense frames with each event where `move(number, x, y)` says; what is moved off the sensor is lost."""
        return self.dense([self._moved(window, *move(i, window.x, window.y)) for i, window in enumerate(self._windows)])

    def _moved(self, window, x, y):
        width, height = self.sensor
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        return counted(*(array[inside] for array in (window.step, x, y, window.p, window.count)))


def counted(step, x, y, p, count=None) -> Counts:
    """The `Counts` of events, or of counts at places of which some are the same."""
    places = np.stack([np.asarray(array, "int64") for array in (step, x, y, p)])
    if not places.size:
        return Counts(*(np.zeros(0, "uint16") for _ in Counts._fields))
    sides = places.max(axis=1) + 1
    unique, which = np.unique(np.ravel_multi_index(places, sides), return_inverse=True)
    step, x, y, p = np.unravel_index(unique, sides)
    count = np.bincount(which, count)
    return Counts(*(array.astype("uint16") for array in (step, x, y, p, np.minimum(count, 65_535))))


def windows_of(events, *, begin, end, steps, dt_us, hop_us, denoise_us, name) -> list[Counts]:
    """The windows of `steps` steps that lie in a part of a recording, the first at its beginning.

    A window without an event stays, as frames of zeros: a camera that sees nothing move sends nothing.

    Args:
        events: Structured array of `x`, `y`, `p` and `t` in microseconds, in order.
        begin, end: Of the part, in microseconds; events before and after are not looked at, not even for denoising.
        steps, dt_us: Number of frames in a window, and microseconds that each takes.
        hop_us: Microseconds from the beginning of a window to that of the next.
        denoise_us: Events without another at a neighbouring pixel in the time before are left out; 0 keeps all.
        name: What to call the recording in an error.

    Raises:
        CannotRun: tonic is not installed.
        DataMissing: the part is shorter than a window.
    """
    try:
        from tonic.slicers import SliceByTime
        from tonic.transforms import Denoise
    except ImportError as error:
        raise CannotRun(f'windows of events need tonic, `pip install "keras-egru[benchmarks]"` ({error}).') from None
    window = steps * dt_us
    if end - begin < window:
        raise DataMissing(
            f"{name} must have at least the {window / 1000:g} ms of a window (trial_ms) in each of its parts, and has "
            f"{(end - begin) / 1000:g} ms there."
        )
    events = events[slice(*np.searchsorted(events["t"], (begin, end)))]
    if denoise_us and len(events):
        events = Denoise(filter_time=denoise_us)(events)
    if not len(events):  # tonic's slicer wants one
        starts = range(begin, end - window + 1, hop_us)
        return [counted(*([[]] * 4)) for _ in starts]
    slicer = SliceByTime(window, overlap=window - hop_us, start_time=begin, end_time=end)
    windows = []
    for number, (first, last) in enumerate(slicer.get_slice_metadata(events, None)):
        some = events[first:last]
        step = (some["t"] - begin - number * hop_us) // dt_us
        windows.append(counted(step, some["x"], some["y"], some["p"]))
    return windows
