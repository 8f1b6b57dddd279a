"""N-MNIST (Orchard et al. 2015): digits on a screen as an event camera of 34 x 34 pixels sees them in three saccades.

The setting is that of Perez-Nieves & Goodman 2021: 300 steps of 1 ms and 1,156 channels, a pixel each. The full data
set is read through `tonic`; without it a file of some of its recordings, `nmnist_subset/nmnist_*.npz`, will do.
"""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from benchmarks.config import ClassifierConfig, Count, Positive
from benchmarks.errors import ConfigError, DataMissing
from benchmarks.spiking_config import SpikeTrains, SpikingConfig
from benchmarks.tasks import data_folder
from benchmarks.tasks.checksums import verify
from benchmarks.tasks.dataset import Dataset, Split
from benchmarks.tasks.spike_trains import Recordings, recording
from benchmarks.tasks.tonic_data import from_tonic, tonic_folder

SIDE = 34
POLARITIES = 2
CLASSES = 10
TRAINING, TEST = 60_000, 10_000
LONGEST_MS = 400.0  # the recordings take 300 to 340 ms
SUBSET = "nmnist_subset"
EVENT_BYTES = 5  # in a file of the full data set


class NMNISTData(SpikeTrains):
    trial_ms: Positive = Field(300.0, description="later events are left out; recordings take 300 to 340 ms")
    polarity: Literal["merged", "both", "on", "off"] = Field(
        "merged", description="channels: a pixel each, a pixel and polarity each, or the events of one polarity"
    )
    downscale: Count = Field(1, description="side of the square of pixels that share a channel: 1, 2, 17 or 34")
    max_shift: int = Field(
        0,
        ge=0,
        lt=SIDE,
        description="pixels: training recordings are moved by up to so many, at random, on either axis",
    )
    validation_share: float = Field(0.1, gt=0.0, le=0.5, description="of the training recordings, the last of them")
    test_size: Count | None = Field(None, description="the first N test recordings; null for all")

    @model_validator(mode="after")
    def _divides_the_sensor(self):
        if SIDE % self.downscale:
            raise ValueError(f"downscale must divide {SIDE}, received {self.downscale}")
        return self

    @property
    def channels(self) -> int:
        return self.side**2 * (2 if self.polarity == "both" else 1)

    @property
    def side(self) -> int:
        """Channels along a side of the sensor."""
        return SIDE // self.downscale


class NMNISTConfig(NMNISTData, ClassifierConfig):
    pass


class NMNISTSpikingConfig(NMNISTData, SpikingConfig):
    pass


class NMNIST:
    name = "nmnist"
    kind = "classification"
    summary = "N-MNIST digits as an event camera sees them, in 300 ms (sparse spiking gradients paper)"
    config_class = NMNISTConfig
    lif_config_class = NMNISTSpikingConfig

    def load(self, config, data_dir) -> Dataset:
        folder = tonic_folder(data_folder.chosen(data_dir), "NMNIST")
        subset = None if (folder / "NMNIST").is_dir() else next(iter(sorted(folder.glob(f"{SUBSET}/*.npz"))), None)
        verified = None if subset is None else verify([subset], config)
        train, test = (Files(folder, part) if subset is None else Subset(subset, part) for part in ("train", "test"))
        order = np.random.default_rng(0).permutation(len(train))  # the full data set comes class by class
        held_out = round(config.validation_share * len(train))
        available = len(train) - held_out
        size = config.train_size or available
        if size > available:
            raise ConfigError(f"train_size must be at most {available}, received {size}.")
        tested = np.random.default_rng(0).permutation(len(test))[: config.test_size]
        return Dataset(
            name="N-MNIST",
            path=data_folder.as_recorded(data_dir),
            classes=CLASSES,
            complete=(size + held_out, len(tested)) == (TRAINING, TEST),
            train=_split(train, order[:size], config),
            validation=_split(train, order[available:], config),
            test=_split(test, tested, config),
            verified=verified,
            augment=partial(shifted, config=config) if config.max_shift else None,
        )


class Files:
    """One part, "train" or "test", of the full data set, a file a recording; `[i]` is `(events, label)`."""

    def __init__(self, folder, part):
        self.recordings = from_tonic("NMNIST", folder, train=part == "train")

    def __len__(self):
        return len(self.recordings)

    def __getitem__(self, index):
        path = Path(self.recordings.data[index])
        try:
            rest = path.stat().st_size % EVENT_BYTES
            if rest:
                raise ValueError(f"it ends {rest} bytes into an event of {EVENT_BYTES}")
            return self.recordings[index]
        except Exception as error:  # tonic returns or raises whatever a damaged file makes of itself
            raise DataMissing(f"{path} cannot be read as a recording of N-MNIST ({error}).") from None

    def name(self, index):
        return self.recordings.data[index]


class Subset:
    """One part of a file of recordings: arrays `x_PART`, `y_PART`, `p_PART`, `t_PART`, cut by `offsets_PART`.

    `[i]` is `(events, label)`.
    """

    def __init__(self, path, part):
        names = ("x", "y", "p", "t", "offsets", "label")
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[f"{name}_{part}"] for name in names}
        except Exception as error:  # a damaged zip raises many types
            raise DataMissing(f"{path.name} cannot be read as recordings of N-MNIST ({error}).") from None
        self.path = path
        self.offsets, self.labels = arrays.pop("offsets"), arrays.pop("label")
        self.events = arrays
        lengths = {len(array) for array in arrays.values()}
        sound = len(self.offsets) == len(self.labels) + 1 and (np.diff(self.offsets) >= 0).all()
        if not sound or lengths != {int(self.offsets[-1])}:
            raise DataMissing(
                f"{path.name} must hold x, y, p and t of as many events as offsets_{part} says, and a label for each "
                "recording."
            )

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        cut = slice(*self.offsets[index : index + 2])
        return {name: array[cut] for name, array in self.events.items()}, self.labels[index]

    def name(self, index):
        return f"recording {index} of {self.path.name}"


def _split(source, chosen, config):
    events, labels = [], []
    for index in chosen:
        one, label = source[int(index)]
        events.append(camera_events(one, config, source.name(index)))
        labels.append(label)
    labels = np.asarray(labels, "int32")
    outside = labels[(labels < 0) | (labels >= CLASSES)]
    if outside.size:
        raise DataMissing(f"N-MNIST must hold labels from 0 to {CLASSES - 1}, received {outside[0]}.")
    return Split(Recordings(events, config.steps, config.channels, places(config)), labels)


def camera_events(events, config, name):
    """A recording's `(step, channel)`, as `Recordings` takes them, with a channel for each polarity and pixel.

    Args:
        events: Has arrays `x`, `y`, `p` (0 off, 1 on) and `t` in microseconds by these names; an event's channel is
            `(34 p + y) 34 + x`.
        config: `NMNISTData`.
        name: What to call the recording in an error.

    Raises:
        DataMissing: there are no events, one is off the sensor, or the times are not a recording's.
    """
    x, y, p = (np.asarray(events[axis], "int64") for axis in "xyp")
    if not x.size:
        raise DataMissing(f"{name} holds no events.")
    for axis, values, size in (("x", x, SIDE), ("y", y, SIDE), ("p", p, POLARITIES)):
        outside = values[(values < 0) | (values >= size)]
        if outside.size:
            raise DataMissing(f"{name} must hold {axis} from 0 to {size - 1}, received {outside[0]}.")
    return recording(
        np.asarray(events["t"], "float64") / 1000.0,
        (p * SIDE + y) * SIDE + x,
        steps=config.steps,
        dt=config.dt,
        channels=POLARITIES * SIDE**2,
        longest=LONGEST_MS,
        name=name,
    )


def places(config, right=0, down=0):
    """Where the events of `camera_events` go when a recording is moved over the sensor by so many pixels.

    Merged, the polarities of a pixel share its channel `side y + x`; in "both", the channels of the on events come
    after those of the off events. Events of a polarity that is not wanted, or off the sensor, are left out.

    Returns:
        int64 `[2 * 34 * 34]`, a channel of the sequences for each of the events', or -1.
    """
    p, y, x = np.indices((POLARITIES, SIDE, SIDE))
    y, x = y + down, x + right
    kept = (y >= 0) & (y < SIDE) & (x >= 0) & (x < SIDE)
    if config.polarity in ("on", "off"):
        kept &= p == (config.polarity == "on")
    plane = p if config.polarity == "both" else 0
    channel = (plane * config.side + y // config.downscale) * config.side + x // config.downscale
    return np.where(kept, channel, -1).ravel()


def shifted(recordings, generators, config):
    """Dense `recordings`, each moved by draws from its own generator, by `config.max_shift` pixels at most."""
    limit = config.max_shift
    return recordings.dense([places(config, *rng.integers(-limit, limit + 1, 2)) for rng in generators])
