"""Sequential MNIST (Le et al. 2015): a digit, read pixel by pixel in rows, or in one fixed random order.

The EGRU paper's setting (section 5.2) is 28 x 28, one pixel a step; the size sweep of its supplement (Fig. S2) halves
the image.
"""

import numpy as np
from pydantic import Field, model_validator

from benchmarks.config import ClassifierConfig, Count
from benchmarks.tasks.dataset import Dataset
from benchmarks.tasks.tfds_images import SIDE, ImageSizes, load_dataset


class SequentialMNISTConfig(ClassifierConfig, ImageSizes):
    image_size: int = Field(SIDE, description="28, or 14, 7, 4, 2 by the mean over square blocks")
    pixels_per_step: Count = 1

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
        pixels = self.order(config)
        return load_dataset("mnist", config, data_dir, lambda images: to_sequences(images, config, pixels))

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
