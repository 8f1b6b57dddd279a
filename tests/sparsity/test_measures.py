"""The measures against plain numpy counts and against the op's own counters."""

import keras
import numpy as np
import pytest

from keras_egru.ops import egru_sequence
from keras_egru.sparsity import activity_sparsity, backward_sparsity, parameter_sparsity, surrogate_sparsity
from keras_egru.surrogates import Triangular

NARROW = Triangular(height=0.7, width=0.25)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_activity_sparsity_is_the_share_of_zeros():
    y = np.array([[[0.0, 0.4, 0.0], [0.0, 0.0, 0.9]]])
    assert activity_sparsity(y) == pytest.approx(4 / 6)


def test_masked_steps_are_left_out_of_both_counts():
    y = np.array([[[0.0, 0.4], [0.0, 0.0], [0.7, 0.6]]])
    mask = np.array([[True, False, True]])
    assert activity_sparsity(y, mask) == pytest.approx(1 / 4)


def test_a_mask_given_as_a_tensor_counts_like_an_array(rng):
    y = rng.normal(size=(3, 5, 4)) * (rng.random((3, 5, 4)) < 0.3)
    mask = rng.random((3, 5)) < 0.6
    expected = np.mean(y[mask] == 0)
    assert activity_sparsity(keras.ops.convert_to_tensor(y), keras.ops.convert_to_tensor(mask)) == expected


def test_silent_layers_are_fully_sparse_and_active_ones_not_at_all():
    shape = (2, 3, 4)
    assert activity_sparsity(np.zeros(shape)) == 1.0
    assert activity_sparsity(np.ones(shape)) == 0.0


def test_backward_sparsity_counts_where_no_gradient_passes():
    # Threshold 0.5, support (0.25, 0.75).   far below, below in support, event in support, event beyond support
    c = np.array([[[-0.1, 0.4, 0.6, 0.9]]])
    assert backward_sparsity(c, [0.5], NARROW) == 1 / 4
    assert surrogate_sparsity(c, [0.5], NARROW) == 2 / 4


def test_a_state_of_zero_within_the_support_passes_no_gradient():
    c = np.array([[[0.0, 0.1]]])
    assert backward_sparsity(c, [0.2], NARROW) == 1 / 2
    assert surrogate_sparsity(c, [0.2], NARROW) == 0.0


def test_an_event_passes_its_gradient_outside_the_support():
    c = np.full((1, 2, 3), 0.95)
    assert surrogate_sparsity(c, [0.5], NARROW) == 1.0
    assert backward_sparsity(c, [0.5], NARROW) == 0.0


def test_thresholds_may_differ_by_unit(rng):
    c, threshold = rng.uniform(-1, 1, (4, 6, 5)), rng.uniform(0.1, 0.9, 5)
    mask = rng.random((4, 6)) < 0.7
    v = c - threshold
    slope = 0.7 * np.maximum(0.0, 1.0 - np.abs(v) / 0.25)
    assert surrogate_sparsity(c, threshold, NARROW, mask) == np.mean((slope == 0)[mask])
    assert backward_sparsity(c, threshold, NARROW, mask) == np.mean(((v > 0) + c * slope == 0)[mask])


@pytest.mark.parametrize("masked", [False, True])
def test_measures_agree_with_the_counters_of_the_op(rng, masked):
    batch, time, features, units = 3, 7, 4, 5
    x = (rng.normal(size=(batch, time, features)) * (rng.random((batch, time, features)) < 0.5)).astype("float32")
    mask = rng.random((batch, time)) < 0.7 if masked else None
    threshold = rng.uniform(0.05, 0.4, units).astype("float32")
    zeros = np.zeros((batch, units), "float32")
    sequence = egru_sequence(
        x, zeros, zeros,
        rng.normal(size=(features, 3 * units)).astype("float32"),
        rng.normal(size=(units, 3 * units)).astype("float32"),
        rng.normal(size=(2, 3 * units)).astype("float32"),
        threshold, surrogate=NARROW, mask=mask,
    )  # fmt: skip
    steps, _, events, backward_entries, surrogate_entries = (int(counter) for counter in sequence.counters)
    entries = steps * units
    assert 0 < events < entries
    assert activity_sparsity(sequence.y, mask) == pytest.approx(1 - events / entries)
    assert backward_sparsity(sequence.c, threshold, NARROW, mask) == pytest.approx(1 - backward_entries / entries)
    assert surrogate_sparsity(sequence.c, threshold, NARROW, mask) == pytest.approx(1 - surrogate_entries / entries)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"`mask` must have the leading shape of `y`, \(2, 3\), received \(2, 4\)"):
        activity_sparsity(np.zeros((2, 3, 4)), np.ones((2, 4), bool))


def test_nothing_to_count_is_an_error_and_not_a_share():
    with pytest.raises(ValueError, match="nothing to take a share of"):
        activity_sparsity(np.zeros((2, 3, 4)), np.zeros((2, 3), bool))


def test_parameter_sparsity_counts_zeros_per_kernel_and_overall():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    first, second = model.layers
    kernel = np.ones((3, 4))
    kernel[0] = 0.0
    first.set_weights([kernel, np.zeros(4)])
    second.set_weights([np.ones((4, 2)), np.zeros(2)])
    sparsity = parameter_sparsity(model)
    assert list(sparsity["kernels"].values()) == [4 / 12, 0.0]
    assert sparsity["overall"] == 4 / 20
    assert parameter_sparsity(first)["overall"] == 4 / 12


def test_recurrent_kernels_are_kernels_and_biases_are_not():
    layer = keras.layers.GRU(3)
    layer.build((None, None, 2))
    sparsity = parameter_sparsity(layer)
    assert [path.split("/")[-1] for path in sparsity["kernels"]] == ["kernel", "recurrent_kernel"]
    # The zero biases do not count.
    assert sparsity["overall"] == 0.0


def test_a_layer_that_is_not_built_has_no_parameter_sparsity():
    with pytest.raises(ValueError, match="has no kernel to measure; is it built"):
        parameter_sparsity(keras.layers.Dense(3, name="unbuilt"))
