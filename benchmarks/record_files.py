"""Reads the run records of a folder, of this schema and of older ones, and names the files that are broken.

What is no run record (configurations, speed records) is passed over. What looks like one and cannot be read, such as a
file that was cut off, is left out and told: nothing is missing in silence, and one bad file spoils no report.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from benchmarks.errors import ConfigError
from benchmarks.records import FIELDS, FILE, SCHEMA

Figure = FiniteFloat | None


class RecordFiles(NamedTuple):
    """What a folder holds.

    found: `[(path, record)]`, every record with all of `FIELDS`: what an older one lacks is None.
    refused: Sentences that name a file and what is wrong with it.
    """

    found: list
    refused: list


def read(folder) -> RecordFiles:
    """The run records under a folder, in the order of their paths.

    Raises:
        ConfigError: the folder does not exist, or holds no record that can be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder.")
    found, refused = [], []
    for path in sorted(folder.rglob("*.json")):
        try:
            document = json.loads(path.read_text("utf-8"))
            if _looks_like_a_record(path, document):
                found.append((path, _complete(document)))
        except _Refused as refusal:
            refused.append(f"{path} {refusal}.")
        except OSError as error:
            refused.append(f"{path} cannot be read: {error.strerror or error}.")
        except ValueError as error:
            refused.append(f"{path} is not JSON, it may have been cut off: {error}.")
    if not found:
        raise ConfigError(" ".join([f"{folder} holds no run record that can be read.", *refused]))
    return RecordFiles(found, refused)


class _Refused(Exception):
    """Why a file that looks like a record is none, after the name of the file."""


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Dataset(_Model):
    name: str
    train: int
    validation: int
    test: int
    complete: bool


class _Epoch(_Model):
    epoch: int
    loss: Figure = None
    accuracy: Figure = None
    val_loss: Figure = None
    val_accuracy: Figure = None
    val_perplexity: Figure = None
    activity_sparsity: Figure = None
    backward_sparsity: Figure = None
    surrogate_sparsity: Figure = None
    influence_sparsity: Figure = None
    seconds: Figure = None
    updates: int | None = None
    layers: dict[str, dict[str, Figure]] = {}


class _Events(_Model):
    units: int
    steps: int
    unit: list[int]
    step: list[int]


class _Record(_Model):
    task: str
    preset: str
    model: str
    seed: int
    config: dict[str, Any]
    dataset: _Dataset
    epochs: list[_Epoch] = Field(min_length=1)
    best_epoch: int = Field(ge=1)
    command: str | None = None
    method: str | None = None
    validation_accuracy: Figure = None
    validation_perplexity: Figure = None
    test_accuracy: Figure = None
    test_loss: Figure = None
    test_perplexity: Figure = None
    activity_sparsity: Figure = None
    backward_sparsity: Figure = None
    surrogate_sparsity: Figure = None
    influence_sparsity: Figure = None
    parameter_sparsity: Figure = None
    recurrent_parameter_sparsity: Figure = None
    effective_macs: Figure = None
    dense_macs: Figure = None
    layers: dict[str, dict[str, Figure]] | None = None
    events: dict[str, _Events] | None = None
    parameters: int | None = None
    model_bytes: dict[str, int] | None = None
    seconds: Figure = None

    @model_validator(mode="after")
    def _has_its_best_epoch(self):
        if self.best_epoch > len(self.epochs):
            raise ValueError(f"best_epoch is {self.best_epoch}, and there are {len(self.epochs)} epochs")
        return self


def _looks_like_a_record(path, document):
    return path.name == FILE or (isinstance(document, dict) and {"task", "model", "epochs"} <= document.keys())


def _complete(document):
    """The record with all of `FIELDS`.

    Raises:
        _Refused: it is no whole record, or one of a later version.
    """
    schema = document.get("schema") if isinstance(document, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise _Refused(f"has the schema {schema}, and this version reads schemas up to {SCHEMA}")
    try:
        _Record.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        where = [".".join(map(str, first["loc"]))] if first["loc"] else []
        raise _Refused(f"is not a whole record: {': '.join([*where, message])}") from None
    return dict.fromkeys(FIELDS) | document
