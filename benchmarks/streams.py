"""A text as parallel streams of words that a stateful network reads chunk after chunk, and as one stream in order."""

import keras
import numpy as np

from benchmarks.errors import ConfigError

# Of random chunks, as AWD-LSTM has them (Merity et al. 2018, section 4.1).
FULL_SHARE = 0.95  # the others are half as long
SPREAD = 5.0  # standard deviation, in words
SHORTEST = 5  # words


class TextStreams(keras.utils.PyDataset):
    """Training batches of truncated back-propagation: `batch_size` streams, cut from the text one after the other.

    Batch i holds chunk i of every stream, `[batch_size, steps]` words and, as targets, the words that follow them, so
    that state carried from batch to batch is the state of each stream. What is left of a stream after its last whole
    chunk, and of the text after its last whole stream, is not trained on.

    `epoch`, which `EpochClock` sets, decides with which chunk an epoch begins: with `steps_per_epoch` it goes on where
    the last one ended, and after the last chunk comes the first.

    Raises:
        ConfigError: the text is too short for one chunk a stream.
    """

    def __init__(self, words, batch_size, steps, steps_per_epoch=None):
        super().__init__(workers=1)
        length = (len(words) - 1) // batch_size
        self.chunks = length // steps
        if not self.chunks:
            raise ConfigError(
                f"batch_size x steps must leave one of the {len(words)} training words to predict, received "
                f"{batch_size} x {steps}."
            )
        self.inputs = words[: batch_size * length].reshape(batch_size, length)
        self.targets = words[1 : batch_size * length + 1].reshape(batch_size, length)
        self.width = steps
        self.steps = steps_per_epoch or self.chunks
        self.epoch = 0

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        chunk = (self.epoch * self.steps + index) % self.chunks
        here = slice(chunk * self.width, (chunk + 1) * self.width)
        return self.inputs[:, here], self.targets[:, here]


class RandomTextStreams(TextStreams):
    """The same streams in chunks of random lengths, so that gradients end at other words in every epoch.

    A length is normal around `steps`, now and then around half of it. An epoch goes on where the last one ended, and
    after the end of a stream comes its beginning. What an epoch reads is decided by `seed` and its number alone.

    Raises:
        ConfigError: the text is too short, or an epoch would have one chunk alone.
    """

    def __init__(self, words, batch_size, steps, steps_per_epoch, seed):
        super().__init__(words, batch_size, steps, steps_per_epoch)
        self.seed = seed
        if steps_per_epoch is None:
            self.steps = int(self.inputs.shape[1] / (steps * (1.0 + FULL_SHARE) / 2.0))
        if self.steps < 2:
            raise ConfigError(f"variable_steps needs two chunks an epoch or more, received {self.steps}.")
        self._places = (None, None)

    def lengths(self, epoch):
        """The words of each chunk of an epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        means = np.where(rng.random(self.steps) < FULL_SHARE, self.width, self.width / 2.0)
        lengths = np.maximum(rng.normal(means, SPREAD), min(SHORTEST, self.width)).astype(int)
        # What the first two batches have in common, Keras takes for the shape of all.
        lengths[1] += lengths[1] == lengths[0]
        return lengths

    def __getitem__(self, index):
        if self._places[0] != self.epoch:
            before = sum(int(self.lengths(epoch).sum()) for epoch in range(self.epoch))
            self._places = (self.epoch, before + np.cumsum([0, *self.lengths(self.epoch)]))
        begin, end = self._places[1][index : index + 2]
        here = np.arange(begin, end) % self.inputs.shape[1]
        return self.inputs[:, here], self.targets[:, here]


def in_order(words, width):
    """Yields `(inputs, targets)`, each int32 `[1, width]` and the last ones shorter: every word but the first is a
    target once."""
    for start in range(0, len(words) - 1, width):
        stop = min(start + width, len(words) - 1)
        yield words[None, start:stop], words[None, start + 1 : stop + 1]


class StateReset(keras.callbacks.Callback):
    """Every epoch begins from zero states, whatever was read before: one that is resumed begins as it would have."""

    def on_epoch_begin(self, epoch, logs=None):
        reset_states(self.model)


def reset_states(network):
    """Zeroes the states of all stateful layers."""
    for layer in network.layers:
        if getattr(layer, "stateful", False):
            layer.reset_state()


def cross_entropy(network, words, width) -> float:
    """Mean of -ln p, in nats a word, of a text read in order from zero states.

    Args:
        network: Stateful, for one stream; compiled with the cross-entropy as its only loss.
        words: int32 `[words]`, at least two.
        width: Words a step of the computation; it changes its memory, not its figure.
    """
    reset_states(network)
    total = sum(float(network.test_on_batch(x, y)) * y.size for x, y in in_order(words, width))
    return total / (len(words) - 1)
