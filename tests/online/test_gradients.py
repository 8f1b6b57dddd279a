"""Online gradients of whole networks against back-propagation, where they are exact, and what they leave out."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

from keras_egru.online import RTRL, SnAp
from tests.online.networks import (
    BATCH,
    CELLS,
    CLASSES,
    FEATURES,
    TIME,
    UNITS,
    X,
    Y,
    egru,
    gru,
    model,
    thresholded,
    through_time,
)

MSE = keras.losses.MeanSquaredError(dtype="float64")
IMPLEMENTATIONS = [(cell, "fused") for cell in CELLS] + [
    (cell, "reference") for cell in ("egru-threshold-after", "gru-before", "thresholded")
]


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(1)


def _assert_equal(found, expected, variables):
    for ours, theirs, variable in zip(found, expected, variables, strict=True):
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10 * np.abs(theirs).max(), err_msg=variable.path)


@pytest.mark.parametrize("sparsity", [None, 0.6])
@pytest.mark.parametrize(("cell", "implementation"), IMPLEMENTATIONS)
def test_one_recurrent_layer_is_exact(cell, implementation, sparsity):
    make, options = CELLS[cell]
    network = model(make(**options), sparsity=sparsity)
    learner = RTRL(network, loss=MSE, implementation=implementation)
    found = learner.gradients(X, Y)
    expected = through_time(network, learner.variables, MSE)
    assert all(np.any(gradient != 0) for gradient in expected)
    _assert_equal(found, expected, learner.variables)
    assert {v.path for v in learner.variables} == {v.path for v in network.trainable_variables}


@pytest.mark.parametrize("make", [egru, gru, thresholded])
def test_a_loss_of_the_last_step(make):
    network = model(make(return_sequences=False))
    learner = RTRL(network, loss=MSE, update_every=None)
    expected = through_time(network, learner.variables, MSE, y=Y[:, -1])
    _assert_equal(learner.gradients(X, Y[:, -1]), expected, learner.variables)


def test_masked_steps():
    layer = egru()
    network = keras.Sequential([keras.Input((TIME, FEATURES), dtype="float64"), layer])
    learner = RTRL(network, loss=MSE)
    mask = np.random.default_rng(3).random((BATCH, TIME)) < 0.6
    mask[:, 0] = True
    y = np.random.default_rng(4).normal(size=(BATCH, TIME, UNITS))
    with tf.GradientTape() as tape:
        loss = MSE(y, layer(tf.constant(X), mask=mask))
    expected = tape.gradient(loss, [v.value for v in learner.variables])
    _assert_equal(learner.gradients(X, y, mask=mask), [np.asarray(g) for g in expected], learner.variables)


def test_what_comes_at_a_masked_step_teaches_nothing_below():
    network = model(egru(), below=[keras.layers.Dense(3, dtype="float64")])
    learner = RTRL(network, loss=lambda y, outputs: keras.ops.mean((y - outputs) ** 2))  # sees masked steps too
    mask = np.tile(np.arange(TIME) % 3 != 1, (BATCH, 1))
    found = learner.gradients(X, Y, mask=mask)
    other = learner.gradients(np.where(mask[:, :, None], X, 9.0), Y, mask=mask)
    _assert_equal(found, other, learner.variables)
    assert all(np.any(gradient != 0) for gradient in found)


def test_regularizers_and_sample_weights():
    network = model(egru(kernel_regularizer="l2", recurrent_regularizer=keras.regularizers.L1(0.01)))
    learner = RTRL(network, loss=MSE)
    weight = np.array([0.5, 2.0, 1.0])

    def loss(y, outputs):
        return MSE(y, outputs, weight[:, None] * np.ones((BATCH, TIME))) + sum(network.losses)

    _assert_equal(
        learner.gradients(X, Y, sample_weight=weight), through_time(network, learner.variables, loss), learner.variables
    )


def test_a_readout_of_one_s_own():
    layer = egru()
    readout = keras.layers.Dense(CLASSES, "tanh", dtype="float64")
    learner = RTRL(layer, readout, loss=MSE)
    found = learner.gradients(X, Y)
    inputs = keras.Input((TIME, FEATURES), dtype="float64")
    network = keras.Sequential([inputs, layer, keras.layers.TimeDistributed(readout, dtype="float64")])
    _assert_equal(found, through_time(network, learner.variables, MSE), learner.variables)


def test_of_a_stack_the_upper_layer_is_exact_and_the_lower_one_is_not():
    lower, upper = egru(4), egru()
    network = model(lower, upper)
    learner = RTRL(network, loss=MSE)
    found, expected = learner.gradients(X, Y), through_time(network, learner.variables, MSE)
    truncated = len(lower.trainable_variables)
    assert all(ours is theirs for ours, theirs in zip(learner.variables, lower.trainable_variables, strict=False))
    _assert_equal(found[truncated:], expected[truncated:], learner.variables[truncated:])
    for ours, theirs in zip(found[:truncated], expected[:truncated], strict=True):
        assert np.any(ours != 0)
        assert not np.allclose(ours, theirs)


def test_of_a_stack_one_step_is_exact():
    network = model(egru(4), gru(6), egru(), below=[keras.layers.Dense(3, dtype="float64")])
    learner = RTRL(network, loss=MSE)
    x, y = X[:, :1], Y[:, :1]
    expected = through_time(network, learner.variables, MSE, x=x, y=y)
    # one step from a state of zero: recurrent weights have no part in it
    for ours, theirs, variable in zip(learner.gradients(x, y), expected, learner.variables, strict=True):
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-13, err_msg=variable.path)
    assert learner.variables[-4] is network.layers[0].kernel
    assert np.any(expected[-4] != 0)


@pytest.mark.parametrize("order", [1, 2])
def test_snap_is_biased_and_goes_the_same_way(order):
    network = model(egru())
    variables = RTRL(network, loss=MSE).variables
    found = SnAp(network, order=order, loss=MSE).gradients(X, Y)
    expected = through_time(network, variables, MSE)
    ours, theirs = (np.concatenate([np.ravel(g) for g in gradients[:4]]) for gradients in (found, expected))
    assert not np.allclose(ours, theirs) or order == 2
    assert ours @ theirs > 0
    _assert_equal(found[4:], expected[4:], variables[4:])


def test_snap_2_of_a_dense_network_is_exact():
    network = model(egru())
    learner = SnAp(network, order=2, loss=MSE)
    _assert_equal(learner.gradients(X, Y), through_time(network, learner.variables, MSE), learner.variables)
