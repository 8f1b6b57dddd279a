"""Sequential MNIST (Le et al. 2015): a digit, read pixel by pixel in rows, or in one fixed random order.

The EGRU paper's setting (section 5.2) is 28 x 28, one pixel a step; the size sweep of its supplement (Fig. S2) halves
the image.
"""

import numpy as np
from pydantic import Field, model_validator

from benchmarks.config import ClassifierConfig, Count
from benchmarks.errors import CannotRun, ConfigError, DataMissing
from benchmarks.tasks import data_folder
from benchmarks.tasks.dataset import Dataset, Split

SIDE = 28
TRAINING = 60_000
VALIDATION = 5_000  # the last of the training digits


class SequentialMNISTConfig(ClassifierConfig):
    image_size: int = Field(SIDE, description="28, or 14, 7, 4, 2 by the mean over square blocks")
    pixels_per_step: Count = 1
    validation_size: Count = Field(VALIDATION, le=VALIDATION)
    test_size: Count | None = Field(None, description="the first N test digits; null for all")

    @model_validator(mode="after")
    def _sizes(self):
        if self.image_size < 1 or SIDE % self.image_size:
            raise ValueError(f"image_size must divide {SIDE}, received {self.image_size}")
        if self.image_size**2 % self.pixels_per_step:
            raise ValueError(f"pixels_per_step must divide the {self.image_size**2} pixels of an image")
        return self


class PermutedSequentialMNISTConfig(SequentialMNISTConfig):
    permutation_seed: int = Field(0, ge=0, description="of the pixels' fixed order")


class SequentialMNIST:
    name = "smnist"
    kind = "classification"
    summary = "MNIST digits, one pixel a step, 28x28 or smaller (EGRU paper)"
    config_class = SequentialMNISTConfig

    def load(self, config, data_dir) -> Dataset:
        available = TRAINING - VALIDATION
        size = config.train_size or available
        if size > available:
            raise ConfigError(f"train_size must be at most {available}, received {size}.")
        (x, y), (x_test, y_test) = load_mnist(data_folder.chosen(data_dir))
        pixels = self.order(config)
        x, x_test = (to_sequences(images, config, pixels) for images in (x, x_test))
        held_out = slice(available, available + config.validation_size)
        whole = size == available and config.validation_size == VALIDATION
        return Dataset(
            name="MNIST",
            path=data_folder.as_recorded(data_dir),
            classes=10,
            complete=whole and (config.test_size or len(y_test)) >= len(y_test),
            train=Split(x[:size], y[:size]),
            validation=Split(x[held_out], y[held_out]),
            test=Split(x_test[: config.test_size], y_test[: config.test_size]),
        )

    def order(self, config):
        """The order in which an image's pixels are read; None for row by row."""
        return None


class PermutedSequentialMNIST(SequentialMNIST):
    name = "psmnist"
    summary = "the same in one fixed random order of the pixels"
    config_class = PermutedSequentialMNISTConfig

    def order(self, config):
        return np.random.default_rng(config.permutation_seed).permutation(config.image_size**2)


def to_sequences(images, config, order=None):
    """uint8 `[examples, 28, 28, 1]` to float32 `[examples, time, pixels_per_step]` in [0, 1]."""
    block, side = SIDE // config.image_size, config.image_size
    pixels = images.reshape(-1, side, block, side, block).mean(axis=(2, 4), dtype="float32") / 255.0
    pixels = pixels.reshape(len(images), side * side)
    if order is not None:
        pixels = pixels[:, order]
    return np.ascontiguousarray(pixels.reshape(len(images), -1, config.pixels_per_step))


def load_mnist(data_dir):
    """`(images, labels)` of the training and of the test digits, through `tensorflow_datasets`.

    A folder that already holds the data is used as it is; elsewhere `tensorflow_datasets` downloads into it.

    Raises:
        CannotRun: `tensorflow_datasets` is not installed.
        DataMissing: the data is not there and cannot be downloaded.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise CannotRun(f'MNIST needs tensorflow_datasets, `pip install "keras-egru[benchmarks]"` ({error}).') from None
    folder = tfds_folder(data_dir)
    there = folder is not None and (folder / "mnist").is_dir()
    tfds.disable_progress_bar()
    try:
        splits = tfds.load(
            "mnist",
            data_dir=None if folder is None else str(folder),
            download=not there,
            split=["train", "test"],
            batch_size=-1,
            as_supervised=True,
        )
    except Exception as error:  # tfds raises whatever its download or its reader met
        where = f"in {data_dir}" if data_dir else "in tensorflow_datasets' own folder"
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise DataMissing(
            f"MNIST is not {where} and cannot be downloaded ({type(error).__name__}: {reason}): name a folder that "
            "holds it with --data-dir or KERAS_EGRU_DATA."
        ) from None
    return [(np.asarray(images), np.asarray(labels, "int32")) for images, labels in splits]


def tfds_folder(data_dir):
    """The folder for `tensorflow_datasets`: `data_dir` itself or the `tfds` folder in it; None for its default."""
    if data_dir is None:
        return None
    folder = data_folder.existing(data_dir)
    return folder / "tfds" if not (folder / "mnist").is_dir() and (folder / "tfds").is_dir() else folder
