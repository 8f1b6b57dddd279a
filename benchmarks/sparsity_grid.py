"""Figures over activity and parameter sparsity, the two that multiply: what runs reached, what a layer took."""

from statistics import fmean
from typing import NamedTuple

from benchmarks import speed_records
from benchmarks.figures import decimal, number, share, units
from benchmarks.speed import PRUNED

BAND = 5  # percent of activity sparsity that make a row
WRITTEN = {"test accuracy": share, "effective MACs": number}  # other figures are decimals
MORE_IS_BETTER = ("test accuracy",)


class Grid(NamedTuple):
    """One table a figure, all of the same rows and columns.

    title: what was run.
    stem: of the file name of its heat map.
    rows: names, such as "EGRU, 80-85 % silent".
    columns: shares of recurrent weights that are zero, ascending.
    figures: `{name: [[value or None of each column] of each row]}`; the mean where several runs fall into a cell.
    """

    title: str
    stem: str
    rows: list[str]
    columns: list[float]
    figures: dict[str, list[list[float | None]]]


def of_runs(runs) -> list[Grid]:
    """A grid for all runs of a task with one preset and size, wherever they differ in parameter sparsity.

    Args:
        runs: Rows of `report.gather`.
    """
    groups: dict = {}
    for run in runs:
        groups.setdefault((run["task"], run["preset"], units(run["units"])), []).append(run)
    grids = []
    for (task, preset, size), members in groups.items():
        points = [
            (
                _row(run["model"].upper(), run["activity_sparsity"]),
                round(run["recurrent_parameter_sparsity"] or 0.0, 2),
                {
                    "test accuracy": run["test_accuracy"],
                    "test perplexity": run["test_perplexity"],
                    "effective MACs": run["effective_macs"],
                    "minutes": run["seconds"] and run["seconds"] / 60,
                },
            )
            for run in members
        ]
        grids.append(_grid(f"{task} ({preset}, {size} units)", f"{task}-{preset}-{size}-grid", points))
    return [grid for grid in grids if grid is not None]


def of_speed(folder) -> list[Grid]:
    """A grid of the layer's milliseconds for each case, block and mode of the speed records with pruned weights."""
    groups: dict = {}
    for _, record in speed_records.find(folder, PRUNED):
        for point in record["cases"]:
            asked = point["asked"]
            row = _row("EGRU", point["activity_sparsity"])
            figures = {"milliseconds": point["milliseconds"]["ours"]}
            block = "x".join(map(str, asked["block"]))
            groups.setdefault((point["case"], block, point["mode"]), []).append((row, asked["parameter"], figures))
    grids = [
        _grid(f"speed, {case}, {mode}, blocks of {block}", f"speed-{case}-{mode}-{block}-grid", points)
        for (case, block, mode), points in groups.items()
    ]
    return [grid for grid in grids if grid is not None]


def table(grid) -> tuple[list, list]:
    """Headers and rows of text; a cell holds all figures of the grid."""
    rows = []
    for i, row in enumerate(grid.rows):
        cells = [[(name, values[i][j]) for name, values in grid.figures.items()] for j in range(len(grid.columns))]
        cells = [
            "-" if all(value is None for _, value in cell) else " / ".join(written(*figure) for figure in cell)
            for cell in cells
        ]
        rows.append([row, *cells])
    return ["", *(f"{100 * c:.0f} % zero" for c in grid.columns)], rows


def written(name, value) -> str:
    """The figure of this name as text."""
    return WRITTEN.get(name, decimal)(value)


def _grid(title, stem, points):
    """Of points `(row, column, {figure: value or None})`; None where all have one column: nothing is compared."""
    rows = sorted({row for row, _, _ in points})
    columns = sorted({column for _, column, _ in points})
    if len(columns) < 2:
        return None
    cells: dict = {}
    for row, column, figures in points:
        for name, value in figures.items():
            if value is not None:
                cells.setdefault(name, {}).setdefault((row, column), []).append(value)
    tables = {
        name: [[fmean(values[row, column]) if (row, column) in values else None for column in columns] for row in rows]
        for name, values in cells.items()
    }
    return Grid(title, stem, [_name(row) for row in rows], columns, tables)


def _row(model, activity):
    """What sorts the rows: model and first percent of the band."""
    return (model, -1 if activity is None else min(int(100 * activity) // BAND * BAND, 100 - BAND))


def _name(row):
    model, percent = row
    return model if percent < 0 else f"{model}, {percent}-{percent + BAND} % silent"
