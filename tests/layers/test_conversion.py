"""Converted weights give equal outputs: that is all that conversion means."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EGRU
from keras_egru.layers import egru_to_gru_weights, from_evnn, gru_to_egru_weights, to_evnn

FEATURES, UNITS, THRESHOLD = 3, 6, 1e-9


def _gru_with_positive_states(reset_after, use_bias=True):
    """Positive inputs and candidate weights: every state is positive, so every unit of the EGRU fires at every step."""
    gru = keras.layers.GRU(UNITS, reset_after=reset_after, use_bias=use_bias, return_sequences=True, dtype="float64")
    gru.build((None, None, FEATURES))
    rng = np.random.default_rng(3)
    weights = [rng.normal(size=weight.shape) for weight in gru.get_weights()]
    for weight in weights:
        weight[..., 2 * UNITS :] = np.abs(weight[..., 2 * UNITS :]) / 4.0
    gru.set_weights(weights)
    return gru, rng.uniform(0.1, 1.0, size=(4, 9, FEATURES))


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("reset_after", [True, False])
def test_egru_with_a_vanishing_threshold_equals_keras_gru(implementation, reset_after, use_bias):
    gru, x = _gru_with_positive_states(reset_after, use_bias)
    egru = EGRU(
        UNITS,
        reset="threshold",
        reset_after=reset_after,
        use_bias=use_bias,
        return_sequences=True,
        dtype="float64",
        implementation=implementation,
    )
    egru.build(x.shape)
    egru.set_weights(gru_to_egru_weights(gru, threshold=THRESHOLD))
    expected = np.asarray(gru(x))
    assert expected.min() > 0.01
    # At every one of 9 steps the state loses one threshold, 1e-9, of which the leak forgets a part.
    assert_allclose(egru(x), expected, atol=20 * THRESHOLD)
    assert not np.allclose(expected[:, 0], expected[:, -1])


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("reset_after", [True, False])
def test_there_and_back_again(reset_after, use_bias):
    gru, _ = _gru_with_positive_states(reset_after, use_bias)
    back = egru_to_gru_weights(gru_to_egru_weights(gru.get_weights()))
    for ours, theirs in zip(back, gru.get_weights(), strict=True):
        assert_array_equal(ours, theirs)


def test_egru_layer_to_gru(implementation):
    egru = EGRU(UNITS, return_sequences=True, dtype="float64", implementation=implementation)
    gru, x = _gru_with_positive_states(True)
    egru.build(x.shape)
    egru.set_weights(gru_to_egru_weights(gru, THRESHOLD))
    copy = keras.layers.GRU(UNITS, return_sequences=True, dtype="float64")
    copy.build(x.shape)
    copy.set_weights(egru_to_gru_weights(egru))
    assert_allclose(copy(x), egru(x), atol=20 * THRESHOLD)


def _sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def _authors_network(x, kernel, recurrent_kernel, bias, recurrent_bias, threshold):
    """The authors' recurrence, gates (z, r, g), written down from its equations; returns the outputs and the states."""
    units = recurrent_kernel.shape[0]
    c, y, outputs = np.zeros((len(x), units)), np.zeros((len(x), units)), []
    for t in range(x.shape[1]):
        from_input = np.split(x[:, t] @ kernel + bias, 3, axis=-1)
        from_events = np.split(y @ recurrent_kernel + recurrent_bias, 3, axis=-1)
        z, r = _sigmoid(from_input[0] + from_events[0]), _sigmoid(from_input[1] + from_events[1])
        g = np.tanh(from_input[2] + r * from_events[2])
        event = c > threshold
        c = z * c + (1.0 - z) * g - threshold * event
        y = c * (c > threshold)
        outputs.append(y)
    return np.stack(outputs, axis=1), c


@pytest.fixture
def authors_weights():
    rng = np.random.default_rng(5)
    shapes = [(FEATURES, 3 * UNITS), (UNITS, 3 * UNITS), (3 * UNITS,), (3 * UNITS,)]
    return [*(rng.normal(size=shape) for shape in shapes), rng.uniform(0.05, 0.5, size=UNITS)]


def test_the_authors_weights_give_the_authors_outputs(implementation, authors_weights):
    x = 2.0 * np.random.default_rng(6).normal(size=(4, 11, FEATURES))
    egru = EGRU(UNITS, return_sequences=True, return_state=True, dtype="float64", implementation=implementation)
    egru.build(x.shape)
    egru.set_weights(from_evnn(*authors_weights))
    outputs, _, c = egru(x)
    expected, expected_c = _authors_network(x, *authors_weights)
    assert 0.1 < np.mean(expected != 0) < 0.9
    assert_allclose(outputs, expected, rtol=1e-10, atol=1e-12)
    assert_allclose(c, expected_c, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(to_evnn(egru), authors_weights, strict=True):
        assert_array_equal(ours, theirs)


def test_a_shared_threshold_is_repeated_in_the_authors_layout_and_kept_in_ours(authors_weights):
    egru = EGRU(UNITS, shared_threshold=True, dtype="float64")
    egru.build((None, None, FEATURES))
    weights = egru.get_weights()
    assert_array_equal(to_evnn(egru)[-1], np.repeat(weights[-1], UNITS))
    gru = egru_to_gru_weights(egru)
    egru.set_weights(gru_to_egru_weights(gru, threshold=[0.2]))
    assert_array_equal(egru.get_weights()[-1], [0.2])


def test_conversion_leaves_its_input_alone_and_keeps_the_type(authors_weights):
    before = [weight.copy() for weight in authors_weights]
    converted = from_evnn(*authors_weights)
    converted[0][:] = 0.0
    for weight, copy in zip(authors_weights, before, strict=True):
        assert_array_equal(weight, copy)
    single = gru_to_egru_weights([np.ones((2, 9), "float32"), np.ones((3, 9), "float32")])
    assert {weight.dtype.name for weight in single} == {"float32"}
    assert_array_equal(single[-1], np.full(3, 1e-4, "float32"))


def test_what_is_not_a_gru_is_refused(authors_weights):
    kernel, recurrent, bias, _, threshold = authors_weights
    with pytest.raises(ValueError, match="`gru` has no weights: build the layer first"):
        gru_to_egru_weights(keras.layers.GRU(3))
    with pytest.raises(ValueError, match="`gru` must have 2 weights, or 3 with a bias, received 1"):
        gru_to_egru_weights([kernel])
    with pytest.raises(ValueError, match=r"kernel must have the shape \(3, 18\), received \(3, 17\)"):
        gru_to_egru_weights([kernel[:, 1:], recurrent])
    with pytest.raises(ValueError, match=r"bias must have the shape \(18,\) or \(2, 18\), received \(17,\)"):
        gru_to_egru_weights([kernel, recurrent, bias[1:]])
    with pytest.raises(ValueError, match=r"`threshold` must lie inside \(0, 1\), received values from 0.0 to 0.0"):
        gru_to_egru_weights([kernel, recurrent], threshold=0.0)
    with pytest.raises(ValueError, match=r"`threshold` must have the shape \(6,\) or \(1,\), received \(2,\)"):
        gru_to_egru_weights([kernel, recurrent], threshold=[0.1, 0.2])
    with pytest.raises(ValueError, match="`egru` must have 3 weights, or 4 with a bias, received 2"):
        egru_to_gru_weights([kernel, recurrent])
    with pytest.raises(ValueError, match=r"threshold must have the shape \(6,\) or \(1,\), received \(5,\)"):
        egru_to_gru_weights([kernel, recurrent, threshold[1:]])
    with pytest.raises(ValueError, match=r"bias of the shape \[2, 3 units\] \(reset_after=True\)"):
        to_evnn([kernel, recurrent, bias, threshold])
    with pytest.raises(ValueError, match=r"`recurrent_bias` must have the shape \(18,\), received \(6,\)"):
        from_evnn(kernel, recurrent, bias, threshold, threshold)
