"""Streams: what a learner carries from step to step, when it updates, and how it goes on after a stop."""

import os

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EGRU, EGRUCell, ThresholdedRNNCell
from keras_egru.online import RTRL, SnAp
from keras_egru.pruning import RandomMask
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


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(1)


def _learner(make=egru, sparsity=None, **options):
    keras.utils.set_random_seed(1)
    return RTRL(model(make(), sparsity=sparsity), loss=MSE, **{"optimizer": keras.optimizers.SGD(0.1), **options})


def _weights(learner):
    return [np.array(variable) for variable in learner.variables]


def _assert_same_weights(a, b, **tolerance):
    for ours, theirs in zip(_weights(a), _weights(b), strict=True):
        assert_allclose(ours, theirs, **{"rtol": 1e-10, "atol": 1e-12, **tolerance})


@pytest.mark.parametrize("make", [egru, gru, thresholded])
@pytest.mark.parametrize("update_every", [1, 3, None])
def test_a_stream_is_a_sequence_step_by_step(make, update_every):
    stream, sequences = _learner(make, update_every=update_every), _learner(make, update_every=update_every)
    steps = [stream.step(X[:, t], Y[:, t]) for t in range(TIME)]
    stream.update()
    whole = sequences.train_on_batch(X, Y)
    assert_allclose(np.stack([step.outputs for step in steps], axis=1), whole.outputs, rtol=1e-9, atol=1e-12)
    assert np.mean([step.loss for step in steps]) == pytest.approx(whole.loss)
    _assert_same_weights(stream, sequences)
    assert not np.allclose(_weights(stream)[0], _weights(_learner(make))[0])


def test_weights_change_when_it_is_time():
    learner, before = _learner(update_every=3), _weights(_learner())
    for t in range(3):
        assert_array_equal(_weights(learner)[0], before[0])
        learner.step(X[:, t], Y[:, t])
    assert np.any(_weights(learner)[0] != before[0])


def test_steps_without_a_target_move_on_and_teach_nothing():
    learner, whole = _learner(update_every=None), _learner(update_every=None)
    for t in range(TIME - 1):
        assert learner.step(X[:, t]).loss is None
    learner.step(X[:, -1], Y[:, -1])
    gradient = whole.gradients(X, Y, sample_weight=np.tile(np.arange(TIME) == TIME - 1, (BATCH, 1)) * float(TIME))
    for ours, theirs in zip(learner._pending, gradient, strict=True):
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    learner.update()
    assert learner.steps == TIME


def test_nothing_is_carried_over_a_reset():
    learner = _learner(optimizer=keras.optimizers.SGD(0.0))
    first = [learner.step(X[:, t], Y[:, t]).outputs for t in range(3)]
    learner.reset_state()
    assert learner.steps == 0
    for t in range(3):
        assert_array_equal(learner.step(X[:, t], Y[:, t]).outputs, first[t])
    learner.reset_state()
    assert learner.step(X[:1, 0], Y[:1, 0]).outputs.shape == (1, CLASSES)


@pytest.mark.parametrize("make", [egru, gru, thresholded])
@pytest.mark.parametrize("update_every", [1, 4])
def test_a_saved_stream_goes_on_as_if_nothing_had_happened(tmp_path, make, update_every):
    options = {"optimizer": "adam", "update_every": update_every, "sparsity": 0.4}
    straight, saved = _learner(make, **options), _learner(make, **options)
    for t in range(3):
        straight.step(X[:, t], Y[:, t])
        saved.step(X[:, t], Y[:, t])
    saved.save(tmp_path / "stream.npz")
    keras.utils.set_random_seed(9)
    network = model(make(), sparsity=0.4)
    resumed = RTRL(network, loss=MSE, optimizer=keras.optimizers.Adam(), update_every=update_every)
    resumed.load(tmp_path / "stream.npz")
    assert resumed.steps == 3
    for t in range(3, TIME):
        assert resumed.step(X[:, t], Y[:, t]).loss == straight.step(X[:, t], Y[:, t]).loss
    _assert_same_weights(resumed, straight)
    assert resumed.multiply_adds == straight.multiply_adds


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    learner = _learner()
    learner.step(X[:, 0], Y[:, 0])
    path = tmp_path / "stream.npz"
    learner.save(path)
    content = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    learner.step(X[:, 1], Y[:, 1])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        learner.save(path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cell", CELLS)
def test_measured_influence_sparsity_is_that_of_the_influence(cell):
    make, options = CELLS[cell]
    keras.utils.set_random_seed(1)
    network = model(make(**options), sparsity=0.5)
    learner = RTRL(network, loss=MSE, measure=True, optimizer=keras.optimizers.SGD(0.0))
    zeros = entries = everything = 0
    for t in range(TIME):
        learner.step(X[:, t], Y[:, t])
        (influence,) = learner.influence()
        trained = influence[:, :, learner.network.recurrent[0].layout.trained]
        zeros += np.count_nonzero(trained == 0)
        entries += trained.size
        everything += influence.size
    assert learner.influence_sparsity == pytest.approx(zeros / entries)
    assert learner.influence_sparsity_all == pytest.approx(1 - (entries - zeros) / everything)
    assert 0 < learner.influence_sparsity < 1
    assert learner.multiply_adds > 0
    assert learner.influence_bytes > 0


def test_sparsity_saves_operations_and_memory():
    dense, pruned = (_learner(gru, sparsity=sparsity) for sparsity in (None, 0.8))
    silent = _learner(thresholded)
    for learner in (dense, pruned, silent):
        for t in range(TIME):
            learner.step(X[:, t], Y[:, t])
    assert pruned.multiply_adds < 0.3 * dense.multiply_adds
    assert pruned.influence_bytes < dense.influence_bytes
    assert silent.influence_bytes < 2 * BATCH * UNITS * (UNITS + FEATURES + 1) * 16 * 8


@pytest.mark.parametrize("cell", [EGRUCell(4), ThresholdedRNNCell(4), keras.layers.GRUCell(4)])
@pytest.mark.parametrize("make", [RTRL, SnAp])
def test_bare_cells_learn_in_float32(make, cell):
    cell = type(cell).from_config(cell.get_config())
    learner = make(cell, keras.layers.Dense(2), loss="mse", optimizer="adam")
    x, y = np.random.default_rng(0).normal(size=(2, 8, 3)), np.zeros((8, 2))
    losses = [learner.step(x[t % 2], y).loss for t in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert learner.step(x[0], y).outputs.dtype == np.float32


def test_layers_are_built_by_the_first_step():
    learner = RTRL(EGRU(4, return_sequences=True), keras.layers.Dense(2), loss="mse")
    assert learner.step(np.ones((2, 3)), np.ones((2, 2))).outputs.shape == (2, 2)
    assert learner.train_on_batch(np.ones((5, 6, 3)), np.ones((5, 6, 2))).outputs.shape == (5, 6, 2)


@pytest.mark.parametrize("make", [egru, gru, thresholded])
def test_masks_may_change_between_streams(make):
    network = model(make(), sparsity=0.5)
    learner = RTRL(network, loss=MSE, update_every=None)
    learner.step(X[:, 0], Y[:, 0])
    learner.reset_state()
    layer = network.layers[0]
    layer.set_mask("recurrent_kernel", np.ones(layer.masks[1].mask.shape))
    layer.masks[1].weight.assign(0.3 * np.random.default_rng(1).normal(size=layer.masks[1].mask.shape))
    for t in range(TIME):
        learner.step(X[:, t], Y[:, t])
    expected = through_time(network, learner.variables, MSE)
    for ours, theirs in zip(learner._pending, expected, strict=True):
        assert_allclose(np.asarray(ours) / TIME, theirs, rtol=1e-9, atol=1e-10 * np.abs(theirs).max())


@pytest.mark.parametrize("built", [True, False])
def test_pruned_weights_stay_zero(built):
    layer = RandomMask(EGRU(8, return_sequences=True), 0.7, seed=0)
    if built:
        layer.build((None, TIME, FEATURES))
    learner = RTRL(layer, keras.layers.Dense(CLASSES), loss="mse", optimizer="adam")
    for t in range(TIME):
        learner.step(X[:, t], Y[:, t])
    assert layer.masks
    for pair in layer.masks:
        assert np.all(np.array(pair.weight)[np.array(pair.mask) == 0] == 0)


def test_a_sequence_in_the_middle_of_a_stream_leaves_the_stream_alone():
    learner, other = (_learner(optimizer=keras.optimizers.SGD(0.0)) for _ in range(2))
    for t in range(3):
        learner.step(X[:, t], Y[:, t])
        other.step(X[:, t], Y[:, t])
    learner.train_on_batch(X, Y)
    assert learner.step(X[:, 3], Y[:, 3]).loss == other.step(X[:, 3], Y[:, 3]).loss
