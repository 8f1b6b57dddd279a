"""`fit` by online learning: the same updates as `fit` by back-propagation where both are exact, and Keras's habits."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

from keras_egru import EGRU
from keras_egru.online import RTRL, Sequential
from keras_egru.surrogates import Boxcar
from tests.online import networks
from tests.online.networks import BATCH, TIME, egru, gru, model, thresholded

# `fit` takes numbers in single precision.
X, Y = (values.astype("float32") for values in (networks.X, networks.Y))
MSE = keras.losses.MeanSquaredError(dtype="float64")


def _fitted(make, gradient, epochs=2, sparsity=None, **options):
    keras.utils.set_random_seed(1)
    network = model(make(), sparsity=sparsity, kind=Sequential)
    network.compile(keras.optimizers.Adam(0.05), MSE, metrics=["mae"], gradient=gradient, **options)
    history = network.fit(X, Y, epochs=epochs, batch_size=2, shuffle=False, verbose=0).history
    return network, history


@pytest.mark.parametrize("sparsity", [None, 0.5])
@pytest.mark.parametrize("make", [egru, gru, thresholded])
def test_it_takes_the_updates_of_back_propagation(make, sparsity):
    exact, ours = _fitted(make, "rtrl", sparsity=sparsity)
    through_time, theirs = _fitted(make, "bptt", sparsity=sparsity)
    for a, b in zip(exact.get_weights(), through_time.get_weights(), strict=True):
        assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    assert_allclose(ours["loss"], theirs["loss"], rtol=1e-6)
    assert_allclose(ours["mae"], theirs["mae"], rtol=1e-6)


@pytest.mark.parametrize("update_every", [1, 3, TIME, TIME + 1])
@pytest.mark.parametrize("make", [egru, thresholded])
def test_updates_within_a_sequence_are_those_of_the_learner(make, update_every):
    network, history = _fitted(make, "rtrl", epochs=1, update_every=update_every)
    keras.utils.set_random_seed(1)
    learner = RTRL(model(make()), loss=MSE, optimizer=keras.optimizers.Adam(0.05), update_every=update_every)
    x, y = X.astype("float64"), Y.astype("float64")
    losses = [learner.train_on_batch(x[rows], y[rows]).loss for rows in (slice(0, 2), slice(2, 3))]
    for ours, theirs in zip(network.trainable_variables, learner.variables, strict=True):
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert history["loss"][0] == pytest.approx(np.average(losses, weights=[2, 1]), rel=1e-6)


@pytest.mark.parametrize("make", [egru, gru, partial(thresholded, surrogate=Boxcar(0.5, 2.0))])
def test_truncated_back_propagation_carries_the_state_and_no_gradient(make):
    keras.utils.set_random_seed(1)
    network = model(make(), kind=Sequential)
    network.compile(keras.optimizers.SGD(0.0), MSE, gradient="bptt", update_every=3)
    history = network.fit(X, Y, batch_size=BATCH, verbose=0).history
    assert history["loss"][0] == pytest.approx(MSE(Y, network(X)).numpy(), rel=1e-5)

    truncated, exact = (_fitted(make, gradient, epochs=1, update_every=3)[0] for gradient in ("bptt", "rtrl"))
    keras.utils.set_random_seed(1)
    expected = model(make())
    optimizer = keras.optimizers.Adam(0.05)
    layer, readout = expected.layers
    for rows in (slice(0, 2), slice(2, 3)):
        state = layer.get_initial_state(rows.stop - rows.start)
        state = state if isinstance(state, list) else [state]
        for steps in (slice(0, 3), slice(3, 6), slice(6, TIME)):
            with tf.GradientTape() as tape:
                returned, *after = _with_state(layer, X[rows, steps].astype("float64"), state)
                loss = MSE(Y[rows, steps], readout(returned))
            variables = expected.trainable_variables
            optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
            state = after
    for ours, theirs in zip(truncated.get_weights(), expected.get_weights(), strict=True):
        assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8)
    assert not np.allclose(truncated.get_weights()[1], exact.get_weights()[1], rtol=1e-4)


def _with_state(layer, x, state):
    """Activity of every step and the last states, stepped by hand."""
    steps = []
    for t in range(x.shape[1]):
        y, state = layer.cell(x[:, t], state)
        state = state if isinstance(state, list) else [state]
        steps.append(y)
    return tf.stack(steps, axis=1), *state


def test_logs_tell_what_the_influence_costs():
    _, history = _fitted(egru, "rtrl", measure=True, sparsity=0.5)
    assert 0 < history["influence_sparsity"][0] < history["influence_sparsity_all"][0] < 1
    assert history["multiply_adds"][0] > 0
    _, chunks = _fitted(egru, "rtrl", measure=True, sparsity=0.5, update_every=2)
    assert chunks["multiply_adds"][0] == pytest.approx(history["multiply_adds"][0], rel=0.3)
    assert "multiply_adds" not in _fitted(egru, "rtrl")[1]


def test_validation_counts_nothing_and_resets_nothing():
    network, _ = _fitted(egru, "rtrl", measure=True)
    alone = network.fit(X, Y, epochs=2, shuffle=False, verbose=0).history
    history = network.fit(X, Y, epochs=2, shuffle=False, validation_data=(X, Y), verbose=0).history
    assert {name for name in history if name.startswith("val_")} == {"val_loss", "val_mae"}
    for name in ("multiply_adds", "influence_sparsity"):
        assert all(0 < value < 1.5 * max(alone[name]) for value in history[name])


@pytest.mark.parametrize("gradient", ["snap-1", "snap-2"])
def test_snap_learns(gradient):
    _, history = _fitted(egru, gradient, epochs=25)
    assert history["loss"][-1] < 0.8 * history["loss"][0]


def test_a_label_of_the_whole_sequence():
    keras.utils.set_random_seed(1)
    network = model(egru(return_sequences=False), kind=Sequential)
    network.compile("adam", MSE, gradient="rtrl")
    history = network.fit(X, Y[:, 0], epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert network.predict(X, verbose=0).shape == (BATCH, Y.shape[-1])


def test_it_is_saved_with_how_it_learns(tmp_path):
    network, _ = _fitted(egru, "snap-2", update_every=2)
    network.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, Sequential)
    assert (loaded._gradient, loaded._update_every) == ("snap-2", 2)
    for side in (network, loaded):
        side.fit(X, Y, batch_size=2, shuffle=False, verbose=0)
    for a, b in zip(network.get_weights(), loaded.get_weights(), strict=True):
        assert_allclose(a, b, rtol=1e-6, atol=1e-7)  # a loss that was saved computes in single precision


def test_a_model_is_built_by_the_first_batch():
    network = Sequential([EGRU(4, return_sequences=True), keras.layers.Dense(3)])
    network.compile("adam", "mse", gradient="rtrl", update_every=3)
    assert np.isfinite(network.fit(X, Y, verbose=0).history["loss"][0])


def test_a_batch_of_another_size_and_validation():
    network, _ = _fitted(egru, "rtrl")
    history = network.fit(
        np.concatenate([X, X[:2]]), np.concatenate([Y, Y[:2]]), batch_size=4, validation_data=(X, Y), verbose=0
    ).history
    assert np.isfinite(history["val_loss"][0])
