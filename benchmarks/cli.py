"""The command line of the benchmark suite; every command says what it does with `--help`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.config import MODELS, PRESETS, resolve
from benchmarks.device_cases import DEVICE_CASES
from benchmarks.errors import EXIT_CODES
from benchmarks.export_command import export
from benchmarks.lif_cases import LIF_CASES
from benchmarks.rtrl_cases import RTRL_CASES
from benchmarks.speed_cases import CASES
from benchmarks.speed_command import speed
from benchmarks.sweep_command import EPILOG as SWEEP_EPILOG
from benchmarks.sweep_command import show_shipped, sweep
from benchmarks.terminal import AsJson, command, stops_clearly
from benchmarks.threads import use_threads
from benchmarks.units_command import remove_units

app = typer.Typer(
    help="Trains event-based networks and their peers on the papers' tasks, measures sparsity and speed, and reports.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Preset = StrEnum("Preset", PRESETS)
Model = StrEnum("Model", MODELS)
_SPEED_CASES = {
    "EGRU": CASES, "EventLIF": LIF_CASES, "online learning": RTRL_CASES, "on a device": DEVICE_CASES,
}  # fmt: skip
for further in (export, remove_units, speed):
    app.command(epilog=EXIT_CODES)(further)
app.command(epilog=f"{EXIT_CODES}\n\n{SWEEP_EPILOG}")(sweep)


@app.command("list", epilog=EXIT_CODES)
def list_(
    cases: Annotated[bool, typer.Option("--speed", help="Show the cases of `speed` alone.")] = False,
    sweeps: Annotated[bool, typer.Option("--sweeps", help="Show the files of `sweep` alone.")] = False,
    as_json: AsJson = False,
):
    """Shows the tasks, presets and models, the cases of `speed` and the files of `sweep`; as JSON one of the three."""
    if cases:
        return _list_cases(as_json)
    if sweeps:
        return show_shipped(as_json)
    from benchmarks.tasks import TASKS, models_of

    rows = [
        {"task": task.name, "summary": task.summary, "presets": list(PRESETS), "models": list(models_of(task))}
        for task in TASKS.values()
    ]
    if as_json:
        return print(json.dumps(rows, indent=2))
    table = Table("task", "what", "presets", "models")
    for row in rows:
        table.add_row(row["task"], row["summary"], ", ".join(row["presets"]), ", ".join(row["models"]))
    Console().print(table)
    _list_cases(as_json=False)
    show_shipped(as_json=False)


def _list_cases(as_json):
    rows = [
        {"case": case.name, "layer": layer, "what": case.describe()}
        for layer, cases in _SPEED_CASES.items()
        for case in cases.values()
    ]
    if as_json:
        return print(json.dumps(rows, indent=2))
    table = Table("case of speed", "layer", "what")
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)


@app.command(epilog=EXIT_CODES)
def run(
    task: Annotated[str, typer.Argument(help="spiral, smnist, ptb, mnist_latency and others; `list` shows them.")],
    preset: Annotated[
        Preset, typer.Option(help="smoke: seconds; cpu: minutes on two cores; paper: as published.")
    ] = "cpu",
    model: Annotated[
        Model, typer.Option(help="The recurrent layer; lif, of spiking neurons, for spike trains.")
    ] = "egru",
    data_dir: Annotated[
        str | None,
        typer.Option(
            help="Folder of tensorflow_datasets, tonic, ptb.*.txt or wiki.*.tokens, or one that holds it. "
            "Default: KERAS_EGRU_DATA."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of this run. Default runs/NAME, as runs/ptb-cpu-egru-0.")
    ] = None,
    prune: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Prune this share of the weights by magnitude, as 0.8.")
    ] = None,
    block: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size of the blocks that are pruned together. Default 1x1.")
    ] = None,
    prune_weights: Annotated[
        str | None, typer.Option(metavar="recurrent|all", help="What is pruned. Default: recurrent kernels.")
    ] = None,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Overrides the preset; repeatable.")
    ] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0, help="Initial weights, order of the data, dropout.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder to the same figures.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of TensorFlow. Default: its own, one a core.")
    ] = None,
    export: Annotated[
        bool, typer.Option("--export", help="Write the trained network as model.tflite, which runs step by step.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record instead of a summary.")] = False,
):
    """Trains a model on a task and writes checkpoint, model and record into the run's folder."""
    with stops_clearly():
        if threads is not None:
            use_threads(threads)
        from benchmarks.tasks import config_class

        options = {"prune": prune, "block": block, "prune_weights": prune_weights}
        options = [f"{key}={value}" for key, value in options.items() if value is not None]
        config = resolve(config_class(task, str(model)), task, str(preset), str(model), [*set_, *options])
        record = _train(task, str(preset), str(model), config, seed, data_dir, out, resume, export)
        if as_json:
            print(json.dumps(record, indent=2))
        else:
            _summarise(record)


def _train(task, preset, model, config, seed, data_dir, out, resume, export):
    from benchmarks.progress import ProgressBar
    from benchmarks.training import Run, execute

    progress = ProgressBar()
    run = Run(task, preset, model, config, seed, data_dir, out, command(), resume, progress, export)
    run = run._replace(out=out or Path("runs") / run.name)
    try:
        return execute(run)
    except KeyboardInterrupt:
        progress.console.print(f"Interrupted; --resume with --out {run.out} continues after the last whole epoch.")
        raise typer.Exit(130) from None
    finally:
        progress.close()


def _summarise(record):
    table = Table(
        title=f"{record['task']} ({record['preset']}), {record['model']}, seed {record['seed']}", show_header=False
    )
    for name in (
        "test_accuracy",
        "validation_accuracy",
        "activity_sparsity",
        "backward_sparsity",
        "surrogate_sparsity",
        "parameter_sparsity",
    ):
        if record[name] is not None:
            table.add_row(name.replace("_", " "), f"{record[name]:.2%}")
    for name in ("test_perplexity", "validation_perplexity"):
        if record[name] is not None:
            table.add_row(name.replace("_", " "), f"{record[name]:.2f}")
    for name in ("effective_macs", "dense_macs", "parameters", "seconds"):
        if record[name] is not None:
            table.add_row(name.replace("_", " "), f"{record[name]:,.0f}")
    Console().print(table)


@app.command(epilog=EXIT_CODES)
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with records, searched with its subfolders.")],
    out: Annotated[Path | None, typer.Option(help="Where report.html, report.md and figures go. Default DIR.")] = None,
    performance: Annotated[
        Path | None, typer.Option(metavar="PAGE.md", help="Write the page of the speed records instead.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="PAGE.md", help="Write the page of the training records, tables alone.")
    ] = None,
    as_json: AsJson = False,
):
    """Shows all training records of a folder beside the papers' figures and writes report.html and report.md; or writes
    the page of its speed records, or of its training records."""
    with stops_clearly():
        if performance is not None:
            from benchmarks import performance_page

            return _show_written(performance_page.write(folder, performance), as_json)
        from benchmarks import report as reporting

        found = reporting.read(folder)
        for sentence in found.refused:
            typer.echo(f"Left out: {sentence}", err=True)
        if results is not None:
            from benchmarks import results_page

            return _show_written(results_page.write(found, results), as_json)
        written = reporting.write(found, out or folder)
        if as_json:
            document = {**reporting.gather(found), "written": [str(path) for path in written]}
            return print(json.dumps(document, indent=2))
        table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
        for column, header in reporting.SHOWN.items():
            name = column == "source"
            table.add_column(header, no_wrap=not name, min_width=8 if name else None, overflow="fold")
        for cells in reporting.rows(found):
            table.add_row(*(cells[column] for column in reporting.SHOWN))
        console = Console(highlight=False)
        console.print(table)
        for sentence in reporting.footnotes(found):
            console.print(sentence)
        _show_written(written, as_json=False)


def _show_written(paths, as_json):
    names = [str(path) for path in paths]
    if as_json:
        return print(json.dumps({"written": names}, indent=2))
    Console(highlight=False).print("Written: " + ", ".join(names), soft_wrap=True)
