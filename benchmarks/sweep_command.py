"""The command `sweep`, and the list of the sweeps that come with the suite."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import sweep_file
from benchmarks.terminal import AsJson, command, stops_clearly

# Click joins the lines of a paragraph unless a line with \b alone begins it.
EPILOG = f"A file, with all of its keys:\n\n\b\n{sweep_file.EXAMPLE}"


def sweep(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A TOML file, or the name of a sweep that `list --sweeps` shows.")
    ],
    data_dir: Annotated[
        str | None, typer.Option(help="Folder of the data, as for `run`. Default: KERAS_EGRU_DATA.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sweep, of a run each in it. Default runs/sweep-NAME.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train at the same time.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each process. Default: the cores, shared out.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Data base of the study, as sqlite:///s.db. Default: a file in the folder."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the sweep in the folder: no finished run is run again.")
    ] = False,
    as_json: AsJson = False,
):
    """Trains the runs of a file, each as `run` would, and orders them by their figure on validation data. The same
    command on another machine that shares the folder takes part."""
    with stops_clearly():
        from benchmarks import sweep as sweeping

        request = sweeping.Request(file, out, data_dir, storage, workers, threads, resume, command())
        try:
            document = sweeping.execute(request)
        except KeyboardInterrupt:
            console = Console(stderr=True, highlight=False)
            console.print("Interrupted; the same command with --resume continues.", soft_wrap=True)
            raise typer.Exit(130) from None
        return print(json.dumps(document, indent=2)) if as_json else _show(document)


def _show(document):
    runs = sorted(document["runs"], key=lambda run: _rank(run, document["better"]))
    varied = [name for name in _settings(runs) if len({_settings([run]).get(name, "") for run in runs}) > 1]
    table = Table(
        box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False,
        title=f"{document['name']}, by {document['objective'].replace('_', ' ')}",
    )  # fmt: skip
    for header in ("run", *varied, "value", "silent", "backward", "MACs"):
        table.add_column(header, overflow="fold")
    for run in runs:
        settings = _settings([run])
        table.add_row(f"{run['index']:04d}", *(settings.get(name, "") for name in varied), *_figures(run, document))
    console = Console(highlight=False)
    console.print(table)
    for run in runs:
        if run["error"] is not None:
            console.print(f"{run['index']:04d} failed: {run['error']}", markup=False, soft_wrap=True)


def _rank(run, better):
    if run["value"] is None or run["state"] != "done":
        return (1, run["index"])
    return (0, -run["value"] if better == "maximize" else run["value"])


def _settings(runs):
    """`{name: text}` of what can differ from run to run; of the last one that has it."""
    found = {}
    for run in runs:
        if "model" in run:
            found |= {"model": run["model"], "variant": run["variant"] or "", **run["values"], "seed": str(run["seed"])}
    return found


def _figures(run, document):
    if run["state"] != "done":
        return run["state"], "", "", ""
    value = f"{run['value']:.2%}" if document["objective"] == "validation_accuracy" else f"{run['value']:.2f}"
    shares = (
        "-" if run.get(name) is None else f"{run[name]:.1%}" for name in ("activity_sparsity", "backward_sparsity")
    )
    macs = run.get("effective_macs")
    return value, *shares, "-" if macs is None else f"{macs:,.0f}"


def show_shipped(as_json):
    """The sweeps that come with the suite."""
    rows = []
    for name in sweep_file.shipped():
        found = sweep_file.load(name).sweep
        rows.append(
            {"sweep": name, "task": found.task, "preset": found.preset, "runs": found.size(), "what": found.summary}
        )
    if as_json:
        return print(json.dumps(rows, indent=2))
    table = Table("sweep", "task", "preset", "runs", "what")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
