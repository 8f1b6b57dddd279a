"""The command `export`: a finished run's model in every form, and the table of what each costs."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.figures import three_digits
from benchmarks.speed_families import tell
from benchmarks.terminal import AsJson, command, stops_clearly


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run, with record and model.")],
    data_dir: Annotated[
        str | None, typer.Option(help="Folder of the data, as for `run`. Default: KERAS_EGRU_DATA.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="New folder for the files. Default RUN/export.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="Test sequences to compare on; 0 for all.")] = 1000,
    as_json: AsJson = False,
):
    """Exports a run's model as SavedModel and TF-Lite files, in all precisions and with the sparse op, and compares
    size and accuracy with Keras's."""
    with stops_clearly():
        from benchmarks import exporting

        record = exporting.execute(run, data_dir, out or run / "export", samples, command(), tell)
        return print(json.dumps(record, indent=2)) if as_json else _show(record)


def _show(record):
    console = Console(highlight=False)
    table = Table(
        box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False,
        title=f"{record['run']['name']}, on {record['samples']:,} test sequences",
        caption=f"dense: {record['dense_bytes'] / 1024:,.0f} KiB, float32, nothing pruned; "
        f"Keras: {record['keras_accuracy']:.2%}",
    )  # fmt: skip
    for header in ("form", "KiB", "of dense", "difference", "flipped", "accuracy"):
        table.add_column(header, no_wrap=True)
    for row in record["forms"]:
        table.add_row(row["form"], *_figures(row))
    console.print(table)
    for row in record["forms"]:
        if "refused" in row:
            console.print(f"{row['form']}: {row['refused']}", markup=False, soft_wrap=True)


def _figures(row):
    if "refused" in row:
        return ("-",) * 5
    flipped = row["flipped_events"]
    return (
        three_digits(row["bytes"] / 1024),
        f"{row['share_of_dense']:.0%}",
        f"{row['max_difference']:.2g}",
        "-" if flipped is None else f"{flipped:.4%}",
        f"{row['accuracy']:.2%}",
    )
