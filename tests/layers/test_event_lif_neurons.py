"""Time constants, refractory periods and rates of spiking layers."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import keras_egru
from keras_egru import EventLIF
from keras_egru.initializers import GammaTimeConstants
from keras_egru.sparsity import SpikeRate

TIGHT = {"rtol": 1e-10, "atol": 1e-12}  # Float64, at most a few hundred roundings.


class TestTimeConstants:
    def test_units_have_the_time_constants_that_were_drawn(self, implementation, kind, make_lif, spikes):
        options = {"return_sequences": True, "return_membrane": True, "implementation": implementation}
        drawn = {"tau_mem": GammaTimeConstants(12.0, 3.0, seed=4), "refractory": 1.0}
        if "tau_syn" in kind:
            drawn["tau_syn"] = GammaTimeConstants(6.0, 1.0, seed=5)
        layer = make_lif(**{**options, **kind, **drawn})
        kernel, *constants = layer.get_weights()
        assert [len(set(values)) for values in constants] == [5] * len(constants)
        assert np.all(constants[0] >= 3.0)
        assert not layer.trainable_weights[1:]
        y, v = layer(spikes)
        for unit in range(5):
            tau = dict(zip(("tau_mem", "tau_syn"), (float(values[unit]) for values in constants), strict=False))
            single = make_lif(1, **{**options, **kind, **tau, "refractory": 1.0})
            single.set_weights([kernel[:, unit : unit + 1]])
            for ours, theirs in zip((y, v), single(spikes), strict=True):
                assert_allclose(ours[:, :, unit : unit + 1], theirs, **TIGHT)

    def test_trained_ones_start_at_the_float_and_change_nothing(self, implementation, kind, make_lif, spikes):
        options = {"return_sequences": True, "return_membrane": True, "implementation": implementation, **kind}
        trained, plain = make_lif(train_time_constants=True, **options), make_lif(**options)
        plain.set_weights(trained.get_weights()[:1])
        assert_array_equal(trained.get_weights()[1], np.full(5, 8.0))
        for ours, theirs in zip(trained(spikes), plain(spikes), strict=True):
            assert_allclose(ours, theirs, **TIGHT)

    def test_gradients_arrive(self, implementation, kind, make_lif, spikes, spike_gradients):
        layer = make_lif(
            recurrent=True, train_time_constants=True, return_sequences=True, implementation=implementation, **kind
        )
        gradients = spike_gradients(layer, spikes)
        assert set(gradients) == {"kernel", "recurrent_kernel", "tau_mem"} | ({"tau_syn"} & set(kind))
        assert all(np.any(gradient != 0) and np.all(np.isfinite(gradient)) for gradient in gradients.values())
        reference = make_lif(
            recurrent=True, train_time_constants=True, return_sequences=True, implementation="reference", **kind
        )
        reference.set_weights(layer.get_weights())
        for name, expected in spike_gradients(reference, spikes).items():
            assert_allclose(gradients[name], expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max(), err_msg=name)

    @pytest.mark.parametrize("dt", [1.0, 0.5])
    def test_they_stay_above_three_and_one_steps_after_an_update(self, make_lif, spikes, dt):
        layer = make_lif(dt=dt, tau_syn=5.0, train_time_constants=True)
        rise = [np.where(np.arange(5) < 2, -1.0, 100.0)] * 2
        variables = [layer.cell.tau_mem_of_units, layer.cell.tau_syn_of_units]
        keras.optimizers.SGD(1.0).apply([keras.ops.convert_to_tensor(gradient) for gradient in rise], variables)
        _, tau_mem, tau_syn = layer.get_weights()
        assert_array_equal(tau_mem, [9.0, 9.0, *[3.0 * dt] * 3])
        assert_array_equal(tau_syn, [6.0, 6.0, *[1.0 * dt] * 3])
        assert np.all(np.isfinite(layer(spikes)))


@pytest.mark.parametrize(("refractory", "dt", "steps"), [(2.0, 0.5, 4), (1.3, 0.5, 3)])
def test_the_refractory_period_is_a_time(implementation, kind, refractory, dt, steps):
    """A unit that is driven hard fires at the first step after each period."""
    layer = EventLIF(
        1, tau_mem=20.0, dt=dt, refractory=refractory, kernel_initializer=keras.initializers.Constant(1e3),
        return_sequences=True, return_membrane=True, v_reset=-0.5, reset="zero", implementation=implementation, **kind,
    )  # fmt: skip
    y, v = (np.asarray(output)[0, :, 0] for output in layer(np.ones((1, 40, 1), "float32")))
    fired = np.flatnonzero(y)
    assert len(fired) >= 8
    assert_array_equal(np.diff(fired), steps + 1)
    waiting = [t for spike in fired[:-1] for t in range(spike + 1, spike + 1 + steps)]
    assert_array_equal(v[waiting], -0.5)
    assert layer.get_config()["refractory"] == refractory


def test_recurrent_spikes_act_one_step_later_with_a_synapse_and_at_once_without(implementation, make_lif):
    """One input spike makes unit 0 fire, whose weight makes unit 1 fire."""
    x = np.zeros((1, 8, 2))
    x[0, 1, 0] = 1.0
    for options, first, second in (({}, 1, 2), ({"tau_syn": 5.0}, 2, 3)):
        layer = keras_egru.EventLIF(
            2, tau_mem=8.0, recurrent=True, return_sequences=True, dtype="float64", implementation=implementation,
            **options,
        )  # fmt: skip
        layer.build(x.shape)
        layer.set_weights([np.array([[20.0, 0.0], [0.0, 0.0]]), np.array([[-500.0, 20.0], [0.0, 0.0]])])
        y = np.asarray(layer(x))[0]
        assert np.flatnonzero(y[:, 0])[0] == first
        assert np.flatnonzero(y[:, 1])[0] == second


class TestRateRegularizer:
    OPTIONS = {"tau_syn": 5.0, "gradient": "eventprop", "return_sequences": True, "recurrent": True}

    def test_it_changes_the_gradient_and_not_the_outputs(self, implementation, make_lif, spikes, spike_gradients):
        plain = make_lif(implementation=implementation, **self.OPTIONS)
        rate = {"rate_regularizer": SpikeRate(1.0, 0.1)}
        regularized = make_lif(implementation=implementation, **rate, **self.OPTIONS)
        reference = make_lif(implementation="reference", **rate, **self.OPTIONS)
        for layer in (regularized, reference):
            layer.set_weights(plain.get_weights())
        assert_array_equal(regularized(spikes), plain(spikes))
        assert sum(float(loss) for loss in regularized.losses) == 0.0
        without, found, expected = (spike_gradients(layer, spikes) for layer in (plain, regularized, reference))
        for name, gradient in without.items():
            scale = np.abs(gradient).max()
            assert np.abs(found[name] - gradient).max() > 0.01 * scale
            assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-10 * scale)

    def test_it_brings_counts_towards_the_target(self, make_lif, spikes):
        """Units that fire less than the target are driven more, and the other way round; no other loss is there."""
        tf = pytest.importorskip("tensorflow")
        for target, sign in ((0.5, -1.0), (8.0, 1.0)):
            layer = make_lif(20, rate_regularizer=SpikeRate(target, 1e-2), **self.OPTIONS)
            before = np.sum(layer(spikes)) / 80
            assert 1.0 < before < 7.0
            for _ in range(10):
                with tf.GradientTape() as tape:
                    loss = 0.0 * tf.reduce_sum(layer(spikes, training=True)) + sum(layer.losses)
                layer.kernel.assign_sub(0.3 * tape.gradient(loss, layer.kernel.value))
            assert sign * (np.sum(layer(spikes)) / 80 - before) > 0.3

    def test_without_a_strength_nothing_changes(self, implementation, make_lif, spikes, spike_gradients):
        options = {"implementation": implementation, **self.OPTIONS}
        plain, idle = make_lif(**options), make_lif(rate_regularizer=SpikeRate(1.0, 0.0), **options)
        idle.set_weights(plain.get_weights())
        assert_array_equal(spike_gradients(idle, spikes)["kernel"], spike_gradients(plain, spikes)["kernel"])


@pytest.mark.parametrize("implementation", ["fused", "reference"])
def test_thresholds_of_many_digits(implementation):
    """Of a float32 attribute six digits are not all: a third is not 0.333333."""
    layer = EventLIF(
        2, threshold=1 / 3, implementation=implementation, kernel_initializer="ones", return_sequences=True
    )
    below, above = 0.3333332, 0.3333335
    layer.build((None, None, 1))
    layer.cell.kernel.assign([[below, above]])
    assert_array_equal(layer(np.ones((1, 1, 1), "float32")), [[[0.0, 1.0]]])
