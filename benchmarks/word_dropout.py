"""Dropout of whole words of a vocabulary, the embedding dropout of AWD-LSTM (Merity et al. 2018, section 4.3)."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_egru_benchmarks")
class WordDropout(keras.layers.Layer):
    """Drops rows of the embedding matrix while training, and scales the others by `1 / (1 - rate)`.

    A call draws one mask: a word is there at all its places in the chunk, or at none. A read-out that shares the
    matrix is left whole.
    """

    def __init__(self, rate, vocabulary_size, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.vocabulary_size, self.seed = rate, vocabulary_size, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, embedded, words, training=False):
        """`embedded` is `[streams, time, features]`, the embedding of the numbers `words`, `[streams, time]`."""
        if not training:
            return embedded
        kept = keras.random.uniform((self.vocabulary_size,), seed=self.seed_generator) >= self.rate
        scale = ops.cast(kept, embedded.dtype) / (1.0 - self.rate)
        return embedded * ops.take(scale, words)[:, :, None]

    def get_config(self):
        return {
            **super().get_config(),
            "rate": self.rate,
            "vocabulary_size": self.vocabulary_size,
            "seed": self.seed,
        }
