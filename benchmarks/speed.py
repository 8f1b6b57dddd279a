"""The speed of the EGRU beside dense GRUs of the same size, paired: the method of measuring.

- One process, the same inputs, float32; with `threads` as many in every library, else each library's own default. Ours
  and every peer that is installed are built first; what is not installed, or cannot run a mode, has the time None.
- Ours is the real layer on the custom op, with its sparsity imposed by thresholds and surrogate width (`imposed.py`);
  the sparsity in the record is what was counted from the tensors, not what was asked for.
- The calls are timed in turns, as `timing.py` tells; the ratio is taken of the medians.
- Inference is a forward pass. Training is forward and backward, with the gradients of all weights, through
  `tf.function` for the Keras layers. TensorFlow on the CPU and the other libraries return when the work is done.
- Peak memory is measured on request, at one sparsity a case, on which it hardly depends (`peak_memory.py`).
- A pruned layer is timed beside itself with its zeros filled in, so that the share of pruning is told apart.
- The time that ours would take at the machine's own limit is set beside its time (`machine_limits.py`).
"""

from typing import NamedTuple

import numpy as np

from benchmarks import records, speed_records
from benchmarks.errors import CannotRun
from benchmarks.speed_cases import MODES, Case
from benchmarks.threads import use_threads
from benchmarks.timing import interleaved_medians

KIND = "speed"
PRUNED = "speed-pruned"  # a record of points with pruned weights among them
MEMORY_AT = 0.8  # activity sparsity; a case that lacks it takes the point next to it


class Plan(NamedTuple):
    """What to measure, and how."""

    cases: tuple[Case, ...]
    modes: tuple[str, ...] = MODES
    repeats: int = 7
    with_reference: bool = False
    with_memory: bool = False
    threads: int | None = None


def compare(plan, command, out=None, progress=lambda text: None) -> dict:
    """Measures what the record at `out` does not hold yet, and writes it there after each point; returns the record.

    Raises:
        CannotRun: the custom op does not load, or a sparsity cannot be imposed.
        ConfigError: `out` is something else than a record that the same command began.
    """
    require_op()
    if plan.threads is not None:
        use_threads(plan.threads)
    pruned = any(point.parameter > 0.0 for case in plan.cases for point in case.points)
    header = speed_records.header(PRUNED if pruned else KIND, command, threads=plan.threads, repeats=plan.repeats)
    record = speed_records.begun(out, header, {"limits": {}, "cases": []})
    done = {_key(result["case"], result["asked"], result["mode"]) for result in record["cases"]}
    for case in plan.cases:
        if case.name not in record["limits"]:
            record["limits"][case.name] = _limits(case, plan.threads)
        inputs = case.inputs()
        for point in case.points:
            modes = [mode for mode in plan.modes if _key(case.name, point._asdict(), mode) not in done]
            for result in measure(case, point, modes, inputs, plan, record["limits"][case.name]) if modes else ():
                record["cases"].append(result)
                speed_records.save(out, record)
                progress(describe(result))
    return record


def _key(case, asked, mode):
    """What a result is of. Records from before there was pruning lack the last two."""
    block = tuple(asked.get("block", (1, 1)))
    return case, asked["activity"], asked.get("parameter", 0.0), block, mode


def measure(case, point, modes, inputs, plan, limits):
    """Yields the result of each mode at one point of a case."""
    from benchmarks import peak_memory
    from benchmarks.contenders import CONTENDERS, REFERENCE
    from benchmarks.imposed import egru_with_sparsity
    from benchmarks.machine_limits import Limits, needed_work, share_of_limit
    from benchmarks.peers import PEERS
    from benchmarks.workload import workload_for
    from keras_egru.sparsity import parameter_sparsity

    imposed = egru_with_sparsity(
        case.units, inputs, point.activity, point.backward,
        parameter=point.parameter, block=point.block, implementation="fused",
    )  # fmt: skip
    workload = workload_for(imposed.layer, inputs, recurrent_mask=imposed.recurrent_mask)
    names = [name for name in CONTENDERS if name != REFERENCE or plan.with_reference]
    for mode in modes:
        calls = {name: CONTENDERS[name](workload, mode, plan.threads) for name in names}
        milliseconds = interleaved_medians(calls, plan.repeats)
        in_8_bits = None if calls["ours_int8"] is None else float(np.mean(np.asarray(calls["ours_int8"]()) == 0))
        del calls  # not to be in memory together with the next ones
        memory = dict.fromkeys(names)
        if plan.with_memory and point is _nearest(case.points, MEMORY_AT):
            memory = peak_memory.measure(names, workload, mode, plan.threads)
        work = needed_work(imposed.layer, inputs, mode)
        yield {
            "case": case.name,
            "description": case.describe(),
            "units": case.units,
            "batch": case.batch,
            "steps": case.steps,
            "features": case.features,
            "mode": mode,
            "asked": point._asdict(),
            "activity_sparsity": imposed.activity_sparsity,
            "activity_sparsity_int8": in_8_bits,
            "backward_sparsity": imposed.backward_sparsity,
            "parameter_sparsity": parameter_sparsity(imposed.layer)["overall"],
            "milliseconds": milliseconds,
            "ratio_to_fastest_peer": ratio_to_fastest(milliseconds, PEERS),
            "peak_memory_mib": memory,
            "work": work._asdict(),
            "limit": share_of_limit(work, Limits(**limits), case.batch, milliseconds["ours"]),
        }


def ratio_to_fastest(milliseconds, peers) -> float | None:
    """The time of ours as a share of the fastest peer's; None without a peer."""
    present = [milliseconds[name] for name in peers if milliseconds[name] is not None]
    return milliseconds["ours"] / min(present) if present else None


def gain(result) -> float | None:
    """How many times faster ours is than the fastest peer; None without a peer."""
    inverse = result["ratio_to_fastest_peer"]
    return None if inverse is None else 1.0 / inverse


def describe(result):
    """One line for a person who waits."""
    faster = gain(result)
    return (
        f"{result['case']}, {result['mode']}, {result['activity_sparsity']:.1%} silent{_pruned(result)}: "
        f"{result['milliseconds']['ours']:.2f} ms" + ("" if faster is None else f", {faster:.2f}x")
    )


def pruning_gain(result) -> float | None:
    """How many times faster ours is than without its pruning; None where nothing is pruned."""
    unpruned = result["milliseconds"].get("ours_unpruned")
    return None if unpruned is None else unpruned / result["milliseconds"]["ours"]


def _pruned(result):
    faster = pruning_gain(result)
    share = result["asked"].get("parameter", 0.0)
    return "" if faster is None else f", {share:.0%} pruned ({faster:.2f}x of unpruned)"


def require_op():
    from keras_egru.ops import fused_egru

    reason = fused_egru.why_not("float32")
    if reason is not None:
        raise CannotRun(f"the custom op cannot run: {reason}")


def _limits(case, threads):
    from benchmarks.machine_limits import measure_limits

    return measure_limits(case.units, threads or records.machine()["cores"])._asdict()


def _nearest(points, activity):
    return min(points, key=lambda point: abs(point.activity - activity))
