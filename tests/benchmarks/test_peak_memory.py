import sys

import numpy as np
import pytest

from benchmarks import peak_memory
from benchmarks.errors import CannotRun
from benchmarks.workload import Workload, gru_weights

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")


@pytest.fixture(scope="module")
def workload():
    """Inputs and outputs of 16 MiB each."""
    inputs = np.zeros((256, 128, 128), "float32")
    return Workload(inputs, np.zeros_like(inputs), gru_weights(128, 128), [], 1.0)


def test_the_peak_is_what_a_call_has_in_use_at_once_and_not_what_was_there_before():
    before = np.ones(32 * 2**20, "uint8")
    used = peak_memory.peak_mib(lambda: np.ones(48 * 2**20, "uint8").sum())
    assert used == pytest.approx(48, abs=4)
    del before


def test_a_contender_is_measured_in_a_process_of_its_own(workload):
    found = peak_memory.measure(["keras_gru", "onnxruntime_gru"], workload, "training")
    # At the least what the forward pass keeps: the outputs, and a gate or two.
    assert found["keras_gru"] > 32
    assert found["onnxruntime_gru"] is None


def test_a_process_that_fails_is_told_with_its_last_line(workload):
    with pytest.raises(CannotRun, match="the memory of nobody in inference cannot be measured: KeyError: 'nobody'"):
        peak_memory.measure(["nobody"], workload._replace(inputs=workload.inputs[:1, :1]), "inference")
