"""Reads the run records of a folder and lays them beside the papers' figures: JSON, a page, Markdown."""

from pathlib import Path
from typing import NamedTuple

from benchmarks import learning_speed, online_report, record_files, records, seeds, sparsity_grid
from benchmarks.checkpoints import write_atomically
from benchmarks.errors import CannotRun
from benchmarks.figures import number, share
from benchmarks.gaps import describe, gaps
from benchmarks.papers import PUBLISHED
from benchmarks.report_rows import group_figures, group_row, published_row
from benchmarks.tasks import TASKS
from benchmarks.tradeoff import tradeoffs

# A terminal is narrow: a header each for these cells, of which `test` is accuracy or perplexity, as the task has it.
SHOWN = {
    "source": "run",
    "task": "task",
    "preset": "preset",
    "model": "model",
    "units": "units",
    "seeds": "seeds",
    "test": "test",
    "activity sparsity": "silent",
    "backward sparsity": "backw.",
    "recurrent parameter sparsity": "pruned",
    "effective MACs": "MACs",
}
FOOTNOTE = "* trained or tested on part of the data"


class Report(NamedTuple):
    """The records of a folder.

    runs: `[(name, record)]`, the name being the run's folder as seen from `folder`.
    settings: The same as groups that differ in seeds alone.
    refused: Sentences about files that could not be read.
    """

    folder: Path
    runs: list
    settings: list
    refused: list

    @property
    def studies(self) -> list:
        return online_report.studies([record for _, record in self.runs])

    @property
    def gaps(self) -> list:
        """Of runs without a read-out at every step: the others have studies."""
        return [gap for setting in self.settings for gap in gaps(online_report.others(setting))]

    @property
    def grids(self) -> list:
        rows = [_row(name, record) for name, record in self.runs if not online_report.is_online(record)]
        return sparsity_grid.of_runs(rows) + sparsity_grid.of_speed(self.folder)


def read(folder) -> Report:
    """The report of a folder.

    Raises:
        ConfigError: the folder does not exist, or holds no record that can be read.
    """
    folder = Path(folder)
    files = record_files.read(folder)
    runs = [(_name(path.relative_to(folder)), record) for path, record in files.found]
    return Report(folder, runs, seeds.settings(runs), files.refused)


def gather(report) -> dict:
    """What the report knows, ready for JSON.

    `runs` are the records without their epochs; `groups` are runs that differ in seeds alone, with `[mean, standard
    deviation]`. `published` holds the papers' rows for their tasks. `gaps` compares groups of the same task, preset,
    data, units and pruning: the EGRU's test accuracy, or perplexity, less that of each dense model. `learning_speed`
    and `tradeoffs` are tables of groups. `grids` lay out runs, and the speed records of the folder, by activity and
    parameter sparsity. `studies` are tables over the seeds of runs with a read-out at every step, which have no part in
    gaps and grids. `refused` names the files that could not be read.
    """
    tasks = {setting.task for setting in report.settings}
    speeds = [learning_speed.table(setting) for setting in report.settings]
    curves = [[curve._asdict() for curve in tradeoffs(setting)] for setting in report.settings]
    places = [{"task": s.task, "preset": s.preset, "dataset": s.dataset} for s in report.settings]
    return {
        "runs": [_row(name, record) for name, record in report.runs],
        "groups": [group_figures(setting, group) for setting in report.settings for group in setting.groups],
        "published": [row.as_json() for row in PUBLISHED if row.task in tasks],
        "gaps": report.gaps,
        "learning_speed": [
            {**place, "accuracy": learning_speed.ACCURACY, "rows": rows}
            for place, rows in zip(places, speeds, strict=True)
            if rows
        ],
        "tradeoffs": [{**place, "curves": found} for place, found in zip(places, curves, strict=True) if found],
        "studies": [{"title": study.title, "rows": online_report.table(study)} for study in report.studies],
        "grids": [grid._asdict() for grid in report.grids],
        "refused": report.refused,
    }


def write(report, out) -> list:
    """Writes `report.html`, `report.md` and the figures of the latter into `out`; returns their paths.

    Raises:
        CannotRun: matplotlib or jinja2 is not installed.
        CannotWrite: `out` cannot be written to.
    """
    try:
        from benchmarks import report_html, report_markdown, report_view, svg
    except ImportError as error:
        raise CannotRun(
            f'the report needs matplotlib and jinja2, `pip install "keras-egru[benchmarks]"` ({error}).'
        ) from None
    tasks, further = report_view.tasks(report.settings), report_view.further(report.grids, report.studies)
    sentences = [describe(gap) for gap in report.gaps]
    figures = [figure for task in tasks for setting in task.settings for figure in setting.figures]
    figures += [figure for section in further for figure in section.figures]
    files = {Path(out) / f"{figure.name}.svg": svg.to_file(figure.svg) for figure in figures}
    files[Path(out) / "report.html"] = report_html.page(report, tasks, further, sentences).encode()
    files[Path(out) / "report.md"] = report_markdown.document(report, tasks, further, sentences).encode()
    for path, content in files.items():
        write_atomically(path, content)
    return list(reversed(files))


def rows(report) -> list:
    """The cells of a terminal's table, a dictionary a row: task by task, our groups first, then the papers'."""
    found = []
    for setting in report.settings:
        for group in setting.groups:
            part = "" if setting.dataset["complete"] else "*"
            means = {
                name: share(group.mean(name.replace(" ", "_"))) for name in ("activity sparsity", "backward sparsity")
            }
            means |= {"effective MACs": number(group.mean("effective_macs")), "seeds": str(len(group.seeds))}
            found.append({**group_row(setting, group).cells, **means, "preset": setting.preset + part})
    tasks = {setting.task for setting in report.settings}
    theirs = [published_row(row).cells | {"preset": "-", "seeds": "-"} for row in PUBLISHED if row.task in tasks]
    return sorted(found + theirs, key=lambda cells: seeds.place(list(TASKS), cells["task"]))


def footnotes(report) -> list:
    """Sentences below the terminal's table."""
    partial = any(not setting.dataset["complete"] for setting in report.settings)
    return [*([FOOTNOTE] if partial else []), *map(describe, report.gaps)]


def _row(name, record):
    without = ("config", "epochs", "versions", "machine", "events")
    return {
        **{field: record[field] for field in records.FIELDS if field not in without},
        "units": record["config"].get("units"),
        "pruning": seeds.pruning(record["config"]),
        "complete": record["dataset"]["complete"],
        "run": name,
    }


def _name(path):
    return str(path.parent if path.name == records.FILE and path.parent != Path(".") else path)
