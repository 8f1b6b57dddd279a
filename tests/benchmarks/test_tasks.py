import numpy as np
import pytest

from benchmarks.config import resolve
from benchmarks.errors import ConfigError
from benchmarks.tasks import TASKS
from benchmarks.tasks.sequential_mnist import to_sequences
from benchmarks.tasks.spiral import spirals


def test_spirals_turn_the_way_their_label_says_and_grow():
    x, y = spirals(500, noise=0.0, seed=3)
    assert x.shape == (500, 17, 2)
    # The cross product of successive points is positive where a curve turns anticlockwise about the origin.
    cross = x[:, :-1, 0] * x[:, 1:, 1] - x[:, :-1, 1] * x[:, 1:, 0]
    np.testing.assert_array_equal((cross > 0).all(axis=1), y == 1)
    np.testing.assert_array_equal((cross < 0).all(axis=1), y == 0)
    radius = np.linalg.norm(x, axis=-1)
    assert (np.diff(radius, axis=1) > 0).all()
    assert 0.4 < y.mean() < 0.6


def test_spirals_are_decided_by_their_seed():
    first, again, other = (spirals(10, 0.05, seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_splits_of_the_spirals_share_no_example():
    config = resolve(TASKS["spiral"].config_class, "spiral", "cpu", "egru")
    dataset = TASKS["spiral"].load(config, None)
    splits = (dataset.train.x, dataset.validation.x, dataset.test.x)
    assert [len(split) for split in splits] == [8000, 1000, 1000]
    assert dataset.complete
    assert len(np.unique(np.concatenate(splits).reshape(10_000, -1), axis=0)) == 10_000


def test_pixels_are_read_row_by_row_as_means_of_blocks():
    image = np.arange(28 * 28).reshape(1, 28, 28, 1) % 256
    sequences = to_sequences(image.astype("uint8"), _mnist("image_size=14"))
    assert sequences.shape == (1, 196, 1)
    grey = image.reshape(28, 28) / 255.0
    assert sequences[0, 0, 0] == pytest.approx(grey[:2, :2].mean(), abs=1e-6)
    assert sequences[0, 1, 0] == pytest.approx(grey[:2, 2:4].mean(), abs=1e-6)
    assert sequences[0, 14, 0] == pytest.approx(grey[2:4, :2].mean(), abs=1e-6)


def test_whole_images_keep_every_pixel_in_the_unit_interval():
    image = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), "uint8")
    sequences = to_sequences(image, _mnist("image_size=28", "pixels_per_step=28"))
    np.testing.assert_allclose(sequences, image[..., 0] / 255.0, atol=1e-6)


def test_the_permutation_is_one_fixed_order_of_all_pixels():
    task = TASKS["psmnist"]
    config = resolve(task.config_class, "psmnist", "cpu", "egru")
    order = task.order(config)
    assert sorted(order) == list(range(196))
    np.testing.assert_array_equal(order, task.order(config))
    image = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), "uint8")
    straight, permuted = to_sequences(image, config), to_sequences(image, config, order)
    np.testing.assert_array_equal(permuted, straight[:, order])


def test_mnist_is_split_without_touching_the_test_digits(mnist_folder):
    dataset = TASKS["smnist"].load(_mnist("image_size=7"), None)
    # A record shows how the folder was named, and no path of this machine that nobody typed.
    assert dataset.path == "$KERAS_EGRU_DATA"
    assert [len(split.y) for split in (dataset.train, dataset.validation, dataset.test)] == [55_000, 5_000, 10_000]
    assert dataset.complete
    # The published class counts of the 60,000 and of the 10,000 digits.
    together = np.concatenate([dataset.train.y, dataset.validation.y])
    assert np.bincount(together).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(dataset.test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_a_train_size_beyond_the_data_is_refused_before_it_is_looked_for():
    with pytest.raises(ConfigError, match="at most 55000"):
        TASKS["smnist"].load(_mnist("train_size=55001"), "nowhere")


def _mnist(*assignments):
    return resolve(TASKS["smnist"].config_class, "smnist", "cpu", "egru", assignments)
