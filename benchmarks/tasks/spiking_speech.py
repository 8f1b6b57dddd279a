"""Spoken words as spikes of 700 cochlear channels (Cramer et al. 2020): SHD's digits and SSC's commands.

The files are those that `tonic` downloads, `SHD/shd_train.h5` and so on, and are read with h5py.
SHD has no validation part: that of a run is the training recordings of `validation_speakers`, whom training then does
not hear (Nowotny et al. 2022 leave out one speaker at a time), or, where none is named, a share of all of them.
"""

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BeforeValidator, Field

from benchmarks.config import ClassifierConfig, Count, Positive
from benchmarks.errors import ConfigError, DataMissing
from benchmarks.spiking_config import SpikeTrains, SpikingConfig
from benchmarks.tasks import data_folder
from benchmarks.tasks.dataset import Dataset, Split
from benchmarks.tasks.spike_trains import Recordings, recording
from benchmarks.tasks.tonic_data import from_tonic, tonic_folder

CHANNELS = 700
LONGEST_MS = 2_000.0  # words take up to 1.4 s


def _speakers(value):
    return value.replace(",", " ").split() if isinstance(value, str) else value


Speakers = Annotated[tuple[int, ...], BeforeValidator(_speakers)]


class SpeechData(SpikeTrains):
    trial_ms: Positive = Field(1000.0, description="later spikes are left out; words take up to 1,400 ms")
    test_size: Count | None = Field(None, description="the first N test recordings; null for all")


class SHDData(SpeechData):
    trial_ms: Positive = Field(1400.0, description="later spikes are left out; words take up to 1,400 ms")
    validation_speakers: Speakers = Field((0,), description="whom validation hears, as 0,3; none for a share")
    validation_share: float = Field(0.1, gt=0.0, le=0.5, description="of the training recordings, without speakers")


class SHDConfig(SHDData, ClassifierConfig):
    pass


class SHDSpikingConfig(SHDData, SpikingConfig):
    pass


class SSCConfig(SpeechData, ClassifierConfig):
    pass


class SSCSpikingConfig(SpeechData, SpikingConfig):
    pass


class SHD:
    name = "shd"
    kind = "classification"
    summary = "Spiking Heidelberg Digits, 700 cochlear channels in 1.4 s (EventProp paper)"
    config_class = SHDConfig
    lif_config_class = SHDSpikingConfig
    title, classes = "SHD", 20
    published = (8_156, 2_264)

    def load(self, config, data_dir) -> Dataset:
        folder = tonic_folder(data_folder.chosen(data_dir), self.title)
        train, test = (read_speech(self, folder, part, config) for part in ("train", "test"))
        held_out = held_out_of(train, config)
        validation, train = train.of(held_out), train.of(~held_out)
        return _dataset(self, config, data_dir, train, validation, test)


class SSC:
    name = "ssc"
    kind = "classification"
    summary = "Spiking Speech Commands, 700 cochlear channels in 1 s (EventProp paper)"
    config_class = SSCConfig
    lif_config_class = SSCSpikingConfig
    title, classes = "SSC", 35
    published = (75_466 + 9_981, 20_382)

    def load(self, config, data_dir) -> Dataset:
        folder = tonic_folder(data_folder.chosen(data_dir), self.title)
        parts = [read_speech(self, folder, part, config) for part in ("train", "valid", "test")]
        return _dataset(self, config, data_dir, *parts)


class Speech(NamedTuple):
    """Recordings with what was said, int32, and by whom."""

    recordings: Recordings
    labels: np.ndarray
    speakers: np.ndarray

    def of(self, chosen):
        return Speech(*(field[chosen] for field in self))


def _dataset(task, config, data_dir, train, validation, test):
    available = len(train.labels)
    size = config.train_size or available
    if size > available:
        raise ConfigError(f"train_size must be at most {available}, received {size}.")
    tested = slice(config.test_size)
    splits = [
        Split(train.recordings[:size], train.labels[:size]),
        Split(validation.recordings, validation.labels),
        Split(test.recordings[tested], test.labels[tested]),
    ]
    counts = (size + len(validation.labels), len(splits[2].y))
    return Dataset(task.title, data_folder.as_recorded(data_dir), task.classes, counts == task.published, *splits)


def held_out_of(train, config):
    """Which of the training recordings are for validation, bool."""
    if not config.validation_speakers:
        held_out = np.random.default_rng(0).permutation(len(train.labels))
        return held_out < round(config.validation_share * len(train.labels))
    present = set(train.speakers.tolist())
    absent = [speaker for speaker in config.validation_speakers if speaker not in present]
    if absent:
        raise ConfigError(f"validation_speakers must be some of {sorted(present)}, received {absent[0]}.")
    return np.isin(train.speakers, config.validation_speakers)


def read_speech(task, folder, part, config) -> Speech:
    """One part, "train", "valid" or "test", of SHD or SSC; downloaded by tonic where its file is not there.

    Raises:
        CannotRun: the file is not there and tonic is not installed.
        DataMissing: the file is not there and cannot be downloaded, or is not such a file.
    """
    path = folder / task.title / f"{task.title.lower()}_{part}.h5"
    if not path.is_file():
        options = {"split": part} if task.title == "SSC" else {"train": part == "train"}
        from_tonic(task.title, folder, **options)
    import h5py

    try:
        with h5py.File(path, "r") as file:
            labels, speakers = file["labels"][()].astype("int32"), file["extra/speaker"][()]
            times, units = file["spikes/times"], file["spikes/units"]
            if len({len(array) for array in (labels, speakers, times, units)}) != 1:
                raise DataMissing(f"{path.name} must hold as many times and units as labels and speakers.")
            events = [
                _recording(times[index], units[index], config, f"recording {index} of {path.name}")
                for index in range(len(labels))
            ]
    except DataMissing:
        raise
    except Exception as error:  # a damaged file raises many types
        raise DataMissing(f"{path.name} cannot be read as a file of {task.title} ({error}).") from None
    outside = labels[(labels < 0) | (labels >= task.classes)]
    if outside.size:
        raise DataMissing(f"{path.name} must hold labels from 0 to {task.classes - 1}, received {outside[0]}.")
    return Speech(Recordings(events, config.steps, CHANNELS), labels, speakers)


def _recording(seconds, units, config, name):
    return recording(
        seconds.astype("float64") * 1000.0,  # float16 in the file, too coarse to be multiplied
        units,
        steps=config.steps,
        dt=config.dt,
        channels=CHANNELS,
        longest=LONGEST_MS,
        name=name,
    )
