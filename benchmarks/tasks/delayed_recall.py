"""Delayed recall: a flagged symbol is to be named after hundreds of steps of other symbols, of no meaning.

A network that is updated every few steps by truncated back-propagation gets no gradient of the flag, whose last step
lies in an earlier window than the answer; exact online learning does. The task is ours, of the kind that Hochreiter &
Schmidhuber (1997) set to the LSTM.
"""

import numpy as np
from pydantic import Field, model_validator

from benchmarks.config import ClassifierConfig, Count, OnlineConfig, Positive, Rate
from benchmarks.tasks.dataset import Dataset, Split


class DelayedRecallConfig(OnlineConfig, ClassifierConfig):
    steps: Count = Field(500, description="of a sequence, from the first of the cue to the last of the answer")
    symbols: int = Field(2, ge=2, description="of which one is the cue; each has a channel")
    cue_steps: Count = Field(10, description="the first steps, at which flag and cue are on")
    answer_steps: Count = Field(10, description="the last steps, at which the go signal is on and the answer counts")
    distractor_rate: Rate = Field(0.1, description="share of the steps between that show a random symbol, unflagged")
    amplitude: Positive = Field(5.0, description="of a channel that is on; strong enough to open a gate that is shut")
    data_seed: int = Field(0, ge=0, description="of the generator; the same in every run, whatever --seed is")
    train_size: Count | None = Field(None, description="training sequences; null for 5,000")
    evaluation_size: Count = Field(500, description="sequences in each of validation and test")

    @model_validator(mode="after")
    def _has_a_delay(self):
        if self.cue_steps + self.answer_steps >= self.steps:
            raise ValueError("cue_steps and answer_steps together must be smaller than steps")
        return self


class DelayedRecall:
    name = "delayed_recall"
    kind = "classification"
    summary = "a flagged symbol, 500 steps or more of others, then its name; generated"
    config_class = DelayedRecallConfig

    def load(self, config, data_dir) -> Dataset:
        held_out = config.evaluation_size
        sizes = {"train": config.train_size or 5_000, "validation": held_out, "test": held_out}
        splits = {
            name: Split(*delayed_recall(config, size, (config.data_seed, number)))
            for number, (name, size) in enumerate(sizes.items())
        }
        return Dataset(name="delayed recall", path=None, classes=config.symbols, complete=True, **splits)


def delayed_recall(config, count, seed):
    """`(x, y)`: float32 `[count, steps, symbols + 2]`, 0 or `amplitude`, and int32 `[count]`, the symbols of the cues.

    Channels are those of the symbols, the flag and the go signal.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(0, config.symbols, count).astype("int32")
    shown = rng.integers(0, config.symbols, (count, config.steps))
    on = rng.random((count, config.steps)) < config.distractor_rate
    cue, answer = slice(None, config.cue_steps), slice(config.steps - config.answer_steps, None)
    shown[:, cue], on[:, cue], on[:, answer] = y[:, None], True, False
    x = np.zeros((count, config.steps, config.symbols + 2), "float32")
    x[..., :-2] = (shown[..., None] == np.arange(config.symbols)) & on[..., None]
    x[:, cue, -2] = 1.0
    x[:, answer, -1] = 1.0
    return np.float32(config.amplitude) * x, y
