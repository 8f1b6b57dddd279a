import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.testing import TestCase
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EGRU, ExponentialTrace

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def _plain_loop(sequences, time_constant, mask=None):
    """The definition, one step at a time."""
    trace, traces = np.zeros_like(sequences[:, 0]), []
    for t in range(sequences.shape[1]):
        following = np.exp(-1.0 / time_constant) * trace + sequences[:, t]
        trace = following if mask is None else np.where(mask[:, t, None], following, trace)
        traces.append(trace)
    return np.stack(traces, axis=1)


class TestKerasLayerChecks(TestCase):
    def test_last_value_with_a_fixed_time_constant(self):
        self.run_layer_test(
            ExponentialTrace,
            {"time_constant": 5.0},
            input_shape=(3, 4, 2),
            expected_output_shape=(3, 2),
            expected_num_trainable_weights=0,
            expected_num_non_trainable_weights=0,
            expected_num_seed_generators=0,
            supports_masking=True,
        )

    def test_sequence_with_a_trainable_time_constant(self):
        self.run_layer_test(
            ExponentialTrace,
            {"trainable_time_constant": True, "return_sequences": True},
            input_shape=(3, 4, 2),
            expected_output_shape=(3, 4, 2),
            expected_num_trainable_weights=1,
            expected_num_non_trainable_weights=0,
            expected_num_seed_generators=0,
            supports_masking=True,
        )


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("time_constant", [0.01, 1.0, 10.0, 1e6])
@pytest.mark.parametrize("with_mask", [False, True])
def test_equals_a_plain_loop(sequences, mask, trainable, time_constant, with_mask):
    mask = mask if with_mask else None
    expected = _plain_loop(sequences, time_constant, mask)
    options = {"time_constant": time_constant, "trainable_time_constant": trainable, "dtype": "float64"}
    # Keras rounds the initial value of a variable to float32.
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if trainable else TIGHT
    assert_allclose(ExponentialTrace(return_sequences=True, **options)(sequences, mask=mask), expected, **tolerance)
    assert_allclose(ExponentialTrace(**options)(sequences, mask=mask), expected[:, -1], **tolerance)


def test_the_closed_form_equals_the_loop_for_a_trained_time_constant(sequences, mask):
    options = {"trainable_time_constant": True, "dtype": "float64"}
    last, every = ExponentialTrace(**options), ExponentialTrace(return_sequences=True, **options)
    for layer in (last, every):
        layer.build(sequences.shape)
        layer.set_weights([np.log(2.5)])
    assert_allclose(every(sequences, mask=mask), _plain_loop(sequences, 2.5, mask), **TIGHT)
    assert_allclose(last(sequences, mask=mask), _plain_loop(sequences, 2.5, mask)[:, -1], **TIGHT)


def test_long_float32_sequences_stay_accurate():
    sequences = np.random.default_rng(0).uniform(size=(2, 2000, 3))
    expected = _plain_loop(sequences, 10.0)
    single = sequences.astype("float32")
    # A trace of about 10 in float32: an error of 1e-5 is ten roundings.
    assert_allclose(ExponentialTrace()(single), expected[:, -1], atol=1e-5)
    assert_allclose(ExponentialTrace(return_sequences=True)(single), expected, atol=1e-5)


def test_masked_steps_leave_the_trace_alone_even_if_they_hold_nan(sequences, mask):
    sequences[~mask] = np.nan
    traces = np.asarray(ExponentialTrace(return_sequences=True, dtype="float64")(sequences, mask=mask))
    last = ExponentialTrace(dtype="float64")(sequences, mask=mask)
    assert_array_equal(traces[3], 0.0)
    assert_array_equal(traces[1, 4:], np.broadcast_to(traces[1, 4], (3, 3)))
    assert_allclose(last, traces[:, -1], **TIGHT)


def test_masked_sequences_of_a_length_that_the_graph_does_not_know(sequences, mask):
    trace = ExponentialTrace(return_sequences=True, dtype="float64")
    run = tf.function(lambda x, mask: trace(x, mask=mask), autograph=False)
    batch, _, features = sequences.shape
    traced = run.get_concrete_function(
        tf.TensorSpec([batch, None, features], "float64"), tf.TensorSpec([batch, None], "bool")
    )
    actual = traced(tf.constant(sequences, "float64"), tf.constant(mask))
    assert_allclose(actual, trace(sequences, mask=mask), **TIGHT)


def test_mask_goes_on_with_sequences_and_ends_with_the_last_value(sequences, mask):
    masked = keras.layers.Masking()(np.where(mask[:, :, None], sequences, 0.0).astype("float32"))
    egru = EGRU(4, return_sequences=True)(masked)
    assert_array_equal(ExponentialTrace(return_sequences=True)(egru)._keras_mask, mask)
    assert getattr(ExponentialTrace()(egru), "_keras_mask", None) is None
    assert_allclose(ExponentialTrace()(egru), ExponentialTrace()(np.asarray(egru), mask=mask), rtol=1e-6)


@pytest.mark.parametrize("return_sequences", [False, True])
def test_the_time_constant_is_learnt_and_stays_positive(return_sequences):
    """Targets made with a time constant of 3 are found from 10."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 12, 2)).astype("float32")
    target = _plain_loop(x, 3.0)
    target = target if return_sequences else target[:, -1]
    layer = ExponentialTrace(10.0, trainable_time_constant=True, return_sequences=return_sequences)
    model = keras.Sequential([keras.Input((12, 2)), layer])
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse")
    model.fit(x, target, epochs=60, batch_size=64, verbose=0)
    assert_allclose(np.exp(layer.get_weights()[0]), 3.0, rtol=0.05)
    layer.set_weights([np.float32(-20.0)])
    assert np.all(np.isfinite(model.predict(x, verbose=0)))


def test_saved_and_loaded_it_keeps_its_trained_time_constant(tmp_path):
    model = keras.Sequential(
        [keras.Input((6, 2)), ExponentialTrace(4.0, trainable_time_constant=True, return_sequences=True)]
    )
    model.layers[0].set_weights([np.float32(0.5)])
    model.save(tmp_path / "trace.keras")
    loaded = keras.models.load_model(tmp_path / "trace.keras")
    assert loaded.layers[0].get_config() == model.layers[0].get_config()
    x = np.random.default_rng(0).normal(size=(3, 6, 2)).astype("float32")
    assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_half_precision_sums_in_float32():
    events = np.ones((1, 4000, 1), "float16")
    # The limit is 1 / (1 - exp(-1/1000)) = 1000.5, reached to 98 %; in float16 the sum would stop growing at 2 ulp.
    trace = ExponentialTrace(1000.0, dtype="mixed_float16")(events)
    assert trace.dtype == "float16"
    assert_allclose(trace, _plain_loop(events.astype("float64"), 1000.0)[:, -1], rtol=1e-3)


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_time_constant_must_be_positive_and_finite(value):
    with pytest.raises(ValueError, match="`time_constant` must be a positive finite number"):
        ExponentialTrace(value)


def test_bad_inputs_are_named():
    layer = ExponentialTrace(name="named")
    with pytest.raises(
        TypeError, match="`sequences` of layer 'named' must be of a floating-point type, received int32"
    ):
        layer(np.zeros((2, 3, 4), "int32"))
    with pytest.raises(ValueError, match="expected ndim=3"):
        layer(np.zeros((2, 3), "float32"))
    with pytest.raises(ValueError, match="no time step"):
        layer(np.zeros((2, 0, 4), "float32"))
    with pytest.raises(ValueError, match="an empty batch"):
        layer(np.zeros((0, 3, 4), "float32"))
