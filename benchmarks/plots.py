"""PNG plots of a report: learning curves and sparsity over the epochs."""

import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    return buffer.getvalue()


def _known(epochs, measure):
    return [(epoch["epoch"], epoch[measure]) for epoch in epochs if epoch.get(measure) is not None]
