"""The command line of the benchmark suite; every command says what it does with `--help`."""

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.config import MODELS, PRESETS, resolve
from benchmarks.errors import EXIT_CODES, BenchmarkError, ConfigError
from benchmarks.lif_cases import LIF_CASES
from benchmarks.rtrl_cases import RTRL_CASES
from benchmarks.speed_cases import CASES, custom_case, points_of
from benchmarks.speed_families import LIF_ALL, RTRL_ALL, members, online, refuse, spiking, streaming, tell

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
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class stops_clearly:
    """Turns a `BenchmarkError` into its sentence on standard error and its exit code."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, BenchmarkError):
            Console(stderr=True, highlight=False).print(f"Error: {error}", markup=False, soft_wrap=True)
            raise typer.Exit(error.exit_code) from None


@app.command("list", epilog=EXIT_CODES)
def list_(
    cases: Annotated[bool, typer.Option("--speed", help="Show the cases of `speed` alone.")] = False,
    as_json: AsJson = False,
):
    """Shows the tasks, presets and models, and the cases of `speed`; as JSON one of the two."""
    if cases:
        return _list_cases(as_json)
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


def _list_cases(as_json):
    rows = [
        {"case": case.name, "layer": layer, "what": case.describe()}
        for layer, cases in (("EGRU", CASES), ("EventLIF", LIF_CASES), ("online learning", RTRL_CASES))
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
            help="Folder of tensorflow_datasets, tonic or ptb.*.txt, or one that holds it. Default: KERAS_EGRU_DATA."
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the record instead of a summary.")] = False,
):
    """Trains a model on a task and writes checkpoint, model and record into the run's folder."""
    with stops_clearly():
        from benchmarks.tasks import config_class

        options = {"prune": prune, "block": block, "prune_weights": prune_weights}
        options = [f"{key}={value}" for key, value in options.items() if value is not None]
        config = resolve(config_class(task, str(model)), task, str(preset), str(model), [*set_, *options])
        record = _train(task, str(preset), str(model), config, seed, data_dir, out, resume)
        if as_json:
            print(json.dumps(record, indent=2))
        else:
            _summarise(record)


def _train(task, preset, model, config, seed, data_dir, out, resume):
    from benchmarks.progress import ProgressBar
    from benchmarks.training import Run, execute

    progress = ProgressBar()
    run = Run(task, preset, model, config, seed, data_dir, out, _command(), resume, progress)
    run = run._replace(out=out or Path("runs") / run.name)
    try:
        return execute(run)
    except KeyboardInterrupt:
        progress.console.print(f"Interrupted; --resume with --out {run.out} continues after the last whole epoch.")
        raise typer.Exit(130) from None
    finally:
        progress.close()


def _command():
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])


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
    out: Annotated[Path | None, typer.Option(help="Where report.md and the plots go. Default DIR.")] = None,
    performance: Annotated[
        Path | None, typer.Option(metavar="PAGE.md", help="Write the page of the speed records instead.")
    ] = None,
    as_json: AsJson = False,
):
    """Shows all training records of a folder beside the papers' figures and writes report.md and PNG plots; or writes
    the page of its speed records."""
    with stops_clearly():
        if performance is not None:
            from benchmarks import performance_page

            return _show_written(performance_page.write(folder, performance), as_json)
        from benchmarks import report as reporting

        gathered = reporting.gather(folder)
        written = reporting.write(folder, out or folder)
        if as_json:
            return print(json.dumps({**gathered, "written": [str(path) for path in written]}, indent=2))
        table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
        for column, header in reporting.SHOWN.items():
            name = column == "run"
            table.add_column(header, no_wrap=not name, min_width=8 if name else None, overflow="fold")
        for cells in reporting.rows(gathered):
            table.add_row(*(cells[column] for column in reporting.SHOWN))
        console = Console(highlight=False)
        console.print(table)
        if any(not run["complete"] for run in gathered["runs"]):
            console.print(reporting.FOOTNOTE)
        for gap in gathered["gaps"]:
            console.print(reporting.describe_gap(gap))
        _show_written(written, as_json=False)


def _show_written(paths, as_json):
    names = [str(path) for path in paths]
    if as_json:
        return print(json.dumps({"written": names}, indent=2))
    Console(highlight=False).print("Written: " + ", ".join(names), soft_wrap=True)


Mode = StrEnum("Mode", ("inference", "training", "both"))
SpeedCase = StrEnum("SpeedCase", (*CASES, "all", *LIF_CASES, LIF_ALL, *RTRL_CASES, RTRL_ALL))


@app.command(epilog=EXIT_CODES)
def speed(
    case: Annotated[
        list[SpeedCase],
        typer.Option(
            help="A named case, repeatable; `list --speed` tells what they are. Those with lif- are of spiking layers, "
            "those with rtrl- of online learning. Without one, the case that the sizes make."
        ),
    ] = [],  # noqa: B006
    units: Annotated[int | None, typer.Option(min=1, help="Default 1024; of online learning 128.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Default 64.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Default 50.")] = None,
    features: Annotated[int | None, typer.Option(min=1, help="Default 64.")] = None,
    activity_sparsity: Annotated[
        str | None,
        typer.Option(metavar="SHARES", help="Shares in [0, 1), separated by spaces or commas. Default: the case's."),
    ] = None,
    backward_sparsity: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Through the surrogate's width. Default: what the case pairs it with; of online learning 0.5.",
        ),
    ] = None,
    parameter_sparsity: Annotated[
        str | None,
        typer.Option(
            metavar="SHARES",
            help="Shares of the recurrent kernel to prune, beside itself with none pruned; of online learning those of "
            "both kernels, default 0.8.",
        ),
    ] = None,
    block: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size of the blocks that are pruned together. Default 1x16.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = 7,
    mode: Annotated[Mode, typer.Option(help="Forward, or forward and backward.")] = "both",
    reference: Annotated[bool, typer.Option("--reference", help="Time the reference cell too (slow).")] = False,
    memory: Annotated[
        bool,
        typer.Option("--memory", help="Measure memory too (some minutes); of EGRU, at one sparsity a case."),
    ] = False,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Ours alone, over events, units, steps, batch and threads.")
    ] = False,
    activity: Annotated[
        str | None,
        typer.Option(metavar="SHARES", help="Of spiking layers: shares of spikes. Default 0.01."),
    ] = None,
    lif_growth: Annotated[
        bool, typer.Option("--lif-growth", help="Of Eventprop: memory over spikes, and time over steps.")
    ] = False,
    rtrl_scaling: Annotated[
        bool, typer.Option("--rtrl-scaling", help="Of online learning: time and memory over units.")
    ] = False,
    rtrl_stream: Annotated[
        bool, typer.Option("--rtrl-stream", help="Of online learning: steps a second of a learner of 64 --units.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of every library. Default: their own.")] = None,
    out: Annotated[Path | None, typer.Option(help="File for the JSON record; continued where it was begun.")] = None,
    as_json: AsJson = False,
):
    """Times EGRU at imposed sparsities beside dense GRUs of the same size, in one process, interleaved; or spiking
    layers beside dense autodiff of the same network; or online learning beside dense online learning."""
    with stops_clearly():
        names = list(dict.fromkeys(map(str, case)))
        others = {
            "batch": batch, "steps": steps, "features": features, "activity-sparsity": activity_sparsity,
            "block": block, "mode": mode != "both", "reference": reference, "scaling": scaling,
        }  # fmt: skip
        sparsities = {
            "units": units, "backward-sparsity": backward_sparsity, "parameter-sparsity": parameter_sparsity,
        }  # fmt: skip
        if rtrl_stream:
            imposed = {name: value for name, value in sparsities.items() if name != "units"}
            studies = {"case": bool(names), "lif-growth": lif_growth, "rtrl-scaling": rtrl_scaling}
            refuse({**studies, **imposed, **others, "activity": activity, "memory": memory}, "--rtrl-stream")
            return streaming(units, repeats, threads, _command(), out, as_json)
        lif = members(names, LIF_CASES, LIF_ALL)
        if lif or lif_growth:
            strangers = {"case": len(lif) < len(names) or (lif_growth and len(names) > 0), **sparsities, **others}
            growth = {"activity": activity, "memory": memory} if lif_growth else {}
            study = "--lif-growth" if lif_growth else lif[0]
            refuse({**strangers, **growth, "rtrl-scaling": rtrl_scaling}, study)
            activities = _shares("--activity", activity)
            return spiking(lif, activities, repeats, memory, threads, _command(), out, as_json)
        if activity is not None:
            raise ConfigError("--activity is of spiking layers; name one of their cases, as lif-fashion.")
        rtrl = members(names, RTRL_CASES, RTRL_ALL)
        if rtrl or rtrl_scaling:
            strangers = {"case": len(rtrl) < len(names) or (rtrl_scaling and len(names) > 0), **others}
            growth = {**sparsities, "memory": memory} if rtrl_scaling else {}
            refuse({**strangers, **growth}, "--rtrl-scaling" if rtrl_scaling else rtrl[0])
            parameters = _shares("--parameter-sparsity", parameter_sparsity)
            return online(
                rtrl, units, parameters, backward_sparsity, repeats, memory, threads, _command(), out, as_json
            )
        sizes = {"units": units, "batch": batch, "steps": steps, "features": features}
        activities = _shares("--activity-sparsity", activity_sparsity)
        parameters = _shares("--parameter-sparsity", parameter_sparsity)
        if block is not None and parameters is None:
            raise ConfigError("--block needs --parameter-sparsity.")
        points = {
            "activities": activities,
            "backward": backward_sparsity,
            "parameters": parameters or (0.0,),
            "block": _block(block or "1x16"),
        }
        cases = tuple(chosen._replace(points=points_of(chosen, **points)) for chosen in _chosen_cases(names, sizes))
        from benchmarks import scaling as growth
        from benchmarks import speed as comparison
        from benchmarks import speed_table

        if scaling:
            record = growth.compare(repeats, _command(), threads, out, tell)
            return print(json.dumps(record, indent=2)) if as_json else speed_table.show_scaling(record)
        plan = comparison.Plan(
            cases, comparison.MODES if mode == "both" else (str(mode),), repeats, reference, memory, threads
        )
        record = comparison.compare(plan, _command(), out, tell)
        return print(json.dumps(record, indent=2)) if as_json else speed_table.show(record)


def _chosen_cases(names, sizes):
    given = {name: size for name, size in sizes.items() if size is not None}
    if not names:
        return [custom_case(**given)]
    if given:
        raise ConfigError(f"--{next(iter(given))} makes a case of its own and cannot change a named one.")
    return list(CASES.values()) if "all" in names else [CASES[name] for name in dict.fromkeys(names)]


def _block(text):
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ConfigError(f"--block wants two whole numbers, as 1x16, received {text!r}.")
    return int(height), int(width)


def _shares(option, text):
    if text is None:
        return None
    try:
        shares = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ConfigError(f"{option} wants numbers in [0, 1), received {text!r}.") from None
    if not shares or not all(0.0 <= share < 1.0 for share in shares):
        raise ConfigError(f"{option} wants numbers in [0, 1), received {text!r}.")
    return list(dict.fromkeys(shares))
