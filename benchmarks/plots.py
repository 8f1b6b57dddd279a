"""PNG plots of a report: learning curves, sparsity over the epochs, and heat maps over two sparsities."""

import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.sparsity_grid import MORE_IS_BETTER, written

SPARSITIES = {"activity_sparsity": "-", "backward_sparsity": "--", "surrogate_sparsity": ":"}


def accuracy_curves(runs) -> bytes | None:
    """Training and validation accuracy of every run, `{label: record}`; None where no run has any."""
    runs = _with(runs, "val_accuracy")
    return _plot(runs, {"accuracy": ":", "val_accuracy": "-"}, ylabel="accuracy", ylim=(0.0, 1.02)) if runs else None


def perplexity_curves(runs) -> bytes | None:
    """Validation perplexity of every run; None where no run has any."""
    runs = _with(runs, "val_perplexity")
    return _plot(runs, {"val_perplexity": "-"}, ylabel="perplexity", yscale="log") if runs else None


def sparsity_curves(runs) -> bytes | None:
    """Sparsities on the validation sample of every run that has them; None where none has."""
    runs = _with(runs, "activity_sparsity")
    return _plot(runs, SPARSITIES, ylabel="share of zeros", ylim=(0.0, 1.02)) if runs else None


PLOTS = {"accuracy": accuracy_curves, "perplexity": perplexity_curves, "sparsity": sparsity_curves}


def heat_maps(grid) -> bytes:
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
        table = np.array(values, dtype=float)  # None becomes NaN, which stays white
        axes.imshow(table, cmap="viridis" if name in MORE_IS_BETTER else "viridis_r", aspect="auto", alpha=0.6)
        for (row, column), value in np.ndenumerate(table):
            if not np.isnan(value):
                axes.text(column, row, written(name, value), ha="center", va="center", fontsize="small")
        axes.set(title=name, xlabel="recurrent weights that are zero")
        axes.set_xticks(range(len(grid.columns)), [f"{100 * share:.0f} %" for share in grid.columns])
        axes.set_yticks(range(len(grid.rows)), grid.rows)
    figure.suptitle(grid.title)
    return as_png(figure)


def _with(runs, measure):
    return {label: record for label, record in runs.items() if _known(record["epochs"], measure)}


def _plot(runs, measures, **axis):
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for number, (label, record) in enumerate(runs.items()):
        for measure, line in measures.items():
            points = _known(record["epochs"], measure)
            if points:
                name = measure.replace("val_", "validation ").replace("_", " ")
                axes.plot(*zip(*points, strict=True), line, color=f"C{number % 10}", label=f"{label}: {name}")
    axes.set(xlabel="epoch", **axis)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return as_png(figure)


def as_png(figure) -> bytes:
    """The figure as a PNG, and closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    return buffer.getvalue()


def _known(epochs, measure):
    return [(epoch["epoch"], epoch[measure]) for epoch in epochs if epoch.get(measure) is not None]
