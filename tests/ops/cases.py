"""Random arguments for `egru_sequence`, shared by the tests of the op."""

import numpy as np
import tensorflow as tf

from keras_egru.ops import egru_sequence


def arguments(shape, *, reset_after=True, dtype="float64", seed=0, input_density=0.6, shared_threshold=False):
    """The seven tensors of a call; `shape` is (batch, time, features, units)."""
    batch, time, features, units = shape
    rng = np.random.default_rng(seed)

    def normal(*size, scale=0.6):
        return tf.constant(rng.normal(size=size) * scale, dtype)

    x = rng.normal(size=(batch, time, features)) * (rng.random((batch, time, features)) < input_density)
    c = rng.normal(size=(batch, units)) * 0.5
    threshold = rng.uniform(0.05, 0.5, 1 if shared_threshold else units)
    return {
        "inputs": tf.constant(x, dtype),
        "initial_y": tf.constant(c * (c > threshold), dtype),
        "initial_c": tf.constant(c, dtype),
        "kernel": normal(features, 3 * units),
        "recurrent_kernel": normal(units, 3 * units, scale=1.2 / np.sqrt(units)),
        "bias": normal(2, 3 * units) if reset_after else normal(3 * units),
        "threshold": tf.constant(threshold, dtype),
    }


def weights_of_loss(shape, dtype="float64", seed=1):
    """Random upstream gradients of y and c, `[batch, time, units]` each."""
    batch, time, _, units = shape
    rng = np.random.default_rng(seed)
    return tuple(tf.constant(rng.normal(size=(batch, time, units)), dtype) for _ in range(2))


def values_and_gradients(given, upstream, **options):
    """A dict of y, c, the counters and the gradients of sum(y * upstream[0]) + sum(c * upstream[1])."""
    with tf.GradientTape() as tape:
        tape.watch(given)
        out = egru_sequence(**given, **options)
        loss = tf.reduce_sum(out.y * upstream[0]) + tf.reduce_sum(out.c * upstream[1])
    gradients = tape.gradient(loss, given)
    counters = [int(count) for count in out.counters]
    return {"y": out.y, "c": out.c, "counters": counters, **{f"gradient of {n}": g for n, g in gradients.items()}}


def largest_error(actual, expected):
    """The largest difference, relative to the largest number expected."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    return np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30)
