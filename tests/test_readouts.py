"""Reductions over time: values by hand, gradients by hand and by finite differences in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_egru.readouts import READOUTS, exponential_sum, first_spike_time, last, maximum, read_out, sum_over_time

# One sample, four steps, three classes.
V = np.array([[[1.0, 0.0, 2.0], [3.0, -1.0, 2.0], [2.0, -2.0, 0.0], [0.5, -3.0, 1.0]]])
RNG = np.random.default_rng(0)


def value_and_gradient(function, v, weights=1.0):
    """The value, and the gradient of its sum weighted by `weights`."""
    v = tf.constant(v)
    with tf.GradientTape() as tape:
        tape.watch(v)
        value = function(v)
        scalar = tf.reduce_sum(value * tf.cast(weights, value.dtype))
    return value.numpy(), tape.gradient(scalar, v).numpy()


def finite_differences(function, v, weights, step=1e-6):
    gradient = np.zeros_like(v)
    for place in np.ndindex(v.shape):
        up, down = v.copy(), v.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = np.sum((function(up) - function(down)) * weights) / (2 * step)
    return gradient


def test_the_sum_is_an_integral():
    np.testing.assert_allclose(sum_over_time(V, dt=0.5), [[3.25, -3.0, 2.5]], rtol=1e-12)


def test_the_mean_over_time_is_the_sum_over_steps_of_one_over_their_number():
    np.testing.assert_allclose(sum_over_time(V, dt=1 / 4), V.mean(axis=1), rtol=1e-12)


def test_exponential_weights_decay_over_the_trial():
    # T = 4 steps of 0.5 ms = 2 ms: exp(-0), exp(-0.5/2), exp(-1/2), exp(-1.5/2).
    weights = np.exp([0.0, -0.25, -0.5, -0.75])
    np.testing.assert_allclose(exponential_sum(V, dt=0.5), [0.5 * weights @ V[0]], rtol=1e-12)


def test_exponential_weights_decay_with_a_time_constant_in_milliseconds():
    weights = np.exp(-np.arange(4) * 0.5 / 3.0)
    np.testing.assert_allclose(exponential_sum(V, dt=0.5, time_constant=3.0), [0.5 * weights @ V[0]], rtol=1e-12)


def test_the_maximum_is_over_time():
    np.testing.assert_array_equal(maximum(V), [[3.0, 0.0, 2.0]])


def test_the_gradient_of_the_maximum_goes_to_the_first_step_in_a_tie():
    _, gradient = value_and_gradient(maximum, V, np.array([[2.0, 3.0, 5.0]]))
    expected = np.zeros_like(V)
    expected[0, 1, 0], expected[0, 0, 1], expected[0, 0, 2] = 2.0, 3.0, 5.0
    np.testing.assert_array_equal(gradient, expected)


def test_the_gradient_of_the_maximum_goes_to_the_first_step_in_a_long_tie():
    # Long enough for vectorised and threaded reductions.
    v = np.zeros((3, 1000, 7), "float32")
    v[:, 200:, :] = 1.0
    _, gradient = value_and_gradient(maximum, v)
    assert (gradient[:, 200] == 1.0).all()
    assert gradient.sum() == 21.0


def test_the_last_step_is_the_last():
    np.testing.assert_array_equal(last(V), V[:, -1])


def test_a_crossing_is_interpolated_within_its_step():
    # Unit 0 goes from 0.25 to 1.75 between 2 ms and 4 ms and reaches 1 halfway; it crosses again later.
    # Unit 1 from 0 to 4 between 4 ms and 6 ms: a quarter of the way.
    v = np.array([[[0.0, 0.0], [0.25, -1.0], [1.75, 0.0], [0.0, 4.0], [2.0, 5.0]]])
    times, gradient = value_and_gradient(lambda v: first_spike_time(v, dt=2.0), v)
    np.testing.assert_allclose(times, [[3.0, 4.5]], rtol=1e-12)
    # -(b - threshold) / (b - a)^2 and -(threshold - a) / (b - a)^2, times dt.
    expected = np.zeros_like(v)
    expected[0, 1, 0] = expected[0, 2, 0] = -2.0 * 0.75 / 1.5**2
    expected[0, 2, 1], expected[0, 3, 1] = -2.0 * 3.0 / 16.0, -2.0 * 1.0 / 16.0
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)
    # Raising the whole potential moves the spike by -1 / slope.
    np.testing.assert_allclose(gradient.sum(axis=1), [[-2.0 / 1.5, -2.0 / 4.0]], rtol=1e-12)


def test_the_threshold_itself_is_not_above_it():
    # Touched at step 1, crossed in the step after, at its very beginning.
    assert float(first_spike_time(np.array([[[0.0], [1.0], [2.0]]]), dt=1.0)[0, 0]) == 1.0
    assert float(first_spike_time(np.array([[[0.0], [1.0], [0.0]]]), dt=1.0)[0, 0]) == 3.0


def test_a_silent_unit_spikes_at_the_end_with_a_phantom_gradient():
    times, gradient = value_and_gradient(lambda v: first_spike_time(v, dt=0.5, threshold=10.0, phantom=7.0), V)
    np.testing.assert_array_equal(times, [[2.0, 2.0, 2.0]])
    expected = np.zeros_like(V)
    expected[0, -1] = -7.0
    np.testing.assert_array_equal(gradient, expected)


def test_a_unit_above_the_threshold_at_the_start_spikes_at_zero_with_a_phantom_gradient():
    times, gradient = value_and_gradient(lambda v: first_spike_time(v, dt=0.5, threshold=0.9, phantom=3.0), V)
    np.testing.assert_array_equal(times, [[0.0, 2.0, 0.0]])
    expected = np.zeros_like(V)
    expected[0, 0, 0] = expected[0, -1, 1] = expected[0, 0, 2] = -3.0
    np.testing.assert_array_equal(gradient, expected)


def test_flat_potentials_give_finite_gradients():
    # No rise to divide by, in units that cross and in units that do not.
    v = np.array([[[0.0, 2.0], [0.0, 2.0], [0.0, 2.0]]])
    _, gradient = value_and_gradient(first_spike_time, v)
    np.testing.assert_array_equal(gradient, [[[0.0, -1.0], [0.0, 0.0], [-1.0, 0.0]]])


@pytest.mark.parametrize("readout", READOUTS)
def test_gradients_are_those_of_finite_differences(readout):
    v = np.cumsum(RNG.normal(0.5, 1.0, (3, 6, 4)), axis=1)
    v[:, 0] = 0.0  # below the threshold at the start
    v[:, -1] = 9.0  # and above it in the end: phantom gradients are not those of the value
    weights = RNG.normal(size=(3, 4))

    def function(v):
        return ops.convert_to_numpy(read_out(v, readout, dt=0.7, time_constant=2.5, threshold=0.8))

    _, gradient = value_and_gradient(lambda v: read_out(v, readout, 0.7, 2.5, 0.8), v, weights)
    # Rounding of a difference of order-one values over 2e-6.
    np.testing.assert_allclose(gradient, finite_differences(function, v, weights), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("readout", READOUTS)
def test_reductions_run_in_a_graph_without_static_steps(readout):
    v = RNG.normal(size=(2, 5, 3)).astype("float32")
    graph = tf.function(lambda v: read_out(v, readout), input_signature=[tf.TensorSpec([None, None, 3])])
    np.testing.assert_allclose(graph(v), read_out(v, readout), rtol=1e-6)


def test_half_precision_is_summed_in_single():
    # In float16, 2048 + 1 is 2048.
    assert float(sum_over_time(ops.ones((1, 4000, 1), "float16"))[0, 0]) == 4000.0
    assert sum_over_time(ops.ones((1, 4, 1), "bfloat16")).dtype == "bfloat16"
    # In bfloat16, 513 steps are 512.
    assert float(first_spike_time(ops.zeros((1, 514, 1), "float16"))[0, 0]) == 514.0


@pytest.mark.parametrize("dt", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("readout", ["sum", "sum_exp", "first_spike"])
def test_steps_without_a_duration_are_refused(readout, dt):
    with pytest.raises(ValueError, match="`dt` must be a positive finite number, received"):
        read_out(V, readout, dt=dt)


def test_bad_arguments_are_refused_by_name():
    with pytest.raises(ValueError, match="`readout` must be one of 'sum', .*'first_spike', received 'mean'"):
        read_out(V, "mean")
    with pytest.raises(ValueError, match=r"`time_constant` must be a positive finite number, received 0"):
        exponential_sum(V, time_constant=0)
    with pytest.raises(ValueError, match="`threshold` must be a finite number, received nan"):
        first_spike_time(V, threshold=math.nan)
    with pytest.raises(ValueError, match="`phantom` must be a finite number of at least 0, received -1"):
        first_spike_time(V, phantom=-1)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("shape", [(2, 3), (2, 0, 3), (1, 2, 3, 4)])
def test_other_shapes_are_refused(readout, shape):
    with pytest.raises(ValueError, match=r"`v` must be \[batch, time, classes\] with at least one step, received"):
        read_out(np.zeros(shape, "float32"), readout)
