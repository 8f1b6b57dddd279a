"""Yin-Yang (Kriener, Goeltz & Petrovici 2022): points of the plane in three classes, told by when four inputs spike.

A point lies in the circle of radius 0.5 about (0.5, 0.5), in its yin, its yang or one of its two dots of radius 0.1.
Channels 0 to 3 spike once, `x`, `y`, `1 - x` and `1 - y` of the way from `early_ms` to `late_ms`; channel 4, the bias,
always at `early_ms`.
"""

import numpy as np
from pydantic import Field, model_validator

from benchmarks.config import ClassifierConfig, Count, NonNegative, Positive
from benchmarks.spiking_config import SpikeTrains, SpikingConfig
from benchmarks.tasks.dataset import Dataset, Split
from benchmarks.tasks.spike_trains import ROUNDING, SpikeTimes

RADIUS, DOT = 0.5, 0.1
CLASSES = ("yin", "yang", "dot")
TRAINING = 5_000  # the published sizes
HELD_OUT = 1_000  # each of validation and test


class YinYangData(SpikeTrains):
    trial_ms: Positive = Field(40.0, description="duration of a trial")
    dt: Positive = Field(0.5, description="milliseconds a step, of the data and of the neurons")
    early_ms: NonNegative = Field(2.0, description="when a coordinate of 0 spikes, and the bias")
    late_ms: Positive = Field(27.0, description="when a coordinate of 1 spikes")
    data_seed: int = Field(0, ge=0, description="of the generator; the same in every run, whatever --seed is")
    train_size: Count | None = Field(None, description="training points, which may be more; null for the 5,000")
    evaluation_size: Count = Field(HELD_OUT, description="points in each of validation and test", le=HELD_OUT)

    @model_validator(mode="after")
    def _spikes_within_the_trial(self):
        if not self.early_ms < self.late_ms < self.trial_ms:
            raise ValueError("early_ms, late_ms and trial_ms must grow in this order")
        return self


class YinYangConfig(YinYangData, ClassifierConfig):
    pass


class YinYangSpikingConfig(YinYangData, SpikingConfig):
    pass


class YinYang:
    name = "yinyang"
    kind = "classification"
    summary = "points of the Yin-Yang figure as times of five spikes; generated (Kriener 2022)"
    config_class = YinYangConfig
    lif_config_class = YinYangSpikingConfig

    def load(self, config, data_dir) -> Dataset:
        size = config.train_size or TRAINING
        sizes = {"train": size, "validation": config.evaluation_size, "test": config.evaluation_size}
        splits = {name: _split(config, number, count) for number, (name, count) in enumerate(sizes.items())}
        return Dataset(
            name="Yin-Yang",
            path=None,
            classes=len(CLASSES),
            complete=size >= TRAINING and config.evaluation_size == HELD_OUT,
            **splits,
        )


def _split(config, number, count):
    points, y = yin_yang(count, (config.data_seed, number))
    return Split(encode(points, config), y)


def yin_yang(count, seed):
    """`(points, y)`: float64 `[count, 2]` and int32 `[count]`, indices of `CLASSES`, which are equally likely.

    Points are drawn evenly over the figure until each class has what is wanted of it.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(CLASSES), count).astype("int32")
    points, missing = np.empty((count, 2)), np.ones(count, bool)
    while missing.any():
        drawn = rng.uniform(0.0, 2.0 * RADIUS, (4 * count, 2))
        drawn = drawn[np.hypot(*(drawn - RADIUS).T) <= RADIUS]
        found = class_of(drawn)
        for label in range(len(CLASSES)):
            places = np.flatnonzero(missing & (y == label))
            some = drawn[found == label][: len(places)]
            points[places[: len(some)]] = some
            missing[places[: len(some)]] = False
    return points, y


def class_of(points):
    """The class of points `[count, 2]` within the circle: the dots, else 1 above the curve that winds between them."""
    to_right = np.hypot(points[:, 0] - 1.5 * RADIUS, points[:, 1] - RADIUS)
    to_left = np.hypot(points[:, 0] - 0.5 * RADIUS, points[:, 1] - RADIUS)
    upper = (points[:, 1] > RADIUS) & (to_right > 0.5 * RADIUS)
    above = upper | (to_left <= 0.5 * RADIUS)
    return np.where((to_right < DOT) | (to_left < DOT), 2, above).astype("int32")


def encode(points, config):
    """The `SpikeTimes` of points in the unit square."""
    share = np.column_stack([points, 1.0 - points, np.zeros(len(points))])
    time = config.early_ms + share * (config.late_ms - config.early_ms)
    return SpikeTimes(np.floor(time / config.dt + ROUNDING).astype("int64"), config.steps)
