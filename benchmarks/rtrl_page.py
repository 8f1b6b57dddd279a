"""The section on online learning of `docs/performance.md`, from its speed and scaling records."""

from pathlib import Path

from benchmarks import rtrl_scaling, rtrl_speed, rtrl_stream, speed_records
from benchmarks.markdown import table
from benchmarks.rtrl_cases import RTRL_CASES
from benchmarks.rtrl_table import HEADERS, NAMES, digits, heading, mebibytes, memory_cells, rows, time_cells

PLOT = "rtrl-scaling.png"
NOTES = Path(__file__).with_name("rtrl_performance_notes.md")
ONLINE = """
One step of real-time recurrent learning (RTRL) of one sequence, the rows of Table 1 of the RTRL paper (Subramoney
2023). Pruned weights and zeros of the derivative are imposed, the latter anew at every step. Timed is the update of the
influence matrix and the gradient that it gives, at given states: *ms* where 32 steps come in one call, *single* where
each comes in its own; of back-propagation (BPTT) forward and backward pass of the whole layer, with its default
weights, over 32 steps. *Plain TensorFlow* multiplies whole matrices; its influence and gradient were compared with ours
before anything was timed. *Gain* is the time of the faster dense RTRL over that of the row. Multiply-adds were counted
by the op; those of plain TensorFlow are of its shapes. *M* is the influence between two calls, *of dense* its share of
the smaller dense one; *peak* the most that a call has in use beyond weights and terms.

*Table 1 (analytic)* is no measurement: it is the paper's formula at the shares that were imposed, as a share of dense
RTRL, for the EGRU with the leak of its state, which keeps its rows alive. *Time over analytic* is the measured share of
the dense EGRU's or RNN's time over that; above 1, less was gained than the table promises. An EGRU unit reads another
one unless the weights of all three gates are pruned, so that its multiply-adds fall less than the table's: of weights
pruned at 80 %, half of the pairs are left. The method is told by `rtrl_speed.py`, `rtrl_imposed.py`,
`rtrl_contenders.py`, `rtrl_costs.py` and `rtrl_memory.py`.
""".strip()
SCALING = """
The same for networks of 16 to 256 units, at 80 % pruned weights and half of the derivatives zero. Exponents are those
of power laws in the number of units, through all sizes; of dense RTRL the paper has 4 for the time and 3 for the
memory, which is what many units come to.
""".strip()


STREAM = """
`learner.step` as a whole, with read-out, loss, Adam and the update at every step, of an EGRU at its default
initialisation, one sequence, nothing pruned or imposed; {threads}.
""".strip()


def records(folder):
    """`(speed records, scaling records, stream records)` of online learning under a folder."""
    kinds = (rtrl_speed.KIND, rtrl_scaling.KIND, rtrl_stream.KIND)
    return tuple([r for _, r in speed_records.find(folder, kind)] for kind in kinds)


def results(found) -> list:
    """The results of all records, the named cases first and in their order, by units and sparsities."""
    cases = [result for record in found for result in record["cases"]]
    order = [*RTRL_CASES, *dict.fromkeys(result["case"] for result in cases)]
    return sorted(cases, key=lambda result: (order.index(result["case"]), *result["asked"].values()))


def parts(speeds, growths, streams, images) -> list[str]:
    """The paragraphs of the section, none without records; `images` is where the page finds its plots."""
    if not speeds and not growths and not streams:
        return []
    found = ["## Online learning", ONLINE]
    for result in results(speeds):
        found += [f"### {heading(result)}", f"{result['description']}.", table(HEADERS, rows(result))]
    notes = NOTES.read_text("utf-8").strip()
    if notes:
        found.append(notes)
    for record in streams:
        threads = "one thread" if record["threads"] == 1 else f"{record['threads'] or 'all'} threads"
        found += ["### Learning from a stream", STREAM.format(threads=threads), _streamed(record)]
    if growths:
        found += ["### Growth with units", SCALING, _fits(results(growths)), f"![Growth of RTRL]({images}/{PLOT})"]
        for case, group in rtrl_scaling.grouped(results(growths)).items():
            sizes = [str(result["units"]) for result in group]
            for what, cells in (("milliseconds a step", time_cells), ("MiB of M", memory_cells)):
                found += [f"`{case}`, {what}, by units:", _by_size(sizes, group, cells)]
    return found


def _streamed(record):
    lines = [
        (
            f"{result['units']} units", "RTRL" if name == "rtrl" else f"SnAp-{name[-1]}",
            digits(result["milliseconds"][name]), f"{rate:.0f}", mebibytes(result["influence_bytes"][name]),
        )
        for result in record["cases"]
        for name, rate in result["steps_per_second"].items()
    ]  # fmt: skip
    return table(("", "", "ms a step", "steps a second", "MiB of M"), lines)


def _by_size(sizes, group, cells):
    return table(("", *sizes), [(shown, *cells(group, name)) for name, shown in NAMES.items()])


def _fits(points):
    by_row = {}
    for fit in rtrl_scaling.fits(points):
        by_row.setdefault((fit.case, fit.name), {})[fit.what] = fit
    lines = [
        (f"`{case}`", NAMES[name], *(_exponent(fitted.get(what)) for what in rtrl_scaling.FIGURES))
        for (case, name), fitted in by_row.items()
    ]
    return table(("case", "", *(f"exponent of {what} (R²)" for what in rtrl_scaling.FIGURES)), lines)


def _exponent(fit):
    return "-" if fit is None else f"{fit.exponent:.2f} ({fit.r_squared:.3f})"
