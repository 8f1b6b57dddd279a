"""The command `remove-units`: how far a finished run's network can do without its least active units."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.errors import ConfigError
from benchmarks.speed_families import tell
from benchmarks.terminal import AsJson, command, stops_clearly


def remove_units(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run of an EGRU.")],
    share: Annotated[
        str | None,
        typer.Option(metavar="SHARES", help="Of the units of each layer, as 0.1,0.3. Default 0.1 to 0.5."),
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(help="Folder of the data, as for `run`. Default: KERAS_EGRU_DATA.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File of the record. Default RUN/units.json.")] = None,
    as_json: AsJson = False,
):
    """Removes the units that fire least on training data, trains nothing again, and tells what each share costs on
    validation data; the test set is asked about the largest share that costs little."""
    with stops_clearly():
        shares = _shares(share)
        from benchmarks import unit_shares

        chosen = unit_shares.SHARES if shares is None else shares
        record = unit_shares.execute(run, chosen, data_dir, out or run / unit_shares.FILE, command(), tell)
        return print(json.dumps(record, indent=2)) if as_json else _show(record)


def _shares(text):
    if text is None:
        return None
    try:
        return [float(part) for part in text.replace(",", " ").split()] or _refuse(text)
    except ValueError:
        _refuse(text)


def _refuse(text):
    raise ConfigError(f"--share must be numbers between 0 and 1, such as 0.1,0.3, received {text!r}.")


def _show(record):
    figure = "accuracy" if record["run"]["test_accuracy"] is not None else "perplexity"
    form = "{:.2%}" if figure == "accuracy" else "{:.2f}"
    table = Table(
        box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False,
        title=f"{record['run']['name']} without its least active units",
    )  # fmt: skip
    for header in ("removed", "units", "parameters", f"validation {figure}", "silent", "MACs"):
        table.add_column(header)
    for row in record["rows"]:
        table.add_row(
            f"{row['share']:.0%}",
            ", ".join(map(str, row["units"].values())),
            f"{row['parameters']:,}",
            form.format(row[f"validation_{figure}"]),
            f"{row['activity_sparsity']:.1%}",
            f"{row['effective_macs']:,.0f}",
        )
    console = Console(highlight=False)
    console.print(table)
    if record["chosen"] is None:
        return console.print("No share costs little enough on validation data to ask the test set.")
    test = f"test_{figure}"
    console.print(
        f"Test {figure} with {record['chosen']:.0%} removed: {form.format(record['test'][test])}, "
        f"with all units {form.format(record['run'][test])}."
    )
