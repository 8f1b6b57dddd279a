"""The section on streaming on a device of `docs/performance.md`, from its speed records."""

from pathlib import Path

from benchmarks import device_speed, speed_records
from benchmarks.device_cases import DEVICE_CASES
from benchmarks.device_speed import gain
from benchmarks.device_table import NAMES, kibibytes, microseconds, shares
from benchmarks.markdown import table
from benchmarks.speed_targets import wanted_device_gain

NOTES = Path(__file__).with_name("device_performance_notes.md")
DEVICE = """
Microseconds for one step of a stream of one sequence, one layer, as TF-Lite files that LiteRT runs: with the sparse op,
in builtin ops, and a dense Keras GRU of the same size; float32 where no 8 bits are named. A step sets inputs and
states, invokes the interpreter, and reads output and states, in Python. *StreamingModel* is the step of Keras. *Gain*
is the time of the same layer in builtin ops over that of the sparse op.
""".strip()


def records(folder) -> list:
    """The records of streaming on a device under a folder."""
    return [record for _, record in speed_records.find(folder, device_speed.KIND)]


def results(found) -> list:
    """The results of all records, the named cases first and in their order, by activity and pruning."""
    cases = [result for record in found for result in record["cases"]]
    order = [*DEVICE_CASES, *dict.fromkeys(result["case"] for result in cases)]
    return sorted(cases, key=lambda result: (order.index(result["case"]), *result["asked"].values()))


def parts(found) -> list[str]:
    """The paragraphs of the section, none without records."""
    if not found:
        return []
    cases, paragraphs = results(found), ["## On a device", f"{DEVICE} {_threads(found)}"]
    for case in dict.fromkeys(result["case"] for result in cases):
        of_case = [result for result in cases if result["case"] == case]
        paragraphs += [f"### `{case}`", f"{of_case[0]['description']}.", _times(of_case)]
    paragraphs += ["### Size of the files", "KiB.", _sizes(cases)]
    notes = NOTES.read_text("utf-8").strip()
    return [*paragraphs, notes] if notes else paragraphs


def _threads(found):
    counts = sorted({record["threads"] or 0 for record in found})
    named = ["the default number of threads" if n == 0 else "one thread" if n == 1 else f"{n} threads" for n in counts]
    return f"The interpreters had {' or '.join(named)}; the sparse op computes on one."


def _times(results):
    rows = []
    for result in results:
        wanted = wanted_device_gain(result)
        target = "" if wanted is None else f"{wanted:g}x"
        rows.append((*shares(result), *microseconds(result), f"{gain(result):.2f}x", target))
    return table(("silent", "pruned", *NAMES.values(), "gain", "target"), rows)


def _sizes(results):
    """Sizes do not depend on the activity."""
    names = [name for name in NAMES if any(result["file_bytes"][name] is not None for result in results)]
    rows = {}
    for result in results:
        sizes = dict(zip(NAMES, kibibytes(result), strict=True))
        rows.setdefault((f"`{result['case']}`", shares(result)[1]), [sizes[name] for name in names])
    return table(("case", "pruned", *(NAMES[name] for name in names)), [(*key, *row) for key, row in rows.items()])
