import keras
import numpy as np
import pytest

from benchmarks.batches import Batches, InOrder
from benchmarks.errors import DataMissing
from benchmarks.tasks.dataset import Split
from benchmarks.tasks.spike_trains import Recordings, SpikeTimes, recording

STEPS, CHANNELS = 6, 3


def test_a_channel_spikes_in_its_step_and_in_no_other():
    spikes = SpikeTimes(np.array([[0, 5, 6], [2, 9, 2]]), STEPS)  # 6 and 9 lie beyond the end
    dense = np.asarray(spikes)
    assert (dense.shape, dense.dtype) == (spikes.shape, np.float32) == ((2, 6, 3), np.float32)
    assert np.argwhere(dense).tolist() == [[0, 0, 0], [0, 5, 1], [1, 2, 0], [1, 2, 2]]
    assert set(np.unique(dense)) == {0.0, 1.0}


@pytest.mark.parametrize("steps", [255, 256, 300, 70_000])
def test_the_last_step_of_a_long_sequence_is_told_from_no_spike(steps):
    dense = np.asarray(SpikeTimes(np.array([[steps - 1, steps]]), steps))
    assert np.argwhere(dense).tolist() == [[0, steps - 1, 0]]


def test_a_latency_takes_one_byte():
    assert SpikeTimes(np.zeros((2, 784), "int64"), 100).step.dtype == np.uint8


def test_several_events_of_a_channel_in_one_step_are_one_spike():
    dense = np.asarray(_recordings([([1, 1, 4], [2, 2, 0])]))
    assert dense[0].tolist() == _dense([(1, 2), (4, 0)]).tolist()


def test_a_recording_without_events_is_silent():
    assert not np.asarray(_recordings([([], []), ([], [])])).any()
    assert np.asarray(_recordings([])).shape == (0, STEPS, CHANNELS)


@pytest.mark.parametrize("kind", ["times", "recordings"])
@pytest.mark.parametrize(
    "chosen", [slice(1, 3), slice(None, None, 2), np.array([3, 0, 0]), np.arange(4) > 1, slice(0, 0)]
)
def test_choosing_examples_and_making_them_dense_commute(kind, chosen):
    spikes = _four(kind)
    assert len(spikes[chosen]) == len(np.asarray(spikes)[chosen]) == spikes[chosen].shape[0]
    np.testing.assert_array_equal(np.asarray(spikes[chosen]), np.asarray(spikes)[chosen])
    np.testing.assert_array_equal(np.asarray(spikes[chosen][:1]), np.asarray(spikes)[chosen][:1])


@pytest.mark.parametrize("kind", ["times", "recordings"])
def test_batches_are_dense_and_labels_stay_with_their_examples(kind):
    spikes, y = _four(kind), np.arange(4)
    shuffled = Batches(Split(spikes, y), batch_size=3, steps_per_epoch=None, seed=0)
    straight = InOrder(Split(spikes, y), batch_size=3)
    for batches in (shuffled, straight):
        seen = [batches[i] for i in range(len(batches))]
        assert [type(x) for x, _ in seen] == [np.ndarray] * 2
        assert sorted(label for _, labels in seen for label in labels) == [0, 1, 2, 3]
        for x, labels in seen:
            np.testing.assert_array_equal(x, np.asarray(spikes)[labels])
    assert [labels.tolist() for _, labels in (straight[0], straight[1])] == [[0, 1, 2], [3]]


def test_keras_takes_them_for_an_array():
    spikes = _four("recordings")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(spikes)), np.asarray(spikes))
    assert np.shape(spikes) == (4, STEPS, CHANNELS)


def test_a_time_belongs_to_the_step_that_it_falls_in():
    time = [0.0, 0.4999, 0.5, 1.5, 2.999, 3.0, 9.0]
    step, channel = _recording(time, np.arange(7) % CHANNELS, dt=0.5)
    assert step.tolist() == [0, 0, 1, 3, 5]  # 6 steps of 0.5 ms end before 3 ms
    assert channel.tolist() == [0, 1, 2, 0, 1]


def test_a_time_that_is_a_step_s_beginning_but_for_rounding_belongs_to_it():
    time = np.arange(1, 300) * 0.1  # 0.1 * 3 is more than 0.3, and 0.1 * 6 / 0.1 is less than 6
    step, _ = _recording(time, np.zeros(299, int), dt=0.1, steps=300)
    np.testing.assert_array_equal(step, np.arange(1, 300))


@pytest.mark.parametrize(
    ("time", "channel", "words"),
    [
        ([0.0, np.nan], [0, 0], "it must hold finite times, received nan"),
        ([0.0, np.inf], [0, 0], "it must hold finite times, received inf"),
        ([-0.5, 0.0], [0, 0], "it must hold times from 0 on, received -0.5 ms"),
        ([1.0, 3.0, 2.0], [0, 0, 0], "it must hold times in order, received 2 ms after 3 ms"),
        ([1.0, 500.0], [0, 0], "it must end within 100 ms, received an event at 500 ms"),
        ([1.0], [3], "it must hold channels from 0 to 2, received 3"),
        ([1.0], [-1], "it must hold channels from 0 to 2, received -1"),
        ([1.0, 2.0], [0], r"it must hold as many times as channels, received shapes \(2,\) and \(1,\)"),
    ],
)
def test_events_that_no_recording_has_are_refused(time, channel, words):
    with pytest.raises(DataMissing, match=words):
        _recording(time, channel)


def _recording(time, channel, dt=1.0, steps=STEPS):
    return recording(time, channel, steps=steps, dt=dt, channels=CHANNELS, longest=100.0, name="it")


def _recordings(events):
    pairs = [(np.array(step, "uint8"), np.array(channel, "uint8")) for step, channel in events]
    return Recordings(pairs, STEPS, CHANNELS)


def _dense(places):
    dense = np.zeros((STEPS, CHANNELS), "float32")
    dense[tuple(np.transpose(places))] = 1.0
    return dense


def _four(kind):
    """Four examples, all of them different."""
    if kind == "times":
        return SpikeTimes(np.arange(12).reshape(4, 3) % 7, STEPS)
    return _recordings([([0, 1], [0, 2]), ([], []), ([2, 2, 5], [0, 1, 2]), ([3], [1])])
