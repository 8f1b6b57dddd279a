"""Reads the run records of a folder and lays them beside the papers' figures: a table, a Markdown file, plots."""

from pathlib import Path

from benchmarks import records
from benchmarks.checkpoints import write_atomically
from benchmarks.errors import CannotRun
from benchmarks.papers import PUBLISHED

# Column of the Markdown table and its header on the terminal; the terminal leaves out columns without a header.
COLUMNS = (
    ("run", "run"),
    ("task", "task"),
    ("preset", "preset"),
    ("model", "model"),
    ("units", "units"),
    ("parameters", None),
    ("test accuracy", "test"),
    ("validation accuracy", None),
    ("activity sparsity", "silent"),
    ("backward sparsity", "backw."),
    ("surrogate sparsity", "surr."),
    ("effective MACs", "MACs"),
    ("dense MACs", None),
    ("minutes", None),
)


FOOTNOTE = "* trained or tested on part of the data"


def gather(folder) -> dict:
    """`{"runs": [...], "published": [...], "gaps": [...]}`, ready for JSON.

    `published` holds the papers' rows for the tasks of the runs. `gaps` compares runs of the same task, preset, units
    and seed: the EGRU's test accuracy less that of each dense model.
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
        for name, png in (("accuracy", plots.learning_curves(runs)), ("sparsity", plots.sparsity_curves(runs))):
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
    return {
        "task": row["task"],
        "preset": "-" if published else row["preset"] + ("" if row["complete"] else "*"),
        "model": row["model"],
        "units": _number(row["units"]),
        "parameters": _number(row.get("parameters")),
        "test accuracy": _share(row["accuracy"] if published else row["test_accuracy"]),
        "validation accuracy": _share(row.get("validation_accuracy")),
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
        "Test accuracy is that of the epoch that was best on validation. Sparsities are shares of zeros on the test",
        "set; what the papers call backward sparsity is the column 'surrogate sparsity'. MACs are per sequence step.",
        "",
        "| " + " | ".join(column for column, _ in COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(cells[column] for column, _ in COLUMNS) + " |" for cells in rows(gathered)),
        "",
        *([FOOTNOTE, ""] if any(not run["complete"] for run in gathered["runs"]) else []),
    ]
    for gap in gathered["gaps"]:
        lines.append(f"- {describe_gap(gap)}")
    lines += ["", *(f"![{image.removesuffix('.png')}]({image})" for image in images)]
    return "\n".join(lines).rstrip() + "\n"


def describe_gap(gap) -> str:
    return (
        f"{gap['task']} ({gap['preset']}, {gap['units']} units, seed {gap['seed']}): EGRU less {gap['peer'].upper()}: "
        f"{100 * gap['difference']:+.2f} points of test accuracy"
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
            "difference": ours["test_accuracy"] - peer["test_accuracy"],
        }
        for ours in runs
        if ours["model"] == "egru" and ours["test_accuracy"] is not None
        for peer in runs
        if peer["model"] != "egru" and key(peer) == key(ours) and peer["test_accuracy"] is not None
    ]


def _label(path, record):
    name = path.parent if path.name == records.FILE and path.parent != Path(".") else path.stem
    return f"{record['model']} ({name})"


def _share(value):
    return "-" if value is None else f"{100 * value:.1f}%"


def _number(value):
    """Three significant digits: 866, 49.5k, 1.05M."""
    if value is None:
        return "-"
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.0f}"
