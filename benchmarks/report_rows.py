"""The rows of result tables: a row a group of runs, and a row each of the papers' figures, as text and as JSON."""

from typing import NamedTuple

from benchmarks.energy import nanojoules
from benchmarks.figures import decimal, number, share, three_digits, units, with_deviation
from benchmarks.seeds import pruning

COLUMNS = (
    "run",
    "preset",
    "data",
    "epochs",
    "seeds",
    "parameters",
    "test accuracy",
    "validation accuracy",
    "test perplexity",
    "validation perplexity",
    "activity sparsity",
    "backward sparsity",
    "surrogate sparsity",
    "influence sparsity",
    "parameter sparsity",
    "recurrent parameter sparsity",
    "effective MACs",
    "dense MACs",
    "energy, estimated, nJ",
    "model gzip KB",
    "unpruned gzip KB",
    "minutes",
    "source",
)
ALWAYS = COLUMNS[:6]  # what says under which conditions a figure was won is never left out
SUMMARIES = (
    "test_accuracy",
    "test_perplexity",
    "test_loss",
    "validation_accuracy",
    "validation_perplexity",
    "activity_sparsity",
    "backward_sparsity",
    "surrogate_sparsity",
    "influence_sparsity",
    "parameter_sparsity",
    "recurrent_parameter_sparsity",
    "effective_macs",
    "dense_macs",
    "parameters",
    "seconds",
)
PUBLISHED = "published"


class Row(NamedTuple):
    """A line of a table.

    preset: One of the presets, or `PUBLISHED`.
    complete: Whether all the data was used; None of published figures.
    verified: Whether the data is known to be the published one; None where nobody can tell.
    best: Whether no other group of the setting has a better test figure; of several groups alone.
    model: Which decides the colour.
    cells: Text by column.
    """

    preset: str
    complete: bool | None
    verified: bool | None
    best: bool
    model: str
    cells: dict


def group_figures(setting, group) -> dict:
    """A group as JSON: figures are `[mean, standard deviation]` over its runs."""
    record = group.first
    return {
        "task": setting.task,
        "preset": setting.preset,
        "dataset": setting.dataset,
        "model": group.model,
        "label": group.label,
        "runs": group.names,
        "seeds": group.seeds,
        "units": record["config"].get("units"),
        "pruning": pruning(record["config"]),
        "epochs": record["config"].get("epochs"),
        **{figure: group.summary(figure) for figure in SUMMARIES},
        "energy_estimate_nj": nanojoules(group.mean("effective_macs"), spiking=group.model == "lif"),
        "model_gzip": _gzip(record, "model_gzip"),
        "unpruned_model_gzip": _gzip(record, "unpruned_model_gzip"),
    }


def group_row(setting, group) -> Row:
    figures = group_figures(setting, group)
    accuracy = with_deviation(figures["test_accuracy"], share)
    perplexity = with_deviation(figures["test_perplexity"], decimal)
    seconds = figures["seconds"]
    cells = {
        "run": group.label,
        "task": setting.task,
        "preset": setting.preset,
        "data": describe_data(setting.dataset),
        "epochs": str(figures["epochs"] or len(group.first["epochs"])),
        "seeds": _seeds(group.seeds),
        "model": group.model,
        "units": units(figures["units"]),
        "parameters": number(group.first["parameters"]),
        "test": accuracy if perplexity == "-" else perplexity,
        "test accuracy": accuracy,
        "validation accuracy": with_deviation(figures["validation_accuracy"], share),
        "test perplexity": perplexity,
        "validation perplexity": with_deviation(figures["validation_perplexity"], decimal),
        **{
            name: with_deviation(figures[name.replace(" ", "_")], share)
            for name in ("activity sparsity", "backward sparsity", "surrogate sparsity", "influence sparsity")
        },
        "parameter sparsity": share(group.mean("parameter_sparsity")),
        "recurrent parameter sparsity": share(group.mean("recurrent_parameter_sparsity")),
        "effective MACs": with_deviation(figures["effective_macs"], number),
        "dense MACs": number(group.mean("dense_macs")),
        "energy, estimated, nJ": three_digits(figures["energy_estimate_nj"]),
        "model gzip KB": _kilobytes(figures["model_gzip"]),
        "unpruned gzip KB": _kilobytes(figures["unpruned_model_gzip"]),
        "minutes": "-" if seconds is None else decimal(seconds[0] / 60),
        "source": group.name,
    }
    data = setting.dataset
    verified = [record["dataset"].get("verified") for record in group.records]
    return Row(setting.preset, data["complete"], False not in verified, _is_best(setting, group), group.model, cells)


def published_row(row) -> Row:
    def figure(name, write):
        value = getattr(row, name)
        return "-" if value is None else with_deviation([value, row.deviations.get(name)], write)

    accuracy, perplexity = figure("accuracy", share), figure("perplexity", decimal)
    cells = dict.fromkeys(COLUMNS, "-") | {
        "run": row.model + ("" if row.units is None else f", {units(row.units)} units"),
        "task": row.task,
        "preset": PUBLISHED,
        "data": row.data or "-",
        "seeds": "-" if row.runs is None else f"{row.runs} runs",
        "model": row.model,
        "units": units(row.units),
        "parameters": number(row.parameters),
        "test": accuracy if perplexity == "-" else perplexity,
        "test accuracy": accuracy,
        "test perplexity": perplexity,
        "validation perplexity": figure("validation_perplexity", decimal),
        "activity sparsity": figure("activity_sparsity", share),
        "surrogate sparsity": figure("surrogate_sparsity", share),
        "effective MACs": figure("effective_macs", number),
        "source": row.source,
    }
    return Row(PUBLISHED, None, None, False, PUBLISHED, cells)


def used_columns(rows) -> list:
    """Those of `COLUMNS` that say something in one of the rows; that no weight is zero goes without saying."""

    def says_something(name, text):
        return text != "-" and not (name.endswith("parameter sparsity") and text == "0.0%")

    return [name for name in COLUMNS if name in ALWAYS or any(says_something(name, row.cells[name]) for row in rows)]


def describe_data(dataset) -> str:
    """`MNIST, 55,000 / 5,000 / 10,000, 196 steps`; says so where it is a part of the data."""
    sizes = " / ".join(f"{dataset[split]:,}" for split in ("train", "validation", "test"))
    parts = [dataset["name"], sizes + (" words" if "vocabulary" in dataset else "")]
    if dataset.get("steps"):
        parts.append(f"{dataset['steps']:,} steps")
    if not dataset["complete"]:
        parts.append("part of the data")
    return ", ".join(parts)


def _is_best(setting, group):
    figure = f"test_{setting.measure}"
    values = [value for value in (other.mean(figure) for other in setting.groups) if value is not None]
    if len(values) < 2:
        return False
    return group.mean(figure) == (min(values) if setting.measure == "perplexity" else max(values))


def _seeds(seeds):
    """`0`, `3 (0-2)` or `2 (0, 7)`."""
    if len(seeds) == 1:
        return f"1 ({seeds[0]})"
    if seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{len(seeds)} ({seeds[0]}-{seeds[-1]})"
    return f"{len(seeds)} ({', '.join(map(str, seeds))})"


def _gzip(record, name):
    return record["model_bytes"] and record["model_bytes"].get(name)


def _kilobytes(size):
    return number(size and size / 1e3)
