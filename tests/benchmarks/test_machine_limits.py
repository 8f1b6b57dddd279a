import numpy as np
import pytest

from benchmarks import machine_limits
from benchmarks.errors import CannotRun
from benchmarks.imposed import egru_with_sparsity, states_of
from benchmarks.machine_limits import Limits, Work, needed_work, share_of_limit
from keras_egru.ops import fused_egru, library

needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)


@pytest.fixture
def sparse_inputs():
    rng = np.random.default_rng(1)
    return (rng.random((3, 14, 6)) < 0.4).astype("float32")


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_the_needed_work_is_what_a_loop_over_the_entries_counts(sparse_inputs, mode):
    layer = egru_with_sparsity(20, sparse_inputs, 0.6, 0.3).layer
    y, c, threshold = states_of(layer, sparse_inputs)
    rows_forward = rows_backward = 0
    for sample in range(3):
        for t in range(14):
            rows_forward += sum(x != 0 for x in sparse_inputs[sample, t])
            if t > 0:  # the step before sends its events, and receives its gradient
                for unit in range(20):
                    fired = y[sample, t - 1, unit] != 0
                    rows_forward += fired
                    near = abs(c[sample, t - 1, unit] - threshold[unit]) < layer.surrogate.width
                    rows_backward += fired or near
    assert rows_forward > 0
    assert rows_backward > rows_forward / 4
    work = needed_work(layer, sparse_inputs, mode)
    if mode == "inference":
        assert work == Work(rows_forward * 60, rows_forward * 60 * 4)
    else:
        assert work == Work((2 * rows_forward + rows_backward) * 60, (rows_forward + rows_backward) * 60 * 4)


def test_a_batch_of_one_is_held_against_reading_and_a_larger_one_against_multiplying():
    limits = Limits(threads=2, buffer_bytes=100, read_bytes_per_second=4e9, multiply_adds_per_second=1e9)
    work = Work(multiply_adds=2e6, weight_bytes=4e6)
    assert share_of_limit(work, limits, batch=1, milliseconds=4.0) == {
        "limit": "reading weights",
        "milliseconds": pytest.approx(1.0),
        "share": pytest.approx(0.25),
    }
    assert share_of_limit(work, limits, batch=2, milliseconds=4.0) == {
        "limit": "multiply-adds",
        "milliseconds": pytest.approx(2.0),
        "share": pytest.approx(0.5),
    }


@needs_op
def test_the_limits_of_this_machine_are_those_of_a_computer(monkeypatch):
    monkeypatch.setattr(machine_limits, "SECONDS", 0.02)
    limits = machine_limits.measure_limits(units=64, threads=1)
    assert limits.buffer_bytes == 64 * 192 * 4
    assert 1e8 < limits.read_bytes_per_second < 1e13
    assert 1e8 < limits.multiply_adds_per_second < 1e13


@needs_op
def test_a_library_without_the_loops_is_said_to_be_old(monkeypatch):
    monkeypatch.setattr(machine_limits.ctypes, "CDLL", lambda path: object())
    with pytest.raises(CannotRun, match="has no function keras_egru_read_bandwidth"):
        machine_limits.measure_limits(64, 1)


def test_without_the_library_there_are_no_limits(monkeypatch):
    monkeypatch.setattr(library, "why_not", lambda: "it is missing.")
    with pytest.raises(CannotRun, match="it is missing"):
        machine_limits.measure_limits(64, 1)
