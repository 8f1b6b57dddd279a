import importlib

import numpy as np
import pytest
import tensorflow as tf

from keras_egru import pruning
from keras_egru.pruning import engine
from keras_egru.pruning.engine import Magnitudes, load_tfmot

STEP = tf.constant(7, "int64")


@pytest.fixture
def weight():
    """Float32 `[rows, columns]` of no two equal magnitudes."""

    def make(*shape):
        return tf.constant(np.random.default_rng(3).normal(size=shape).astype("float32"))

    return make


def tfmots_own(weight, schedule, block_size=(1, 1), pooling="AVG", sparsity_m_by_n=None):
    own = load_tfmot().Pruning(lambda: STEP, [], schedule, block_size, pooling, sparsity_m_by_n)
    return own._maybe_update_block_mask(weight)


@pytest.mark.parametrize("pooling", ["AVG", "MAX"])
@pytest.mark.parametrize("block_size", [(1, 1), (1, 4), (2, 3), (3, 2)])
@pytest.mark.parametrize("shape", [(6, 12), (7, 10), (5, 9)])
def test_masks_of_matrices_are_tfmots(weight, schedule, shape, block_size, pooling):
    matrix = weight(*shape)
    threshold, mask = Magnitudes(schedule, block_size, pooling).mask(matrix, 1, STEP)
    expected_threshold, expected_mask = tfmots_own(matrix, schedule, block_size, pooling)
    np.testing.assert_array_equal(threshold, expected_threshold)
    np.testing.assert_array_equal(mask, expected_mask)
    assert 0.5 < 1 - np.mean(mask) < 0.9


@pytest.mark.parametrize("shape", [(8, 5), (3, 2, 8, 5)])
@pytest.mark.parametrize("m_by_n", [(2, 4), (1, 2), (5, 8)])
def test_masks_of_m_by_n_are_tfmots(weight, schedule, shape, m_by_n):
    matrix = weight(*shape)
    threshold, mask = Magnitudes(schedule, sparsity_m_by_n=m_by_n).mask(matrix, 1, STEP)
    expected_threshold, expected_mask = tfmots_own(matrix, schedule, sparsity_m_by_n=m_by_n)
    assert threshold.numpy() == expected_threshold
    np.testing.assert_array_equal(mask, expected_mask)
    assert load_tfmot().utils.is_pruned_m_by_n(matrix * mask, m_by_n)


@pytest.mark.parametrize("shape", [(3, 2, 5), (3, 3, 2, 5)])
def test_masks_of_filters_are_tfmots(weight, schedule, shape):
    filters = weight(*shape)
    threshold, mask = Magnitudes(schedule).mask(filters, 1, STEP)
    expected_threshold, expected_mask = tfmots_own(filters, schedule)
    np.testing.assert_array_equal(threshold, expected_threshold)
    np.testing.assert_array_equal(mask, expected_mask)


@pytest.mark.parametrize("block_size", [(1, 1), (2, 3)])
def test_each_gate_is_pruned_by_itself(weight, schedule, block_size):
    # The second gate is so small that a common threshold would leave nothing of it.
    matrices = [weight(6, 6), weight(7, 6)[1:] * 0.01, weight(9, 6)[3:] * 100.0]
    magnitudes = Magnitudes(schedule, block_size)
    thresholds, mask = magnitudes.mask(tf.concat(matrices, axis=1), 3, STEP)
    for gate, matrix in enumerate(matrices):
        expected_threshold, expected_mask = tfmots_own(matrix, schedule, block_size)
        np.testing.assert_array_equal(thresholds[gate], expected_threshold)
        np.testing.assert_array_equal(mask[:, 6 * gate : 6 * gate + 6], expected_mask)
    assert np.mean(magnitudes.mask(tf.concat(matrices, axis=1), 1, STEP)[1][:, 6:12]) == 0


@pytest.mark.parametrize(("shape", "block_size"), [((1, 12), (1, 4)), ((12, 1), (4, 1)), ((2, 12), (8, 4))])
def test_blocks_that_span_an_axis_are_pruned_too(weight, half, shape, block_size):
    matrix = weight(*shape)
    with pytest.raises(ValueError, match="rank"):
        tfmots_own(matrix, half, block_size)  # which is why tfmot's own function is not called
    threshold, mask = Magnitudes(half, block_size).mask(matrix, 1, STEP)
    blocks = np.split(np.abs(matrix.numpy()), 3, axis=np.argmax(shape))
    means = np.array([block.mean() for block in blocks])
    # Half of three blocks, rounded to even, is two.
    np.testing.assert_allclose(threshold, np.sort(means)[1], rtol=1e-6)
    kept = [np.full_like(block, mean >= np.sort(means)[1]) for block, mean in zip(blocks, means, strict=True)]
    np.testing.assert_array_equal(mask, np.concatenate(kept, axis=np.argmax(shape)))


def test_a_gate_is_cut_off_where_blocks_stick_out(weight, half):
    mask = Magnitudes(half, (4, 4)).mask(weight(5, 15), 3, STEP)[1].numpy()
    for gate in range(3):
        matrix = mask[:, 5 * gate : 5 * gate + 5]
        for rows in (slice(0, 4), slice(4, 5)):
            for columns in (slice(0, 4), slice(4, 5)):
                assert np.ptp(matrix[rows, columns]) == 0
        # Two of the four blocks, cut off or not.
        assert sum(matrix[row, column] for row in (0, 4) for column in (0, 4)) == 2


def test_schedule_says_when_masks_change(schedule, half):
    changes = Magnitudes(schedule).changes_at
    assert [step for step in range(15) if changes(tf.constant(step, "int64"))] == [1, 3, 5, 7, 9, 11]
    once = Magnitudes(half, sparsity_m_by_n=(2, 4)).changes_at
    assert [step for step in range(15) if once(tf.constant(step, "int64"))] == [1]


def test_half_precision_weights_have_masks_of_their_type(weight, half):
    threshold, mask = Magnitudes(half).mask(tf.cast(weight(4, 6), "float16"), 3, STEP)
    assert (threshold.dtype, mask.dtype) == (tf.float16, tf.float16)


def test_missing_tfmot_names_the_extra(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named '{name.partition('.')[0]}'", name=name)

    monkeypatch.setattr(engine.importlib, "import_module", missing)
    load_tfmot.cache_clear()
    try:
        with pytest.raises(ImportError, match=r'tensorflow_model_optimization.*pip install "keras-egru\[pruning\]"'):
            pruning.prune_low_magnitude(None)
    finally:
        monkeypatch.undo()
        load_tfmot.cache_clear()
    assert load_tfmot().Pruning


def test_unknown_names_of_the_package_are_refused():
    assert importlib.import_module("keras_egru.pruning").ConstantSparsity is load_tfmot().ConstantSparsity
    with pytest.raises(AttributeError, match="no attribute 'Sparsity'"):
        _ = pruning.Sparsity
