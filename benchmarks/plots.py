"""Figures of a report: learning curves, sparsity while training, events, heat maps. Each is an SVG element, or None.

A model has one colour everywhere; groups of one model are told apart by their dashes.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from benchmarks.figures import number
from benchmarks.learning_speed import updates
from benchmarks.seeds import Group
from benchmarks.sparsities import SPARSITIES
from benchmarks.sparsity_grid import MORE_IS_BETTER, written
from benchmarks.svg import INK, MODEL_COLOURS, as_svg, plt

DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v")
MOST = len(DASHES)  # groups of a model in one figure
RASTERS = 3  # groups whose events are shown


class Line(NamedTuple):
    """A group and how it is drawn."""

    group: Group
    colour: str
    dash: object
    marker: str


def lines(setting) -> list[Line]:
    """The groups of a setting, of each model the best `MOST` on validation."""
    found = []
    for model in dict.fromkeys(group.model for group in setting.groups):
        groups = [group for group in setting.groups if group.model == model]
        groups = sorted(groups, key=lambda group: _badness(group, setting.measure))[:MOST]
        for group, dash, marker in zip(groups, DASHES, MARKERS, strict=False):
            found.append(Line(group, MODEL_COLOURS.get(model, INK), dash, marker))
    return found


def learning_curves(setting) -> str | None:
    """The validation figure against epochs and against updates: means over seeds, in a band of a standard deviation."""
    measure = f"val_{setting.measure}"
    drawn = [line for line in lines(setting) if line.group.epochs(measure)]
    if not drawn:
        return None
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    for line in drawn:
        values = np.array(line.group.epochs(measure))
        length = values.shape[1]
        for panel, places in zip(panels, (range(1, length + 1), updates(line.group.first)[:length]), strict=True):
            _band(panel, places, values, line)
    panels[0].set(xlabel="epoch", ylabel=f"validation {setting.measure}")
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[1].set(xlabel="updates of the weights")
    if setting.measure == "accuracy":
        panels[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    else:
        logarithmic(panels[0].yaxis, [value for line in drawn for run in line.group.epochs(measure) for value in run])
    legend(figure, panels)
    return as_svg(figure)


def sparsity_curves(setting) -> str | None:
    """A row a measure, a column a layer: shares of zeros on the validation sample after each epoch.

    Of one layer the measures stand side by side.
    """
    drawn = [line for line in lines(setting) if line.group.epochs("activity_sparsity")]
    if not drawn:
        return None
    layers = list(dict.fromkeys(name for line in drawn for name in line.group.layers()))
    columns = ["all layers", *layers] if len(layers) > 1 else ["all layers"]
    rows = len(SPARSITIES) if len(columns) > 1 else 1
    size = (2.0 + 3.2 * len(columns), 1.0 + 2.0 * rows) if rows > 1 else (11.0, 3.4)
    figure, panels = plt.subplots(
        rows, max(len(columns), len(SPARSITIES) // rows), figsize=size, layout="constrained", squeeze=False,
        sharex=True, sharey=True,
    )  # fmt: skip
    for (row, column), panel in np.ndenumerate(panels):
        measure = SPARSITIES[row if rows > 1 else column]
        layer = columns[column] if rows > 1 else columns[0]
        for line in drawn:
            values = line.group.epochs(measure) if layer == columns[0] else line.group.of_layer(layer, measure)
            if values:
                _band(panel, range(1, len(values[0]) + 1), np.array(values), line)
        panel.set_ylim(-0.02, 1.02)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        if rows > 1 and row == 0:
            panel.set_title(layer)
        if rows == 1 or column == 0:
            panel.set_ylabel(measure.replace("_", " "))
        if row == rows - 1:
            panel.set_xlabel("epoch")
    legend(figure, panels.flat)
    return as_svg(figure)


def rasters(setting) -> str | None:
    """A column a group, a row a layer: who had an event when, in one sequence of the validation split."""
    drawn = [line for line in lines(setting) if line.group.first["events"]][:RASTERS]
    if not drawn:
        return None
    rows = max(len(line.group.first["events"]) for line in drawn)
    size = (1.0 + 4.2 * len(drawn), 0.8 + 2.2 * rows)
    figure, panels = plt.subplots(rows, len(drawn), figsize=size, layout="constrained", squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for column, line in zip(panels.T, drawn, strict=True):
        for panel, (layer, events) in zip(column, line.group.first["events"].items(), strict=False):
            picture = np.zeros((events["units"], events["steps"], 4))  # transparent where nothing happens
            picture[events["unit"], events["step"]] = to_rgba(line.colour)
            panel.set_axis_on()
            panel.grid(visible=False)
            panel.imshow(picture, aspect="auto", interpolation="none", origin="lower")
            panel.set(ylabel=f"{layer}: unit", xlabel="step")
        column[0].set_title(line.group.label, fontsize=10, wrap=True)
    return as_svg(figure)


def heat_maps(grid) -> str:
    """One panel a figure of a `Grid`, the value written in each cell that has one; yellow is better than blue."""
    shape = (1 + 0.9 * len(grid.columns), 1.5 + 0.45 * len(grid.rows))
    figure, panels = plt.subplots(
        1,
        len(grid.figures),
        figsize=(2 + shape[0] * len(grid.figures), shape[1]),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axes, (name, values) in zip(panels[0], grid.figures.items(), strict=True):
        table = np.array(values, dtype=float)  # None becomes NaN, which stays empty
        axes.grid(visible=False)
        axes.imshow(table, cmap="cividis" if name in MORE_IS_BETTER else "cividis_r", aspect="auto", alpha=0.45)
        for (row, column), value in np.ndenumerate(table):
            if not np.isnan(value):
                axes.text(column, row, written(name, value), ha="center", va="center", fontsize="small")
        axes.set(title=name, xlabel="recurrent weights that are zero")
        axes.set_xticks(range(len(grid.columns)), [f"{100 * share:.0f} %" for share in grid.columns])
        axes.set_yticks(range(len(grid.rows)), grid.rows)
    figure.suptitle(grid.title)
    return as_svg(figure)


def logarithmic(axis, values):
    """Makes an axis logarithmic where the values span more than a factor of three; numbers are short either way."""
    if max(values) > 3 * min(values) > 0:
        (axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def legend(figure, panels):
    """One legend for all panels, below them."""
    entries: dict = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    longest = max(map(len, entries), default=1)
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=max(1, min(4, 90 // longest)))


def _band(panel, places, values, line):
    """Mean and standard deviation of `values` `[runs, places]`."""
    mean = values.mean(axis=0)
    single = {"marker": line.marker} if len(mean) == 1 else {}
    panel.plot(places, mean, linestyle=line.dash, color=line.colour, label=line.group.label, **single)
    if len(values) > 1:
        deviation = values.std(axis=0, ddof=1)
        panel.fill_between(places, mean - deviation, mean + deviation, color=line.colour, alpha=0.15, linewidth=0)


def _badness(group, measure):
    """Orders groups by their validation figure, the best first and those without one last."""
    value = group.mean(f"validation_{measure}")
    if value is None:
        return float("inf")
    return value if measure == "perplexity" else -value
