"""Real-time recurrent learning against back-propagation through time, which has the same gradient."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EGRU
from keras_egru.ops import egru_influence_step
from keras_egru.ops.egru_step import RESETS
from keras_egru.surrogates import Boxcar, Triangular

tf = pytest.importorskip("tensorflow")

BATCH, TIME, FEATURES, UNITS = 3, 8, 2, 5
RNG = np.random.default_rng(0)
X, WEIGHTS = 2.0 * RNG.normal(size=(BATCH, TIME, FEATURES)), RNG.normal(size=(BATCH, TIME, UNITS))
MASK = RNG.random((BATCH, TIME)) < 0.7


def _layer(**options):
    """A float64 EGRU of the reference, with a lively mix of events and silence."""
    keras.utils.set_random_seed(1)
    loud = {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=1.5),
        "bias_initializer": keras.initializers.RandomNormal(0.5, 0.5),
    }
    layer = EGRU(UNITS, return_sequences=True, implementation="reference", dtype="float64", **loud, **options)
    layer.build(X.shape)
    return layer


def _online(layer, mask=None):
    """The gradient of `sum(WEIGHTS * y)`, summed up step by step, and the last influence of y and of c."""
    cell = layer.cell
    weights = kernel, recurrent_kernel, *bias, threshold = [np.array(weight) for weight in layer.weights]
    parameters = sum(weight.size for weight in weights)
    influence_y = influence_c = np.zeros((BATCH, UNITS, parameters))
    y = c = np.zeros((BATCH, UNITS))
    total, events = np.zeros(parameters), 0
    for t in range(TIME):
        stepped = egru_influence_step(
            influence_y, influence_c, X[:, t], y, c, kernel, recurrent_kernel, bias[0] if bias else None, threshold,
            reset=cell.reset, reset_after=cell.reset_after, surrogate=cell.surrogate,
        )  # fmt: skip
        before = influence_y, influence_c, y, c
        keep = np.ones(BATCH, bool) if mask is None else mask[:, t]
        influence_y, influence_c, y, c = (
            np.where(keep.reshape(-1, *[1] * (np.ndim(new) - 1)), new, old)
            for new, old in zip(stepped, before, strict=True)
        )
        events += np.count_nonzero(y)
        total += np.einsum("bk,bkp->p", WEIGHTS[:, t] * keep[:, None], influence_y)
    assert 0.05 < events / (BATCH * TIME * UNITS) < 0.95
    return np.split(total, np.cumsum([weight.size for weight in weights])[:-1]), influence_y, influence_c


def _through_time(layer, mask=None):
    valid = np.ones((BATCH, TIME)) if mask is None else mask
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(X, mask=mask) * WEIGHTS * valid[:, :, None])
    return tape.gradient(loss, [weight.value for weight in layer.weights])


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
@pytest.mark.parametrize("surrogate", [Triangular(0.7, 1.0), Boxcar(0.5, 0.2)], ids=["triangular", "boxcar"])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("reset", RESETS)
def test_the_gradient_is_that_of_back_propagation(reset, reset_after, surrogate, mask):
    layer = _layer(reset=reset, reset_after=reset_after, surrogate=surrogate)
    found, _, _ = _online(layer, mask)
    for weight, ours, theirs in zip(layer.weights, found, _through_time(layer, mask), strict=True):
        theirs = np.ravel(theirs)
        assert np.any(theirs != 0)
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10 * np.abs(theirs).max(), err_msg=weight.name)


@pytest.mark.parametrize("reset_after", [True, False])
def test_without_a_bias(reset_after):
    layer = _layer(use_bias=False, reset_after=reset_after)
    found, _, _ = _online(layer)
    for ours, theirs in zip(found, _through_time(layer), strict=True):
        theirs = np.ravel(theirs)
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10 * np.abs(theirs).max())


def test_the_influence_on_y_vanishes_where_no_gradient_passes_and_that_on_c_does_not():
    layer = _layer(surrogate=Boxcar(0.5, 0.1))
    _, influence_y, influence_c = _online(layer)
    dead = ~np.any(influence_y != 0, axis=2)
    assert 0 < dead.sum() < dead.size
    assert np.all(np.any(influence_c != 0, axis=2)[dead])


def test_the_state_is_that_of_the_layer():
    layer = _layer()
    weights = [np.array(weight) for weight in layer.weights]
    zeros = np.zeros((BATCH, UNITS, sum(weight.size for weight in weights)))
    y = c = np.zeros((BATCH, UNITS))
    for t in range(TIME):
        *_, y, c = egru_influence_step(
            zeros, zeros, X[:, t], y, c, *weights, reset="threshold", reset_after=True, surrogate=Triangular()
        )
        assert_array_equal(ops.convert_to_numpy(y), layer(X[:, : t + 1])[:, -1])
