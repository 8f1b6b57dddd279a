"""DVS128 Gesture (Amir et al. 2017): eleven gestures of a hand and an arm as an event camera sees them.

The setting is that of the EGRU paper (section 5.1, and D.1 of its first version): noise filtered over 10 ms, windows
of 1.7 s without overlap, frames of 25 ms with a channel for each polarity, brought to 32 x 32 by a maximum. Any
recordings of an event camera, sorted into folders, can stand in their place.
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from benchmarks.config import ClassifierConfig, Count, NonNegative, Positive, Share
from benchmarks.errors import ConfigError, DataMissing
from benchmarks.spiking_config import SpikeTrains, SpikingConfig
from benchmarks.tasks import data_folder
from benchmarks.tasks.dataset import Dataset, Split
from benchmarks.tasks.event_augmentation import augmented
from benchmarks.tasks.event_windows import POLARITIES, EventWindows, windows_of
from benchmarks.tasks.gesture_sources import PARTS, source
from benchmarks.tasks.tonic_data import tonic_folder


class GestureData(SpikeTrains):
    trial_ms: Positive = Field(1700.0, description="duration of a window")
    dt: Positive = Field(25.0, description="milliseconds a frame")
    hop_ms: Positive | None = Field(
        None, description="from a window to the next in the same part of a recording; null for windows side by side"
    )
    denoise_ms: NonNegative = Field(10.0, description="a lone event, with none beside it for so long, is left out")
    image_size: Count = Field(32, description="blocks of pixels along a side of a frame")
    augment: bool = Field(False, description="random crop, translation and rotation of training windows")
    validation_share: Share = Field(0.15, description="of persons, of one's own recordings, or of a recording's time")
    test_share: Share = Field(0.25, description="the same; DVS128 Gesture has a test part of its own")

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self):
        if self.validation_share + self.test_share >= 1.0:
            raise ValueError("validation_share and test_share must leave a share to train on")
        return self

    @property
    def channels(self) -> int:
        return POLARITIES * self.image_size**2


class GestureConfig(GestureData, ClassifierConfig):
    full_count: Positive = Field(8.0, description="events of a pixel in a frame that are 1, as more of them are")
    layers: Count = Field(1, description="recurrent layers of `units` each, one upon the other")
    front_end: Literal["none", "cnn", "alexnet"] = Field(
        "none", description="convolutions of each frame before the recurrent layers; alexnet is for frames of 128"
    )

    @model_validator(mode="after")
    def _has_a_front_end_that_fits(self):
        if self.front_end == "alexnet" and self.image_size < 64:
            raise ValueError(f"front_end=alexnet needs an image_size of 64 at least, received {self.image_size}")
        if self.front_end == "cnn" and self.image_size < 8:
            raise ValueError(f"front_end=cnn needs an image_size of 8 at least, received {self.image_size}")
        if self.front_end != "none" and self.prune is not None and self.prune_weights == "all":
            raise ValueError("front_end goes with prune_weights=recurrent alone: convolutions are not pruned")
        return self


class GestureSpikingConfig(GestureData, SpikingConfig):
    @property
    def full_count(self) -> None:
        """Frames are 0 and 1: a spike wherever there is an event."""


class DVSGesture:
    name = "gesture"
    kind = "classification"
    summary = "DVS128 Gesture, or one's own recordings of an event camera, in frames of 25 ms (EGRU paper)"
    config_class = GestureConfig
    lif_config_class = GestureSpikingConfig

    def load(self, config, data_dir) -> Dataset:
        found = source(tonic_folder(data_folder.chosen(data_dir), "DVSGesture"), config)
        windows, labels, sensor = {}, {}, (1, 1)
        for part in PARTS:
            windows[part], labels[part], seen = _cut(found.parts[part], found.classes, config)
            sensor = tuple(map(max, sensor, seen))
        available = len(labels["train"])
        size = config.train_size or available
        if size > available:
            raise ConfigError(f"train_size must be at most {available}, received {size}.")
        order = np.random.default_rng(0).permutation(available)[:size]
        windows["train"], labels["train"] = [windows["train"][i] for i in order], labels["train"][order]
        splits = {
            part: Split(
                EventWindows(windows[part], sensor, config.steps, config.image_size, config.full_count), labels[part]
            )
            for part in PARTS
        }
        return Dataset(
            name=found.name,
            path=data_folder.as_recorded(data_dir),
            classes=found.classes,
            complete=found.published and size == available,
            **splits,
            verified=found.verified,
            augment=augmented if config.augment else None,
        )


def _cut(pieces, classes, config):
    """The windows of some pieces, the label of each, and the largest sensor among their cameras."""
    windows, labels, sensor = [], [], (1, 1)
    dt = round(config.dt * 1000)
    hop = config.steps * dt if config.hop_ms is None else round(config.hop_ms * 1000)
    for piece in pieces:
        if not 0 <= piece.label < classes:
            raise DataMissing(f"{piece.name} must have a label from 0 to {classes - 1}, received {piece.label}.")
        events, *size = piece.read()
        length = int(events["t"][-1]) + 1
        some = windows_of(
            events,
            begin=round(piece.begin * length),
            end=round(piece.end * length),
            steps=config.steps,
            dt_us=dt,
            hop_us=hop,
            denoise_us=round(config.denoise_ms * 1000),
            name=piece.name,
        )
        windows += some
        labels += [piece.label] * len(some)
        sensor = tuple(map(max, sensor, size))
    return windows, np.asarray(labels, "int32"), sensor
