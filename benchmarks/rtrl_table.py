"""The tables of records of online learning on the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import rtrl_scaling
from benchmarks.figures import number, three_digits
from benchmarks.rtrl_speed import gain, of_dense, over_analytic, share_of_memory

NAMES = {
    "bptt": "BPTT",
    "ours_dense": "RTRL, dense",
    "tensorflow": "RTRL, dense, plain TensorFlow",
    "ours_parameter": "RTRL, pruned weights",
    "ours_activity": "RTRL, zeros of the derivative",
    "ours": "RTRL, both",
    "snap1": "SnAp-1, pruned weights",
    "snap2": "SnAp-2, pruned weights",
}
MIB = 2**20


SHORT = dict(zip(NAMES, ("BPTT", "dense", "plain TF", "pruned", "silent", "both", "SnAp-1", "SnAp-2"), strict=True))
SHOWN = {"": 0, "ms": 1, "single": 2, "gain": 3, "MACs": 5, "table": 6, "M, MiB": 8, "of dense": 9, "peak": 11}


def show(record):
    """One table a case: figures of a step, and the shares of the dense one beside the analytic ones."""
    console = Console(highlight=False)
    for result in record["cases"]:
        table = Table(
            box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, title=f"{heading(result)}\nMs a step, median",
            caption="gain: over the faster dense one; MACs: counted, of dense; table: the same by Table 1 (analytic)",
        )  # fmt: skip
        for header in SHOWN:
            table.add_column(header, no_wrap=True)
        for name, cells in zip(NAMES, rows(result), strict=True):
            table.add_row(SHORT[name], *[cells[i] for i in SHOWN.values()][1:])
        console.print(table)


def heading(result) -> str:
    """A case and what was imposed on it."""
    shares = f"{result['parameter_sparsity']:.0%} pruned, {result['backward_sparsity']:.0%} backward"
    return f"{result['case']}, {result['units']} units, {shares}"


HEADERS = (
    "", "ms", "ms, single", "gain", "multiply-adds", "of dense", "Table 1 (analytic)", "time over analytic",
    "MiB of M", "of dense", "Table 1 (analytic)", "peak MiB",
)  # fmt: skip


def rows(result) -> list[tuple[str, ...]]:
    """The cells under `HEADERS`, by contender."""
    times, sizes = result["milliseconds"], result["influence_bytes"]
    found = []
    for name, shown in NAMES.items():
        faster = gain(result, name)
        found.append((
            shown,
            *(digits(times[call][name]) for call in ("chunk", "single")),
            "-" if faster is None else f"{faster:.2g}x" if faster < 10 else f"{faster:.0f}x",
            number(result["multiply_adds"][name]),
            percent(of_dense(result["multiply_adds"], name)),
            percent(of_dense(result["analytic_multiply_adds"], name)),
            digits(over_analytic(result, name)),
            mebibytes(sizes[name]),
            percent(share_of_memory(result, name)),
            percent(of_dense(result["analytic_influence_bytes"], name)),
            three_digits(result["peak_memory_mib"][name]),
        ))  # fmt: skip
    return found


def digits(value) -> str:
    """Three digits, also of small figures: 0.00823, 1.23, 1234."""
    return f"{value:#.3g}" if value is not None and abs(value) < 1 else three_digits(value)


def mebibytes(size) -> str:
    return digits(None if size is None else size / MIB)


def percent(share) -> str:
    """Two digits at least: 100 %, 12 %, 1.0 %, 0.024 %."""
    if share is None:
        return "-"
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:#.2g} %"


def show_scaling(record):
    """Times and memory of every size, and the exponents."""
    console = Console(highlight=False)
    for case, group in rtrl_scaling.grouped(record["cases"]).items():
        sizes = [f"n={result['units']}" for result in group]
        for title, cells in (("ms a step", time_cells), ("MiB of M", memory_cells)):
            table = Table("", *sizes, box=box.SIMPLE, title=f"{case}: {title}")
            for name, shown in SHORT.items():
                table.add_row(shown, *cells(group, name))
            console.print(table)
    fits = Table("case", "", "what", "exponent", "R²", box=box.SIMPLE, title="Fits")
    for fit in rtrl_scaling.fits(record["cases"]):
        fits.add_row(fit.case, SHORT[fit.name], fit.what, f"{fit.exponent:.2f}", f"{fit.r_squared:.4f}")
    console.print(fits)


def time_cells(group, name):
    return [digits(result["milliseconds"]["chunk"][name]) for result in group]


def memory_cells(group, name):
    return [mebibytes(result["influence_bytes"][name]) for result in group]
