"""What a report shows and in which order: tasks with their tables and figures, for the page and for Markdown alike."""

from typing import NamedTuple

from benchmarks import comparison_plots, learning_speed, online_plots, online_report, plots, sparsity_grid
from benchmarks.figures import number, share, with_deviation
from benchmarks.papers import PUBLISHED
from benchmarks.report_rows import describe_data, group_row, published_row, used_columns
from benchmarks.tasks import TASKS
from benchmarks.tradeoff import tradeoffs

LEARNING_CURVES = (
    "Validation {measure} after each epoch, against epochs and against updates of the weights. Lines are means over "
    "seeds, bands one standard deviation."
)
FRONTS = (
    "Test {measure} against effective multiply-accumulates of a step and against seconds of training, means over "
    "seeds; filled marks lie on the Pareto front. Seconds are those of the machines that the runs name."
)
SPARSITIES = "Shares of zeros on a sample of the validation split, by layer where the records tell them."
RASTERS = "Events of the first validation sequence, with the weights of the best epoch: at most 200 steps, 128 units."
TRADEOFF = (
    "What backward sparsity cost: groups that differ in surrogate or regulariser alone. Means over seeds, bars of one "
    "standard deviation."
)
LEARNING_SPEED = (
    f"Updates and epochs until the validation accuracy was {learning_speed.ACCURACY:.0%}, over the runs that got "
    "there. It is measured after each epoch, so they are whole epochs."
)


class Figure(NamedTuple):
    """A drawing (SVG), its caption, and a name that no other figure of the report has."""

    name: str
    caption: str
    svg: str


class Table(NamedTuple):
    """Cells are strings."""

    title: str
    note: str
    columns: list
    rows: list


class SettingView(NamedTuple):
    """Groups that may be compared, in tables and figures."""

    title: str
    preset: str
    complete: bool
    tables: list
    figures: list


class TaskView(NamedTuple):
    """All results of a task: `rows` are ours, then the papers'."""

    name: str
    summary: str
    columns: list
    rows: list
    settings: list


class Further(NamedTuple):
    """A section of its own: a grid, or a study of runs with a read-out at every step."""

    title: str
    note: str
    table: Table
    figures: list


def tasks(settings) -> list[TaskView]:
    """A view a task, in the order of the settings."""
    found = []
    for name in dict.fromkeys(setting.task for setting in settings):
        of_task = [setting for setting in settings if setting.task == name]
        rows = [group_row(setting, group) for setting in of_task for group in setting.groups]
        rows += [published_row(row) for row in PUBLISHED if row.task == name]
        summary = TASKS[name].summary if name in TASKS else ""
        views = [_setting(setting, _stem(setting, of_task)) for setting in of_task]
        views = [view for view in views if view.tables or view.figures]
        found.append(TaskView(name, summary, used_columns(rows), rows, views))
    return found


def further(grids, studies) -> list[Further]:
    """The grids over two sparsities and the studies of online learning."""
    found = []
    for grid in grids:
        table = Table(grid.title, " / ".join(grid.figures), *sparsity_grid.table(grid))
        figure = Figure(grid.stem, f"{grid.title}: {' / '.join(grid.figures)}.", plots.heat_maps(grid))
        found.append(Further(grid.title, f"Cells: {' / '.join(grid.figures)}.", table, [figure]))
    for study in studies:
        drawn = online_plots.plots(study).items()
        figures = [Figure(f"{study.stem}-{name}", f"{study.title}: {name}.", svg) for name, svg in drawn]
        table = Table(study.title, "", list(online_report.COLUMNS), online_report.cells(study))
        found.append(Further(study.title, online_report.note(study), table, figures))
    return found


def _setting(setting, stem):
    setting = online_report.others(setting)
    title, complete = describe_data(setting.dataset), setting.dataset["complete"]
    if not setting.groups:
        return SettingView(title, setting.preset, complete, [], [])
    curves = tradeoffs(setting)
    drawings = {
        "learning": (LEARNING_CURVES, plots.learning_curves(setting)),
        "fronts": (FRONTS, comparison_plots.fronts(setting)),
        "tradeoff": (TRADEOFF, comparison_plots.tradeoff_curves(curves)),
        "sparsity": (SPARSITIES, plots.sparsity_curves(setting)),
        "events": (RASTERS, plots.rasters(setting)),
    }
    figures = [
        Figure(f"{stem}-{name}", caption.format(measure=setting.measure), svg)
        for name, (caption, svg) in drawings.items()
        if svg is not None
    ]
    return SettingView(title, setting.preset, complete, _tables(setting, curves), figures)


def _stem(setting, of_task):
    """`smnist-cpu`, and `smnist-cpu-2` of the second data set under that preset."""
    same = [other for other in of_task if other.preset == setting.preset]
    number = same.index(setting)
    return f"{setting.task}-{setting.preset}" + (f"-{number + 1}" if number else "")


def _tables(setting, curves):
    found = []
    speeds = learning_speed.table(setting)
    if any(row["updates"] for row in speeds):
        columns = ["run", "reached", "updates", "epochs", "updates over GRU's"]
        rows = [
            [
                row["label"],
                f"{row['reached']} of {row['runs']}",
                with_deviation(row["updates"], number),
                with_deviation(row["epochs"], "{:.1f}".format),
                "-" if row["over_gru"] is None else f"{row['over_gru']:.2f}x",
            ]
            for row in speeds
        ]
        found.append(Table("Learning speed", LEARNING_SPEED, columns, rows))
    for curve in curves:
        write = share if curve.measure == "accuracy" else "{:.1f}".format
        rows = [
            [label or "defaults", share(backward), with_deviation(test, write)]
            for label, backward, test in zip(curve.labels, curve.backward, curve.test, strict=True)
        ]
        columns = [curve.model.upper(), "backward sparsity", f"test {curve.measure}"]
        found.append(Table("Backward sparsity", "", columns, rows))
    return found
