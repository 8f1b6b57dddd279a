"""How many updates and epochs runs took to a given accuracy on validation, which is measured after each epoch."""

import math

from benchmarks.seeds import mean_and_deviation

ACCURACY = 0.95


def updates(record) -> list:
    """Updates of the weights until the end of each epoch.

    Records of the first schema do not tell them; they are computed from batch and data, a batch being one update.
    """
    told = [epoch.get("updates") for epoch in record["epochs"]]
    if None not in told:
        return told
    config, train = record["config"], record["dataset"]["train"]
    each = config.get("steps_per_epoch")
    if each is None and "vocabulary" in record["dataset"]:
        each = (train - 1) // config["batch_size"] // config["steps"]
    elif each is None:
        each = math.ceil(train / config["batch_size"])
    return [each * epoch["epoch"] for epoch in record["epochs"]]


def first_epoch(record, accuracy=ACCURACY) -> int | None:
    """Index of the first epoch after which the validation accuracy was reached; None where it never was."""
    for index, epoch in enumerate(record["epochs"]):
        if (epoch.get("val_accuracy") or 0.0) >= accuracy:
            return index
    return None


def table(setting) -> list[dict]:
    """A row a group of a setting: how many runs got there, updates and epochs as `[mean, deviation]` over those that
    did, and updates over those of the first GRU. None where no run got there; no rows without validation accuracies."""
    if not any(group.epochs("val_accuracy") for group in setting.groups):
        return []
    rows = [_row(group) for group in setting.groups]
    peer = next((row["updates"] for group, row in zip(setting.groups, rows, strict=True) if group.model == "gru"), None)
    for row in rows:
        row["over_gru"] = row["updates"][0] / peer[0] if row["updates"] and peer else None
    return rows


def _row(group):
    reached = [(record, first_epoch(record)) for record in group.records]
    reached = [(record, index) for record, index in reached if index is not None]
    counts = [updates(record)[index] for record, index in reached]
    epochs = [record["epochs"][index]["epoch"] for record, index in reached]
    return {
        "label": group.label,
        "runs": len(group.records),
        "reached": len(reached),
        "updates": list(mean_and_deviation(counts)) if counts else None,
        "epochs": list(mean_and_deviation(epochs)) if epochs else None,
    }
