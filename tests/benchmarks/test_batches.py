import numpy as np

from benchmarks.batches import Batches
from benchmarks.tasks.dataset import Split


def test_a_pass_shows_every_example_once_and_the_next_in_another_order():
    batches = _batches(None)
    first, second = _epoch(batches, 0), _epoch(batches, 1)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_an_epoch_is_decided_by_seed_and_number_alone():
    asked_in_order, asked_at_once = _batches(None), _batches(None)
    _epoch(asked_in_order, 0)
    assert _epoch(asked_in_order, 1) == _epoch(asked_at_once, 1)
    assert _epoch(_batches(None, seed=1), 0) != _epoch(_batches(None, seed=0), 0)


def test_short_epochs_go_through_the_data_one_after_the_other():
    batches = _batches(steps_per_epoch=2)  # a pass has four batches
    assert sorted(_epoch(batches, 0) + _epoch(batches, 1)) == list(range(10))


def test_labels_stay_with_their_examples():
    batches = _batches(None)
    for i in range(len(batches)):
        x, y = batches[i]
        np.testing.assert_array_equal(x[:, 0, 0], y)


def _batches(steps_per_epoch, seed=0):
    y = np.arange(10)
    return Batches(Split(y.reshape(10, 1, 1).astype("float32"), y), 3, steps_per_epoch, seed)


def _epoch(batches, epoch):
    batches.epoch = epoch
    return [int(label) for i in range(len(batches)) for label in batches[i][1]]
