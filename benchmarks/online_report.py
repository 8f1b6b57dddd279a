"""What the runs with a read-out at every step say together: variants of gradient and parameter sparsity over seeds.

It lays the records out as Subramoney 2023 (section 6, figure 3) does, mean and standard error over seeds.
"""

import math
from statistics import fmean
from typing import NamedTuple

from benchmarks.figures import decimal, number, share, three_digits, units
from benchmarks.seeds import mean_and_error

GRADIENTS = ("rtrl", "snap-2", "snap-1", "bptt")
COLUMNS = (
    "model",
    "parameter sparsity",
    "gradient",
    "seeds",
    "validation",
    "worst seed",
    "test",
    "activity sparsity",
    "backward sparsity",
    "influence sparsity",
    "of all columns",
    "multiply-adds an iteration",
    "seconds",
)


class Variant(NamedTuple):
    """Runs that differ in their seeds alone."""

    model: str
    gradient: str
    update_every: int | None
    parameter_sparsity: float
    records: list

    @property
    def learning(self) -> str:
        return self.gradient if self.update_every is None else f"{self.gradient}, every {self.update_every}"

    def values(self, measure) -> list:
        """`[[a value of each epoch] of each seed]`, as many epochs as all have; empty where it is not known."""
        series = [[epoch.get(measure) for epoch in record["epochs"]] for record in self.records]
        length = min(map(len, series))
        series = [values[:length] for values in series]
        return [] if any(value is None for values in series for value in values) else series

    def iterations(self) -> list:
        """Updates of the weights, or batches where there are several updates in one, until the end of each epoch."""
        record = self.records[0]
        config = record["config"]
        steps = config["steps_per_epoch"] or math.ceil(record["dataset"]["train"] / config["batch_size"])
        return [steps * epoch["epoch"] for epoch in record["epochs"]]


class Study(NamedTuple):
    """All variants of a task in one size.

    measure: What says how good an epoch is, `val_accuracy` or `val_loss`.
    """

    task: str
    preset: str
    size: str
    measure: str
    variants: list

    @property
    def title(self) -> str:
        return f"{self.task} ({self.preset}, {self.size} units), a read-out at every step"

    @property
    def stem(self) -> str:
        return f"{self.task}-{self.preset}-{self.size}"

    def of(self, **wanted) -> list:
        """The variants with these values."""
        return [v for v in self.variants if all(getattr(v, name) == value for name, value in wanted.items())]


def is_online(record) -> bool:
    """Whether a record is of a run with a read-out at every step."""
    return "parameter_sparsity" in record["config"]


def others(setting):
    """The `Setting` without runs with a read-out at every step, which have studies of their own."""
    return setting._replace(groups=[group for group in setting.groups if not is_online(group.first)])


def studies(records) -> list[Study]:
    """The studies of those records that are of runs with a read-out at every step."""
    groups: dict = {}
    for record in filter(is_online, records):
        config = record["config"]
        study = groups.setdefault((record["task"], record["preset"], units(config["units"])), {})
        variant = (record["model"], config["gradient"], config["update_every"], config["parameter_sparsity"])
        study.setdefault(variant, []).append(record)
    return [
        Study(
            *key, _measure(variants), [Variant(*variant, variants[variant]) for variant in sorted(variants, key=_order)]
        )
        for key, variants in groups.items()
    ]


def table(study) -> list[dict]:
    """A row a variant: numbers, lists `[mean, standard error]` among them; None where one is not known."""
    return [_row(study, variant) for variant in study.variants]


def note(study) -> str:
    """What the columns of its table are."""
    figure = "accuracy" if study.measure == "val_accuracy" else "loss"
    return (
        f"Mean and standard error over seeds. 'validation' and 'test' are {figure}, of the epoch that was best on "
        "validation; influence sparsity is of that epoch's training, over the columns of live parameters and over all "
        "columns. Multiply-adds are those on the influence, counted by the op, of a batch; seconds are of the whole "
        "run with its evaluations."
    )


def cells(study) -> list[list]:
    """The rows of its table as text, in the order of `COLUMNS`."""
    write = share if study.measure == "val_accuracy" else three_digits
    found = []
    for row in table(study):
        texts = {
            **row,
            "parameter sparsity": f"{100 * row['parameter sparsity']:g}%",
            "seeds": str(row["seeds"]),
            "validation": _with_error(row["validation"], study.measure),
            "worst seed": write(row["worst seed"]),
            "test": _with_error(row["test"], study.measure),
            **{name: share(row[name]) for name in COLUMNS if "sparsity" in name and name != "parameter sparsity"},
            "of all columns": share(row["of all columns"]),
            "multiply-adds an iteration": number(row["multiply-adds an iteration"]),
            "seconds": decimal(row["seconds"]),
        }
        found.append([texts[column] for column in COLUMNS])
    return found


def _row(study, variant):
    records = variant.records
    best = [record["epochs"][record["best_epoch"] - 1] for record in records]
    scores = [epoch[study.measure] for epoch in best]
    counted = variant.values("multiply_adds")
    return {
        "model": variant.model,
        "parameter sparsity": variant.parameter_sparsity,
        "gradient": variant.learning,
        "seeds": len(records),
        "validation": mean_and_error(scores),
        "worst seed": min(scores) if study.measure == "val_accuracy" else max(scores),
        "test": mean_and_error([record[study.measure.replace("val_", "test_")] for record in records]),
        "activity sparsity": _mean([record["activity_sparsity"] for record in records]),
        "backward sparsity": _mean([record["backward_sparsity"] for record in records]),
        "influence sparsity": _mean([epoch.get("influence_sparsity") for epoch in best]),
        "of all columns": _mean([epoch.get("influence_sparsity_all") for epoch in best]),
        "multiply-adds an iteration": fmean(map(sum, counted)) / variant.iterations()[-1] if counted else None,
        "seconds": _mean([record["seconds"] for record in records]),
    }


def _mean(values):
    return None if any(value is None for value in values) else fmean(values)


def _measure(variants):
    epochs = [epoch for records in variants.values() for record in records for epoch in record["epochs"]]
    return "val_accuracy" if all(epoch.get("val_accuracy") is not None for epoch in epochs) else "val_loss"


def _order(variant):
    model, gradient, update_every, parameter_sparsity = variant
    return model, GRADIENTS.index(gradient), update_every or 0, parameter_sparsity


def _with_error(pair, measure):
    mean, error = pair
    if measure == "val_accuracy":
        return f"{100 * mean:.2f}%" if error is None else f"{100 * mean:.2f} ± {100 * error:.2f}%"
    return f"{mean:.4g}" if error is None else f"{mean:.4g} ± {error:.2g}"
