import keras
import numpy as np
import pytest

from benchmarks.errors import ConfigError
from benchmarks.streams import StateReset, TextStreams, in_order

WORDS = np.arange(103, dtype="int32")  # 102 to predict: 4 streams of 25, of which 3 chunks of 7 are whole


def test_a_stream_goes_on_from_batch_to_batch_and_targets_are_the_words_that_follow():
    streams = TextStreams(WORDS, batch_size=4, steps=7)
    assert len(streams) == 3
    inputs, targets = (np.concatenate(parts, axis=1) for parts in zip(*_epoch(streams), strict=True))
    np.testing.assert_array_equal(inputs, np.arange(21) + 25 * np.arange(4)[:, None])
    np.testing.assert_array_equal(targets, inputs + 1)


def test_short_epochs_go_on_where_the_last_one_ended_and_begin_again_after_the_end():
    streams = TextStreams(WORDS, batch_size=4, steps=7, steps_per_epoch=2)
    firsts = [[int(x[0, 0]) for x, _ in _epoch(streams, number)] for number in range(3)]
    assert firsts == [[0, 7], [14, 0], [7, 14]]


@pytest.mark.parametrize("size", [28, 5])
def test_a_text_too_short_for_one_chunk_is_refused(size):
    with pytest.raises(ConfigError, match="batch_size x steps .* received 4 x 7"):
        TextStreams(WORDS[:size], batch_size=4, steps=7)
    assert len(TextStreams(WORDS[:29], batch_size=4, steps=7)) == 1


@pytest.mark.parametrize("size", [2, 8, 9, 20])
def test_in_order_every_word_but_the_first_is_predicted_once(size):
    chunks = list(in_order(WORDS[:size], width=8))
    np.testing.assert_array_equal(np.concatenate([x[0] for x, _ in chunks]), WORDS[: size - 1])
    np.testing.assert_array_equal(np.concatenate([y[0] for _, y in chunks]), WORDS[1:size])


def test_an_epoch_begins_from_zero_states():
    inputs = keras.Input(batch_shape=(2, 3, 1))
    network = keras.Model(inputs, keras.layers.GRU(4, stateful=True)(inputs))
    network(np.ones((2, 3, 1), "float32"))
    states = network.layers[-1].states
    assert np.any(np.asarray(states[0]))
    reset = StateReset()
    reset.set_model(network)
    reset.on_epoch_begin(0)
    assert not np.any(np.asarray(states[0]))


def _epoch(streams, number=0):
    streams.epoch = number
    return [streams[i] for i in range(len(streams))]
