"""Reads the run records of a folder and lays them beside the papers' figures: a table, a Markdown file, plots."""

from pathlib import Path

from benchmarks import records
from benchmarks.checkpoints import write_atomically
from benchmarks.errors import CannotRun
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
    "effective MACs",
    "dense MACs",
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
    "surrogate sparsity": "surr.",
    "effective MACs": "MACs",
}


FOOTNOTE = "* trained or tested on part of the data"


def gather(folder) -> dict:
    """`{"runs": [...], "published": [...], "gaps": [...]}`, ready for JSON.

    `published` holds the papers' rows for the tasks of the runs. `gaps` compares runs of the same task, preset, units
    and seed: the EGRU's test accuracy, or perplexity, less that of each dense model.
    """
    found = records.find(folder)
    runs = [_row(path.relative_to(folder), record) for path, record in found]
    tasks = {run["task"] for run in runs}
    return {
        "runs": runs,
        "published": [row._asdict() for row in PUBLISHED if row.task in tasks],
        "gaps": _gaps(runs),
    }


def write(folder, out) -> list:
    """Writes `report.md` and the PNG plots of each task into `out`; returns their paths.

    Raises:
        CannotRun: matplotlib is not installed.
        CannotWrite: `out` cannot be written to.
    """
    try:
        from benchmarks import plots
    except ImportError as error:
        raise CannotRun(f'the plots need matplotlib, `pip install "keras-egru[benchmarks]"` ({error}).') from None
    out, written = Path(out), []
    by_task = {}
    for path, record in records.find(folder):
        by_task.setdefault(record["task"], {})[_label(path.relative_to(folder), record)] = record
    for task, runs in by_task.items():
        for name, plot in plots.PLOTS.items():
            png = plot(runs)
            if png is not None:
                written.append(out / f"{task}-{name}.png")
                write_atomically(written[-1], png)
    markdown = to_markdown(gather(folder), [path.name for path in written])
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
        "units": _units(row["units"]),
        "parameters": _number(row.get("parameters")),
        "test": _perplexity(perplexity) if accuracy is None else _share(accuracy),
        "test accuracy": _share(accuracy),
        "validation accuracy": _share(row.get("validation_accuracy")),
        "test perplexity": _perplexity(perplexity),
        "validation perplexity": _perplexity(row.get("validation_perplexity")),
        "activity sparsity": _share(row["activity_sparsity"]),
        "backward sparsity": _share(row.get("backward_sparsity")),
        "surrogate sparsity": _share(row["surrogate_sparsity"]),
        "effective MACs": _number(row["effective_macs"]),
        "dense MACs": _number(row.get("dense_macs")),
        "minutes": "-" if row.get("seconds") is None else f"{row['seconds'] / 60:.1f}",
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
    lines += ["", *(f"![{image.removesuffix('.png')}]({image})" for image in images)]
    return "\n".join(lines).rstrip() + "\n"


def describe_gap(gap) -> str:
    if gap["figure"] == "test_accuracy":
        difference = f"{100 * gap['difference']:+.2f} points of test accuracy"
    else:
        difference = f"{gap['difference']:+.2f} of test perplexity"
    return (
        f"{gap['task']} ({gap['preset']}, {_units(gap['units'])} units, seed {gap['seed']}): EGRU less "
        f"{gap['peer'].upper()}: {difference}"
    )


def _row(path, record):
    kept = {
        name: record.get(name) for name in records.FIELDS if name not in ("config", "epochs", "versions", "machine")
    }
    return {
        **kept,
        "units": record["config"].get("units"),
        "complete": record["dataset"]["complete"],
        "run": str(path.parent if path.name == records.FILE and path.parent != Path(".") else path),
    }


def _gaps(runs):
    def key(run):
        return run["task"], run["preset"], run["units"], run["seed"]

    return [
        {
            **dict(zip(("task", "preset", "units", "seed"), key(ours), strict=True)),
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


def _label(path, record):
    name = path.parent if path.name == records.FILE and path.parent != Path(".") else path.stem
    return f"{record['model']} ({name})"


def _share(value):
    return "-" if value is None else f"{100 * value:.1f}%"


def _perplexity(value):
    return "-" if value is None else f"{value:.1f}"


def _units(value):
    """`128`, or `256-256-128` of several layers."""
    return "-".join(_number(units) for units in value) if isinstance(value, list | tuple) else _number(value)


def _number(value):
    """Three significant digits: 866, 49.5k, 1.05M."""
    if value is None:
        return "-"
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.0f}"
