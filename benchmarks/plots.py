"""PNG plots of a report: learning curves and sparsity over the epochs."""

import io

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

SPARSITIES = {"activity_sparsity": "-", "backward_sparsity": "--", "surrogate_sparsity": ":"}


def learning_curves(runs) -> bytes:
    """Training and validation accuracy of every run. `runs`: `{label: record}`."""
    return _plot(runs, {"accuracy": ":", "val_accuracy": "-"}, "accuracy")


def sparsity_curves(runs) -> bytes | None:
    """Sparsities on the validation sample of every run that has them; None where none has."""
    event_based = {label: record for label, record in runs.items() if _known(record["epochs"], "activity_sparsity")}
    return _plot(event_based, SPARSITIES, "share of zeros") if event_based else None


def _plot(runs, measures, axis):
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for number, (label, record) in enumerate(runs.items()):
        for measure, line in measures.items():
            points = _known(record["epochs"], measure)
            if points:
                name = measure.replace("val_", "validation ").replace("_", " ")
                axes.plot(*zip(*points, strict=True), line, color=f"C{number % 10}", label=f"{label}: {name}")
    axes.set(xlabel="epoch", ylabel=axis, ylim=(0.0, 1.02))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    return buffer.getvalue()


def _known(epochs, measure):
    return [(epoch["epoch"], epoch[measure]) for epoch in epochs if epoch.get(measure) is not None]
