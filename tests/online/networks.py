"""Small float64 networks for online learning, and the gradients of their losses by back-propagation."""

import keras
import numpy as np
import tensorflow as tf

from keras_egru import EGRU, ThresholdedRNNCell
from keras_egru.initializers import Beta
from keras_egru.pruning import RandomMask
from keras_egru.surrogates import Boxcar

BATCH, TIME, FEATURES, UNITS, CLASSES = 3, 7, 2, 5, 3
RNG = np.random.default_rng(0)
X, Y = 2.0 * RNG.normal(size=(BATCH, TIME, FEATURES)), RNG.normal(size=(BATCH, TIME, CLASSES))


def egru(units=UNITS, **options):
    lively = {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=1.5, seed=1),
        "bias_initializer": keras.initializers.RandomNormal(0.5, 0.5, seed=2),
        "threshold_initializer": Beta(0.3),
        "threshold_trainable": True,
        "surrogate": Boxcar(0.5, 0.3),
    }
    return EGRU(units, dtype="float64", **{"return_sequences": True, **lively, **options})


def gru(units=UNITS, **options):
    return keras.layers.GRU(units, dtype="float64", **{"return_sequences": True, **options})


def thresholded(units=UNITS, return_sequences=True, **options):
    cell = ThresholdedRNNCell(
        units, dtype="float64", kernel_initializer="he_normal", **{"surrogate": Boxcar(0.5, 0.3), **options}
    )
    return keras.layers.RNN(cell, return_sequences=return_sequences, dtype="float64")


CELLS = {
    **{
        f"egru-{reset}-{'after' if after else 'before'}": (egru, {"reset": reset, "reset_after": after})
        for reset in ("threshold", "subtract", "zero")
        for after in (True, False)
    },
    "egru-shared": (egru, {"shared_threshold": True}),
    "egru-frozen": (egru, {"threshold_trainable": False}),
    "gru-after": (gru, {}),
    "gru-before": (gru, {"reset_after": False}),
    "thresholded": (thresholded, {}),
}


def model(*recurrent, sparsity=None, kind=keras.Sequential, below=(), classes=CLASSES):
    """`kind` of the layers `below`, the recurrent ones (behind random masks of a `sparsity`) and a Dense read-out."""
    if sparsity is not None:
        recurrent = [RandomMask(layer, sparsity, seed=3, dtype="float64") for layer in recurrent]
    return kind(
        [
            keras.Input((TIME, FEATURES), dtype="float64"),
            *below,
            *recurrent,
            keras.layers.Dense(classes, dtype="float64"),
        ]
    )


def through_time(network, variables, loss, x=X, y=Y, mask=None):
    """Gradients by back-propagation, those of pruned weights taken out."""
    with tf.GradientTape() as tape:
        value = loss(tf.constant(y), network(tf.constant(x), training=True))
    gradients = tape.gradient(value, [variable.value for variable in variables])
    masks = {
        id(pair.weight): np.asarray(pair.mask.value) for layer in network.layers for pair in getattr(layer, "masks", ())
    }
    return [np.asarray(g) * masks.get(id(v), 1.0) for g, v in zip(gradients, variables, strict=True)]
