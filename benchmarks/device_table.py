"""The tables of records of streaming on a device, on the terminal and on the page."""

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.device_speed import gain
from benchmarks.figures import three_digits

NAMES = {
    "ours": "sparse op",
    "sparse_int8": "sparse op, 8-bit weights",
    "builtins": "builtins",
    "builtins_int8": "builtins, int8",
    "keras_gru": "Keras GRU, builtins",
    "streaming_model": "StreamingModel",
}
SHORT = dict(zip(NAMES, ("sparse", "sparse 8b", "builtins", "int8", "GRU", "Keras"), strict=True))


def show(record):
    """One table a case, in microseconds."""
    console = Console(highlight=False)
    for case in dict.fromkeys(result["case"] for result in record["cases"]):
        results = [result for result in record["cases"] if result["case"] == case]
        table = Table(
            box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False,
            title=f"{case}: {results[0]['description']}\nMicroseconds a step, median", caption="gain: over builtins",
        )  # fmt: skip
        for header in ("silent", "pruned", *SHORT.values(), "gain"):
            table.add_column(header, no_wrap=True)
        for result in results:
            table.add_row(*shares(result), *microseconds(result), f"{gain(result):.2f}x")
        console.print(table)


def shares(result) -> tuple[str, str]:
    """Activity sparsity as counted, and what was pruned of the recurrent kernel."""
    asked = result["asked"]
    blocks = "x".join(map(str, asked["block"]))
    return f"{result['activity_sparsity']:.1%}", f"{asked['parameter']:.0%} {blocks}" if asked["parameter"] else "-"


def microseconds(result) -> list[str]:
    """Times of a step, in the order of `NAMES`."""
    times = [result["milliseconds"][name] for name in NAMES]
    return [three_digits(None if time is None else 1e3 * time) for time in times]


def kibibytes(result) -> list[str]:
    """Sizes of the files, in the order of `NAMES`."""
    sizes = [result["file_bytes"][name] for name in NAMES]
    return [three_digits(None if size is None else size / 2**10) for size in sizes]
