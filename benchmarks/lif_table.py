"""The tables of records of spiking layers on the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import lif_growth
from benchmarks.figures import three_digits
from benchmarks.lif_speed import PASSES, gain, share_of_memory

HEADERS = {"ours": "ours", "reference": "reference", "plain_tensorflow": "plain TF"}
MEMORY = {"kept_mib": "MiB kept", "peak_memory_mib": "MiB peak"}


def show(record):
    """One table: milliseconds of each pass, the gain over the fastest dense one, and memory where it was measured."""
    names = list(HEADERS)
    table = Table(
        box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, title="Spiking layers\nMilliseconds, median",
        caption="gain: over the faster of reference and plain TensorFlow; of memory, the share of the smaller",
    )  # fmt: skip
    for header in ("case", "spikes", "active", "pass", *(HEADERS[name] for name in names), "gain"):
        table.add_column(header, no_wrap=True)
    for result in record["cases"]:
        first = [result["case"], f"{result['activity']:.2%}", f"{result['active_share']:.2%}"]
        for pass_ in PASSES:
            times = [three_digits(result["milliseconds"][pass_][name]) for name in names]
            faster = gain(result, pass_)
            table.add_row(*first, pass_, *times, "-" if faster is None else f"{faster:.1f}x")
            first = ["", "", ""]
        for field, what in MEMORY.items():
            share = share_of_memory(result, field)
            if share is not None:
                table.add_row(*first, what, *(three_digits(result[field][name]) for name in names), f"{share:.0%}")
    Console(highlight=False).print(table)


def show_growth(record):
    """Every result, and the fits."""
    table = Table(
        "series", "varied", "spikes", "kept, KiB", "forward", "backward", box=box.SIMPLE, title="Eventprop, ours"
    )
    for result in record["results"]:
        times = [three_digits(result["milliseconds"][pass_]["ours"]) for pass_ in lif_growth.TIMED]
        kept = f"{lif_growth.total_kept(result) / 1024:,.0f}"
        table.add_row(result["series"], lif_growth.varied(result), f"{result['spikes']:,}", kept, *times)
    fits = Table("series", "what", "slope", "intercept", "R²", "exponent", box=box.SIMPLE, title="Fits")
    for fit in lif_growth.fits(record["results"]):
        line = fit.line
        figures = [f"{line.slope:.4g}", f"{line.intercept:.4g}", f"{line.r_squared:.4f}", f"{fit.exponent:.2f}"]
        fits.add_row(fit.series, fit.what, *figures)
    console = Console(highlight=False)
    console.print(table)
    console.print(fits)
