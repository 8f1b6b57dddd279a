"""Spirals in the plane, clockwise or anticlockwise: the synthetic task of the RTRL paper (Subramoney 2023, section 6).

The paper gives the sizes (10,000 spirals, 17 steps, two classes), not the generator. Ours draws, for each spiral, a
start angle, a number of turns, a growth and the noise on every point; only the sense of rotation tells the class.
"""

import numpy as np
from pydantic import Field

from benchmarks.config import ClassifierConfig, Count, NonNegative, OnlineConfig
from benchmarks.errors import ConfigError
from benchmarks.tasks.dataset import Dataset, Split

SPIRALS = 10_000
STEPS = 17
HELD_OUT = 1_000  # each of validation and test


class SpiralConfig(OnlineConfig, ClassifierConfig):
    noise: NonNegative = Field(0.05, description="standard deviation of the noise on every coordinate")
    data_seed: int = Field(0, ge=0, description="of the generator; the same in every run, whatever --seed is")
    evaluation_size: Count = Field(HELD_OUT, description="examples in each of validation and test", le=HELD_OUT)


class Spiral:
    name = "spiral"
    kind = "classification"
    summary = "2-D spirals, 17 steps, clockwise or anticlockwise; generated (RTRL paper)"
    config_class = SpiralConfig

    def load(self, config, data_dir) -> Dataset:
        x, y = spirals(SPIRALS, config.noise, config.data_seed)
        available = SPIRALS - 2 * HELD_OUT
        size = config.train_size or available
        if size > available:
            raise ConfigError(f"train_size must be at most {available}, received {size}.")
        validation, test = slice(available, available + config.evaluation_size), slice(available + HELD_OUT, None)
        return Dataset(
            name="spirals",
            path=None,
            classes=2,
            complete=size == available and config.evaluation_size == HELD_OUT,
            train=Split(x[:size], y[:size]),
            validation=Split(x[validation], y[validation]),
            test=Split(x[test][: config.evaluation_size], y[test][: config.evaluation_size]),
        )


def spirals(count, noise, seed):
    """`(x, y)`: float32 `[count, STEPS, 2]` within about [-1, 1], and int32 `[count]`, 1 for anticlockwise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count).astype("int32")
    start = rng.uniform(0.0, 2.0 * np.pi, (count, 1))
    turns = rng.uniform(0.5, 2.0, (count, 1))
    inner, outer = rng.uniform(0.05, 0.3, (count, 1)), rng.uniform(0.5, 1.0, (count, 1))
    progress = np.linspace(0.0, 1.0, STEPS)
    angle = start + (2 * y[:, None] - 1) * 2.0 * np.pi * turns * progress
    radius = inner + (outer - inner) * progress
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return (x + rng.normal(0.0, noise, x.shape)).astype("float32"), y
