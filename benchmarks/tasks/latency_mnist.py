"""MNIST and Fashion-MNIST as spike latencies: each of 784 pixels spikes once at most, a bright one early.

MNIST is encoded as by Nowotny et al. 2022 (Fig. S1), in time linear in the grey level; Fashion-MNIST as by Perez-Nieves
& Goodman 2021 (appendix E.1), by the time at which a leaky neuron that the pixel drives would reach a threshold.
"""

import numpy as np
from pydantic import Field

from benchmarks.config import ClassifierConfig, Positive, Share
from benchmarks.spiking_config import SpikeTrains, SpikingConfig
from benchmarks.tasks.dataset import Dataset
from benchmarks.tasks.spike_trains import ROUNDING, SpikeTimes
from benchmarks.tasks.tfds_images import ImageSizes, load_dataset

MARGIN_MS = 2.0  # without linear latencies at either end of a trial
DARK = 1  # the published code gives grey levels of 0 and 1 no spike


class LatencyMNISTData(SpikeTrains, ImageSizes):
    trial_ms: float = Field(20.0, gt=2 * MARGIN_MS, description="duration of a trial", allow_inf_nan=False)


class LatencyMNISTConfig(LatencyMNISTData, ClassifierConfig):
    pass


class LatencyMNISTSpikingConfig(LatencyMNISTData, SpikingConfig):
    pass


class LatencyFashionMNISTData(SpikeTrains, ImageSizes):
    trial_ms: Positive = Field(100.0, description="duration of a trial; later spikes are left out")
    tau_eff: Positive = Field(20.0, description="milliseconds of the leaky neuron that encodes")
    theta: Share = Field(0.2, description="its threshold; a darker pixel gives no spike")


class LatencyFashionMNISTConfig(LatencyFashionMNISTData, ClassifierConfig):
    pass


class LatencyFashionMNISTSpikingConfig(LatencyFashionMNISTData, SpikingConfig):
    pass


class LatencyMNIST:
    name = "mnist_latency"
    kind = "classification"
    summary = "MNIST digits, a spike a pixel in 20 ms (EventProp paper)"
    config_class = LatencyMNISTConfig
    lif_config_class = LatencyMNISTSpikingConfig

    def load(self, config, data_dir) -> Dataset:
        return load_dataset("mnist", config, data_dir, lambda images: linear_latency(images, config))


class LatencyFashionMNIST:
    name = "fashion_mnist_latency"
    kind = "classification"
    summary = "Fashion-MNIST, a spike a pixel in 100 ms (sparse spiking gradients paper)"
    config_class = LatencyFashionMNISTConfig
    lif_config_class = LatencyFashionMNISTSpikingConfig

    def load(self, config, data_dir) -> Dataset:
        return load_dataset("fashion_mnist", config, data_dir, lambda images: logarithmic_latency(images, config))


def linear_latency(images, config):
    """`t = (255 - grey) / 255 * (trial - 4 ms) + 2 ms` of uint8 images, as `SpikeTimes`; no spike of the dark."""
    grey = np.arange(256)
    time = (255 - grey) / 255.0 * (config.trial_ms - 2 * MARGIN_MS) + MARGIN_MS
    return _spikes(images, np.where(grey > DARK, time, np.inf), config)


def logarithmic_latency(images, config):
    """`t = tau_eff log(x / (x - theta))` of uint8 images, `x = grey / 255`, as `SpikeTimes`; none where x <= theta."""
    x = np.arange(256) / 255.0
    bright = x > config.theta
    time = np.full(256, np.inf)
    time[bright] = config.tau_eff * np.log(x[bright] / (x[bright] - config.theta))
    return _spikes(images, time, config)


def _spikes(images, time_of_grey, config):
    """The spikes of images whose grey levels `[256]` have these times in ms."""
    step = np.minimum(np.floor(time_of_grey / config.dt + ROUNDING), config.steps).astype("int64")
    narrow = step.astype(np.min_scalar_type(config.steps))
    return SpikeTimes(narrow[images.reshape(len(images), -1)], config.steps)
