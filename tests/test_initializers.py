"""Time constants: mean, variance, clipping, seeds and serialisation of their draws. The bias of the update gate."""

import keras
import numpy as np
import pytest

from keras_egru.initializers import GammaTimeConstants, UpdateGateBias

DRAWS = 20000


def draw(mean=20.0, minimum=3.0, seed=1, shape=(DRAWS,), dtype=None):
    return keras.ops.convert_to_numpy(GammaTimeConstants(mean, minimum, seed=seed)(shape, dtype))


def test_mean_and_spread_are_those_of_a_gamma_distribution_of_third_order():
    values = draw(minimum=1e-6)
    deviation = 20.0 / np.sqrt(3.0)
    # Four standard errors of the mean, and what clipping at three means takes (0.2 of the mean's hundredths).
    assert values.mean() == pytest.approx(20.0, abs=4 * deviation / np.sqrt(DRAWS) + 0.04)
    # Clipping takes some 2 % of the spread.
    assert values.std() == pytest.approx(deviation, rel=0.04)
    # P(x < mean) = 1 - e^-3 (1 + 3 + 9/2) = 0.5768; four standard errors.
    assert (values < 20.0).mean() == pytest.approx(0.5768, abs=4 * 0.5 / np.sqrt(DRAWS))


def test_values_are_clipped_to_the_minimum_and_to_three_means():
    values = draw(minimum=10.0)
    assert values.min() == 10.0
    assert values.max() == 60.0
    # P(x > 3 mean) = e^-9 (1 + 9 + 81/2) = 0.00623.
    assert (values == 60.0).mean() == pytest.approx(0.00623, abs=4 * np.sqrt(0.00623 / DRAWS))


def test_a_seed_gives_the_same_values_and_another_others():
    np.testing.assert_array_equal(draw(shape=(5,)), draw(shape=(5,)))
    assert (draw(shape=(5,)) != draw(shape=(5,), seed=2)).all()


def test_values_have_the_type_asked_for():
    assert draw(shape=(5,)).dtype == "float32"
    assert draw(shape=(5,), dtype="float64").dtype == "float64"


def test_configuration_makes_the_same_initializer_again():
    initializer = GammaTimeConstants(20.0, 3.0, seed=4)
    again = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    assert isinstance(again, GammaTimeConstants)
    np.testing.assert_array_equal(again((5,)), initializer((5,)))


@pytest.mark.parametrize("mean", [0.0, -1.0, float("inf"), float("nan")])
def test_a_mean_that_is_not_positive_is_refused(mean):
    with pytest.raises(ValueError, match="`mean` of the time constants must be a positive finite number, received"):
        GammaTimeConstants(mean, 1.0)


@pytest.mark.parametrize("minimum", [0.0, -1.0, 60.1, float("nan")])
def test_a_minimum_outside_of_the_range_is_refused(minimum):
    with pytest.raises(ValueError, match=r"`minimum` of the time constants must be in \(0, 3 mean\] = \(0, 60.0\]"):
        GammaTimeConstants(20.0, minimum)


@pytest.mark.parametrize(("shape", "expected"), [((6,), [-2, -2, 0, 0, 0, 0]), ((2, 3), [[-2, 0, 0], [0, 0, 0]])])
def test_the_update_gate_alone_gets_a_bias(shape, expected):
    initializer = UpdateGateBias(-2.0)
    np.testing.assert_array_equal(initializer(shape), expected)
    again = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    np.testing.assert_array_equal(again(shape, "float64"), expected)
    assert again(shape, "float64").dtype == "float64"


def test_what_is_no_bias_of_an_egru_is_refused():
    with pytest.raises(ValueError, match="`value` of the update gate's bias must be a finite number, received nan"):
        UpdateGateBias(float("nan"))
    for shape in ((4,), (3, 6), (1, 2, 6)):
        with pytest.raises(ValueError, match=r"`UpdateGateBias` received \("):
            UpdateGateBias()(shape)
