"""How the time of our layer grows with events, units, steps, batch and threads: ours alone, each size varied by itself.

The middle of every series is the case `batch64` with 80 % silent and half of the backward entries silent. The series
`events` varies the activity sparsity; its events are counted from the tensors, each a row of `3 units` weights to
multiply. Through each series a straight line is laid: against events, steps and batch, and against units squared.
The number of threads is set before TensorFlow's first operation, so each number has a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import records, speed_records
from benchmarks.errors import CannotRun
from benchmarks.speed import require_op
from benchmarks.speed_cases import MODES, Case
from benchmarks.threads import use_threads
from benchmarks.timing import interleaved_medians

KIND = "scaling"
BACKWARD_SPARSITY = 0.5


class Point(NamedTuple):
    """One size of a series."""

    series: str
    units: int = 1024
    batch: int = 64
    steps: int = 50
    features: int = 64
    activity: float = 0.8


POINTS = (
    *(Point("events", activity=share) for share in (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)),
    *(Point("units", units=units) for units in (256, 512, 1024, 2048)),
    *(Point("steps", steps=steps) for steps in (10, 25, 50, 100, 200)),
    *(Point("batch", batch=batch) for batch in (1, 4, 16, 64, 256)),
)
# What the line of a series is laid against, from a result.
ABSCISSAE = {
    "events": lambda result: result["events"],
    "units": lambda result: result["units"] ** 2,
    "steps": lambda result: result["steps"],
    "batch": lambda result: result["batch"],
}


class Line(NamedTuple):
    """`milliseconds = intercept + slope * abscissa`, by least squares, and the share of variance that it explains."""

    slope: float
    intercept: float
    r_squared: float


def compare(repeats, command, threads=None, out=None, progress=lambda text: None, points=POINTS) -> dict:
    """Measures what the record at `out` does not hold yet: with `threads`, or with one thread and with all cores, each
    in a process of its own. Returns the record.

    Raises:
        CannotRun: the custom op does not load, or a process failed.
        ConfigError: `out` is something else than a record that the same command began.
    """
    header = speed_records.header(KIND, command, threads=threads, repeats=repeats)
    record = speed_records.begun(out, header, {"results": []})
    if threads is not None:
        require_op()
        use_threads(threads)
        for point in points[len({_point(result) for result in record["results"]}) :]:
            record["results"] += measure(point, repeats, threads)
            speed_records.save(out, record)
            progress(describe(record["results"][-1]))
        return record
    for count in sorted({1, records.machine()["cores"]}):
        if all(result["threads"] != count for result in record["results"]):
            record["results"] += _in_a_process(repeats, count)
            speed_records.save(out, record)
    return record


def measure(point, repeats, threads) -> list:
    """The results of both modes at one point."""
    from benchmarks.contenders import ours
    from benchmarks.imposed import egru_with_sparsity, states_of
    from benchmarks.workload import workload_for

    inputs = Case("scaling", point.units, point.batch, point.steps, point.features).inputs()
    imposed = egru_with_sparsity(point.units, inputs, point.activity, BACKWARD_SPARSITY, implementation="fused")
    workload = workload_for(imposed.layer, inputs)
    y, _, _ = states_of(imposed.layer, inputs)
    return [
        {
            **point._asdict(),
            "mode": mode,
            "threads": threads,
            "activity_sparsity": imposed.activity_sparsity,
            "backward_sparsity": imposed.backward_sparsity,
            "events": int(np.count_nonzero(y[:, :-1])),  # the last step's are multiplied by nothing
            "milliseconds": interleaved_medians({"ours": ours(workload, mode, threads)}, repeats)["ours"],
        }
        for mode in MODES
    ]


def line(results) -> Line:
    """The line through the results of one series, mode and number of threads."""
    return fitted([ABSCISSAE[result["series"]](result) for result in results], [r["milliseconds"] for r in results])


def fitted(x, y) -> Line:
    """The line through points; where all are at one height it explains all that there is."""
    x, y = np.array(x, "float64"), np.array(y, "float64")
    slope, intercept = np.polyfit(x, y, 1)
    residual = np.sum((y - intercept - slope * x) ** 2)
    variance = np.sum((y - y.mean()) ** 2)
    return Line(float(slope), float(intercept), float(1.0 - residual / variance) if variance else 1.0)


def grouped(results) -> dict:
    """`{(series, mode, threads): results}`."""
    groups = {}
    for result in results:
        groups.setdefault((result["series"], result["mode"], result["threads"]), []).append(result)
    return groups


def describe(result):
    """One line for a person who waits."""
    return f"{result['threads']} threads, {size(result)}, {result['mode']}: {result['milliseconds']:.2f} ms"


def size(result):
    """What was varied, in words."""
    if result["series"] == "events":
        return f"{result['activity_sparsity']:.1%} silent"
    return f"{result['series']} {result[result['series']]}"


def _point(result):
    return tuple(result[name] for name in Point._fields)


def _in_a_process(repeats, threads):
    command = ["-m", "benchmarks", "speed", "--scaling", "--repeats", repeats, "--threads", threads, "--json"]
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        raise CannotRun(f"the process with {threads} threads stopped with the exit code {done.returncode}.")
    return json.loads(done.stdout)["results"]
