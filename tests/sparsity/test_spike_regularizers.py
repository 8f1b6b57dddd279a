"""Penalties on spike counts by hand and through a Keras layer, and the spike rate."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_egru.sparsity import SpikeCounts, SpikeRate

# Two samples, three steps, two units, with counts (2, 0) and (3, 1).
SPIKES = np.array([[[1, 0], [1, 0], [0, 0]], [[1, 0], [1, 1], [1, 0]]], "float32")


def test_units_below_the_lower_count_are_penalised_by_their_mean_square():
    # Sample 0: (max(0, 2.5 - 2)^2 + 2.5^2) / 2, sample 1: (0 + 1.5^2) / 2.
    penalty = SpikeCounts(lower=2.5, lower_weight=3.0, upper_weight=0.0)(SPIKES)
    assert float(penalty) == pytest.approx(3.0 * ((0.25 + 6.25) / 2 + 2.25 / 2))


def test_a_mean_above_the_upper_count_is_penalised_linearly():
    # Means over units 1 and 2; 1.5 is exceeded by the second alone.
    assert float(SpikeCounts(lower_weight=0.0, upper=1.5, upper_weight=4.0)(SPIKES)) == pytest.approx(4.0 * 0.5)
    # Not unit by unit: the 3 of sample 1 is above 2, its mean is not.
    assert float(SpikeCounts(lower_weight=0.0, upper=2.0)(SPIKES)) == 0.0


def test_the_penalty_wakes_silent_units_and_quietens_busy_layers():
    spikes = tf.constant(SPIKES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(spikes)
        low = SpikeCounts(upper_weight=0.0)(spikes)
        high = SpikeCounts(lower_weight=0.0, upper=1.5)(spikes)
    # 100 / 2 units * 2 * 0.001, for the one silent unit of sample 0, at every step.
    expected = np.zeros_like(SPIKES)
    expected[0, :, 1] = -0.1
    np.testing.assert_allclose(tape.gradient(low, spikes), expected, rtol=1e-6)
    expected = np.zeros_like(SPIKES)
    expected[1] = 0.06 / 2
    np.testing.assert_allclose(tape.gradient(high, spikes), expected, rtol=1e-6)


def test_a_layer_adds_the_mean_over_the_batch():
    regularizer = SpikeCounts(lower=2.5, lower_weight=3.0, upper=1.5, upper_weight=4.0)
    layer = keras.layers.Activation("linear", activity_regularizer=regularizer)
    layer(SPIKES)
    assert float(layer.losses[0]) == pytest.approx((3.0 * ((0.25 + 6.25) / 2 + 2.25 / 2) + 4.0 * 0.5) / 2)
    layer(np.concatenate([SPIKES, SPIKES]))
    assert float(layer.losses[-1]) == pytest.approx(float(layer.losses[0]))


def test_half_precision_counts_beyond_its_own_range():
    # float16 ends at 65,504.
    assert float(SpikeCounts(upper=0.0, upper_weight=1.0)(ops.ones((1, 100000, 1), "float16"))) == 100000.0


def test_a_saved_layer_comes_back_with_its_regularizer(tmp_path):
    regularizer = SpikeCounts(0.5, 10.0, 7.0, 0.2)
    model = keras.Sequential([keras.Input((3, 2)), keras.layers.Dense(4, activity_regularizer=regularizer)])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").layers[0].activity_regularizer
    assert isinstance(again, SpikeCounts)
    assert again.get_config() == {"lower": 0.5, "lower_weight": 10.0, "upper": 7.0, "upper_weight": 0.2}


def test_a_layer_that_returns_one_step_is_refused():
    with pytest.raises(ValueError, match=r"`spikes` must be \[batch, time, units\], received the shape \(2, 2\)"):
        SpikeCounts()(SPIKES[:, 0])


def test_the_configuration_of_a_spike_rate_makes_it_again():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(SpikeRate(7.0, 1e-6)))
    assert isinstance(again, SpikeRate)
    assert (again.target, again.strength) == (7.0, 1e-6)


@pytest.mark.parametrize("bad", [-1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("argument", ["lower", "lower_weight", "upper", "upper_weight"])
def test_bad_counts_are_refused_by_name(argument, bad):
    with pytest.raises(ValueError, match=f"`{argument}` must be a finite number of at least 0, received {bad}"):
        SpikeCounts(**{argument: bad})


@pytest.mark.parametrize("bad", [-1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("argument", ["target", "strength"])
def test_bad_rates_are_refused_by_name(argument, bad):
    with pytest.raises(ValueError, match=f"`{argument}` must be a finite number of at least 0, received {bad}"):
        SpikeRate(**{argument: bad})
