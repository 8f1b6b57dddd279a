import keras
import numpy as np
import pytest
from keras.src.testing import TestCase
from numpy.testing import assert_allclose, assert_array_equal

import keras_egru
from keras_egru import ThresholdedRNNCell
from keras_egru.surrogates import Boxcar, Triangular

FEATURES, UNITS, BATCH, TIME = 3, 5, 4, 7
TIGHT = {"rtol": 1e-10, "atol": 1e-12}  # Float64, at most a few hundred roundings.


def _cell(**options):
    """A float64 cell, built, whose units are lively."""
    cell = ThresholdedRNNCell(UNITS, dtype="float64", **{"kernel_initializer": "he_normal", **options})
    cell.build((None, FEATURES))
    return cell


@pytest.fixture
def activity():
    return (np.random.default_rng(2).random((BATCH, UNITS)) < 0.4).astype("float64")


class TestKerasLayerChecks(TestCase):
    """Keras's own check of the cell in `keras.layers.RNN`."""

    def test_in_a_layer(self):
        self.run_layer_test(
            keras.layers.RNN,
            {"cell": ThresholdedRNNCell(5, surrogate=Boxcar(), kernel_regularizer="l2"), "return_sequences": True},
            input_shape=(3, 2, 4),
            expected_output_shape=(3, 2, 5),
            expected_num_trainable_weights=3,
            expected_num_non_trainable_weights=0,
            expected_num_losses=1,
            supports_masking=True,
            custom_objects={"ThresholdedRNNCell": ThresholdedRNNCell},
        )


def test_one_step_follows_the_equation(sequences, activity):
    cell, x = _cell(), sequences[:, 0]
    kernel, recurrent_kernel, threshold = cell.get_weights()
    v = x @ kernel + activity @ recurrent_kernel - threshold
    y, states = cell(x, [activity])
    assert 0 < np.sum(y) < np.size(y)
    assert_array_equal(y, v > 0)
    assert_array_equal(states[0], y)


def test_a_unit_at_its_threshold_is_off():
    cell = _cell(threshold_initializer=keras.initializers.Constant(0.5), kernel_initializer="ones")
    y, _ = cell(np.full((1, FEATURES), 0.5 / FEATURES), [np.zeros((1, UNITS))])
    assert_array_equal(y, np.zeros((1, UNITS)))


@pytest.mark.parametrize("surrogate", [Triangular(0.6, 0.8), Boxcar(0.5, 0.3)])
def test_gradients_follow_the_surrogate_through_time(sequences, surrogate):
    """Real-time recurrent learning in NumPy, with a dense influence matrix (paper Eq. 4, 6 and 7)."""
    tf = pytest.importorskip("tensorflow")
    layer = keras.layers.RNN(_cell(surrogate=surrogate), return_sequences=True, dtype="float64")
    weights = np.random.default_rng(3).normal(size=(BATCH, TIME, UNITS))
    with tf.GradientTape() as tape:
        y = layer(sequences)
        loss = tf.reduce_sum(y * weights)
    found = tape.gradient(loss, [weight.value for weight in layer.trainable_weights])

    kernel, recurrent_kernel, threshold = layer.get_weights()
    sizes = [kernel.size, recurrent_kernel.size, threshold.size]
    total, silent = np.zeros(sum(sizes)), 0
    for b in range(BATCH):
        before, influence = np.zeros(UNITS), np.zeros((UNITS, sum(sizes)))
        for t in range(TIME):
            v = sequences[b, t] @ kernel + before @ recurrent_kernel - threshold
            slope = np.asarray(surrogate.derivative(v))
            immediate = np.concatenate(
                [np.kron(sequences[b, t], np.eye(UNITS)), np.kron(before, np.eye(UNITS)), -np.eye(UNITS)], axis=1
            )
            influence = slope[:, None] * (recurrent_kernel.T @ influence + immediate)
            silent += np.sum(slope == 0)
            before = (v > 0).astype(float)
            total += weights[b, t] @ influence
    assert 0 < silent < BATCH * TIME * UNITS
    expected = np.split(total, np.cumsum(sizes)[:-1])
    for ours, theirs in zip(found, expected, strict=True):
        assert np.any(theirs != 0)
        assert_allclose(np.ravel(ours), theirs, **TIGHT)


def test_config_and_files_keep_every_option(sequences, tmp_path):
    options = {
        "kernel_initializer": "he_normal",
        "recurrent_initializer": "glorot_normal",
        "threshold_initializer": "zeros",
        "threshold_trainable": False,
        "surrogate": Boxcar(0.3, 0.4),
        "kernel_regularizer": "l1",
        "recurrent_regularizer": "l2",
        "kernel_constraint": "max_norm",
        "recurrent_constraint": "unit_norm",
        "threshold_constraint": "non_neg",
        "name": "named",
        "dtype": "float64",
        "trainable": False,
    }
    cell = ThresholdedRNNCell(4, **options)
    config, defaults = cell.get_config(), ThresholdedRNNCell(4).get_config()
    assert {name for name in config if config[name] != defaults[name]} == set(defaults) - {"units"} == set(options)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell)).get_config() == config

    model = keras.Sequential([keras.Input((None, FEATURES)), keras.layers.RNN(_cell(), return_sequences=True)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = model.predict(sequences, verbose=0)
    assert np.any(expected != 0)
    assert_array_equal(loaded.predict(sequences, verbose=0), expected)


def test_frozen_thresholds_are_no_trainable_weight():
    assert [weight.name for weight in _cell().trainable_weights] == ["kernel", "recurrent_kernel", "threshold"]
    assert [weight.name for weight in _cell(threshold_trainable=False).trainable_weights] == [
        "kernel",
        "recurrent_kernel",
    ]


def test_half_precision_steps_in_float32():
    cell = ThresholdedRNNCell(UNITS, kernel_initializer="ones", threshold_initializer="ones", dtype="mixed_float16")
    # 1.0001 is above the threshold of 1, and float16 does not tell them apart.
    x = np.array([[1.0, 1e-4, 0.0], [1.0, 0.0, 0.0]], "float16")
    outputs, _ = cell(x, [np.zeros((2, UNITS), "float16")])
    assert outputs.dtype == "float16"
    assert {str(weight.dtype) for weight in cell.weights} == {"float32"}
    assert_array_equal(outputs, [[1.0] * UNITS, [0.0] * UNITS])


def test_masked_steps_keep_the_activity(sequences, mask):
    layer = keras.layers.RNN(_cell(), return_sequences=True, return_state=True, dtype="float64")
    y, state = layer(sequences, mask=mask)
    for b in range(BATCH):
        steps = np.flatnonzero(mask[b])
        if len(steps):
            alone, last = layer(sequences[b : b + 1, steps])
            assert_array_equal(y[b, steps[0] :][mask[b, steps[0] :]], alone[0])
            assert_array_equal(state[b], last[0])


@pytest.mark.parametrize("units", [0, -3])
def test_units_must_be_positive(units):
    with pytest.raises(ValueError, match=f"`units` must be a positive integer, received {units}"):
        ThresholdedRNNCell(units)


def test_bad_input_is_named(activity):
    x = np.zeros((BATCH, FEATURES))
    with pytest.raises(TypeError, match="`units` must be an integer, received 2.5"):
        ThresholdedRNNCell(2.5)
    with pytest.raises(ValueError, match="`surrogate` must be one of"):
        ThresholdedRNNCell(2, surrogate="step")
    with pytest.raises(ValueError, match="last dimension of the inputs of 'open' must be known"):
        ThresholdedRNNCell(2, name="open").build((None, None))
    cell = _cell(name="cell")
    with pytest.raises(TypeError, match="`sequence` of layer 'cell' must be of a floating-point type, received int64"):
        cell.call(x.astype("int64"), [activity])
    with pytest.raises(ValueError, match=r"'cell' must be a list of \[y\], received 2"):
        cell(x, [activity, activity])
    with pytest.raises(ValueError, match=r"`y` of 'cell' must have the shape \(4, 5\), received \(4, 6\)"):
        cell(x, [np.zeros((BATCH, 6))])


def test_docstring_example_runs():
    inputs = np.random.default_rng(0).random((32, 10, 8)).astype("float32")
    rnn = keras.layers.RNN(keras_egru.ThresholdedRNNCell(4), return_sequences=True)
    assert rnn(inputs).shape == (32, 10, 4)
