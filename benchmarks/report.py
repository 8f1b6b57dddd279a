"""Reads the run records of a folder and lays them beside the papers' figures: tables, a Markdown file, plots."""

from pathlib import Path

from benchmarks import online_report, record_files, records, sparsity_grid
from benchmarks.checkpoints import write_atomically
from benchmarks.errors import CannotRun
from benchmarks.figures import decimal, number, share, units
from benchmarks.papers import PUBLISHED

COLUMNS = (
    "run",
    "task",
    "preset",
    "model",
    "units",
    "parameters",
    "test accuracy",
    "validation accuracy",
    "test perplexity",
    "validation perplexity",
    "activity sparsity",
    "backward sparsity",
    "surrogate sparsity",
    "pruning",
    "parameter sparsity",
    "recurrent parameter sparsity",
    "effective MACs",
    "dense MACs",
    "model gzip KB",
    "unpruned gzip KB",
    "minutes",
)
# A terminal is narrow: a header each for these cells, of which `test` is accuracy or perplexity, as the task has it.
SHOWN = {
    "run": "run",
    "task": "task",
    "preset": "preset",
    "model": "model",
    "units": "units",
    "test": "test",
    "activity sparsity": "silent",
    "backward sparsity": "backw.",
    "recurrent parameter sparsity": "pruned",
    "effective MACs": "MACs",
}


# What is equal between two runs whose models are compared.
SAME = ("task", "preset", "units", "pruning", "seed")
FOOTNOTE = "* trained or tested on part of the data"


def gather(folder) -> dict:
    """`{"runs": [...], "published": [...], "gaps": [...], "grids": [...], "studies": [...]}`, ready for JSON.

    `published` holds the papers' rows for the tasks of the runs. `gaps` compares runs of the same task, preset, units,
    pruning and seed: the EGRU's test accuracy, or perplexity, less that of each dense model. `grids` lay out runs, and
    the speed records of the folder, by activity and parameter sparsity. `studies` are tables over the seeds of runs
    with a read-out at every step, which have no part in gaps and grids.
    """
    found = record_files.read(folder).found
    runs = [_row(path.relative_to(folder), record) for path, record in found]
    tasks = {run["task"] for run in runs}
    others = [run for run, (_, record) in zip(runs, found, strict=True) if not online_report.is_online(record)]
    studies = online_report.studies([record for _, record in found])
    return {
        "runs": runs,
        "published": [row._asdict() for row in PUBLISHED if row.task in tasks],
        "gaps": _gaps(others),
        "studies": [{"title": study.title, "rows": online_report.table(study)} for study in studies],
        "grids": [grid._asdict() for grid in sparsity_grid.of_runs(others) + sparsity_grid.of_speed(folder)],
    }


def write(folder, out) -> list:
    """Writes `report.md` and the PNG plots of each task into `out`; returns their paths.

    Raises:
        CannotRun: matplotlib is not installed.
        CannotWrite: `out` cannot be written to.
    """
    try:
        from benchmarks import online_plots, plots
    except ImportError as error:
        raise CannotRun(f'the plots need matplotlib, `pip install "keras-egru[benchmarks]"` ({error}).') from None
    out, written = Path(out), []
    by_task: dict = {}
    found = record_files.read(folder).found
    for path, record in found:
        if not online_report.is_online(record):
            by_task.setdefault(record["task"], {})[_label(path.relative_to(folder), record)] = record
    for task, runs in by_task.items():
        for name, plot in plots.PLOTS.items():
            png = plot(runs)
            if png is not None:
                written.append(out / f"{task}-{name}.png")
                write_atomically(written[-1], png)
    gathered = gather(folder)
    for grid in gathered["grids"]:
        written.append(out / f"{grid['stem']}.png")
        write_atomically(written[-1], plots.heat_maps(sparsity_grid.Grid(**grid)))
    markdown = to_markdown(gathered, [path.name for path in written])
    for study in online_report.studies([record for _, record in found]):
        images = {f"{study.stem}-{name}.png": png for name, png in online_plots.plots(study).items()}
        for name, png in images.items():
            written.append(out / name)
            write_atomically(written[-1], png)
        markdown += "\n" + "\n".join(online_report.to_markdown(study, images)) + "\n"
    write_atomically(out / "report.md", markdown.encode())
    return [out / "report.md", *written]


def rows(gathered) -> list:
    """The table's cells, a dictionary from column to string a row: task by task, our runs first, then the papers'."""
    ours = [_cells(run) for run in gathered["runs"]]
    theirs = [_cells(row) for row in gathered["published"]]
    return sorted(ours + theirs, key=lambda cells: cells["task"])


def _cells(row):
    published = "source" in row
    accuracy = row["accuracy"] if published else row["test_accuracy"]
    perplexity = row["perplexity"] if published else row["test_perplexity"]
    return {
        "task": row["task"],
        "preset": "-" if published else row["preset"] + ("" if row["complete"] else "*"),
        "model": row["model"],
        "units": units(row["units"]),
        "parameters": number(row.get("parameters")),
        "test": decimal(perplexity) if accuracy is None else share(accuracy),
        "test accuracy": share(accuracy),
        "validation accuracy": share(row.get("validation_accuracy")),
        "test perplexity": decimal(perplexity),
        "validation perplexity": decimal(row.get("validation_perplexity")),
        "activity sparsity": share(row["activity_sparsity"]),
        "backward sparsity": share(row.get("backward_sparsity")),
        "surrogate sparsity": share(row["surrogate_sparsity"]),
        "pruning": row.get("pruning") or "-",
        "parameter sparsity": share(row.get("parameter_sparsity")),
        "recurrent parameter sparsity": share(row.get("recurrent_parameter_sparsity")),
        "effective MACs": number(row["effective_macs"]),
        "dense MACs": number(row.get("dense_macs")),
        "model gzip KB": _kilobytes(row, "model_gzip"),
        "unpruned gzip KB": _kilobytes(row, "unpruned_model_gzip"),
        "minutes": decimal(row.get("seconds") and row["seconds"] / 60),
        "run": row["source"] if published else row["run"],
    }


def to_markdown(gathered, images=()) -> str:
    """The report as a Markdown document."""
    lines = [
        "# Benchmark report",
        "",
        "Test figures are those of the epoch that was best on validation. Sparsities are shares of zeros on the test",
        "set; what the papers call backward sparsity is the column 'surrogate sparsity'. MACs are per sequence step.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(cells[column] for column in COLUMNS) + " |" for cells in rows(gathered)),
        "",
        *([FOOTNOTE, ""] if any(not run["complete"] for run in gathered["runs"]) else []),
    ]
    for gap in gathered["gaps"]:
        lines.append(f"- {describe_gap(gap)}")
    for grid in gathered["grids"]:
        lines += ["", *sparsity_grid.to_markdown(sparsity_grid.Grid(**grid))]
    lines += ["", *(f"![{image.removesuffix('.png')}]({image})" for image in images)]
    return "\n".join(lines).rstrip() + "\n"


def describe_gap(gap) -> str:
    if gap["figure"] == "test_accuracy":
        difference = f"{100 * gap['difference']:+.2f} points of test accuracy"
    else:
        difference = f"{gap['difference']:+.2f} of test perplexity"
    pruned = f", pruned {gap['pruning']}" if gap["pruning"] else ""
    return (
        f"{gap['task']} ({gap['preset']}, {units(gap['units'])} units{pruned}, seed {gap['seed']}): EGRU less "
        f"{gap['peer'].upper()}: {difference}"
    )


def _row(path, record):
    kept = {
        name: record.get(name) for name in records.FIELDS if name not in ("config", "epochs", "versions", "machine")
    }
    return {
        **kept,
        "units": record["config"].get("units"),
        "pruning": _pruning(record["config"]),
        "complete": record["dataset"]["complete"],
        "run": str(path.parent if path.name == records.FILE and path.parent != Path(".") else path),
    }


def _gaps(runs):
    def key(run):
        return tuple(run[name] for name in SAME)

    return [
        {
            **dict(zip(SAME, key(ours), strict=True)),
            "peer": peer["model"],
            "figure": figure,
            "difference": ours[figure] - peer[figure],
        }
        for ours in runs
        if ours["model"] == "egru"
        for peer in runs
        if peer["model"] != "egru" and key(peer) == key(ours)
        for figure in ("test_accuracy", "test_perplexity")
        if ours[figure] is not None and peer[figure] is not None
    ]


def _pruning(config):
    """Such as `80% 1x16 recurrent`; None of an unpruned run."""
    if config.get("prune") is None:
        return None
    return f"{100 * config['prune']:g}% {'x'.join(map(str, config['block']))} {config['prune_weights']}"


def _label(path, record):
    name = path.parent if path.name == records.FILE and path.parent != Path(".") else path.stem
    return f"{record['model']} ({name})"


def _kilobytes(row, name):
    sizes = row.get("model_bytes")
    return number(sizes and sizes[name] / 1e3)
