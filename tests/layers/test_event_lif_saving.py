"""Spiking layers as files: whole models, weights, and configurations."""

import keras
import numpy as np
from numpy.testing import assert_array_equal

import keras_egru
from keras_egru import EventLIF
from keras_egru.initializers import GammaTimeConstants
from keras_egru.sparsity import SpikeCounts, SpikeRate


def test_models_survive_saving(kind, spikes, tmp_path):
    options = {"refractory": 1.0, "recurrent": True, **kind}
    loud = keras.initializers.RandomUniform(0.0, 2.0, seed=3)
    gamma = {"tau_mem": GammaTimeConstants(9.0, 3.0), "train_time_constants": True}
    rate = SpikeRate(3.0, 1e-3) if kind.get("gradient") == "eventprop" else None
    inputs = keras.Input((None, 6))
    y, *state = EventLIF(
        7, return_sequences=True, return_state=True, kernel_initializer=loud, rate_regularizer=rate, **options
    )(inputs)
    outputs = EventLIF(7, kernel_initializer=loud, return_sequences=True, **gamma, **options)(y, initial_state=state)
    model = keras.Model(inputs, keras_egru.LeakyReadout(2, tau_syn=kind.get("tau_syn"))(outputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert np.any(model.predict(spikes, verbose=0) != 0)
    assert_array_equal(loaded.predict(spikes, verbose=0), model.predict(spikes, verbose=0))
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        assert (ours.name, ours.trainable) == (theirs.name, theirs.trainable)
        assert_array_equal(ours, theirs)
    model.save_weights(tmp_path / "model.weights.h5")
    for weight in loaded.weights:
        weight.assign(np.ones(weight.shape))
    loaded.load_weights(tmp_path / "model.weights.h5")
    assert_array_equal(loaded.predict(spikes, verbose=0), model.predict(spikes, verbose=0))


def test_weights_come_in_the_documented_order_and_shapes():
    def shapes(**options):
        layer = EventLIF(5, **options)
        layer.build((None, None, 3))
        return [(weight.name, tuple(weight.shape), weight.trainable) for weight in layer.weights]

    kernel, recurrent = ("kernel", (3, 5), True), ("recurrent_kernel", (5, 5), True)
    assert shapes() == [kernel]
    assert shapes(tau_syn=5.0, recurrent=True) == [kernel, recurrent]
    assert shapes(tau_syn=5.0, train_time_constants=True) == [kernel, ("tau_mem", (5,), True), ("tau_syn", (5,), True)]
    gamma = GammaTimeConstants(20.0, 3.0)
    assert shapes(tau_mem=gamma, tau_syn=5.0) == [kernel, ("tau_mem", (5,), False)]
    assert shapes(tau_mem=gamma, train_time_constants=True) == [kernel, ("tau_mem", (5,), True)]


def test_config_round_trip_keeps_every_option():
    options = {
        "tau_mem": GammaTimeConstants(30.0, 4.0, seed=2),
        "tau_syn": 7.0,
        "dt": 0.5,
        "threshold": 0.9,
        "v_reset": -0.1,
        "v_rest": 0.2,
        "reset": "zero",
        "refractory": 3.0,
        "recurrent": True,
        "train_time_constants": True,
        "kernel_initializer": "he_normal",
        "recurrent_initializer": "glorot_normal",
        "kernel_regularizer": "l1",
        "recurrent_regularizer": "l2",
        "kernel_constraint": "max_norm",
        "recurrent_constraint": "unit_norm",
        "activity_regularizer": SpikeCounts(),
        "validate_inputs": True,
        "implementation": "reference",
        "return_sequences": True,
        "return_state": True,
        "return_membrane": True,
        "go_backwards": True,
        "stateful": True,
        "name": "named",
        "dtype": "mixed_float16",
        "trainable": False,
    }
    defaults = EventLIF(4).get_config()
    changed = set()
    for own in (
        {"surrogate": keras_egru.surrogates.Boxcar(0.3, 0.4)},
        {"gradient": "eventprop", "rate_regularizer": SpikeRate(3.0, 0.5)},
    ):
        layer = EventLIF(4, **options, **own)
        config = layer.get_config()
        assert set(options) | set(own) <= set(config) == set(defaults)
        changed |= {name for name in config if config[name] != defaults[name]}
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert copy.get_config() == config
        assert copy.cell.trainable is False
    assert changed == set(defaults) - {"units"}
