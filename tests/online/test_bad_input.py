"""What online learning refuses, in a sentence, before anything is allocated or changed."""

import keras
import numpy as np
import pytest

from keras_egru import EGRU, EventLIF, ExponentialTrace, ThresholdedRNNCell
from keras_egru.online import RTRL, Sequential, SnAp
from keras_egru.pruning import RandomMask


def _network(*layers, kind=keras.Sequential):
    return kind([keras.Input((7, 2)), *layers])


def _stream(**options):
    return RTRL(EGRU(4, return_sequences=True), keras.layers.Dense(2), loss="mse", **options)


X, Y = np.ones((3, 2)), np.ones((3, 2))


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        ([keras.layers.LSTM(4)], r"knows EGRU, GRU and .* received 'lstm.*' \(LSTM of LSTMCell\)"),
        ([keras.layers.Bidirectional(EGRU(4))], r"received 'bidirectional.*' \(Bidirectional\)"),
        ([EventLIF(4)], r"received 'event_lif.*'"),
        ([EGRU(4, return_sequences=True), ExponentialTrace(5.0)], "know one step alone, and 'exponential_trace.*'"),
        ([keras.layers.Conv1D(3, 2), EGRU(4)], "know one step alone, and 'conv1d.*' is a Conv1D"),
        ([EGRU(4, zoneout=0.1)], "does not know `zoneout`, and 'egru.*' has zoneout=0.1"),
        ([EGRU(4, dropconnect=0.1)], "does not know `dropconnect`"),
        ([EGRU(4, go_backwards=True)], "does not know `go_backwards`"),
        ([EGRU(4, activity_regularizer="l1")], "does not know `activity_regularizer`"),
        ([EGRU(4), keras.layers.Dense(2, activity_regularizer="l1")], "does not know `activity_regularizer`"),
        ([keras.layers.GRU(4, activation="relu")], "knows tanh and sigmoid"),
        ([keras.layers.Dense(2)], "needs a recurrent layer"),
    ],
)
def test_layers_that_it_cannot_handle(layers, sentence):
    network = _network(*layers)
    with pytest.raises(ValueError, match=sentence):
        RTRL(network, loss="mse")


def test_models_that_it_cannot_handle():
    inputs = keras.Input((7, 2))
    with pytest.raises(
        ValueError, match="must be a Sequential model, a recurrent layer or a cell, received 'functional"
    ):
        RTRL(keras.Model(inputs, EGRU(4)(inputs)), loss="mse")
    with pytest.raises(ValueError, match="received 3"):
        RTRL(3, loss="mse")
    with pytest.raises(ValueError, match="must return sequences, since a recurrent layer follows"):
        RTRL(keras.Sequential([EGRU(4), EGRU(4)]), loss="mse")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"update_every": 0}, "`update_every` must be a positive integer or None, received 0"),
        ({"update_every": 1.5}, "`update_every` must be a positive integer"),
        ({"memory_limit": 0}, "`memory_limit` must be a positive number"),
        ({"implementation": "fast"}, "`implementation` must be one of"),
    ],
)
def test_options(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        _stream(**options).step(X, Y)
    with pytest.raises(ValueError, match="`loss` must be a Keras loss"):
        RTRL(EGRU(4), loss=None)
    with pytest.raises(ValueError, match="`order` of SnAp must be 1 or 2, received 3"):
        SnAp(EGRU(4), order=3, loss="mse")


def test_a_loss_of_the_last_step_where_one_of_every_step_is_needed():
    learner = RTRL(_network(EGRU(4), keras.layers.Dense(2)), loss="mse")
    with pytest.raises(ValueError, match="returns its last one alone: set return_sequences=True"):
        learner.step(X, Y)
    with pytest.raises(ValueError, match="update_every=1 needs a loss at every step"):
        learner.train_on_batch(np.ones((3, 7, 2)), Y)


def test_another_batch_size_in_a_stream():
    learner = _stream()
    learner.step(X, Y)
    weights = [np.array(variable) for variable in learner.variables]
    with pytest.raises(ValueError, match="must have the batch size 3 of the stream, received 2"):
        learner.step(X[:2], Y[:2])
    for variable, weight in zip(learner.variables, weights, strict=True):
        assert np.array_equal(np.array(variable), weight)
    learner.step(X, Y)


def test_inputs_without_samples_or_numbers():
    learner = _stream()
    with pytest.raises(ValueError, match="must hold a sample at least, received the shape \\(0, 2\\)"):
        learner.step(X[:0], Y[:0])
    with pytest.raises(ValueError, match="`x` must be finite"):
        learner.step(X * np.nan, Y)
    with pytest.raises(ValueError, match="must have the shape \\[batch, time, ...\\]"):
        learner.train_on_batch(np.ones((3, 0, 2)), Y)


@pytest.mark.parametrize("make", [EGRU, keras.layers.GRU])
def test_a_mask_that_changes_in_mid_stream(make):
    layer = RandomMask(make(4, return_sequences=True), 0.5, seed=0)
    learner = RTRL(_network(layer, keras.layers.Dense(2)), loss="mse")
    learner.step(X, Y)
    layer.set_mask("recurrent_kernel", 1 - np.array(layer.masks[1].mask))
    with pytest.raises(ValueError, match="A mask of '.*gru.*' has changed in the middle of a stream"):
        learner.step(X, Y)
    learner.reset_state()
    learner.step(X, Y)


def test_an_influence_that_does_not_fit():
    with pytest.raises(
        ValueError, match=r"influence of a batch of 3 would take 8.58e-06 GiB, and 9.31e-10 GiB are allow"
    ):
        _stream(memory_limit=1).step(X, Y)
    huge = RTRL(ThresholdedRNNCell(3_000, recurrent_initializer="zeros"), loss="mse")
    with pytest.raises(ValueError, match=r"would take 201 GiB, and .* GiB are free: take a smaller batch"):
        huge.step(X[:1])


def test_a_state_of_another_network(tmp_path):
    learner = _stream()
    learner.step(X, Y)
    learner.save(tmp_path / "stream.npz")
    other = RTRL(EGRU(5, return_sequences=True), keras.layers.Dense(2), loss="mse")
    other.step(X, Y)
    before = [np.array(variable) for variable in other.variables]
    with pytest.raises(ValueError, match="belongs to another network"):
        other.load(tmp_path / "stream.npz")
    for variable, value in zip(other.variables, before, strict=True):
        assert np.array_equal(np.array(variable), value)
    with pytest.raises(FileNotFoundError):
        other.load(tmp_path / "none.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK not a file")
    with pytest.raises(ValueError, match="is not a state that `save` wrote"):
        other.load(tmp_path / "broken.npz")


class TestSequential:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"gradient": "backprop"}, "`gradient` must be one of"),
            ({"gradient": "rtrl", "update_every": 0}, "`update_every` must be a positive integer"),
            ({"update_every": 1.5}, "`update_every` must be a positive integer"),
            ({"gradient": "rtrl", "jit_compile": True}, "jit_compile=True does not go with"),
        ],
    )
    def test_options(self, options, sentence):
        network = _network(EGRU(4, return_sequences=True), keras.layers.Dense(2), kind=Sequential)
        with pytest.raises(ValueError, match=sentence):
            network.compile("sgd", "mse", **options)

    def test_layers(self):
        with pytest.raises(ValueError, match="knows EGRU, GRU"):
            _network(keras.layers.LSTM(4), kind=Sequential).compile("sgd", "mse", gradient="rtrl")
        with pytest.raises(ValueError, match="update_every=2 needs a loss at every step"):
            _network(EGRU(4), kind=Sequential).compile("sgd", "mse", gradient="rtrl", update_every=2)

    def test_memory(self):
        network = _network(EGRU(4, return_sequences=True), keras.layers.Dense(2), kind=Sequential)
        network.compile("sgd", "mse", gradient="rtrl", memory_limit=10)
        with pytest.raises(ValueError, match="are allowed by `memory_limit`"):
            network.fit(np.ones((3, 7, 2)), np.ones((3, 7, 2)), verbose=0)

    def test_a_mask_that_changes(self):
        layer = RandomMask(EGRU(4, return_sequences=True), 0.5, seed=0)
        network = _network(layer, keras.layers.Dense(2), kind=Sequential)
        network.compile("sgd", "mse", gradient="rtrl")
        x, y = np.ones((3, 7, 2)), np.ones((3, 7, 2))
        network.fit(x, y, verbose=0)
        layer.set_mask("recurrent_kernel", 1 - np.array(layer.masks[1].mask))
        with pytest.raises(Exception, match="A mask has changed since `compile`"):
            network.fit(x, y, verbose=0)
        network.compile("sgd", "mse", gradient="rtrl")
        network.fit(x, y, verbose=0)
