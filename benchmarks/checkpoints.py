"""One file that holds all a run needs to go on, replaced atomically after every epoch."""

import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.errors import CannotWrite, ConfigError

FILE = "checkpoint.npz"
SCHEMA = 2  # of what is saved; a checkpoint of another one is not continued


def write_atomically(path, content: bytes):
    """Writes `content` to `path` through a temporary file beside it: what is there afterwards is whole, old or new.

    Raises:
        CannotWrite: the folder is not writable or the disk is full; `path` is as it was.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's files are private
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}.") from None


def save(folder, state: dict, arrays: dict):
    """Saves a JSON-serialisable `state` and lists of arrays by name."""
    flat = {f"{name}/{i:04d}": value for name, values in arrays.items() for i, value in enumerate(values)}
    buffer = io.BytesIO()
    np.savez(buffer, schema=SCHEMA, state=np.frombuffer(json.dumps(state).encode(), "uint8"), **flat)
    write_atomically(Path(folder) / FILE, buffer.getvalue())


def load(folder):
    """`(state, arrays)` as `save` took them, or None where the folder holds no checkpoint.

    Raises:
        ConfigError: the file is not a checkpoint of this program, or of another version of it.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return None
    try:
        with np.load(path) as file:
            schema = int(file["schema"]) if "schema" in file.files else 1
            state = json.loads(file["state"].tobytes())
            arrays = {}
            for key in sorted(name for name in file.files if "/" in name):
                arrays.setdefault(key.split("/")[0], []).append(file[key])
    except Exception as error:  # a damaged zip raises many types
        raise ConfigError(
            f"{path} is not a readable checkpoint ({type(error).__name__}): remove it to start anew."
        ) from None
    if schema != SCHEMA:
        raise ConfigError(
            f"{path} is of another version of this program, schema {schema} where {SCHEMA} is wanted: remove it to "
            "start anew."
        )
    return state, arrays


def assign(variables, arrays, folder):
    """Gives variables the values that the checkpoint in a folder has for them.

    Raises:
        ConfigError: they are another network's; no variable is changed.
    """
    found, wanted = [array.shape for array in arrays], [tuple(variable.shape) for variable in variables]
    if found != wanted:
        raise ConfigError(
            f"{Path(folder) / FILE} holds the variables of another network, {len(found)} of them where {len(wanted)} "
            "of given shapes are wanted: remove it to start anew."
        )
    for variable, value in zip(variables, arrays, strict=True):
        variable.assign(value)
