"""`docs/performance.md` from the speed and scaling records: no figure on the page is typed in."""

from pathlib import Path

from benchmarks import device_page, lif_page, rtrl_page, scaling, speed, speed_records
from benchmarks.checkpoints import write_atomically
from benchmarks.errors import CannotRun, ConfigError
from benchmarks.figures import three_digits
from benchmarks.markdown import table
from benchmarks.speed_cases import CASES
from benchmarks.speed_targets import (
    device_verdicts,
    online_verdicts,
    pruned_verdicts,
    spiking_verdicts,
    stream_verdicts,
    verdicts,
    wanted_gain,
)

NOTES = Path(__file__).with_name("performance_notes.md")
NAMES = {
    "ours": "EGRU",
    "ours_unpruned": "EGRU, unpruned",
    "ours_dense": "EGRU, dense",
    "ours_int8": "EGRU, 8-bit weights",
    "reference_cell": "EGRU, reference cell",
    "keras_gru": "Keras GRU",
    "torch_gru": "torch GRU",
    "onnxruntime_gru": "ONNX Runtime GRU",
}
INTRODUCTION = """
<!-- Made by `python -m benchmarks report`; change the records or `benchmarks/performance_notes.md`, not this file. -->

One EGRU layer beside dense GRU layers of the same size, in one process, on the same inputs, timed in turns; a figure is
the median of the rounds, in milliseconds. *Inference* is a forward pass over the sequences; *training* is forward and
backward, with the gradients of all weights. The sparsity of the EGRU is imposed by its thresholds and the width of its
surrogate, and was counted from its tensors. The *dense* EGRU is the same layer made to skip nothing.

*Gain* is the time of the fastest dense GRU over that of the EGRU. *Limit* is the share of the EGRU's time that the
machine, at its measured best, needs for the multiply-adds that cannot be skipped; at a batch of one, for reading the
weights that they take. The method in full is told by `speed.py`, `timing.py`, `imposed.py`, `machine_limits.py` and
`peak_memory.py` in `benchmarks/`.
""".strip()
SCALING = """
The EGRU alone at 1024 units, batch 64, 50 steps, 64 features, 80 % silent and half of the backward entries silent; one
of these is varied at a time. Lines are fitted by least squares: against the number of events (each a row of 3 x units
weights to multiply), of steps and of sequences, and against units squared.
""".strip()


PRUNED = """
The same layer with a part of its recurrent kernel pruned, in blocks of rows x columns, at random places of every gate.
*Unpruned* is the layer with numbers too small to matter in the place of the zeros: the same events, and nothing left
out. *Gain* is its time over that of the pruned layer; *over peers* is the time of the fastest dense GRU over it.
""".strip()


def write(folder, page) -> list:
    """Writes the page and its plots, the latter into a folder beside it; returns the paths.

    Raises:
        CannotRun: matplotlib is not installed.
        ConfigError: the folder holds no speed record.
        CannotWrite: a file cannot be written.
    """
    try:
        from benchmarks import speed_plots
    except ImportError as error:
        raise CannotRun(f'the plots need matplotlib, `pip install "keras-egru[benchmarks]"` ({error}).') from None
    page, (speeds, _, growths) = Path(page), _records(folder)
    images = page.with_suffix("")
    plots = {
        images / f"{case}-{mode}.png": speed_plots.time_against_sparsity(results)
        for (case, mode), results in _grouped(speeds).items()
        if len(results) > 1
    }
    if growths:
        plots[images / "events.png"] = speed_plots.time_against_events(_results(growths))
    _, eventprop = lif_page.records(folder)
    if eventprop:
        plots[images / lif_page.PLOT] = speed_plots.growth_of_eventprop(_results(eventprop))
    _, rtrl_growths, _ = rtrl_page.records(folder)
    if rtrl_growths:
        plots[images / rtrl_page.PLOT] = speed_plots.growth_of_rtrl(rtrl_page.results(rtrl_growths))
    for path, png in plots.items():
        write_atomically(path, png)
    write_atomically(page, to_markdown(folder, images.name).encode())
    return [page, *plots]


def to_markdown(folder, images) -> str:
    """The page; `images` is the folder of its plots as seen from it."""
    speeds, pruned, growths = _records(folder)
    groups = _grouped(speeds)
    spiking, eventprop = lif_page.records(folder)
    online, rtrl_growths, streams = rtrl_page.records(folder)
    device = device_page.records(folder)
    origin = _origin([*speeds, *pruned, *growths, *spiking, *eventprop, *online, *rtrl_growths, *streams, *device])
    parts = ["# Performance", INTRODUCTION, *origin]
    found = [*verdicts(_flat(groups)), *pruned_verdicts(_flat(_grouped(pruned)))]
    found += [*spiking_verdicts(lif_page.results(spiking)), *online_verdicts(rtrl_page.results(online))]
    found += [*stream_verdicts(streams), *device_verdicts(device_page.results(device))]
    parts += ["## Targets", _targets(found)]
    for case in dict.fromkeys(case for case, _ in groups):
        parts += _case(case, {mode: results for (name, mode), results in groups.items() if name == case}, images)
    if pruned:
        parts += ["## Pruned weights", PRUNED]
        for (case, mode), results in _grouped(pruned).items():
            parts += [f"### `{case}`, {mode}", _pruned(results)]
    parts += ["## The machine's limits", _limits(speeds)]
    if growths:
        results = _results(growths)
        parts += ["## Scaling", SCALING, _lines(results), f"![Time against events]({images}/events.png)"]
        parts += ["Every point:", _points(results)]
    parts += lif_page.parts(spiking, eventprop, images)
    parts += rtrl_page.parts(online, rtrl_growths, streams, images)
    parts += device_page.parts(device)
    notes = NOTES.read_text("utf-8").strip()
    if notes:
        parts += ["## What limits it", notes]
    return "\n\n".join(parts) + "\n"


def _records(folder):
    speeds = [record for _, record in speed_records.find(folder, speed.KIND)]
    if not speeds:
        raise ConfigError(f"{folder} holds no speed record.")
    others = ([record for _, record in speed_records.find(folder, kind)] for kind in (speed.PRUNED, scaling.KIND))
    return speeds, *others


def _flat(groups):
    return [result for results in groups.values() for result in results]


def _results(growths):
    return [result for record in growths for result in record["results"]]


def _grouped(speeds):
    """`{(case, mode): results}`, the named cases first and in their order, results by activity sparsity."""
    order = [*CASES, *dict.fromkeys(result["case"] for record in speeds for result in record["cases"])]
    groups = {}
    for result in sorted(
        (result for record in speeds for result in record["cases"]),
        key=lambda result: (
            order.index(result["case"]),
            result["mode"],
            result["asked"]["activity"],
            result["asked"].get("block", ()),
            result["asked"].get("parameter", 0.0),
            result["activity_sparsity"],
        ),
    ):
        groups.setdefault((result["case"], result["mode"]), []).append(result)
    return groups


def _origin(found):
    """The machine, the versions and the commands, which each record has; those that are alike are named once."""
    machines, versions = {}, {}
    for record in found:
        machine = record["machine"]
        machines[f"{machine['processor']}, {machine['cores']} cores, {machine['system']} {machine['architecture']}"] = 0
        versions[", ".join(f"{name} {version}" for name, version in record["versions"].items())] = 0
    commands = "\n".join(["```bash", *(record["command"] for record in found), "```"])
    return [
        f"Machine: {'; '.join(machines)}.",
        f"Versions: {'; '.join(versions)}.",
        "The commands, which go on with a record that they find and otherwise measure anew:",
        commands,
    ]


def _targets(found):
    rows = [(v.what, v.wanted, v.measured, "yes" if v.met else "no") for v in found]
    return table(("", "target", "measured", "met"), rows)


def _case(case, modes, images):
    parts = [f"## `{case}`", f"{next(iter(modes.values()))[0]['description']}."]
    for mode, results in modes.items():
        parts += [f"### {mode.capitalize()}", _times(results)]
        if len(results) > 1:
            parts.append(f"![{case}, {mode}]({images}/{case}-{mode}.png)")
    measured = [result for results in modes.values() for result in results if any(result["peak_memory_mib"].values())]
    if measured:
        parts += ["### Peak memory", "MiB beyond model and inputs.", _memory(measured)]
    return parts


def _times(results):
    names = _with_figures(results, "milliseconds")
    rows = [
        (
            _share(result["activity_sparsity"]),
            _share(result["backward_sparsity"]),
            *(three_digits(result["milliseconds"][name]) for name in names),
            "-" if speed.gain(result) is None else f"{speed.gain(result):.1f}x",
            "" if wanted_gain(result) is None else f"{wanted_gain(result):g}x",
            f"{result['limit']['share']:.0%}",
        )
        for result in results
    ]
    return table(("silent", "backward", *(NAMES[name] for name in names), "gain", "target", "limit"), rows)


def _pruned(results):
    names = _with_figures(results, "milliseconds")
    rows = [
        (
            _share(result["activity_sparsity"]),
            _share(result["asked"]["parameter"]),
            "-" if result["asked"]["parameter"] == 0.0 else "x".join(map(str, result["asked"]["block"])),
            *(three_digits(result["milliseconds"][name]) for name in names),
            "-" if speed.pruning_gain(result) is None else f"{speed.pruning_gain(result):.2f}x",
            "-" if speed.gain(result) is None else f"{speed.gain(result):.1f}x",
        )
        for result in results
    ]
    return table(("silent", "pruned", "blocks", *(NAMES[name] for name in names), "gain", "over peers"), rows)


def _memory(results):
    names = _with_figures(results, "peak_memory_mib")
    rows = []
    for result in results:
        figures = [three_digits(result["peak_memory_mib"][name]) for name in names]
        rows.append((result["mode"], _share(result["activity_sparsity"]), *figures))
    return table(("", "silent", *(NAMES[name] for name in names)), rows)


def _with_figures(results, field):
    """The contenders of whom at least one result has a figure."""
    return [name for name in results[0][field] if any(result[field].get(name) is not None for result in results)]


def _limits(speeds):
    rows = [
        (
            case,
            str(limits["threads"]),
            f"{limits['buffer_bytes'] / 2**20:.1f} MiB",
            f"{limits['read_bytes_per_second'] / 1e9:.1f} GB/s",
            f"{limits['multiply_adds_per_second'] / 1e9:.0f} G/s",
        )
        for record in speeds
        for case, limits in record["limits"].items()
    ]
    return table(("case", "threads", "recurrent weights", "reading them", "multiply-adds"), rows)


def _lines(results):
    each = {"events": "event", "units": "unit²", "steps": "step", "batch": "sequence"}
    rows = []
    for (series, mode, threads), group in scaling.grouped(results).items():
        fit = scaling.line(group)
        slope = f"{_slope(fit.slope)} / {each[series]}"
        rows.append((series, mode, str(threads), slope, three_digits(fit.intercept), f"{fit.r_squared:.4f}"))
    return table(("series", "mode", "threads", "slope", "intercept, ms", "R²"), rows)


def _points(results):
    rows = [
        (scaling.size(r), r["mode"], str(r["threads"]), f"{r['events']:,}", three_digits(r["milliseconds"]))
        for r in results
    ]
    return table(("size", "mode", "threads", "events", "ms"), rows)


def _slope(milliseconds):
    """In the unit that gives it digits before the point."""
    for size, unit in ((1.0, "ms"), (1e-3, "us")):
        if abs(milliseconds) >= size:
            return f"{milliseconds / size:.3g} {unit}"
    return f"{1e6 * milliseconds:.3g} ns"


def _share(value):
    return f"{100 * value:.1f} %"
