"""Shuffled training batches, their order a function of (seed, epoch): a resumed run sees what it would have seen."""

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Batches of a split kept in memory, in an endless stream of passes, each in its own random order.

    `epoch`, which `EpochClock` sets, decides which part of the stream comes; with `steps_per_epoch` an epoch need not
    end where a pass does. Whoever iterates must not shuffle the indices again (`fit(..., shuffle=False)`).
    `augment(x, generators)` returns what a batch `x` of the split becomes, or is None; it has a random generator for
    each example, which (seed, pass, number of the example) decide.
    """

    def __init__(self, split, batch_size, steps_per_epoch, seed, augment=None):
        super().__init__(workers=1)
        self.split, self.batch_size, self.seed, self.augment = split, batch_size, seed, augment
        self.batches_per_pass = -(-len(split.y) // batch_size)
        self.steps = steps_per_epoch or self.batches_per_pass
        self.epoch = 0
        self._order = (None, None)

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        number, batch = divmod(self.epoch * self.steps + index, self.batches_per_pass)
        chosen = self._permutation(number)[batch * self.batch_size : (batch + 1) * self.batch_size]
        x = self.split.x[chosen]
        if self.augment is not None:
            x = self.augment(x, [np.random.default_rng((self.seed, number, example)) for example in chosen.tolist()])
        return np.asarray(x), self.split.y[chosen]

    def _permutation(self, number):
        if self._order[0] != number:
            self._order = (number, np.random.default_rng((self.seed, number)).permutation(len(self.split.y)))
        return self._order[1]


class InOrder(keras.utils.PyDataset):
    """Batches of a split as it is, each example once, to evaluate on."""

    def __init__(self, split, batch_size):
        super().__init__(workers=1)
        self.split, self.batch_size = split, batch_size

    def __len__(self):
        return -(-len(self.split.y) // self.batch_size)

    def __getitem__(self, index):
        chosen = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return np.asarray(self.split.x[chosen]), self.split.y[chosen]


class EpochClock(keras.callbacks.Callback):
    """Tells the batches which epoch begins."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.epoch = epoch
