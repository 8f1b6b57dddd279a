"""Two worker processes against one, by the command of docs/distributed.md."""

import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "distributed_training.py"
# The last batch of an epoch has 8 samples, 4 for each worker.
OPTIONS = ["--samples", "200", "--batch", "32", "--units", "16", "--prune", "0.8"]
# Sums over two halves of a batch round otherwise than one over all of it, by about 1e-7 in what is near 1, and updates
# carry that on; one moves weights by 5e-3.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two workers print, and the folder that they save to. Whatever is started is ended with it."""
    folder = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    environment.pop("TF_CONFIG", None)
    command = [sys.executable, str(EXAMPLE), *OPTIONS, "--workers", "2", "--epochs", "2", "--save", str(folder)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=240)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, errors[-3000:]
    return lines_of(output), folder


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The same of one worker, in this process: it stops after an epoch and goes on."""
    folder, output = tmp_path_factory.mktemp("one"), io.StringIO()
    specification = importlib.util.spec_from_file_location("distributed_training", EXAMPLE)
    example = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    with contextlib.redirect_stdout(output):
        for epochs in ("1", "2"):
            example.train(example.parse_options([*OPTIONS, "--epochs", epochs, "--save", str(folder)]))
    return lines_of(output.getvalue()), folder


def lines_of(output):
    return [json.loads(line) for line in output.splitlines()]


def test_both_workers_have_the_same_weights(two):
    lines, _ = two
    for epoch in (1, 2):
        of_epoch = [line for line in lines if line["epoch"] == epoch]
        assert sorted(line["worker"] for line in of_epoch) == [0, 1]
        assert len({line["weights"] for line in of_epoch}) == 1
        assert len({line["loss"] for line in of_epoch}) == 1


def test_losses_and_sparsity_are_those_of_one_worker(one, two):
    (alone, _), (lines, _) = one, two
    assert [line["epoch"] for line in alone] == [1, 2]
    for expected in alone:
        for found in (line for line in lines if line["epoch"] == expected["epoch"]):
            assert found["loss"] == pytest.approx(expected["loss"], rel=TOLERANCE)
            # What the model says of 200 samples, and its events in 64: none is so near a threshold as to change sides.
            assert found["accuracy"] == pytest.approx(expected["accuracy"])
            assert found["activity_sparsity"] == pytest.approx(expected["activity_sparsity"])


def test_the_chief_alone_saves_and_its_weights_and_masks_are_those_of_one_worker(one, two):
    (_, alone), (_, together) = one, two
    assert sorted(path.name for path in together.iterdir()) == ["epoch-0001.keras", "epoch-0002.keras"]
    expected, found = (keras.models.load_model(folder / "epoch-0002.keras") for folder in (alone, together))
    for a, b in zip(expected.weights, found.weights, strict=True):
        if a.name.endswith("_mask"):
            assert np.mean(a.numpy()) == pytest.approx(0.2, abs=0.02)
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        else:
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=TOLERANCE, err_msg=a.path)
    for a, b in zip(expected.optimizer.variables, found.optimizer.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=TOLERANCE, err_msg=a.path)
