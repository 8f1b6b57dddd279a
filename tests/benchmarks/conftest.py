"""The command line as a test calls it, in this process, and the data where this machine has it."""

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.errors import BenchmarkError
from benchmarks.tasks.tfds_images import tfds_folder


@pytest.fixture(scope="session")
def call():
    """`call("run", "spiral", ...)` returns click's result: `exit_code`, `stdout`, `stderr`."""
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(argument) for argument in arguments])


class InterruptAfter(keras.callbacks.Callback):
    """Ctrl-C once an epoch is over and its checkpoint written."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def interrupt_after():
    """`interrupt_after(epoch=2)` is a callback that stops a run as Ctrl-C does."""
    return InterruptAfter


@pytest.fixture(scope="session")
def mnist_folder():
    """The folder that KERAS_EGRU_DATA names, if MNIST is in it; the test is skipped elsewhere."""
    folder = os.environ.get("KERAS_EGRU_DATA")
    try:
        found = folder and (tfds_folder(folder, "mnist") / "mnist").is_dir()
    except BenchmarkError:
        found = False
    if not found:
        pytest.skip("KERAS_EGRU_DATA names no folder with MNIST (tensorflow_datasets) in it")
    return folder


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory):
    """A folder `ptb` with three small texts in the format of Penn Treebank's, of a language with simple rules."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "ptb").mkdir()
    for i, (name, sentences) in enumerate({"train": 300, "valid": 60, "test": 70}.items()):
        rng = np.random.default_rng(i)
        animals, verbs = ("cats", "dogs", "birds"), ("see", "hear")
        lines = [
            f" {rng.choice(animals)} {rng.choice(verbs)} <unk> N {rng.choice(animals)} \n" for _ in range(sentences)
        ]
        (folder / "ptb" / f"ptb.{name}.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def spiral_run(call, tmp_path_factory):
    """`(folder, record)` of one smoke run of the spiral task."""
    folder = tmp_path_factory.mktemp("records") / "egru"
    result = call("run", "spiral", "--preset", "smoke", "--out", folder, "--json")
    assert result.exit_code == 0, result.stderr
    return folder, json.loads(result.stdout)


@pytest.fixture(scope="session")
def nmnist_folder():
    """The folder that KERAS_EGRU_DATA names, if N-MNIST or the subset of it is there; the test is skipped elsewhere."""
    folder = os.environ.get("KERAS_EGRU_DATA")
    if not folder or not any(Path(folder).glob("nmnist_subset/*.npz")):
        pytest.skip("KERAS_EGRU_DATA names no folder with nmnist_subset/*.npz in it")
    return folder
