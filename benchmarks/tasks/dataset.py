"""What a task hands to the training loop: sequences with labels, split three ways, kept in memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Split(NamedTuple):
    """`x`: float32 `[examples, time, features]`, or spikes that become so (`SpikeTimes`, `Recordings`); `y`: int32
    `[examples]`."""

    x: Any
    y: np.ndarray


class Dataset(NamedTuple):
    """The three splits. The validation split selects, the test split is looked at once, at the end.

    name: of the data, for the record.
    path: the folder as the user typed it, or None where the data is generated.
    classes: number of classes.
    complete: whether every example of the published data set is used.
    augment: what training batches go through, as `Batches` calls it; None for nothing.
    verified: whether its files are known to be the published ones; None where nobody can tell, or there are none.
    """

    name: str
    path: str | None
    classes: int
    complete: bool
    train: Split
    validation: Split
    test: Split
    verified: bool | None = None
    augment: Callable | None = None

    def describe(self) -> dict:
        """The record's `dataset` entry."""
        return {
            "name": self.name,
            "path": self.path,
            "train": len(self.train.y),
            "validation": len(self.validation.y),
            "test": len(self.test.y),
            "complete": self.complete,
            "verified": self.verified,
            "steps": self.train.x.shape[1],
            "features": self.train.x.shape[2],
        }
