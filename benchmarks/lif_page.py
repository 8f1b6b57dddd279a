"""The section on spiking layers of `docs/performance.md`, from their speed and growth records."""

from pathlib import Path

from benchmarks import lif_growth, lif_speed, speed_records
from benchmarks.figures import three_digits
from benchmarks.lif_cases import LIF_CASES
from benchmarks.lif_speed import PASSES, gain, share_of_memory
from benchmarks.markdown import table

NAMES = {"ours": "EventLIF", "reference": "reference", "plain_tensorflow": "plain TensorFlow"}
PLOT = "eventprop-growth.png"
NOTES = Path(__file__).with_name("lif_performance_notes.md")
SPIKING = """
`EventLIF` beside dense autodiff of the same network with the same gradients, which were compared before anything was
timed: the *reference* is the layer's definition in `keras.ops`, *plain TensorFlow* what one writes without this
package. *Forward* is the pass of training; *backward* gives the gradients of all weights, for an upstream gradient of
every spike; *step* is both in one function. *Spikes* is the share of (sample, step, unit) that are spikes, *active* the
share that a gradient passes. *Gain* is the time of the faster dense one over ours; *of dense* the memory of ours over
that of the smaller. *Kept* is what is in use between the passes of a step, *peak* the most that a step has in use, both
in MiB beyond model and inputs. The method is told by `lif_speed.py`, `lif_contenders.py`, `lif_imposed.py` and
`lif_memory.py`.
""".strip()
GROWTH = """
Eventprop, 256 recurrent units, batch 32, 100 ms of spike trains of 700 channels. *spikes* varies the activity of the
layer, *inputs* the number of spikes that it is given, *dt* the length of a step at the same trains and weights. Bytes
are counted tensor by tensor; a slope is bytes a spike, bytes a step, or milliseconds a step. The exponent is that of a
power law.
""".strip()


def records(folder):
    """`(speed records, growth records)` of spiking layers under a folder."""
    return tuple([r for _, r in speed_records.find(folder, kind)] for kind in (lif_speed.KIND, lif_growth.KIND))


def results(speeds) -> list:
    """The results of all records, the named cases first and in their order, by activity."""
    found = [result for record in speeds for result in record["cases"]]
    order = [*LIF_CASES, *dict.fromkeys(result["case"] for result in found)]
    return sorted(found, key=lambda result: (order.index(result["case"]), result["activity"]))


def parts(speeds, growths, images) -> list[str]:
    """The paragraphs of the section, none without records; `images` is where the page finds its plots."""
    if not speeds and not growths:
        return []
    found = ["## Spiking layers"]
    if speeds:
        cases = results(speeds)
        found += [SPIKING, _cases(cases), _times(cases)]
        if any(result[field]["ours"] is not None for result in cases for field in ("kept_mib", "peak_memory_mib")):
            found.append(_memory(cases))
        found.append(NOTES.read_text().strip())
    if growths:
        points = [result for record in growths for result in record["results"]]
        found += ["### Growth of Eventprop", GROWTH, _fits(points), f"![Growth of Eventprop]({images}/{PLOT})"]
        found += ["Every point:", _points(points)]
    return found


def _cases(cases):
    rows = {(f"`{result['case']}`", result["description"]): None for result in cases}
    return table(("case", "what"), rows)


def _times(cases):
    rows = []
    for result in cases:
        for pass_ in PASSES:
            times = [three_digits(result["milliseconds"][pass_].get(name)) for name in NAMES]
            faster = gain(result, pass_)
            rows.append((*_first(result), pass_, *times, "-" if faster is None else f"{faster:.1f}x"))
    return table(("case", "spikes", "active", "ms", *NAMES.values(), "gain"), rows)


def _memory(cases):
    rows = []
    for result in cases:
        for field, what in {"kept_mib": "kept", "peak_memory_mib": "peak"}.items():
            of_dense = share_of_memory(result, field)
            if of_dense is not None:
                figures = [three_digits(result[field].get(name)) for name in NAMES]
                rows.append((*_first(result), what, *figures, f"{of_dense:.0%}"))
    return table(("case", "spikes", "active", "MiB", *NAMES.values(), "of dense"), rows)


def _first(result):
    return f"`{result['case']}`", f"{100 * result['activity']:.2f} %", f"{100 * result['active_share']:.2f} %"


def _fits(points):
    rows = [
        (fit.series, fit.what, f"{fit.line.slope:.3g}", f"{fit.line.intercept:.3g}", f"{fit.line.r_squared:.4f}",
         f"{fit.exponent:.2f}")
        for fit in lif_growth.fits(points)
    ]  # fmt: skip
    return table(("series", "what", "slope", "intercept", "R²", "exponent"), rows)


def _points(points):
    contenders = [name for name in NAMES if any(p["milliseconds"]["forward"].get(name) is not None for p in points)]
    rows = [
        (
            lif_growth.varied(point),
            str(point["steps"]),
            f"{point['spikes']:,}",
            f"{point['input_spikes']:,}",
            f"{lif_growth.total_kept(point):,}",
            *(
                three_digits(point["milliseconds"][pass_].get(name))
                for pass_ in lif_growth.TIMED
                for name in contenders
            ),
        )
        for point in points
    ]
    times = [f"{pass_}, {NAMES[name]}, ms" for pass_ in lif_growth.TIMED for name in contenders]
    return table(("varied", "steps", "spikes", "input spikes", "bytes kept", *times), rows)
