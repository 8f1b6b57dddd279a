"""What the command of a record promises: the same figures again, whatever ended the run that they were begun in."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks import checkpoints, records

LONGER = ["--set", "epochs=6", "--set", "steps_per_epoch=20"]  # than it takes to notice its first checkpoint


def _process(*arguments):
    command = [sys.executable, "-m", "benchmarks", "run", "spiral", "--preset", "smoke", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _curve(record):
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in record["epochs"]]


def test_the_same_command_gives_the_same_figures_in_another_process_with_any_threads(spiral_run, tmp_path):
    _, here = spiral_run
    process = _process("--threads", 1, "--out", tmp_path / "there")
    assert process.wait() == 0, process.stderr.read()
    there = json.loads((tmp_path / "there" / records.FILE).read_text())
    assert _curve(there) == _curve(here)
    assert there["test_loss"] == here["test_loss"]
    assert there["machine"]["threads"] == 1


def test_a_record_tells_the_threads_that_were_used_where_none_were_asked_for(spiral_run):
    _, record = spiral_run
    assert record["machine"]["threads"] == record["machine"]["cores"]


def test_a_run_that_was_killed_goes_on_to_the_same_curve(call, tmp_path):
    process = _process(*LONGER, "--out", tmp_path / "killed")
    while not (tmp_path / "killed" / checkpoints.FILE).exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = checkpoints.load(tmp_path / "killed")[0]["epochs"]
    assert 1 <= len(before) < 6
    assert not (tmp_path / "killed" / records.FILE).exists()
    killed = _record(
        call("run", "spiral", "--preset", "smoke", *LONGER, "--out", tmp_path / "killed", "--resume", "--json")
    )
    whole = _record(call("run", "spiral", "--preset", "smoke", *LONGER, "--out", tmp_path / "whole", "--json"))
    assert killed["epochs"][: len(before)] == before
    assert _curve(killed) == _curve(whole)
    assert killed["test_loss"] == whole["test_loss"]


def test_a_disk_that_fills_up_in_the_middle_of_a_run_loses_no_epoch(spiral_run, call, tmp_path, monkeypatch):
    writes = []

    def full_at_the_third(descriptor):
        writes.append(descriptor)
        if len(writes) == 3:  # the configuration, the checkpoint of epoch 1, and now that of epoch 2
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_at_the_third)
        result = call("run", "spiral", "--preset", "smoke", "--out", tmp_path)
    assert result.exit_code == 5
    assert "No space left on device" in result.stderr
    assert len(checkpoints.load(tmp_path)[0]["epochs"]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [checkpoints.FILE, "config.json"]
    resumed = _record(call("run", "spiral", "--preset", "smoke", "--out", tmp_path, "--resume", "--json"))
    assert _curve(resumed) == _curve(spiral_run[1])


@pytest.mark.parametrize("threads", ["0", "two"])
def test_a_number_of_threads_that_is_none_is_exit_code_2(call, threads):
    result = call("run", "spiral", "--threads", threads)
    assert result.exit_code == 2
    assert "--threads" in result.stderr


def test_threads_that_come_too_late_are_a_sentence(spiral_run, call, tmp_path):
    result = call("run", "spiral", "--preset", "smoke", "--threads", 61, "--out", tmp_path / "run")
    assert result.exit_code == 4
    assert "cannot be set any more" in result.stderr
    assert not (tmp_path / "run").exists()


def _record(result):
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
