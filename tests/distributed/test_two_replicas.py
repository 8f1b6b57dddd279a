"""`MirroredStrategy` on two logical CPUs against one device, and what is each replica's own."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("two_replicas.py")
# The sum over a batch is taken in two halves; weights of order 1 move by 0.02 at least, and errors stay near 1e-7.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def report():
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    result = subprocess.run([sys.executable, SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["EGRU", "EventLIF, surrogate", "EventLIF, Eventprop", "RigL", "DeepRewiring"])
def test_training_is_that_of_one_device(report, name):
    found = report["compared"][name]
    assert found["moved"] > 0.02
    assert found["difference"] < TOLERANCE
    expected, logs = found["logs"]
    assert logs == pytest.approx(expected, rel=TOLERANCE)
    assert found["replicas agree"]


@pytest.mark.parametrize("name", ["RigL", "DeepRewiring"])
def test_masks_that_move_are_the_same_in_both_replicas_and_on_one_device(report, name):
    found = report["compared"][name]
    assert found["moved"] == 1.0, "no mask has moved"
    assert found["masks agree"]
    assert found["zeros"] == pytest.approx([0.5, 0.5, 0.5])


def test_the_monitor_measures_what_it_measures_on_one_device(report):
    expected, logs = report["compared"]["EGRU"]["logs"]
    assert 0.0 < logs["activity_sparsity"] < 1.0
    assert logs["activity_sparsity"] == expected["activity_sparsity"]


def test_a_last_batch_of_one_sample_counts_half(report):
    found = report["one sample too many"]
    assert found["moved"] > 1e-3
    assert found["difference"] < TOLERANCE
    assert found["replicas agree"]
    assert found["predicted"] == [9, 2]


def test_penalties_of_a_replica_without_a_sample_are_numbers(report):
    assert math.isfinite(report["penalised"]["loss"])


@pytest.mark.parametrize("name", ["EGRU", "surrogate", "eventprop"])
def test_a_replica_that_is_known_to_have_no_sample_has_zero_gradients(report, name):
    assert report["without a sample"][name] == {"shape": [0, 2], "zero": True}


def test_replicas_draw_the_same_masks_and_new_ones_at_every_step(report):
    found = report["dropped"]
    assert math.isfinite(found["loss"])
    assert found["replicas agree"]
    assert all(first == second for first, second in found["draws"])
    assert len({str(first) for first, _ in found["draws"]}) > 1


def test_a_replica_keeps_the_states_of_its_own_samples(report):
    assert report["stateful"] < TOLERANCE


def test_a_quantized_layer_predicts_the_same(report):
    assert report["quantized"] < TOLERANCE
