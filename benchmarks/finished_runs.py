"""A run that is over, as later commands take it up: its record, its configuration, its model."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from benchmarks import records
from benchmarks.errors import ConfigError
from benchmarks.tasks import config_class


class FinishedRun(NamedTuple):
    """What its folder holds; `model_of` loads the model."""

    folder: Path
    record: dict
    config: Any


def find(folder) -> FinishedRun:
    """The finished run in `folder`.

    Raises:
        ConfigError: there is none, or one of another version.
    """
    folder = Path(folder)
    path = folder / records.FILE
    try:
        record = json.loads(path.read_text("utf-8"))
    except OSError:
        raise ConfigError(f"{folder} holds no finished run: there is no {path}.") from None
    except ValueError:
        record = None
    if not isinstance(record, dict) or not {"task", "model", "config", "test_accuracy"} <= record.keys():
        raise ConfigError(f"{path} is not the record of a run.")
    kind = config_class(record["task"], record["model"])  # which also says whether there is such a task
    try:
        return FinishedRun(folder, record, kind(**record["config"]))
    except ValidationError as error:
        first = error.errors()[0]
        what = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise ConfigError(f"the configuration in {path} is of another version: {what}.") from None


def model_of(run):
    """The Keras model of a finished run, not compiled.

    Raises:
        ConfigError: it cannot be loaded, and why.
    """
    from benchmarks import spiking  # noqa: F401  # its layers are found by name
    from keras_egru.export.checkpoint import load_checkpoint

    try:
        return load_checkpoint(run.folder)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError(f"the model of {run.folder} cannot be loaded: {error}") from None
