"""The report as one HTML page that loads nothing: its style and its figures are in it."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.energy import SOURCE
from benchmarks.figures import decimal, share
from benchmarks.report_rows import PUBLISHED, describe_data
from benchmarks.seeds import ORDER
from benchmarks.svg import to_page

TEMPLATES = Path(__file__).with_name("templates")
TEXT_COLUMNS = ("run", "preset", "data", "source", "model", "gradient", "")  # the others are numbers
TOLD_TOGETHER = ("data", "epochs", "seeds")  # below the badges in one cell: conditions and figures side by side
BADGES = {
    "paper": "our run in the paper's setting",
    "cpu": "our run, made small enough for two cores: the method of the paper, another network and budget",
    "smoke": "our run of seconds that shows that everything works; its figures say nothing",
    "part": "trained or tested on part of the data set",
    "unverified": "the data files are not known to be the published ones",
    PUBLISHED: "printed in a paper, not measured here; never ranked with our runs",
}


def page(report, tasks, further, gaps) -> str:
    """The page.

    Args:
        report: `Report`.
        tasks: `[TaskView]`.
        further: `[Further]`.
        gaps: Sentences.
    """
    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"inline": _inline, "identifier": identifier, "numeric": _is_numeric}
    return environment.get_template("report.html.j2").render(
        style=Markup((TEMPLATES / "report.css").read_text("utf-8")),
        badges=BADGES,
        told_together=TOLD_TOGETHER,
        energy=SOURCE,
        cards=[_card(report, task) for task in tasks],
        tasks=tasks,
        further=further,
        gaps=gaps,
        runs=_runs(report),
        refused=report.refused,
        models=[model for model in ORDER if any(record["model"] == model for _, record in report.runs)],
    )


def identifier(text) -> str:
    """The text as the id of an element."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _inline(figure):
    return Markup(to_page(figure.svg, identifier(figure.name), figure.caption))


def _is_numeric(column):
    return column not in TEXT_COLUMNS


def _card(report, task):
    """What the summary says of a task: of its setting with the most models, the best group of each model."""
    settings = [setting for setting in report.settings if setting.task == task.name]
    first = max(settings, key=lambda setting: len({group.model for group in setting.groups}))
    lines = []
    for model in dict.fromkeys(group.model for group in first.groups):
        groups = [group for group in first.groups if group.model == model]
        known = [group for group in groups if group.mean(f"validation_{first.measure}") is not None]
        if known:
            sign = 1.0 if first.measure == "perplexity" else -1.0
            best = min(known, key=lambda group: sign * group.mean(f"validation_{first.measure}"))
            test = best.mean(f"test_{first.measure}")
            silent = best.mean("activity_sparsity")
            lines.append(
                {
                    "model": model,
                    "test": decimal(test) if first.measure == "perplexity" else share(test),
                    "silent": None if silent is None else share(silent),
                }
            )
    seeds = {record["seed"] for setting in settings for group in setting.groups for record in group.records}
    return {
        "task": task.name,
        "summary": task.summary,
        "presets": list(dict.fromkeys(setting.preset for setting in settings)),
        "measure": first.measure,
        "preset": first.preset,
        "complete": all(setting.dataset["complete"] for setting in settings),
        "first_complete": first.dataset["complete"],
        "data": describe_data(first.dataset),
        "lines": lines,
        "runs": sum(len(group.records) for setting in settings for group in setting.groups),
        "seeds": len(seeds),
    }


def _runs(report):
    """What the list of all runs tells of each."""
    found = []
    for name, record in report.runs:
        perplexity = record["test_perplexity"]
        machine = record["machine"] or {}
        found.append(
            {
                "name": name,
                "task": record["task"],
                "preset": record["preset"],
                "complete": record["dataset"]["complete"],
                "verified": record["dataset"].get("verified") is not False,
                "model": record["model"],
                "seed": record["seed"],
                "test": share(record["test_accuracy"]) if perplexity is None else decimal(perplexity),
                "best_epoch": f"{record['best_epoch']} of {len(record['epochs'])}",
                "minutes": "-" if record["seconds"] is None else decimal(record["seconds"] / 60),
                "machine": ", ".join(str(machine[key]) for key in ("processor", "cores", "threads") if key in machine),
                "command": record["command"] or "-",
            }
        )
    return found
