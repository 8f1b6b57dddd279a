"""How the memory and the time of Eventprop grow: with spikes, with spikes of the inputs, and with the number of steps.

All points are the case `lif-eventprop`, 100 ms of spike trains. Two series vary one thing at steps of 1 ms: `spikes`
the activity of the layer, through the scale of its weights, and `inputs` the number of spikes that it is given, at the
same activity. The series `dt` varies the length of a step; trains and weights stay the same, so that spikes do too, to
the accuracy of a step. Bytes are those of the tensors that the op hands from its forward to its backward pass, beside
inputs and weights, counted one by one. The reference is timed too, in the series `dt`.
"""

from typing import NamedTuple

import numpy as np

from benchmarks import lif_cases, scaling, speed_records
from benchmarks.lif_speed import timed
from benchmarks.speed import require_op
from benchmarks.threads import use_threads

KIND = "speed-lif-growth"
CASE = lif_cases.LIF_CASES["lif-eventprop"]
TIMED = ("forward", "backward")


class Point(NamedTuple):
    """One point of a series; `spikes` are those of an input channel."""

    series: str
    activity: float = 0.01
    spikes: float = CASE.spikes
    dt: float = 1.0

    def case(self, middle=CASE):
        """`middle` with what this point varies."""
        return middle._replace(spikes=self.spikes, dt=self.dt, steps=round(middle.steps * middle.dt / self.dt))


POINTS = (
    *(Point("spikes", activity=share) for share in (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)),
    *(Point("inputs", spikes=spikes) for spikes in (0.375, 0.75, 1.5, 3.0, 6.0)),
    *(Point("dt", dt=dt) for dt in (4.0, 2.0, 1.0, 0.5, 0.25)),
)
# Against what the bytes of a series are laid, from a result; times are laid against steps in the series `dt`.
ABSCISSAE = {
    "spikes": lambda result: result["spikes"],
    "inputs": lambda result: result["input_spikes"],
    "dt": lambda result: result["steps"],
}


class Fit(NamedTuple):
    """The line through a series, and the exponent of the power law through it (least squares of the logarithms).

    what: "bytes kept", or the pass and contender of a time in ms.
    """

    series: str
    what: str
    line: scaling.Line
    exponent: float


def compare(repeats, command, threads=None, out=None, progress=lambda text: None, points=POINTS, middle=CASE) -> dict:
    """Measures what the record at `out` does not hold yet, and writes it there after each point; returns the record.

    Raises:
        CannotRun: the custom op does not load, or an activity cannot be imposed.
        ConfigError: `out` is something else than a record that the same command began.
    """
    require_op()
    if threads is not None:
        use_threads(threads)
    header = speed_records.header(KIND, command, threads=threads, repeats=repeats)
    record = speed_records.begun(out, header, {"results": []})
    for point in points[len(record["results"]) :]:
        record["results"].append(measure(point, repeats, middle))
        speed_records.save(out, record)
        progress(describe(record["results"][-1]))
    return record


def measure(point, repeats, middle=CASE) -> dict:
    """The result of one point."""
    from benchmarks.lif_contenders import ours, reference
    from benchmarks.lif_imposed import weights_with_activity
    from benchmarks.lif_workload import workload_for

    case, trained = point.case(middle), point._replace(dt=middle.dt).case(middle)
    weights = weights_with_activity(trained, trained.inputs(), point.activity).weights
    inputs = case.inputs()
    workload = workload_for(case, inputs, weights)
    contenders = {"ours": ours, "reference": reference if point.series == "dt" else lambda workload: None}
    _, milliseconds = timed(workload, contenders, repeats)
    kept, spikes = kept_bytes(workload)
    return {
        **point._asdict(),
        **{name: getattr(case, name) for name in ("units", "batch", "steps", "features")},
        "spikes": spikes,
        "share_of_spikes": spikes / (case.batch * case.steps * case.units),
        "input_spikes": int(np.count_nonzero(inputs)),
        "kept_bytes": kept,
        "milliseconds": {pass_: milliseconds[pass_] for pass_ in TIMED},
    }


def kept_bytes(workload):
    """`(bytes by name, number of spikes)` of our layer, on a workload of one layer.

    The bytes are those of the op's outputs that its gradient reads.
    """
    import tensorflow as tf

    from benchmarks.lif_contenders import ours
    from keras_egru.ops import fused_lif

    layer = ours(workload).run

    @tf.function(jit_compile=False)
    def saved():
        spikes = layer(tf.constant(workload.inputs))
        (op,) = (op for op in spikes.graph.get_operations() if op.type == "KerasEgru>LifSequence")
        return spikes, {name: op.outputs[fused_lif.NAMES.index(name)] for name in fused_lif.SAVED}

    spikes, tensors = saved.get_concrete_function()()
    return {name: int(np.asarray(tensor).nbytes) for name, tensor in tensors.items()}, int(np.count_nonzero(spikes))


def total_kept(result) -> int:
    return sum(result["kept_bytes"].values())


def grouped(results) -> dict:
    """`{series: results}`."""
    groups = {}
    for result in results:
        groups.setdefault(result["series"], []).append(result)
    return groups


def fits(results) -> list[Fit]:
    """Bytes of every series with two points at least, and the times of the series `dt`."""
    found = []
    for series, group in grouped(results).items():
        if len(group) < 2:
            continue
        x = [ABSCISSAE[series](result) for result in group]
        found.append(_fit(series, "bytes kept", x, [total_kept(result) for result in group]))
        if series == "dt":
            for pass_ in TIMED:
                for name in group[0]["milliseconds"][pass_]:
                    times = [result["milliseconds"][pass_][name] for result in group]
                    if None not in times:
                        found.append(_fit(series, f"{pass_}, {name}", x, times))
    return found


def _fit(series, what, x, y):
    return Fit(series, what, scaling.fitted(x, y), scaling.fitted(np.log(x), np.log(y)).slope)


def varied(result):
    """What was varied, in words."""
    if result["series"] == "dt":
        return f"steps of {result['dt']:g} ms"
    if result["series"] == "inputs":
        return f"{result['input_spikes']:,} input spikes"
    return f"{result['share_of_spikes']:.2%} spikes"


def describe(result):
    """One line for a person who waits."""
    times = ", ".join(f"{pass_} {result['milliseconds'][pass_]['ours']:.2f} ms" for pass_ in TIMED)
    return f"{varied(result)}: {result['spikes']:,} spikes, {total_kept(result) / 2**20:.2f} MiB kept, {times}"
