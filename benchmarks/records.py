"""A run's record: one JSON document with its configuration, versions, machine, data and figures.

`FIELDS` is what every record has; a figure that does not apply, or is not known, is null. `record_files.py` reads them.
"""

import json
import platform
import re
from importlib import metadata
from pathlib import Path

from benchmarks.config import recorded
from benchmarks.threads import cores, threads_used

FILE = "record.json"
SCHEMA = 2  # 1, which had no such field: without `events`, and without `updates` and `layers` in the epochs
FIELDS = (
    "schema",
    "name",
    "task",
    "preset",
    "model",
    "method",
    "seed",
    "command",
    "config",
    "dataset",
    "versions",
    "machine",
    "epochs",
    "best_epoch",
    "validation_accuracy",
    "validation_perplexity",
    "test_accuracy",
    "test_loss",
    "test_perplexity",
    "activity_sparsity",
    "backward_sparsity",
    "surrogate_sparsity",
    "influence_sparsity",
    "parameter_sparsity",
    "recurrent_parameter_sparsity",
    "kernel_sparsities",
    "effective_macs",
    "dense_macs",
    "layers",
    "parameters",
    "model_bytes",
    "events",
    "seconds",
)
PACKAGES = ("keras-egru", "keras", "tensorflow", "tensorflow-cpu", "numpy", "torch", "onnxruntime", "ai-edge-litert")


def compose(run, dataset, *, epochs, best_epoch, **figures) -> dict:
    """The record of a finished `Run`."""
    record = dict.fromkeys(FIELDS)
    record |= {
        "schema": SCHEMA,
        "name": run.name,
        "task": run.task,
        "preset": run.preset,
        "model": run.model,
        "method": "bptt",
        "seed": run.seed,
        "command": run.command,
        "config": recorded(run.config, run.model),
        "dataset": dataset.describe(),
        "versions": versions(),
        "machine": machine() | {"threads": threads_used()},
        "epochs": epochs,
        "best_epoch": best_epoch,
        "validation_accuracy": epochs[best_epoch - 1].get("val_accuracy"),
        "validation_perplexity": epochs[best_epoch - 1].get("val_perplexity"),
        "influence_sparsity": epochs[best_epoch - 1].get("influence_sparsity"),
    }
    unknown = figures.keys() - set(FIELDS)
    if unknown:
        raise TypeError(f"a record has no field {', '.join(sorted(unknown))}.")
    return record | figures


def to_json(document) -> bytes:
    """Readable JSON, a list of numbers on one line; NaN, which JSON does not have, is refused rather than written."""
    text = json.dumps(document, indent=2, allow_nan=False)
    # No string matches: JSON writes a line break in one as \\n.
    return (re.sub(r"\[\n([\s\d.,eE+-]+)\n\s*\]", _in_one_line, text) + "\n").encode()


def versions() -> dict:
    """Python's version and those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict:
    """What the figures depend on; nothing that names the computer or its user."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": cores(),
    }


def _in_one_line(match):
    return f"[{','.join(match[1].replace(',', ' ').split())}]"


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
