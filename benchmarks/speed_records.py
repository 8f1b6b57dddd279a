"""The JSON records of `speed`, of the kind "speed" or "scaling": one file a run, continued if the run was stopped."""

import json
from pathlib import Path

from benchmarks import records
from benchmarks.checkpoints import write_atomically
from benchmarks.errors import ConfigError


def header(kind, command, **settings) -> dict:
    """What must be the same for a run to continue the record of another."""
    return {
        "kind": kind,
        "command": command,
        "versions": records.versions(),
        "machine": records.machine(),
        **settings,
    }


def begun(path, header, empty) -> dict:
    """The record at `path` if it has this header; a new one, with the fields of `empty`, where there is no file.

    Raises:
        ConfigError: the file is something else.
    """
    if path is None or not Path(path).exists():
        return {**header, **empty}
    found = _read(path)
    if not isinstance(found, dict) or "kind" not in found:
        raise ConfigError(f"{path} is not a record that can be continued; remove it or choose another file.")
    different = [name for name in header if found.get(name) != header[name]]
    if different:
        raise ConfigError(f"{path} was begun with another {' and '.join(different)}; remove it or choose another file.")
    return found


def measured(path, header, cases, measure, describe, progress) -> dict:
    """The record at `path`, with `measure(case)` of each case that it did not hold; it is saved after each."""
    record = begun(path, header, {"cases": []})
    done = [(result["case"], result["asked"]) for result in record["cases"]]
    for case in cases:
        if (case.name, case.asked()) not in done:
            record["cases"].append(measure(case))
            save(path, record)
            progress(describe(record["cases"][-1]))
    return record


def save(path, record):
    """Writes the record, unless `path` is None."""
    if path is not None:
        write_atomically(path, records.to_json(record))


def find(folder, kind) -> list:
    """The records of a kind under a folder, as `(path, record)`; other JSON files are passed over."""
    found = [(path, _read(path)) for path in sorted(Path(folder).rglob("*.json"))]
    return [(path, record) for path, record in found if isinstance(record, dict) and record.get("kind") == kind]


def _read(path):
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except (ValueError, OSError):
        return None
