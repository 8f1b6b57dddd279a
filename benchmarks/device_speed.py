"""The speed of streaming on a device, one step a call, paired: the method of measuring.

- One process, one sequence. Ours is a TF-Lite file with the sparse op, beside it the same layer in builtin ops and a
  dense Keras GRU of the same size, both as the same exporter writes them, each in float32; then the files with weights
  of 8 bits, and the step of Keras itself (`device_contenders.py`).
- A step is what a user's loop does in Python with LiteRT's interpreter: inputs and states are set, it is invoked,
  output and states are read. With `threads` every interpreter and TensorFlow have as many, else their default; the
  sparse op always computes on the calling thread.
- Activity is imposed on a sequence (`device_imposed.py`). All contenders of a layer are given the inputs and states of
  its recorded steps, anew at every step; the activity in the record was counted from these states.
- Before anything is timed, outputs and states of every contender must be what Keras computed.
- A call runs all recorded steps, one after the other; the time is that of a step. The calls are timed in turns, as
  `timing.py` tells. Steps that follow each other find their weights in the caches, as far as these can hold them.
"""

from typing import NamedTuple

from benchmarks import speed_records
from benchmarks.device_cases import DeviceCase
from benchmarks.speed import ratio_to_fastest, require_op
from benchmarks.threads import use_threads
from benchmarks.timing import interleaved_medians

KIND = "speed-device"


class Plan(NamedTuple):
    """What to measure, and how."""

    cases: tuple[DeviceCase, ...]
    repeats: int = 7
    threads: int | None = None


def compare(plan, command, out=None, progress=lambda text: None) -> dict:
    """Measures what the record at `out` does not hold yet, and writes it there after each case; returns the record.

    Raises:
        CannotRun: the custom op or LiteRT is missing, an activity cannot be imposed, or contenders do not compute the
            same.
        ConfigError: `out` is something else than a record that the same command began.
    """
    from benchmarks.device_contenders import require_litert

    require_op()
    require_litert()
    if plan.threads is not None:
        use_threads(plan.threads)
    header = speed_records.header(KIND, command, threads=plan.threads, repeats=plan.repeats)
    return speed_records.measured(out, header, plan.cases, lambda case: measure(case, plan), describe, progress)


def measure(case, plan) -> dict:
    """The result of one case."""
    from benchmarks.device_contenders import CONTENDERS, PEERS, Workload, check_alike
    from benchmarks.device_imposed import recorded, recorded_gru
    from keras_egru.sparsity import parameter_sparsity

    workload = Workload(recorded(case), recorded_gru(case), plan.threads)
    contenders = {name: build(workload) for name, build in CONTENDERS.items()}
    alike = check_alike(contenders)
    times = interleaved_medians(contenders, plan.repeats)
    milliseconds = {name: None if time is None else time / case.steps for name, time in times.items()}
    return {
        "case": case.name,
        "description": case.describe(),
        **{name: getattr(case, name) for name in ("network", "units", "steps", "features")},
        "batch": 1,
        "mode": "inference",
        "asked": case.asked(),
        "activity_sparsity": workload.layer.activity_sparsity,
        "backward_sparsity": None,
        "parameter_sparsity": parameter_sparsity(workload.layer.model)["overall"],
        "milliseconds": milliseconds,
        "ratio_to_fastest_peer": ratio_to_fastest(milliseconds, PEERS),
        "file_bytes": {name: None if c is None else c.file_bytes for name, c in contenders.items()},
        "agreement": alike,
        "peak_memory_mib": dict.fromkeys(CONTENDERS),
    }


def gain(result, over="builtins") -> float:
    """How many times faster ours is than another contender, the same layer in builtin ops unless one is named."""
    return result["milliseconds"][over] / result["milliseconds"]["ours"]


def describe(result):
    """One line for a person who waits."""
    pruned = result["asked"]["parameter"]
    return (
        f"{result['case']}, {result['activity_sparsity']:.1%} silent{f', {pruned:.0%} pruned' if pruned else ''}: "
        f"{1e3 * result['milliseconds']['ours']:.1f} us a step, {gain(result):.2f}x over builtins"
    )
