"""Training from a tf.data service, which is started by the command of docs/distributed.md."""

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf

EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLES = 100


@pytest.fixture(scope="module")
def address():
    command = [sys.executable, str(EXAMPLES / "data_service.py"), "--workers", "2"]
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def example():
    specification = importlib.util.spec_from_file_location("training", EXAMPLES / "distributed_training.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def options(example, address):
    return example.parse_options(["--data-service", address, "--samples", str(SAMPLES), "--batch", "8", "--units", "8"])


def seen_in_an_epoch(batches):
    return sorted(int(index) for batch in batches for index in batch)


def test_the_example_sees_each_sample_once_an_epoch(example, options):
    for epoch in range(2):
        batches = example.distributed(tf.distribute.get_strategy(), tf.data.Dataset.range(SAMPLES), options, epoch)
        assert seen_in_an_epoch(batches) == list(range(SAMPLES))


def test_parallel_epochs_are_an_epoch_of_each_data_worker(address):
    service = tf.data.experimental.service.distribute("parallel_epochs", f"grpc://{address}")
    batches = tf.data.Dataset.range(SAMPLES).batch(8).apply(service)
    assert seen_in_an_epoch(batches) == sorted(2 * list(range(SAMPLES)))


def test_an_egru_learns_from_the_service(example, options):
    keras.utils.set_random_seed(0)
    samples = tf.data.Dataset.range(SAMPLES).map(lambda index: example.spiral(0, index))
    model, history = example.build_model(options), keras.callbacks.History()
    strategy = tf.distribute.get_strategy()
    batches = functools.partial(example.distributed, strategy, samples, options)
    example.fit(strategy, model, batches, range(6), [history])
    assert history.epoch == list(range(6))
    assert history.history["loss"][-1] < 0.9 * history.history["loss"][0]


def test_fit_reads_from_the_service_too(example, options):
    samples = tf.data.Dataset.range(SAMPLES).map(lambda index: example.spiral(0, index))
    service = tf.data.experimental.service.distribute("distributed_epoch", f"grpc://{options.data_service}")
    history = example.build_model(options).fit(samples.batch(8).apply(service), epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2
