"""Effective MACs against counts by hand."""

import numpy as np
import pytest

from keras_egru.sparsity import dense_recurrent_macs, product_macs, recurrent_macs


def test_macs_are_nonzero_inputs_and_events_times_their_columns():
    inputs = np.array([[[1.0, 0.0], [0.5, 2.0]]])  # 3 nonzero
    y = np.array([[[0.0, 0.0, 0.4], [0.0, 0.0, 0.0]]])  # 1 event
    macs = recurrent_macs(inputs, y, np.ones((2, 9)), np.ones((3, 9)))
    assert macs.effective == 3 * 9 + 1 * 9
    assert macs.dense == 2 * (2 + 3) * 9


def test_the_share_of_live_weights_multiplies_each_kernel_by_its_own():
    inputs, y = np.ones((1, 1, 2)), np.ones((1, 1, 3))
    kernel, recurrent_kernel = np.ones((2, 9)), np.ones((3, 9))
    kernel[0] = 0.0  # half is live
    recurrent_kernel[:, 3:] = 0.0  # a third is live
    macs = recurrent_macs(inputs, y, kernel, recurrent_kernel)
    assert macs.effective == pytest.approx(2 * 9 / 2 + 3 * 9 / 3)
    assert macs.dense == 5 * 9


def test_masked_steps_cost_nothing():
    inputs = np.ones((2, 3, 4))
    mask = np.array([[True, False, False], [True, True, False]])
    assert product_macs(inputs, np.ones((4, 6)), mask) == (3 * 4 * 6, 3 * 4 * 6)


def test_a_dense_recurrent_layer_skips_nothing():
    macs = dense_recurrent_macs(np.zeros((2, 5, 4)), np.ones((4, 9)), np.ones((3, 9)))
    assert macs == (10 * 7 * 9, 10 * 7 * 9)


def test_features_that_do_not_fit_the_kernel_are_refused():
    with pytest.raises(ValueError, match="`inputs` must have as many features as `kernel` has rows, 4, received 5"):
        product_macs(np.ones((2, 5)), np.ones((4, 6)))
