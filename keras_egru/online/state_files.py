"""Files of named arrays that are whole at every moment."""

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def write_arrays(path, arrays: dict[str, Any]):
    """Writes arrays to `path` through a temporary file beside it: what is there afterwards is whole, old or new.

    Raises:
        OSError: the folder is not writable or the disk is full; the file is as it was.
    """
    path, buffer = Path(path), io.BytesIO()
    np.savez(buffer, **arrays)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_arrays(path) -> dict[str, np.ndarray]:
    """What `write_arrays` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file.
    """
    try:
        with np.load(path) as file:
            return dict(file)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged zip raises many types
        raise ValueError(f"{path} is not a state that `save` wrote: {error}") from None
