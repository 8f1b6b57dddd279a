"""The memory that a contender needs beyond its model and inputs, in a process of its own.

The process imports what it needs, builds the contender's call (weights, inputs and graph included), gives freed memory
back to the system, and notes its resident memory. Then it makes `CALLS` calls. The figure is the peak of resident
memory during the calls less that note, and less what was mapped from files meanwhile, which is program code.

Freed memory that stays resident would be used again unnoticed, or counted twice, so the process is asked to keep none:
C's allocator returns every larger block at once, and TensorFlow takes its memory from there and not from a pool.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.errors import CannotRun

CALLS = 3
KEEP_NOTHING = {"MALLOC_MMAP_THRESHOLD_": "131072", "TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"}


def measure(names, workload, mode, threads=None) -> dict:
    """Peak MiB by contender; None for one that is not installed or cannot run the mode.

    Raises:
        CannotRun: a process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.npz"
        workload.save(path)
        return {name: _measure_one(name, path, mode, threads) for name in names}


def _measure_one(name, path, mode, threads):
    return run_alone("benchmarks.peak_memory", name, path, mode, json.dumps(threads))


def run_alone(module, name, path, mode, *arguments):
    """The JSON that `python -m module` prints of a contender's mode, in a process that keeps no freed memory.

    Raises:
        CannotRun: the process failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, name, path, mode, *arguments],
        cwd=Path(__file__).parents[1],
        env=os.environ | KEEP_NOTHING,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CannotRun(f"the memory of {name} in {mode} cannot be measured: {reason}")
    return json.loads(done.stdout.splitlines()[-1])


def _main(name, path, mode, threads):
    from benchmarks.contenders import CONTENDERS
    from benchmarks.workload import Workload

    call = CONTENDERS[name](Workload.load(path), mode, json.loads(threads))
    print("null" if call is None else peak_mib(call))


def peak_mib(call):
    """What `CALLS` calls have in use at most, beyond what was there before."""
    give_back()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = status()
    for _ in range(CALLS):
        call()
    after = status()
    code = after["RssFile"] - before["RssFile"]
    return (after["VmHWM"] - before["VmRSS"] - code) / 1024


def give_back():
    """Returns freed memory to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def status():
    """Kibibytes by name, of this process."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {fields[0].rstrip(":"): int(fields[1]) for fields in lines if fields[-1] == "kB"}


if __name__ == "__main__":
    _main(*sys.argv[1:])
