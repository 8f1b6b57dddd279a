"""Figures of runs with a read-out at every step: the panels A to F of figure 3 of Subramoney 2023, and their cost.

Lines are means over seeds, bands their standard errors; a colour is a parameter sparsity.
"""

import numpy as np

from benchmarks.online_report import GRADIENTS, Study, Variant
from benchmarks.plots import legend
from benchmarks.svg import as_svg, plt

LINES = dict(zip(GRADIENTS, ("-", "-.", "--", ":"), strict=True))
NAMES = {
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
    "activity_sparsity": "activity sparsity",
    "influence_sparsity_all": "influence sparsity",
    "compute_adjusted_iterations": "compute-adjusted iterations (of RTRL)",
    "multiply_adds": "multiply-adds on the influence",
}


def plots(study: Study) -> dict[str, str]:
    """`{name: SVG element}`: the panels of each gradient, and what accuracy cost where multiply-adds were counted."""
    found = {}
    for gradient in GRADIENTS:
        if study.of(gradient=gradient):
            found[gradient] = panels(study, gradient)
    if any(variant.values("multiply_adds") for variant in study.variants):
        found["multiply-adds"] = costs(study)
    return found


def panels(study: Study, gradient: str) -> str:
    """Figure 3 for one gradient: A to D with activity sparsity, E and F without; an empty panel says what it lacks."""
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.5), layout="constrained")
    good, adjusted = study.measure, "compute_adjusted_iterations"
    wanted = (
        ("A", "egru", None, good),
        ("B", "egru", adjusted, good),
        ("C", "egru", None, "activity_sparsity"),
        ("D", "egru", None, "influence_sparsity_all"),
        ("E", "gru", None, good),
        ("F", "gru", adjusted, good),
    )
    for panel, (letter, model, x, y) in zip(axes.flat, wanted, strict=True):
        drawn = [_curve(panel, variant, x, y) for variant in study.of(model=model, gradient=gradient)]
        panel.set_title(f"{letter}: {model.upper()}", loc="left")
        if not any(drawn):
            panel.text(0.5, 0.5, f"no {NAMES[y]}", ha="center", va="center", transform=panel.transAxes)
            panel.set_axis_off()
            continue
        panel.set(xlabel=NAMES[x] if x else "iterations", ylabel=NAMES[y])
        if x:
            panel.set_xscale("log")
        panel.grid(alpha=0.3)
    legend(figure, axes.flat)
    figure.suptitle(f"{study.title}, {gradient}")
    return as_svg(figure)


def costs(study: Study) -> str:
    """A panel a model: how good it was against the multiply-adds that were counted until then."""
    models = [model for model in ("egru", "gru") if study.of(model=model)]
    figure, axes = plt.subplots(
        1, len(models), figsize=(6.5 * len(models), 5), layout="constrained", squeeze=False, sharex=True, sharey=True
    )
    for panel, model in zip(axes[0], models, strict=True):
        for variant in study.of(model=model):
            _curve(panel, variant, "multiply_adds", study.measure, LINES[variant.gradient], variant.gradient)
        panel.set(title=model.upper(), xlabel=NAMES["multiply_adds"], ylabel=NAMES[study.measure], xscale="log")
        panel.grid(alpha=0.3)
    legend(figure, axes[0])
    figure.suptitle(study.title)
    return as_svg(figure)


def _curve(panel, variant: Variant, x, y, line="-", prefix=None) -> bool:
    """Draws a variant; False where it does not have what is to be drawn. Without `x` it is drawn over iterations."""
    values = variant.values(y)
    places = variant.values(x) if x else [variant.iterations()]
    if not values or not places:
        return False
    if x == "multiply_adds":
        places = np.cumsum(places, axis=1)
    values, places = np.array(values), np.mean(places, axis=0)
    color = plt.get_cmap("viridis")(0.25 + 0.6 * variant.parameter_sparsity)  # seen on light and dark pages
    label = f"{100 * variant.parameter_sparsity:g}% parameter sparsity"
    mean = values.mean(axis=0)
    panel.plot(places, mean, line, color=color, label=label if prefix is None else f"{prefix}, {label}")
    if len(values) > 1:
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        panel.fill_between(places, mean - error, mean + error, color=color, alpha=0.2, linewidth=0)
    return True
