import keras
import numpy as np
import pytest

from benchmarks.errors import ConfigError
from benchmarks.streams import RandomTextStreams, StateReset, TextStreams, in_order

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


def test_random_chunks_follow_each_other_through_the_streams_again_and_again():
    streams = RandomTextStreams(np.arange(10_001), batch_size=4, steps=70, steps_per_epoch=None, seed=0)
    assert len(streams) == 36  # 2,500 words a stream, 68.25 a chunk
    place = 0
    for number in range(4):
        for inputs, targets in _epoch(streams, number):
            expected = np.arange(place, place + inputs.shape[1]) % 2500 + 2500 * np.arange(4)[:, None]
            np.testing.assert_array_equal(inputs, expected)
            np.testing.assert_array_equal(targets, expected + 1)
            place += inputs.shape[1]
    assert place > 2500


def test_lengths_of_chunks_are_those_of_awd_lstm():
    streams = RandomTextStreams(np.arange(10_001), batch_size=1, steps=70, steps_per_epoch=50_000, seed=0)
    lengths = streams.lengths(0)
    long = lengths[lengths > 52]  # half-way between the two means, and 3.5 standard deviations from each
    assert len(long) / 50_000 == pytest.approx(0.95, abs=0.005)
    assert (np.mean(long), np.std(long)) == pytest.approx((69.5, 5.0), abs=0.1)  # fractions of words are cut off
    assert np.mean(lengths[lengths <= 52]) == pytest.approx(34.5, abs=0.5)
    short = RandomTextStreams(np.arange(10_001), batch_size=1, steps=8, steps_per_epoch=5_000, seed=0).lengths(0)
    assert short.min() == 5


def test_random_lengths_depend_on_seed_and_epoch_alone():
    def shapes(seed, number):
        streams = RandomTextStreams(WORDS, batch_size=2, steps=7, steps_per_epoch=5, seed=seed)
        return [x.shape for x, _ in _epoch(streams, number)]

    assert shapes(0, 3) == shapes(0, 3)
    assert shapes(0, 3) != shapes(1, 3)
    assert shapes(0, 3) != shapes(0, 2)


def test_the_first_two_chunks_of_an_epoch_differ_in_length():
    streams = RandomTextStreams(WORDS, batch_size=2, steps=7, steps_per_epoch=2, seed=0)
    assert all(len(set(streams.lengths(number))) == 2 for number in range(50))
    with pytest.raises(ConfigError, match="variable_steps needs two chunks an epoch or more, received 1"):
        RandomTextStreams(WORDS, batch_size=2, steps=7, steps_per_epoch=1, seed=0)


def _epoch(streams, number=0):
    streams.epoch = number
    return [streams[i] for i in range(len(streams))]
