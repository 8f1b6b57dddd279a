"""The table of a speed record on the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import scaling
from benchmarks.figures import three_digits
from benchmarks.speed import gain, pruning_gain

HEADERS = {
    "ours": "ours",
    "ours_unpruned": "unpruned",
    "ours_dense": "dense",
    "ours_int8": "int8",
    "reference_cell": "ref.",
    "keras_gru": "keras",
    "torch_gru": "torch",
    "onnxruntime_gru": "onnx",
}


def show(record):
    """One table a case: milliseconds, the gain over the fastest peer and the share of the machine's limit."""
    console = Console(highlight=False)
    for case in dict.fromkeys(result["case"] for result in record["cases"]):
        console.print(_table([result for result in record["cases"] if result["case"] == case]))


def show_scaling(record):
    """Every result, and the line through each series."""
    table = Table("threads", "mode", "size", "ms", box=box.SIMPLE, title="Ours alone")
    for result in record["results"]:
        table.add_row(
            str(result["threads"]), result["mode"], scaling.size(result), three_digits(result["milliseconds"])
        )
    lines = Table("threads", "mode", "series", "ns each", "ms at none", "R²", box=box.SIMPLE, title="Straight lines")
    for (series, mode, threads), results in scaling.grouped(record["results"]).items():
        fit = scaling.line(results)
        slope = f"{1e6 * fit.slope:.3g}"
        lines.add_row(str(threads), mode, series, slope, f"{fit.intercept:.2f}", f"{fit.r_squared:.4f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(lines)


def _table(results):
    pruned = any(pruning_gain(result) is not None for result in results)
    names = [name for name in results[0]["milliseconds"] if pruned or name != "ours_unpruned"]
    table = Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=f"{results[0]['case']}: {results[0]['description']}\nMilliseconds, median",
        caption="gain: over the fastest of keras, torch, onnx; limit: share of the machine's",
    )
    sparsities = ["silent", "backw.", "pruned"] if pruned else ["silent", "backw."]
    for header in ("mode", *sparsities, *(HEADERS[name] for name in names), "gain", "limit"):
        table.add_column(header, no_wrap=True)
    for result in results:
        table.add_row(
            {"inference": "infer", "training": "train"}[result["mode"]],
            f"{result['activity_sparsity']:.1%}",
            f"{result['backward_sparsity']:.1%}",
            *([f"{result['asked']['parameter']:.0%}"] if pruned else []),
            *(three_digits(result["milliseconds"][name]) for name in names),
            "-" if gain(result) is None else f"{gain(result):.2f}x",
            f"{result['limit']['share']:.0%}",
        )
    memory = [result for result in results if any(result["peak_memory_mib"].values())]
    for result in memory:
        table.add_row(
            "MiB", f"{result['activity_sparsity']:.1%}", result["mode"][:5],
            *([""] if pruned else []), *(three_digits(result["peak_memory_mib"][name]) for name in names), "", "",
        )  # fmt: skip
    return table
