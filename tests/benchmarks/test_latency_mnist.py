import numpy as np
import pytest

from benchmarks.config import resolve
from benchmarks.errors import ConfigError
from benchmarks.tasks import TASKS, config_class
from benchmarks.tasks.latency_mnist import linear_latency, logarithmic_latency


def test_a_grey_level_is_linear_in_time_and_the_dark_does_not_spike():
    image = _image({0: 255, 1: 128, 2: 2, 3: 1, 4: 0})
    dense = np.asarray(linear_latency(image, _config("mnist_latency")))
    assert dense.shape == (1, 20, 784)
    # 2 ms + 16 ms (255 - grey) / 255: 2, 9.97 and 17.9 ms.
    assert [np.flatnonzero(dense[0, :, pixel]).tolist() for pixel in range(5)] == [[2], [9], [17], [], []]
    assert dense.sum() == 3


def test_linear_latencies_follow_the_trial_and_the_step():
    image = _image({0: 255, 1: 2})
    dense = np.asarray(linear_latency(image, _config("mnist_latency", "trial_ms=40", "dt=0.5")))
    assert np.argwhere(dense[0]).tolist() == [[4, 0], [75, 1]]  # 2 ms and 37.7 ms


def test_a_logarithmic_latency_is_when_a_leaky_neuron_would_fire():
    image = _image({0: 255, 1: 102, 2: 52, 3: 51, 4: 0})
    dense = np.asarray(logarithmic_latency(image, _config("fashion_mnist_latency")))
    assert dense.shape == (1, 100, 784)
    # 20 ms log(x / (x - 0.2)): of x = 1, 0.4 and 52 / 255, 4.46, 13.9 and 79.0 ms; 51 / 255 is the threshold itself.
    assert [np.flatnonzero(dense[0, :, pixel]).tolist() for pixel in range(5)] == [[4], [13], [79], [], []]


def test_latencies_beyond_the_trial_are_left_out():
    image = _image({0: 255, 2: 52})
    dense = np.asarray(logarithmic_latency(image, _config("fashion_mnist_latency", "trial_ms=79")))
    assert np.argwhere(dense[0]).tolist() == [[4, 0]]


def test_pixels_are_channels_row_by_row():
    image = np.zeros((1, 28, 28, 1), "uint8")
    image[0, 3, 5] = 255
    dense = np.asarray(linear_latency(image, _config("mnist_latency")))
    assert np.argwhere(dense[0]).tolist() == [[2, 3 * 28 + 5]]


def test_a_trial_without_room_for_its_margins_is_refused():
    with pytest.raises(ConfigError, match="trial_ms = '4' is refused"):
        _config("mnist_latency", "trial_ms=4")


@pytest.mark.parametrize("task", ["mnist_latency", "fashion_mnist_latency"])
def test_the_images_are_split_and_kept_as_a_byte_a_pixel(mnist_folder, task):
    dataset = TASKS[task].load(_config(task, "train_size=null", "validation_size=5000", "test_size=null"), None)
    splits = (dataset.train, dataset.validation, dataset.test)
    assert [len(split.y) for split in splits] == [55_000, 5_000, 10_000]
    assert [split.x.step.nbytes for split in splits] == [784 * len(split.y) for split in splits]
    assert dataset.complete
    assert dataset.describe()["features"] == 784
    if task == "fashion_mnist_latency":
        assert np.bincount(np.concatenate([dataset.train.y, dataset.validation.y])).tolist() == [6_000] * 10


def _image(grey):
    image = np.zeros((1, 784), "uint8")
    for pixel, value in grey.items():
        image[0, pixel] = value
    return image.reshape(1, 28, 28, 1)


def _config(task, *assignments):
    return resolve(config_class(task, "lif"), task, "smoke", "lif", assignments)
