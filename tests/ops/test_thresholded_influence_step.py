"""Real-time recurrent learning against back-propagation through time, which has the same gradient."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from keras_egru import ThresholdedRNNCell
from keras_egru.ops import thresholded_influence_step
from keras_egru.surrogates import Boxcar, Triangular

tf = pytest.importorskip("tensorflow")

BATCH, TIME, FEATURES, UNITS = 3, 8, 2, 5
RNG = np.random.default_rng(0)
X, WEIGHTS = RNG.normal(size=(BATCH, TIME, FEATURES)), RNG.normal(size=(BATCH, TIME, UNITS))
MASK = RNG.random((BATCH, TIME)) < 0.7


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
@pytest.mark.parametrize("surrogate", [Triangular(0.7, 1.0), Boxcar(0.5, 0.2)], ids=["triangular", "boxcar"])
def test_the_gradient_is_that_of_back_propagation(surrogate, mask):
    keras.utils.set_random_seed(1)
    cell = ThresholdedRNNCell(UNITS, surrogate=surrogate, dtype="float64", kernel_initializer="he_normal")
    layer = keras.layers.RNN(cell, return_sequences=True, dtype="float64")
    valid = np.ones((BATCH, TIME), bool) if mask is None else mask
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(X, mask=mask) * WEIGHTS * valid[:, :, None])
    expected = np.concatenate([np.ravel(g) for g in tape.gradient(loss, [w.value for w in layer.weights])])

    weights = [np.array(weight) for weight in layer.weights]
    influence, y, total, dead = np.zeros((BATCH, UNITS, expected.size)), np.zeros((BATCH, UNITS)), 0.0, 0
    for t in range(TIME):
        stepped = thresholded_influence_step(influence, X[:, t], y, *weights, surrogate=surrogate)
        keep = valid[:, t, None]
        influence, y = np.where(keep[:, :, None], stepped[0], influence), np.where(keep, stepped[1], y)
        total = total + np.einsum("bk,bkp->p", WEIGHTS[:, t] * keep, influence)
        dead += np.sum(~np.any(stepped[0], axis=2))
    assert 0 < dead < BATCH * TIME * UNITS
    assert np.any(expected != 0)
    assert_allclose(total, expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max())
