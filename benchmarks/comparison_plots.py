"""What a good figure costs: test figures against work, time and backward sparsity. Each is an SVG element, or None."""

from matplotlib.ticker import PercentFormatter

from benchmarks.pareto import front
from benchmarks.plots import DASHES, MARKERS, legend, lines, logarithmic
from benchmarks.svg import INK, MODEL_COLOURS, as_svg, plt

COSTS = {"effective_macs": "effective MACs per step", "seconds": "seconds of training and validation"}


def fronts(setting) -> str | None:
    """A panel a cost: the test figure, better upwards, and the Pareto front; filled where a group is on it."""
    figure_name = f"test_{setting.measure}"
    drawn = [line for line in lines(setting) if line.group.mean(figure_name) is not None]
    panels_of = {cost: [line for line in drawn if line.group.mean(cost)] for cost in COSTS}
    panels_of = {cost: found for cost, found in panels_of.items() if len(found) > 1}
    if not panels_of:
        return None
    figure, panels = plt.subplots(
        1, len(panels_of), figsize=(1 + 4.6 * len(panels_of), 4.2), layout="constrained", squeeze=False, sharey=True
    )
    sign = -1.0 if setting.measure == "perplexity" else 1.0
    for panel, (cost, found) in zip(panels[0], panels_of.items(), strict=True):
        points = [(line.group.mean(cost), sign * line.group.mean(figure_name)) for line in found]
        best = front(points)
        edge = [(points[i][0], sign * points[i][1]) for i in best]
        panel.step(*zip(*edge, strict=True), where="post", color=INK, linewidth=1.0, alpha=0.5, zorder=1)
        for i, (line, (x, _)) in enumerate(zip(found, points, strict=True)):
            mean, deviation = line.group.summary(figure_name)
            face = line.colour if i in best else "none"
            panel.errorbar(
                x, mean, yerr=deviation, fmt=line.marker, color=line.colour, markerfacecolor=face, markersize=8,
                label=line.group.label,
            )  # fmt: skip
        panel.set(xlabel=COSTS[cost])
        panel.margins(x=0.15, y=0.2)
        logarithmic(panel.xaxis, [x for x, _ in points])
    _better_upwards(panels[0, 0], setting.measure)
    legend(figure, panels[0])
    return as_svg(figure)


def tradeoff_curves(tradeoffs) -> str | None:
    """The test figure against backward sparsity, a line a family of groups, its points named."""
    if not tradeoffs:
        return None
    figure, panel = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
    for number, curve in enumerate(tradeoffs):
        means = [mean for mean, _ in curve.test]
        deviations = [deviation or 0.0 for _, deviation in curve.test]
        style = {"linestyle": DASHES[number % len(DASHES)], "marker": MARKERS[number % len(MARKERS)]}
        colour = MODEL_COLOURS.get(curve.model, INK)
        panel.errorbar(curve.backward, means, yerr=deviations, color=colour, label=curve.model.upper(), **style)
        for x, y, label in zip(curve.backward, means, curve.labels, strict=True):
            panel.annotate(label, (x, y), xytext=(5, 6), textcoords="offset points", fontsize=9)
    panel.set(xlabel="backward sparsity on the test set")
    panel.xaxis.set_major_formatter(PercentFormatter(1.0))
    panel.margins(x=0.15, y=0.25)
    _better_upwards(panel, tradeoffs[0].measure)
    return as_svg(figure)


def _better_upwards(panel, measure):
    panel.set_ylabel(f"test {measure}")
    if measure == "accuracy":
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    else:
        panel.invert_yaxis()
