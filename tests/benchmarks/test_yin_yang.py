import numpy as np
import pytest

from benchmarks.config import resolve
from benchmarks.tasks import TASKS, config_class
from benchmarks.tasks.yin_yang import class_of, encode, yin_yang


@pytest.mark.parametrize(
    ("point", "label"),
    [
        # The dots, around (0.25, 0.5) and (0.75, 0.5).
        ((0.25, 0.5), 2),
        ((0.34, 0.5), 2),
        ((0.75, 0.41), 2),
        # Far above and far below.
        ((0.5, 0.95), 1),
        ((0.5, 0.05), 0),
        # The half discs about the dots, which reach across the middle line.
        ((0.25, 0.3), 1),
        ((0.25, 0.7), 1),
        ((0.75, 0.7), 0),
        ((0.75, 0.3), 0),
        # Beside them.
        ((0.1, 0.25), 0),
        ((0.9, 0.75), 1),
    ],
)
def test_points_have_the_class_of_the_published_figure(point, label):
    assert class_of(np.array([point])) == label


def test_points_lie_in_the_circle_and_classes_are_equally_likely():
    points, y = yin_yang(6_000, seed=1)
    assert (np.hypot(*(points - 0.5).T) <= 0.5).all()
    np.testing.assert_array_equal(class_of(points), y)
    # Three standard deviations of a binomial share.
    np.testing.assert_allclose(np.bincount(y) / 6_000, 1 / 3, atol=3 * np.sqrt(2 / 9 / 6_000))


def test_points_of_a_class_are_spread_evenly_over_its_area():
    points, y = yin_yang(6_000, seed=2)
    dots = points[y == 2]
    radius = np.minimum(np.hypot(dots[:, 0] - 0.25, dots[:, 1] - 0.5), np.hypot(dots[:, 0] - 0.75, dots[:, 1] - 0.5))
    # Half of a disc's area lies within 1 / sqrt(2) of its radius; 2,000 points, three standard deviations.
    assert (radius < 0.1 / np.sqrt(2)).mean() == pytest.approx(0.5, abs=0.034)
    assert (dots[:, 0] < 0.5).mean() == pytest.approx(0.5, abs=0.034)


def test_coordinates_and_their_complements_are_spike_times_and_the_bias_is_early():
    config = _config("early_ms=2", "late_ms=22", "trial_ms=30", "dt=0.5")
    dense = np.asarray(encode(np.array([[0.25, 1.0]]), config))
    assert dense.shape == (1, 60, 5)
    # x = 0.25 comes 5 of 20 ms after 2 ms, y = 1 at 22 ms, their complements at 17 and 2 ms, in steps of 0.5 ms.
    assert [np.flatnonzero(channel).tolist() for channel in dense[0].T] == [[14], [44], [34], [4], [4]]


def test_the_splits_have_the_published_sizes_and_share_no_point():
    dataset = TASKS["yinyang"].load(_config("train_size=null", "evaluation_size=1000"), None)
    assert [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)] == [5_000, 1_000, 1_000]
    assert dataset.complete
    assert dataset.classes == 3
    points = [yin_yang(1_000, (0, number))[0] for number in range(3)]
    assert len(np.unique(np.concatenate(points), axis=0)) == 3_000


def test_more_points_may_be_trained_on_and_a_seed_decides_them():
    splits = [TASKS["yinyang"].load(_config("train_size=6000", f"data_seed={seed}"), None).train for seed in (3, 3, 4)]
    assert len(splits[0].y) == 6_000
    np.testing.assert_array_equal(splits[0].x.step, splits[1].x.step)
    assert not np.array_equal(splits[0].x.step, splits[2].x.step)


def _config(*assignments):
    return resolve(config_class("yinyang", "lif"), "yinyang", "smoke", "lif", assignments)
