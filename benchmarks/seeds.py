"""Runs of one configuration that differ in their seeds alone: one row of a table, one line of a plot.

Groups on the same data under the same preset make a `Setting`; figures of different settings are not compared.
"""

import json
import math
import os
from statistics import fmean, stdev
from typing import NamedTuple

from benchmarks.config import PRESETS
from benchmarks.errors import ConfigError
from benchmarks.figures import units
from benchmarks.tasks import TASKS, config_class

ORDER = ("egru", "gru", "lstm", "lif")
# Fields of a data set that say nothing of what is in it.
NOT_OF_DATA = ("path", "verified")
# Differences that have a column of their own, or say where a run was evaluated.
NOT_NAMED = ("units", "prune", "block", "prune_weights", "evaluation_batch_size", "sparsity_sample")


class Group(NamedTuple):
    """Runs of equal configuration.

    label: What tells the group from others of its setting: the model, and what only some of them have.
    names: Folders of the runs, as seen from the folder of the report.
    """

    label: str
    names: list
    records: list

    @property
    def first(self) -> dict:
        return self.records[0]

    @property
    def model(self) -> str:
        return self.first["model"]

    @property
    def seeds(self) -> list:
        return [record["seed"] for record in self.records]

    @property
    def name(self) -> str:
        """`runs/smnist-cpu-egru-*` of several runs."""
        return self.names[0] if len(self.names) == 1 else os.path.commonprefix(self.names) + "*"

    def values(self, figure) -> list:
        """The figure of every run; empty where one of them has none."""
        found = [record[figure] for record in self.records]
        return [] if any(value is None for value in found) else found

    def summary(self, figure) -> list | None:
        """`[mean, standard deviation]`; the deviation of one run is None, and so is a figure that one has not."""
        values = self.values(figure)
        return list(mean_and_deviation(values)) if values else None

    def mean(self, figure) -> float | None:
        values = self.values(figure)
        return fmean(values) if values else None

    def epochs(self, measure) -> list:
        """`[[a value of each epoch] of each run]`, as many epochs as all have; empty where one is not known."""
        series = [[epoch.get(measure) for epoch in record["epochs"]] for record in self.records]
        return _of_equal_length(series)

    def layers(self) -> list:
        """Names of the layers whose sparsities every epoch of every run has."""
        epochs = [epoch for record in self.records for epoch in record["epochs"]]
        return [name for name in epochs[0].get("layers", {}) if all(name in e.get("layers", {}) for e in epochs)]

    def of_layer(self, layer, measure) -> list:
        """As `epochs`, of one layer."""
        series = [
            [epoch.get("layers", {}).get(layer, {}).get(measure) for epoch in record["epochs"]]
            for record in self.records
        ]
        return _of_equal_length(series)


class Setting(NamedTuple):
    """Groups that may be compared: one task under one preset on the same data."""

    task: str
    preset: str
    dataset: dict
    groups: list

    @property
    def measure(self) -> str:
        """ "accuracy" or "perplexity": what the task is about."""
        return "perplexity" if any(group.first["test_perplexity"] is not None for group in self.groups) else "accuracy"


def settings(found) -> list[Setting]:
    """The settings of `[(name, record)]`, ordered by task and preset, their groups by model and name."""
    grouped: dict = {}
    for name, record in found:
        data = {key: value for key, value in record["dataset"].items() if key not in NOT_OF_DATA}
        setting = (record["task"], record["preset"], json.dumps(data, sort_keys=True))
        kind = (record["model"], record["method"], json.dumps(canonical(record), sort_keys=True))
        grouped.setdefault(setting, {}).setdefault(kind, []).append((name, record))
    found = [
        Setting(task, preset, json.loads(data), _groups(list(kinds.values())))
        for (task, preset, data), kinds in grouped.items()
    ]
    return sorted(
        found,
        key=lambda setting: (
            place(list(TASKS), setting.task),
            place(PRESETS[::-1], setting.preset),
            str(setting.dataset),
        ),
    )


def canonical(record) -> dict:
    """The configuration without what has its default value: a field that was added later splits no group."""
    try:
        fields = config_class(record["task"], record["model"]).model_fields
    except ConfigError:  # a task of another version
        return record["config"]
    defaults = {name: json.loads(json.dumps(field.default, default=str)) for name, field in fields.items()}
    return {key: value for key, value in record["config"].items() if key not in defaults or value != defaults[key]}


def mean_and_deviation(values) -> tuple[float, float | None]:
    """Mean and standard deviation; None for the deviation of one value."""
    return fmean(values), None if len(values) < 2 else stdev(values)


def mean_and_error(values) -> tuple[float, float | None]:
    """Mean and standard error; None for the error of one value."""
    mean, deviation = mean_and_deviation(values)
    return mean, None if deviation is None else deviation / math.sqrt(len(values))


def pruning(config) -> str | None:
    """Such as `80% 1x16 recurrent`; None of an unpruned run."""
    if config.get("prune") is None:
        return None
    return f"{100 * config['prune']:g}% {'x'.join(map(str, config['block']))} {config['prune_weights']}"


def _groups(kinds):
    """The groups of a setting: each of `kinds` is a list `[(name, record)]`."""
    groups = []
    for members in kinds:
        members.sort(key=lambda member: (member[1]["seed"], member[0]))
        record = members[0][1]
        alike = [other[0][1] for other in kinds if other[0][1]["model"] == record["model"]]
        groups.append(Group(_label(record, alike), [name for name, _ in members], [record for _, record in members]))
    return sorted(groups, key=lambda group: (place(ORDER, group.model), group.label, group.name))


def _label(record, alike):
    """`EGRU-128`, with the values that not all records of `alike` have: `EGRU-128, surrogate_width=0.4`."""
    label = record["model"].upper()
    if record["config"].get("units") is not None:
        label += f"-{units(record['config']['units'])}"
    configs = [canonical(other) for other in alike]
    names = sorted({name for config in configs for name in config} - set(NOT_NAMED))
    differing = [name for name in names if len({json.dumps(config.get(name)) for config in configs}) > 1]
    told = [f"pruned {pruning(record['config'])}"] if pruning(record["config"]) else []
    told += [f"{name}={record['config'][name]}" for name in differing if record["config"].get(name) is not None]
    return ", ".join([label, *told])


def place(order, name) -> tuple:
    """By which names are sorted: as in the list `order`, then the others by their letters."""
    return (order.index(name), "") if name in order else (len(order), name)


def _of_equal_length(series):
    length = min(map(len, series))
    series = [values[:length] for values in series]
    return [] if any(value is None for values in series for value in values) else series
