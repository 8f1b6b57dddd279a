import keras
import numpy as np
import pytest
from keras.src.testing import TestCase
from numpy.testing import assert_allclose, assert_array_equal

import keras_egru
from keras_egru import LeakyReadout, readouts
from keras_egru.initializers import GammaTimeConstants

READOUTS = [None, *readouts.READOUTS]
TIGHT = {"rtol": 1e-10, "atol": 1e-12}  # Float64, at most a few hundred roundings.
SYNAPSES = pytest.mark.parametrize("tau_syn", [None, 3.0])


def _make(units=2, **options):
    options = {
        "dtype": "float64",
        "tau_mem": 6.0,
        "kernel_initializer": keras.initializers.RandomUniform(-0.5, 1.5),
        "threshold": 0.6,
        **options,
    }
    layer = LeakyReadout(units, **options)
    layer.build((None, 12, 6))
    return layer


class TestKerasLayerChecks(TestCase):
    """Keras's own check of a layer: shapes, weights, serialisation, training, dtype policies, masking."""

    def check(self, init_kwargs, **expected):
        expected = {
            "expected_output_shape": (3, 5),
            "expected_num_trainable_weights": 1,
            "expected_num_non_trainable_weights": 0,
            "expected_num_seed_generators": 0,
            "supports_masking": True,
            **expected,
        }
        self.run_layer_test(LeakyReadout, {"units": 5, **init_kwargs}, input_shape=(3, 2, 4), **expected)

    def test_defaults(self):
        self.check({})

    def test_reference_with_losses(self):
        self.check(
            {
                "readout": "sum_exp",
                "kernel_regularizer": "l2",
                "activity_regularizer": "l2",
                "implementation": "reference",
            },
            expected_num_losses=2,
        )

    def test_potentials_with_trained_time_constants(self):
        self.check(
            {"readout": None, "tau_syn": 5.0, "train_time_constants": True},
            expected_output_shape=(3, 2, 5),
            expected_num_trainable_weights=3,
        )


@SYNAPSES
def test_potentials_follow_the_equations(implementation, spikes, tau_syn):
    layer = _make(readout=None, tau_syn=tau_syn, dt=0.5, implementation=implementation)
    alpha, v, expected = np.exp(-0.5 / 6.0), np.zeros((4, 2)), []
    beta, i = (np.exp(-0.5 / tau_syn), np.zeros((4, 2))) if tau_syn else (None, None)
    (kernel,) = layer.get_weights()
    for t in range(12):
        drive = spikes[:, t] @ kernel
        if tau_syn is None:
            v = alpha * v + drive
        else:
            # A spike acts one step later.
            v = alpha * v + tau_syn / (6.0 - tau_syn) * (alpha - beta) * i
            i = beta * i + drive
        expected.append(v)
    assert_allclose(layer(spikes), np.stack(expected, axis=1), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("readout", readouts.READOUTS)
@SYNAPSES
def test_readouts_are_those_of_the_potentials(implementation, spikes, readout, tau_syn):
    options = {"tau_syn": tau_syn, "dt": 0.5, "implementation": implementation}
    potentials = _make(readout=None, **options)
    layer = _make(readout=readout, time_constant=4.0, **options)
    layer.set_weights(potentials.get_weights())
    expected = readouts.read_out(potentials(spikes), readout, dt=0.5, time_constant=4.0, threshold=0.6)
    assert_allclose(layer(spikes), expected, **TIGHT)
    if readout == "first_spike":
        # Some potential crosses the threshold between two steps.
        assert np.any((np.asarray(expected) > 0.0) & (np.asarray(expected) < 6.0))


@pytest.mark.parametrize("readout", READOUTS)
def test_masked_steps_are_skipped_and_left_out(implementation, spikes, spike_mask, readout):
    # Potentials stay below zero, from where a padded start would raise their maximum; a synapse would begin there too.
    tau_syn = None if readout == "max" else 3.0
    layer = _make(
        readout=readout, tau_syn=tau_syn, time_constant=5.0, implementation=implementation, threshold=-0.5,
        kernel_initializer=keras.initializers.RandomUniform(-2.0, -0.5),
    )  # fmt: skip
    outputs = np.asarray(layer(spikes, mask=spike_mask))
    assert np.all(np.isfinite(outputs))
    potentials = LeakyReadout.from_config({**layer.get_config(), "readout": None})
    potentials.build(spikes.shape)
    potentials.set_weights(layer.get_weights())
    for sample in range(3):
        valid = spike_mask[sample]
        v = np.asarray(potentials(spikes[sample : sample + 1, valid]))[0]
        expected = {
            "sum": v.sum(axis=0),
            "sum_exp": (np.exp(-np.flatnonzero(valid) / 5.0)[:, None] * v).sum(axis=0),
            "max": v.max(axis=0),
            "last": v[-1],
        }
        if readout is None:
            assert_allclose(outputs[sample, valid], v, **TIGHT)
        elif readout != "first_spike":
            assert_allclose(outputs[sample], expected[readout], **TIGHT)
    if readout != "first_spike":
        assert_array_equal(outputs[3], np.zeros_like(outputs[3]))  # no valid step


def test_the_mask_of_a_masking_layer_is_used_and_handed_on_with_potentials_alone(implementation, spikes, spike_mask):
    padded = np.where(spike_mask[:, :, None], spikes, -1.0)
    masked = keras.layers.Masking(-1.0, dtype="float64")(padded)
    for readout in (None, "max"):
        layer = _make(readout=readout, implementation=implementation)
        outputs = layer(masked)
        assert_array_equal(outputs, layer(padded, mask=spike_mask))
        assert not np.array_equal(outputs, layer(padded))
        handed_on = keras.src.backend.get_keras_mask(outputs)
        assert (handed_on is None) if readout else np.array_equal(handed_on, spike_mask)


@pytest.mark.parametrize("readout", ["sum", "sum_exp", "max", "last", "first_spike"])
def test_gradients_are_those_of_the_potentials(implementation, spikes, spike_mask, readout):
    tf = pytest.importorskip("tensorflow")
    found = []
    for name in (implementation, "reference"):
        keras.utils.set_random_seed(3)
        layer = _make(readout=readout, tau_syn=3.0, train_time_constants=True, implementation=name)
        x = tf.constant(spikes)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, mask=spike_mask, training=True) * [1.0, -2.0])
        found.append(tape.gradient(loss, [x, *(weight.value for weight in layer.trainable_weights)]))
    for ours, theirs in zip(*found, strict=True):
        assert np.any(np.asarray(theirs) != 0)
        assert np.all(np.isfinite(ours))
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10 * np.abs(theirs).max())


def test_first_spikes_that_never_come_have_a_phantom_gradient(implementation, spikes):
    tf = pytest.importorskip("tensorflow")
    layer = _make(readout="first_spike", tau_syn=3.0, threshold=100.0, dt=0.5, implementation=implementation)
    with tf.GradientTape() as tape:
        times = layer(spikes, training=True)
        loss = tf.reduce_sum(times)
    assert_array_equal(times, np.full((4, 2), 12 * 0.5))
    gradient = np.asarray(tape.gradient(loss, layer.kernel.value))
    assert np.all(np.isfinite(gradient))
    assert np.all(gradient < 0)  # the time comes sooner with every weight


@pytest.mark.parametrize("phantom", [0.0, 9.0])
def test_phantom_gradients_are_as_steep_as_they_are_asked_to_be(implementation, spikes, phantom):
    tf = pytest.importorskip("tensorflow")
    options = {"tau_syn": 3.0, "threshold": 100.0, "implementation": implementation}
    first, last = _make(readout="first_spike", phantom=phantom, **options), _make(readout="last", **options)
    last.set_weights(first.get_weights())
    found = []
    for layer in (first, last):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(spikes, training=True))
        found.append(np.asarray(tape.gradient(loss, layer.kernel.value)))
    time, potential = found
    assert np.all(potential != 0)
    assert_allclose(time, -phantom * potential, rtol=1e-12)


def test_units_have_the_time_constants_that_were_drawn(implementation, spikes):
    options = {"readout": None, "implementation": implementation}
    drawn = {"tau_mem": GammaTimeConstants(12.0, 3.0, seed=4), "tau_syn": GammaTimeConstants(6.0, 1.0, seed=5)}
    layer = _make(3, **drawn, **options)
    assert [(weight.name, weight.trainable) for weight in layer.weights] == [
        ("kernel", True),
        ("tau_mem", False),
        ("tau_syn", False),
    ]
    kernel, tau_mem, tau_syn = layer.get_weights()
    assert len(set(tau_mem)) == len(set(tau_syn)) == 3
    for unit in range(3):
        single = _make(1, tau_mem=float(tau_mem[unit]), tau_syn=float(tau_syn[unit]), **options)
        single.set_weights([kernel[:, unit : unit + 1]])
        assert_allclose(layer(spikes)[:, :, unit : unit + 1], single(spikes), **TIGHT)


def test_trained_time_constants_stay_above_three_and_one_steps(spikes):
    layer = _make(tau_syn=3.0, train_time_constants=True, dt=0.5)
    variables = [layer.tau_mem_of_units, layer.tau_syn_of_units]
    gradients = [keras.ops.convert_to_tensor(np.array([-1.0, 100.0]))] * 2
    keras.optimizers.SGD(1.0).apply(gradients, variables)
    assert_array_equal(layer.get_weights()[1], [7.0, 1.5])
    assert_array_equal(layer.get_weights()[2], [4.0, 0.5])
    assert np.all(np.isfinite(layer(spikes)))


def test_a_float_needs_no_weight():
    assert [weight.name for weight in _make(tau_syn=3.0).weights] == ["kernel"]


@pytest.mark.parametrize("readout", READOUTS)
def test_shapes_of_symbolic_calls(readout):
    outputs = LeakyReadout(5, readout)(keras.Input((None, 6)))
    assert outputs.shape == ((None, 5) if readout else (None, None, 5))


def test_models_survive_saving(spikes, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None, 6)),
            LeakyReadout(3, None, tau_mem=GammaTimeConstants(9.0, 3.0), tau_syn=4.0),
            LeakyReadout(2, "first_spike", threshold=0.1, train_time_constants=True),
        ]
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_array_equal(loaded.predict(spikes, verbose=0), model.predict(spikes, verbose=0))
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        assert (ours.name, ours.trainable) == (theirs.name, theirs.trainable)
        assert_array_equal(ours, theirs)


def test_config_round_trip_keeps_every_option():
    options = {
        "readout": "sum_exp",
        "tau_mem": GammaTimeConstants(30.0, 4.0, seed=2),
        "tau_syn": 7.0,
        "dt": 0.5,
        "time_constant": 9.0,
        "threshold": 0.7,
        "phantom": 5.0,
        "train_time_constants": True,
        "kernel_initializer": "he_normal",
        "kernel_regularizer": "l1",
        "kernel_constraint": "max_norm",
        "activity_regularizer": "l2",
        "validate_inputs": True,
        "implementation": "reference",
        "name": "named",
        "dtype": "mixed_float16",
        "trainable": False,
    }
    layer = LeakyReadout(4, **options)
    config = layer.get_config()
    defaults = LeakyReadout(4).get_config()
    assert set(options) <= set(config)
    assert set(config) - set(defaults) <= {"activity_regularizer"}  # which Keras leaves out where there is none
    assert {name for name in defaults if config[name] != defaults[name]} == set(defaults) - {"units"}
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == config
    assert copy.activity_regularizer is not None


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_half_precision_integrates_in_float32(implementation, spikes, dtype):
    layer = LeakyReadout(3, dtype=dtype, implementation=implementation)
    half = dtype.removeprefix("mixed_")
    x = keras.ops.cast(spikes, half)
    outputs = layer(x)
    assert keras.backend.standardize_dtype(outputs.dtype) == half
    if dtype != "float64":
        single = LeakyReadout(3, dtype="float32", implementation=implementation)
        single.build(spikes.shape)
        single.set_weights([np.asarray(keras.ops.cast(weight, "float32")) for weight in layer.weights])
        expected = keras.ops.cast(keras.ops.cast(single(spikes.astype("float32")), half), "float64")
        assert_array_equal(keras.ops.cast(outputs, "float64"), expected)


def test_the_reference_may_be_compiled_by_xla_and_the_fused_op_may_not(implementation):
    assert LeakyReadout(3, implementation=implementation).supports_jit is (implementation == "reference")


def test_validation_names_nan_in_inputs_and_weights(implementation, spikes):
    layer = LeakyReadout(2, name="watched", validate_inputs=True, implementation=implementation)
    assert np.all(np.isfinite(layer(spikes)))
    poisoned = spikes.copy()
    poisoned[2, 3, 1] = np.nan
    with pytest.raises(ValueError, match="`sequences` of layer 'watched' holds NaN or Inf in 1 of 288 entries"):
        layer(poisoned)
    layer.kernel.assign(np.full((6, 2), np.inf))
    with pytest.raises(ValueError, match="`kernel` of layer 'watched' holds NaN or Inf in 12 of 12 entries"):
        layer(spikes)


def test_validation_in_a_graph_raises_when_the_graph_runs(implementation, spikes):
    tf = pytest.importorskip("tensorflow")
    layer = LeakyReadout(2, name="watched", validate_inputs=True, implementation=implementation)
    model = keras.Sequential([keras.Input((12, 6)), layer])
    assert np.all(np.isfinite(model.predict(spikes, verbose=0)))
    layer.kernel.assign(np.full((6, 2), np.nan))
    with pytest.raises(tf.errors.InvalidArgumentError, match="`kernel` of layer 'watched' holds NaN or Inf"):
        model.predict(spikes, verbose=0)


def test_docstring_examples_run():
    spikes = (np.random.default_rng(0).random((32, 10, 8)) < 0.1).astype("float32")
    assert keras_egru.LeakyReadout(4)(spikes).shape == (32, 4)
    assert keras_egru.LeakyReadout(4, readout=None)(spikes).shape == (32, 10, 4)
