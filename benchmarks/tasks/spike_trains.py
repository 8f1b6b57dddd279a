"""Spike trains kept as times, which become dense float32 sequences a batch at a time.

`SpikeTimes` and `Recordings` stand in a `Split` in the place of an array: they have its `shape`, `len` and indexing by
slices and index arrays, which picks examples without making them dense, and `numpy.asarray` makes dense
`[examples, steps, channels]` of 0 and 1. Several events of a channel in one step are one spike.
"""

import numpy as np

from benchmarks.errors import DataMissing

ROUNDING = 1e-6  # of a step: a time that is a step's beginning but for rounding belongs to that step


class SpikeTimes:
    """At most one spike a channel.

    Args:
        step: Integers `[examples, channels]`, the step of each channel's spike; `steps` or more where it has none.
        steps: Length of the sequences.
    """

    ndim, dtype = 3, np.dtype("float32")

    def __init__(self, step, steps):
        self.step, self.steps = np.minimum(step, steps).astype(np.min_scalar_type(steps)), steps

    @property
    def shape(self):
        return len(self.step), self.steps, self.step.shape[1]

    def __len__(self):
        return len(self.step)

    def __getitem__(self, chosen):
        return SpikeTimes(self.step[chosen], self.steps)

    def __array__(self, dtype=None, copy=None):
        dense = np.zeros(self.shape, dtype or self.dtype)
        example, channel = np.nonzero(self.step < self.steps)
        dense[example, self.step[example, channel], channel] = 1.0
        return dense


class Recordings:
    """Lists of events of any length, such as a camera's, one a recording.

    Args:
        events: `(step, channel)` arrays of equal length, one pair a recording; `recording` makes them.
        steps: Length of the sequences.
        channels: Number of channels of the sequences.
        places: The place in the sequences of each channel of the events, integers, -1 for one that is left out. None
            where the channels are the sequences' own.
    """

    ndim, dtype = 3, np.dtype("float32")

    def __init__(self, events, steps, channels, places=None):
        self.steps, self.channels, self.places = steps, channels, places
        self._offsets = np.cumsum([0, *(len(step) for step, _ in events)])
        self._step = np.concatenate([np.zeros(0, "uint16"), *(step for step, _ in events)])
        self._channel = np.concatenate([np.zeros(0, "uint16"), *(channel for _, channel in events)])
        self._chosen = np.arange(len(events))

    @property
    def shape(self):
        return len(self._chosen), self.steps, self.channels

    def __len__(self):
        return len(self._chosen)

    def __getitem__(self, chosen):
        some = object.__new__(Recordings)
        some.__dict__ |= self.__dict__ | {"_chosen": self._chosen[chosen]}  # the events themselves are shared
        return some

    def __array__(self, dtype=None, copy=None):
        return self.dense([self.places] * len(self)).astype(dtype or self.dtype, copy=False)

    def dense(self, places):
        """The sequences, those of each recording by its own `places`."""
        dense = np.zeros(self.shape, self.dtype)
        for example, (recording, its_places) in enumerate(zip(self._chosen, places, strict=True)):
            events = slice(*self._offsets[recording : recording + 2])
            step, channel = self._step[events], self._channel[events]
            if its_places is not None:
                channel = its_places[channel]
                step, channel = step[channel >= 0], channel[channel >= 0]
            dense[example, step, channel] = 1.0
        return dense


def recording(time, channel, *, steps, dt, channels, longest, name):
    """The `(step, channel)` of a recording's events, as `Recordings` takes them: those of its first `steps` steps.

    Args:
        time: When the events came, in ms from the recording's beginning, in order.
        channel: Integers `[events]`.
        steps, dt: Number of steps that are kept and their length in ms; later events are left out.
        channels: Number of channels of the sensor.
        longest: Milliseconds that no sound recording goes beyond: later times are in another unit or broken.
        name: What to call the recording in an error.

    Raises:
        DataMissing: the events are not such a recording.
    """
    time, channel = np.asarray(time, "float64"), np.asarray(channel)
    if time.ndim != 1 or time.shape != channel.shape:
        raise DataMissing(
            f"{name} must hold as many times as channels, received shapes {time.shape} and {channel.shape}."
        )
    if not np.isfinite(time).all():
        raise DataMissing(f"{name} must hold finite times, received {time[~np.isfinite(time)][0]}.")
    if time.size and time.min() < 0:
        raise DataMissing(f"{name} must hold times from 0 on, received {time.min():g} ms.")
    if time.size and time.max() > longest:
        raise DataMissing(f"{name} must end within {longest:g} ms, received an event at {time.max():g} ms.")
    if (backwards := np.flatnonzero(np.diff(time) < 0)).size:
        before, after = time[backwards[0] : backwards[0] + 2]
        raise DataMissing(f"{name} must hold times in order, received {after:g} ms after {before:g} ms.")
    outside = channel[(channel < 0) | (channel >= channels)]
    if outside.size:
        raise DataMissing(f"{name} must hold channels from 0 to {channels - 1}, received {outside[0]}.")
    step = np.floor(time / dt + ROUNDING).astype("int64")
    kept = step < steps
    return step[kept].astype(np.min_scalar_type(steps)), channel[kept].astype(np.min_scalar_type(channels))
