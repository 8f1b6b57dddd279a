"""The speed of online learning beside dense learning of the same size, paired: the method of measuring.

- One process, float32, one sequence. What is pruned and which derivatives are zero is imposed (`rtrl_imposed.py`);
  shares in the record were counted. Ours and plain TensorFlow are run first, and their influences and gradients must be
  the same before anything is timed (`rtrl_contenders.check_alike`).
- What is timed is the update of the influence with the gradient that it gives, at given states; of back-propagation the
  whole layer, forward and backward. "chunk" is all steps in one call, "single" a call for each step; the time is that
  of a step.
- The calls are timed in turns, as `timing.py` tells.
- Multiply-adds are counted by the op, of plain TensorFlow from its shapes. Memory is that of the influence between two
  calls; every contender needs it twice within a call.
- Peak memory is measured on request, in a process for each contender (`rtrl_memory.py`).
- The analytic cost of the paper's Table 1 is set beside it (`rtrl_costs.py`).
"""

from typing import NamedTuple

from benchmarks import speed_records
from benchmarks.rtrl_cases import RTRLCase
from benchmarks.rtrl_costs import costs
from benchmarks.speed import require_op
from benchmarks.threads import use_threads
from benchmarks.timing import interleaved_medians

KIND = "speed-rtrl"
CALLS = ("chunk", "single")
DENSE = ("ours_dense", "tensorflow")
BYTES = 4  # of a number


class Plan(NamedTuple):
    """What to measure, and how."""

    cases: tuple[RTRLCase, ...]
    repeats: int = 7
    with_memory: bool = False
    threads: int | None = None


def compare(plan, command, out=None, progress=lambda text: None, kind=KIND) -> dict:
    """Measures what the record at `out` does not hold yet, and writes it there after each case; returns the record.

    Raises:
        CannotRun: the custom op does not load, or ours and plain TensorFlow do not compute the same.
        ConfigError: `out` is something else than a record that the same command began.
    """
    require_op()
    if plan.threads is not None:
        use_threads(plan.threads)
    header = speed_records.header(kind, command, threads=plan.threads, repeats=plan.repeats)
    return speed_records.measured(out, header, plan.cases, lambda case: measure(case, plan), describe, progress)


def measure(case, plan) -> dict:
    """The result of one case."""
    from benchmarks import rtrl_memory
    from benchmarks.rtrl_contenders import ROWS, check_alike
    from benchmarks.rtrl_imposed import Imposed

    imposed = Imposed(case)
    contenders = {name: build(imposed) for name, build in ROWS.items()}
    check_alike(imposed, contenders["ours"], contenders["tensorflow"])
    for contender in contenders.values():  # after which each is the one of a sequence that goes on
        contender.chunk()
        contender.chunk()
    counted = {name: contender.multiply_adds for name, contender in contenders.items()}
    sizes = {name: contender.influence_bytes for name, contender in contenders.items()}
    milliseconds = {
        call: _of_a_step(
            interleaved_medians({name: getattr(c, call) for name, c in contenders.items()}, plan.repeats), case.steps
        )
        for call in CALLS
    }
    parameters = imposed.problem(pruned=False, silent=False).layout.parameters
    live, passing = 1.0 - imposed.parameter_sparsity, 1.0 - imposed.backward_sparsity
    analytic = costs(case.network, case.units, parameters, live, passing)
    peaks = dict.fromkeys(ROWS)
    if plan.with_memory:
        peaks = rtrl_memory.measure(ROWS, case, plan.threads)
    return {
        "case": case.name,
        "description": case.describe(),
        **{name: getattr(case, name) for name in ("network", "units", "steps", "features")},
        "parameters": parameters,
        "asked": case.asked(),
        "parameter_sparsity": imposed.parameter_sparsity,
        "backward_sparsity": imposed.backward_sparsity,
        "milliseconds": milliseconds,
        "multiply_adds": {name: None if n is None else int(n) / case.steps for name, n in counted.items()},
        "influence_bytes": sizes,
        "analytic_multiply_adds": {name: cost.multiply_adds for name, cost in analytic.items()},
        "analytic_influence_bytes": {
            name: None if cost.numbers is None else BYTES * cost.numbers for name, cost in analytic.items()
        },
        "peak_memory_mib": peaks,
    }


def _of_a_step(times, steps):
    return {name: None if time is None else time / steps for name, time in times.items()}


def gain(result, name="ours", call="chunk") -> float | None:
    """How many times faster a contender is than the faster of the dense ones; None where it was not timed."""
    times = result["milliseconds"][call]
    return None if times[name] is None else min(times[dense] for dense in DENSE) / times[name]


def share_of_memory(result, name="ours") -> float | None:
    """The influence of a contender, of the smaller one of the dense ones; None where it has none."""
    sizes = result["influence_bytes"]
    return None if sizes[name] is None else sizes[name] / min(sizes[dense] for dense in DENSE)


def of_dense(figures, name) -> float | None:
    """A figure as a share of that of ours with nothing left out; None where there is none."""
    return None if figures[name] is None else figures[name] / figures["ours_dense"]


def over_analytic(result, name) -> float:
    """The measured share of the dense time over the analytic one: above 1, less is gained than the table says."""
    return of_dense(result["milliseconds"]["chunk"], name) / of_dense(result["analytic_multiply_adds"], name)


def describe(result):
    """One line for a person who waits."""
    times = result["milliseconds"]["chunk"]
    return (
        f"{result['case']}, {result['units']} units, {result['parameter_sparsity']:.0%} pruned, "
        f"{result['backward_sparsity']:.0%} backward: {times['ours']:.3f} ms a step ({gain(result):.1f}x), "
        f"{share_of_memory(result):.0%} of the memory"
    )
