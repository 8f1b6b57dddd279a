"""The speed of spiking layers beside dense autodiff of the same network, paired: the method of measuring.

- One process, the same inputs, weights and upstream gradient, float32. Ours and the dense ones are built first, and
  their gradients must be the same before anything is timed (`lif_contenders.check_alike`).
- Activity is imposed through the scale of the weights (`lif_imposed.py`); shares in the record were counted.
- *Forward* is the pass of training, with what is kept; *backward* the gradients of all weights, alone, each time behind
  a forward pass that is not timed, for an upstream gradient `[batch, steps, units]` of the last layer's spikes; *step*
  is both as one function. Layers behind each other are measured as one, and in ours hand on lists.
- The calls are timed in turns, as `timing.py` tells.
- Memory is measured on request, in a process for each figure (`lif_memory.py`).
"""

from typing import NamedTuple

import numpy as np

from benchmarks import speed_records
from benchmarks.lif_cases import ACTIVITIES, LIFCase
from benchmarks.speed import require_op
from benchmarks.threads import use_threads
from benchmarks.timing import After, interleaved_medians

KIND = "speed-lif"
PASSES = ("forward", "backward", "step")


class Plan(NamedTuple):
    """What to measure, and how."""

    cases: tuple[LIFCase, ...]
    activities: tuple[float, ...] = ACTIVITIES
    repeats: int = 7
    with_memory: bool = False
    threads: int | None = None


def compare(plan, command, out=None, progress=lambda text: None) -> dict:
    """Measures what the record at `out` does not hold yet, and writes it there after each point; returns the record.

    Raises:
        CannotRun: the custom op does not load, an activity cannot be imposed, or contenders do not compute the same.
        ConfigError: `out` is something else than a record that the same command began.
    """
    require_op()
    if plan.threads is not None:
        use_threads(plan.threads)
    header = speed_records.header(KIND, command, threads=plan.threads, repeats=plan.repeats)
    record = speed_records.begun(out, header, {"cases": []})
    done = {(result["case"], result["asked"]["activity"]) for result in record["cases"]}
    for case in plan.cases:
        inputs = case.inputs()
        for activity in plan.activities:
            if (case.name, activity) not in done:
                record["cases"].append(measure(case, activity, inputs, plan))
                speed_records.save(out, record)
                progress(describe(record["cases"][-1]))
    return record


def measure(case, activity, inputs, plan) -> dict:
    """The result of one case at one activity."""
    from benchmarks import lif_memory
    from benchmarks.lif_contenders import CONTENDERS
    from benchmarks.lif_imposed import weights_with_activity
    from benchmarks.lif_workload import workload_for

    imposed = weights_with_activity(case, inputs, activity)
    workload = workload_for(case, inputs, imposed.weights)
    alike, milliseconds = timed(workload, CONTENDERS, plan.repeats)
    memory = dict.fromkeys(lif_memory.FIGURES, dict.fromkeys(CONTENDERS))
    if plan.with_memory:
        memory = lif_memory.measure(CONTENDERS, workload, plan.threads)
    return {
        "case": case.name,
        "description": case.describe(),
        **{name: getattr(case, name) for name in ("units", "layers", "batch", "steps", "dt", "features")},
        "gradient": case.gradient,
        "recurrent": case.recurrent,
        "asked": {"activity": activity},
        "activity": imposed.activity,
        "active_share": imposed.active_share,
        "input_share": float(np.mean(inputs != 0)),
        "samples_alike": alike,
        "milliseconds": milliseconds,
        "speedups": {pass_: speedups(milliseconds[pass_]) for pass_ in PASSES},
        "peak_memory_mib": memory["peak"],
        "kept_mib": memory["kept"],
    }


def timed(workload, contenders, repeats):
    """`(share of samples compared, {pass: {contender: median milliseconds}})`, None for a contender without passes."""
    from benchmarks.lif_contenders import check_alike

    shared = workload.in_tensors()
    passes = {name: build(shared) for name, build in contenders.items()}
    alike = check_alike(passes, workload.grad)
    calls = {
        "forward": lambda built: built.forward,
        "backward": lambda built: After(built.forward, built.backward),
        "step": lambda built: built.step,
    }
    return alike, {
        pass_: interleaved_medians({n: None if p is None else call(p) for n, p in passes.items()}, repeats)
        for pass_, call in calls.items()
    }


def speedups(milliseconds) -> dict:
    """How many times faster ours is than each of the others; None for one that was not measured."""
    times = dict(milliseconds)
    mine = times.pop("ours")
    return {name: None if time is None else time / mine for name, time in times.items()}


def gain(result, pass_) -> float | None:
    """How many times faster ours is than the fastest of the others; None without one."""
    present = [speedup for speedup in result["speedups"][pass_].values() if speedup is not None]
    return min(present) if present else None


def share_of_memory(result, field) -> float | None:
    """The memory of ours as a share of the smallest of the others; None where it was not measured."""
    memory = dict(result[field])
    mine = memory.pop("ours")
    present = [figure for figure in memory.values() if figure is not None]
    return mine / min(present) if mine is not None and present else None


def describe(result):
    """One line for a person who waits."""
    times = ", ".join(
        f"{pass_} {result['milliseconds'][pass_]['ours']:.2f} ms ({gain(result, pass_):.1f}x)" for pass_ in PASSES
    )
    return f"{result['case']}, {result['activity']:.2%} spikes: {times}"
