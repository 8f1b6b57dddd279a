"""Eventprop against what it is the gradient of: networks in continuous time, in closed form and simulated."""

import numpy as np
import pytest
import tensorflow as tf

from keras_egru.ops import LIFState, decays, library, lif_sequence

IMPLEMENTATIONS = [
    "reference",
    pytest.param("fused", marks=pytest.mark.skipif(library.why_not() is not None, reason="no op")),
]
TAU_MEM, TAU_SYN = 20.0, 5.0
AT_THRESHOLD = 1.0 + 1e-12  # so that rounding does not decide about a spike


def response(t):
    """The membrane at time t after a jump of the current by one, and its derivative."""
    scale = TAU_SYN / (TAU_MEM - TAU_SYN)
    mem, syn = np.exp(-t / TAU_MEM), np.exp(-t / TAU_SYN)
    return scale * (mem - syn), scale * (syn / TAU_SYN - mem / TAU_MEM)


def run(inputs, weights, implementation, *, tau=(TAU_MEM, TAU_SYN), recurrent=None, dt=1.0, refractory=0, loss=None):
    """Layers one behind the other, the last a read-out where `loss` takes its membranes, else all spiking.

    Returns the spikes of the last layer, and the gradients of the time of its first spike, or of `loss(v)`.
    """
    weights = [tf.constant(w, tf.float64) for w in weights]
    watched = [*weights, *([] if recurrent is None else [tf.constant(recurrent, tf.float64)])]
    constants = [tf.constant(t, tf.float64) for t in tau]
    with tf.GradientTape() as tape:
        tape.watch([*watched, *constants])
        spikes, link, start = tf.constant(inputs[None], tf.float64), None, None
        for layer, kernel in enumerate(weights):
            units = kernel.shape[1]
            zeros = tf.zeros((1, units), tf.float64)
            spiking = loss is None or layer < len(weights) - 1
            state = LIFState(zeros, zeros, zeros, zeros if refractory and spiking else None)
            result = lif_sequence(
                spikes, state, kernel, watched[len(weights)] if recurrent is not None and layer == 0 else None,
                decays(constants[0] * tf.ones(units, tf.float64), constants[1] * tf.ones(units, tf.float64), dt),
                gradient="eventprop", spiking=spiking, link=link, refractory=refractory if spiking else 0, all_v=True,
                reset="zero", train_decays=True, training=True, implementation=implementation,
            )  # fmt: skip
            spikes, link = result.y, result.link
        if loss is None:
            start = first_time(result.link, spikes) * dt
        else:
            start = loss(result.v[0])
    return spikes, tape.gradient(start, [*watched, *constants])


def first_time(link, spikes):
    """Zero, with the gradient of the time of the first spike of the first unit, in steps."""
    if link.shift is not None:
        return link.shift[0, int(np.flatnonzero(np.asarray(spikes)[0, :, 0])[0]), 0]
    codes = np.asarray(link.codes)
    return link.carrier[int(np.flatnonzero(codes == 1)[0])]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
class TestClosedForm:
    """Weights are chosen so that membranes meet the threshold at a step: then nothing is rounded to the grid."""

    def test_the_time_of_one_spike(self, implementation):
        t = 4
        weight = AT_THRESHOLD / response(t)[0]
        inputs = np.zeros((12, 1))
        inputs[2] = 1.0
        spikes, gradients = run(inputs, [[[weight]]], implementation)
        assert np.flatnonzero(spikes[0, :, 0])[0] == 2 + t
        expected = -response(t)[0] / (weight * response(t)[1])
        assert float(gradients[0][0, 0]) == pytest.approx(expected, rel=1e-6)

    def test_a_spike_that_a_spike_causes(self, implementation):
        first, second = 4, 6
        weights = [AT_THRESHOLD / response(t)[0] for t in (first, second)]
        inputs = np.zeros((20, 1))
        inputs[1] = 1.0
        spikes, gradients = run(inputs, [[[w]] for w in weights], implementation)
        assert np.flatnonzero(spikes[0, :, 0])[0] == 1 + first + second
        for t, weight, gradient in zip((first, second), weights, gradients, strict=False):
            expected = -response(t)[0] / (weight * response(t)[1])
            assert float(gradient[0, 0]) == pytest.approx(expected, rel=1e-6)

    @pytest.mark.parametrize("refractory", [0, 3])
    def test_a_spike_after_a_reset(self, implementation, refractory):
        """The second spike depends on the first by its reset (and by the end of the refractory period)."""
        first, arrival, second = 4, 12, 18
        h, dh = response(first)
        weight = AT_THRESHOLD / h
        starts = first + refractory

        def after(t_1, w, w_2):  # the membrane at `second`, from zero at t_1 + refractory
            start = t_1 + refractory
            return w * np.exp(-start / TAU_SYN) * response(second - start)[0] + w_2 * response(second - arrival)[0]

        w_2 = (AT_THRESHOLD - after(first, weight, 0.0)) / response(second - arrival)[0]
        inputs = np.zeros((30, 2))
        inputs[0, 0] = inputs[arrival, 1] = 1.0
        with tf.GradientTape() as tape:
            kernel = tf.constant([[weight], [w_2]], tf.float64)
            tape.watch(kernel)
            zeros = tf.zeros((1, 1), tf.float64)
            result = lif_sequence(
                tf.constant(inputs[None], tf.float64),
                LIFState(zeros, zeros, zeros, zeros if refractory else None), kernel, None,
                decays(tf.constant([TAU_MEM], tf.float64), tf.constant([TAU_SYN], tf.float64), 1.0),
                gradient="eventprop", refractory=refractory, reset="zero", training=True, implementation=implementation,
            )  # fmt: skip
            steps = np.flatnonzero(result.y[0, :, 0])
            time = result.link.carrier[1] if result.link.shift is None else result.link.shift[0, second, 0]
        assert list(steps[:2]) == [first, second]
        found = tape.gradient(time, kernel)
        current = weight * np.exp(-second / TAU_SYN) + w_2 * np.exp(-(second - arrival) / TAU_SYN)
        slope = (current - 1.0) / TAU_MEM
        d_first = -h / (weight * dh)
        d_weight = np.exp(-starts / TAU_SYN) * response(second - starts)[0]
        step = 1e-5
        d_t1 = (after(first + step, weight, w_2) - after(first - step, weight, w_2)) / (2 * step)
        np.testing.assert_allclose(found[0, 0], -(d_weight + d_t1 * d_first) / slope, rtol=1e-6)
        np.testing.assert_allclose(found[1, 0], -response(second - arrival)[0] / slope, rtol=1e-6)

    def test_the_membrane_behind_a_spike(self, implementation):
        """dL/dw of a read-out's potential: by the weight itself, and by the time of the spike before it."""
        t, end = 4, 15
        weights = [AT_THRESHOLD / response(t)[0], 0.7]
        inputs = np.zeros((end + 1, 1))
        inputs[0] = 1.0
        _, gradients = run(inputs, [[[w]] for w in weights], implementation, loss=lambda v: v[end, 0])
        h, dh = response(end - t)
        assert float(gradients[1][0, 0]) == pytest.approx(h, rel=1e-6)
        d_time = -response(t)[0] / (weights[0] * response(t)[1])
        assert float(gradients[0][0, 0]) == pytest.approx(-weights[1] * dh * d_time, rel=1e-6)


class Continuous:
    """A recurrent layer and its read-out in continuous time: spikes are found by bisection, nothing lies on a grid."""

    def __init__(self, events, end):
        self.events, self.end = events, end  # [(time, input)], and when the read-out is read

    def loss(self, kernel, recurrent, readout, tau):
        self.tau_mem, self.tau_syn = tau
        n = kernel.shape[1]
        t, v, i = 0.0, np.zeros(n + 1), np.zeros(n + 1)  # the last unit is the read-out
        pending = sorted(self.events)
        self.spikes = []
        total = np.zeros(2)  # the integral of the read-out needs v and i at its ends
        while t < self.end:
            until = min(pending[0][0] if pending else self.end, self.end)
            crossing = self.first_crossing(v[:n], i[:n], until - t)
            if crossing is not None:
                until, unit = t + crossing[0], crossing[1]
            total[0] += self.integral(v[n], i[n], until - t)
            v, i = self.after(v, i, until - t)
            t = until
            if crossing is not None:
                v[unit] = 0.0
                i += np.append(recurrent[unit], readout[unit])
                self.spikes.append((t, unit))
            elif pending and pending[0][0] <= t:
                i[:n] += kernel[pending.pop(0)[1]]
        return total[0]

    def after(self, v, i, dt):
        mem, syn = np.exp(-dt / self.tau_mem), np.exp(-dt / self.tau_syn)
        return v * mem + i * self.tau_syn / (self.tau_mem - self.tau_syn) * (mem - syn), i * syn

    def integral(self, v, i, dt):
        mem, syn = -np.expm1(-dt / self.tau_mem), -np.expm1(-dt / self.tau_syn)
        scale = self.tau_syn / (self.tau_mem - self.tau_syn)
        return v * self.tau_mem * mem + i * scale * (self.tau_mem * mem - self.tau_syn * syn)

    def first_crossing(self, v, i, length):
        """Time and unit of the first membrane that meets the threshold, or None."""
        grid = np.linspace(0.0, length, max(int(length / 0.02), 2))
        crossings = []
        for unit in range(len(v)):
            above = np.flatnonzero(self.after(v[unit], i[unit], grid)[0] > 1.0)
            if len(above):
                low, high = grid[above[0] - 1], grid[above[0]]
                for _ in range(60):
                    middle = (low + high) / 2
                    low, high = (low, middle) if self.after(v[unit], i[unit], middle)[0] > 1.0 else (middle, high)
                crossings.append((high, unit))
        return min(crossings, default=None)


@pytest.fixture(scope="module")
def continuous():
    """Events of a network in continuous time and when it ends, its weights, and finite differences of its loss."""
    rng = np.random.default_rng(3)
    features, n, end = 5, 4, 48.0
    events = [
        (float(t), int(f)) for t, f in zip(rng.choice(np.arange(1, 41), 22), rng.integers(0, features, 22), strict=True)
    ]
    kernel, recurrent = rng.normal(1.1, 0.6, (features, n)), rng.normal(0.0, 0.7, (n, n))
    readout, tau = rng.normal(0.0, 1.0, (n, 1)), np.array([14.0, 6.0])
    network = Continuous(events, end)
    given = [kernel, readout, recurrent, tau]

    def loss(kernel, readout, recurrent, tau):
        return network.loss(kernel, recurrent, readout[:, 0], tau)

    expected = [np.zeros_like(array) for array in given]
    value = loss(*given)
    spikes = len(network.spikes)
    assert spikes >= 8
    for array, gradient in zip(given, expected, strict=True):
        for place in np.ndindex(array.shape):
            around = []
            for sign in (1.0, -1.0):
                array[place] += sign * 1e-6
                around.append(loss(*given))
                assert len(network.spikes) == spikes  # a spike that comes or goes has no gradient
                array[place] -= sign * 1e-6
            gradient[place] = (around[0] - around[1]) / 2e-6

    assert np.isfinite(value)
    return events, end, given, expected


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_gradient_of_a_network_in_continuous_time(implementation, continuous):
    """The error of the grid that approximates the network is of the order of the step."""
    events, end, (kernel, readout, recurrent, tau), expected = continuous
    for dt in (0.1, 0.025, 0.00625) if implementation == "fused" else (0.1,):
        inputs = np.zeros((round(end / dt) + 1, len(kernel)))
        for t, f in events:
            inputs[round(t / dt), f] += 1.0
        _, found = run(
            inputs, [kernel, readout], implementation, tau=tau, recurrent=recurrent, dt=dt,
            loss=lambda v, dt=dt: tf.reduce_sum(v[:-1] + v[1:]) * dt / 2,
        )  # fmt: skip
        found = [found[0], found[1], found[2], np.array(found[3:])]
        errors = [np.max(np.abs(f - e)) / np.max(np.abs(e)) for f, e in zip(found, expected, strict=True)]
        assert max(errors) < 1.5 * dt, (dt, errors)
