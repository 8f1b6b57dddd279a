"""A stream gives at every step what the model gives for the sequence up to there."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from keras_egru import EGRU, EGRUCell, EventLIF, EventLIFCell, ExponentialTrace, LeakyReadout, ThresholdedRNNCell
from keras_egru.export import StreamingModel
from keras_egru.pruning import ConstantSparsity, RandomMask, prune_low_magnitude

BATCH, STEPS, FEATURES = 3, 9, 5
STRONG = {"kernel_initializer": keras.initializers.RandomNormal(0.2, 0.8, seed=1)}  # so that units do spike


@pytest.fixture(autouse=True)
def _seeds():
    keras.utils.set_random_seed(0)


def sequences(dtype="float32", steps=STEPS):
    return np.random.default_rng(0).normal(size=(BATCH, steps, FEATURES)).astype(dtype)


def sequential(*parts):
    return keras.Sequential([keras.Input((None, FEATURES)), *parts])


def streamed(model, x):
    """Outputs of every step of a stream, `[batch, time, ...]`, and the last state."""
    stream = StreamingModel(model)
    state, outputs = stream.initial_state(len(x)), []
    for t in range(x.shape[1]):
        y, state = stream.step(x[:, t], state)
        outputs.append(np.asarray(y))
    return np.stack(outputs, axis=1), state


def so_far(model, x):
    """The model's result for the sequence up to every step."""
    results = [np.asarray(model(x[:, : t + 1], training=False)) for t in range(x.shape[1])]
    return np.stack(results, axis=1)


def lif(units=6, **options):
    return EventLIF(units, **{"return_sequences": True, **STRONG, **options})


# What a model sums over a sequence in one go a stream sums step by step, so rounding differs; float64 shows that
# nothing else does.
NETWORKS = {
    "egru": lambda: [EGRU(7, dropout=0.1, dropconnect=0.1)],
    "egru, paper's form": lambda: [EGRU(7, reset="subtract", reset_after=False, zoneout=0.2)],
    "egru, zero reset": lambda: [EGRU(7, reset="zero", shared_threshold=True, use_bias=False)],
    "egru, reference": lambda: [EGRU(7, implementation="reference")],
    "two egrus and a gru": lambda: [
        EGRU(7, return_sequences=True),
        layers.Dropout(0.5),
        EGRU(6, return_sequences=True),
        layers.GRU(5),
    ],
    "lstm": lambda: [layers.LSTM(4, return_sequences=True), layers.LSTM(3)],
    "simple rnn": lambda: [layers.SimpleRNN(4)],
    "cells": lambda: [layers.RNN(EGRUCell(9), return_sequences=True), layers.RNN(ThresholdedRNNCell(9, **STRONG))],
    "stacked cells": lambda: [layers.RNN([EGRUCell(4), EventLIFCell(3, **STRONG)])],
    "last trace": lambda: [EGRU(7, return_sequences=True), ExponentialTrace(), layers.Dense(3)],
    "trained trace": lambda: [ExponentialTrace(5.0, trainable_time_constant=True)],
    "lif": lambda: [lif(), lif(return_sequences=False)],
    "lif, all options": lambda: [
        lif(tau_syn=5.0, refractory=2.0, recurrent=True, reset="zero", v_rest=-0.1, train_time_constants=True),
        LeakyReadout(3),
    ],
    "eventprop": lambda: [lif(tau_syn=5.0, gradient="eventprop"), LeakyReadout(3, tau_syn=5.0, readout="sum")],
    "sum": lambda: [lif(), LeakyReadout(3, dt=0.5)],
    "sum_exp": lambda: [lif(), LeakyReadout(3, readout="sum_exp", time_constant=6.0, tau_syn=3.0)],
    "max": lambda: [lif(), LeakyReadout(3, readout="max", kernel_initializer="random_normal")],
    "last": lambda: [lif(), LeakyReadout(3, readout="last")],
    "first spike": lambda: [LeakyReadout(8, readout="first_spike", threshold=0.4, dt=0.5, **STRONG)],
    "average": lambda: [EGRU(7, return_sequences=True), layers.GlobalAveragePooling1D()],
    "largest": lambda: [layers.Dense(4), layers.GlobalMaxPooling1D(keepdims=True)],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_step_is_the_result_for_the_sequence_so_far(name):
    with _float64():
        model = sequential(*NETWORKS[name]())
        x = sequences("float64")
        expected = so_far(model, x)
        actual, _ = streamed(model, x)
    assert np.any(expected != 0.0)
    np.testing.assert_allclose(actual, expected, atol=1e-12)


STEPWISE = {
    "sequences": lambda: [EGRU(7, return_sequences=True)],
    "trace": lambda: [EGRU(7, return_sequences=True), ExponentialTrace(return_sequences=True), layers.Dense(3)],
    "spikes": lambda: [lif(tau_syn=4.0)],
    "potentials": lambda: [lif(), LeakyReadout(3, readout=None, tau_syn=4.0)],
    "layers that see each step alone": lambda: [
        layers.Rescaling(2.0),
        layers.Dense(6, activation="tanh"),
        layers.BatchNormalization(),
        layers.LayerNormalization(),
        layers.GaussianNoise(0.1),
        EGRU(4, return_sequences=True),
        layers.TimeDistributed(layers.Dense(4, "softmax")),
        layers.Softmax(),
        layers.LeakyReLU(),
    ],
}


@pytest.mark.parametrize("name", STEPWISE)
def test_a_model_of_sequences_gives_each_step_in_turn(name):
    with _float64():
        model = sequential(*STEPWISE[name]())
        x = sequences("float64")
        actual, _ = streamed(model, x)
        expected = np.asarray(model(x))
    assert np.any(expected != 0.0)
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_states_go_by_the_names_of_their_layers():
    model = sequential(
        EGRU(4, return_sequences=True, name="first"),
        lif(tau_syn=5.0, refractory=2.0, name="the-second"),
        layers.GRU(3, return_sequences=True, name="third"),
        ExponentialTrace(name="fourth"),
    )
    stream = StreamingModel(model)
    names = ["first_y", "first_c", "the_second_y", "the_second_v", "the_second_i", "the_second_wait", "third_h"]
    assert stream.state_names == [*names, "fourth_trace"]
    assert stream.event_names == ["first_y", "the_second_y"]
    state = stream.initial_state(2)
    assert list(state) == stream.state_names
    assert {tuple(value.shape) for value in state.values()} == {(2, 4), (2, 6), (2, 3)}


def test_the_state_of_a_layer_is_that_which_the_layer_returns():
    model = sequential(EGRU(4, return_state=True))
    stream, x = StreamingModel(model), sequences()
    state = stream.initial_state(BATCH)
    for t in range(STEPS):
        results, state = stream.step(x[:, t], state)
    for actual, expected in zip(results, model(x), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-6)
    np.testing.assert_array_equal(list(state.values()), results[1:])


def test_weights_assigned_later_are_seen():
    model, x = sequential(EGRU(4), layers.Dense(2)), sequences()
    stream = StreamingModel(model)
    before, _ = stream.step(x[:, 0], stream.initial_state(BATCH))
    model.layers[1].bias.assign([1.0, 2.0])
    after, _ = stream.step(x[:, 0], stream.initial_state(BATCH))
    np.testing.assert_allclose(np.asarray(after) - np.asarray(before), np.tile([1.0, 2.0], (BATCH, 1)), atol=1e-6)


def test_streams_of_several_batch_sizes():
    model = sequential(EGRU(4), layers.Dense(2))
    stream, x = StreamingModel(model), sequences()
    for batch in (1, 2, 3):
        state = stream.initial_state(batch)
        for t in range(STEPS):
            y, state = stream.step(x[:batch, t], state)
        np.testing.assert_allclose(y, model(x[:batch]), atol=1e-6)


def test_silent_and_always_active_units():
    for bias in (-20.0, 20.0):
        model = sequential(EGRU(4, reset_after=False, bias_initializer=keras.initializers.Constant(bias)))
        actual, state = streamed(model, sequences())
        np.testing.assert_allclose(actual[:, -1], model(sequences()), atol=1e-6)
        assert np.all((np.asarray(state[next(iter(state))]) == 0.0) == (bias < 0.0))


def test_functional_models_with_branches_shared_layers_and_inner_models():
    shared = EGRU(4, return_sequences=True, name="shared")
    inner = keras.Sequential([keras.Input((None, 4)), EGRU(3, return_sequences=True), layers.Dense(2)], name="inner")
    events, context = keras.Input((None, FEATURES), name="events"), keras.Input((2,), name="context")
    trace, narrow = ExponentialTrace(return_sequences=True), layers.Dense(FEATURES, use_bias=False)
    first = shared(trace(narrow(events)))
    second = shared(trace(narrow(layers.Dense(FEATURES)(first))))
    both = layers.Concatenate()([inner(first), inner(second), layers.Add()([first, second])])
    summary = layers.Dense(3)(layers.Concatenate()([ExponentialTrace()(both), layers.Dense(2)(context)]))
    model = keras.Model({"events": events, "context": context}, {"steps": both, "summary": summary})
    x, extra = sequences(), np.random.default_rng(1).normal(size=(BATCH, 2)).astype("float32")
    expected = model({"events": x, "context": extra})

    stream = StreamingModel(model)
    state, steps = stream.initial_state(BATCH), []
    assert len(state) == 2 * 2 + 2 * 2 + 2 * 1 + 1
    for t in range(STEPS):
        outputs, state = stream.step({"events": x[:, t], "context": extra}, state)
        steps.append(np.asarray(outputs["steps"]))
    np.testing.assert_allclose(np.stack(steps, axis=1), expected["steps"], atol=1e-6)
    np.testing.assert_allclose(outputs["summary"], expected["summary"], atol=1e-6)


def test_words_are_streams_too():
    model = keras.Sequential([keras.Input((None,), dtype="int32"), layers.Embedding(11, 4), EGRU(3), layers.Dense(2)])
    words = np.random.default_rng(0).integers(0, 11, size=(BATCH, STEPS))
    actual, _ = streamed(model, words)
    np.testing.assert_allclose(actual[:, -1], model(words), atol=1e-6)


def test_membranes_beside_spikes():
    inputs = keras.Input((None, FEATURES))
    model = keras.Model(inputs, lif(return_membrane=True)(inputs))
    x, stream = sequences(), StreamingModel(model)
    state, steps = stream.initial_state(BATCH), []
    for t in range(STEPS):
        outputs, state = stream.step(x[:, t], state)
        steps.append([np.asarray(y) for y in outputs])
    for actual, expected in zip(zip(*steps, strict=True), model(x), strict=True):
        np.testing.assert_allclose(np.stack(actual, axis=1), expected, atol=1e-6)


def test_frames_that_pass_a_convolution_each():
    model = keras.Sequential(
        [
            keras.Input((None, 6, 6, 2)),
            layers.TimeDistributed(layers.Conv2D(3, 3, activation="relu")),
            layers.TimeDistributed(layers.Flatten()),
            EGRU(4),
        ]
    )
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 6, 2)).astype("float32")
    actual, _ = streamed(model, x)
    np.testing.assert_allclose(actual[:, -1], model(x), atol=1e-6)


def test_pruned_and_quantized_models():
    x = sequences()
    pruned = prune_low_magnitude(sequential(EGRU(8), layers.Dense(2)), pruning_schedule=ConstantSparsity(0.5, 0))
    masked = sequential(RandomMask(EGRU(8), 0.5, seed=0), RandomMask(layers.Dense(2), 0.5, seed=1))
    quantized = sequential(EGRU(8), layers.Dense(2))
    quantized.layers[0].quantize("int8")
    for model in (pruned, masked, quantized):
        actual, _ = streamed(model, x)
        np.testing.assert_allclose(actual[:, -1], model(x, training=False), atol=1e-5)


def _fixed(layer):
    return keras.Sequential([keras.Input((STEPS, FEATURES)), layer])


def _with_initial_state():
    x, y, c = keras.Input((None, FEATURES)), keras.Input((4,)), keras.Input((4,))
    return keras.Model([x, y, c], EGRU(4, name="continued")(x, initial_state=[y, c]))


def _with_an_operation():
    x = keras.Input((None, FEATURES))
    return keras.Model(x, keras.ops.mean(x, axis=1))


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (lambda: sequential(layers.Masking(name="mask"), EGRU(4)), r"'mask' \(Masking\) masks steps"),
        (
            lambda: keras.Sequential([keras.Input((None,)), layers.Embedding(9, 2, mask_zero=True), EGRU(4)]),
            r"\(Embedding\) masks steps",
        ),
        (lambda: sequential(EGRU(4, go_backwards=True, name="back")), "'back' goes backwards"),
        (lambda: sequential(layers.Bidirectional(EGRU(4), name="both")), r"'both' \(Bidirectional\) is not among"),
        (lambda: sequential(layers.Conv1D(4, 3, name="conv")), r"'conv' \(Conv1D\) is not among"),
        (lambda: _fixed(layers.LayerNormalization(axis=1, name="norm")), "'norm' .* along the time axis"),
        (lambda: _fixed(layers.LayerNormalization(axis=[1, 2])), "along the time axis"),
        (lambda: _fixed(layers.Normalization(axis=(1, 2))), "along the time axis"),
        (lambda: sequential(layers.Softmax(axis=-2)), "along the time axis"),
        (lambda: sequential(LeakyReadout(3, readout="sum_exp", name="read")), "'read' weighs .* `time_constant`"),
        (_with_initial_state, "'continued' .* is given a stream beside something that is none"),
        (_with_an_operation, r"\(Mean\) is given a stream, and only layers have a step"),
        (lambda: sequential(layers.GlobalMaxPooling1D(data_format="channels_first")), "`data_format='channels_last'`"),
    ],
)
def test_what_has_no_step_is_named(network, sentence):
    with pytest.raises(ValueError, match=sentence):
        StreamingModel(network())


def test_models_that_cannot_stream():
    with pytest.raises(ValueError, match="must be built before it can stream"):
        StreamingModel(keras.Sequential([EGRU(4)]))

    class Subclass(keras.Model):
        def call(self, x):
            return x

    for other in (Subclass(), EGRU(4), 3):
        with pytest.raises(TypeError, match="`model` must be a Sequential or Functional Keras model, received"):
            StreamingModel(other)


ON_JAX = """
import keras, numpy as np
from keras_egru import EGRU, EventLIF, ExponentialTrace, LeakyReadout
from keras_egru.export import StreamingModel
assert keras.backend.backend() == "jax"
x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
egru, lif = EGRU(5, return_sequences=True), EventLIF(5, return_sequences=True)
for layers in ([egru, ExponentialTrace()], [lif, LeakyReadout(2)]):
    model = keras.Sequential([keras.Input((None, 3)), *layers])
    stream = StreamingModel(model)
    state = stream.initial_state(2)
    for t in range(6):
        y, state = stream.step(x[:, t], state)
    np.testing.assert_allclose(y, model(x), atol=1e-6)
"""


def test_streams_need_no_tensorflow():
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", ON_JAX], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_state_of_another_model_is_refused():
    stream = StreamingModel(sequential(EGRU(4, name="egru_here")))
    with pytest.raises(ValueError, match=r"`state` must hold \['egru_here_y', 'egru_here_c'\].*received \['other'\]"):
        stream.step(sequences()[:, 0], {"other": np.zeros((BATCH, 4), "float32")})


class _float64:
    def __enter__(self):
        self._before = keras.config.floatx()
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")

    def __exit__(self, *_):
        keras.config.set_floatx(self._before)
        keras.config.set_dtype_policy("float32")
