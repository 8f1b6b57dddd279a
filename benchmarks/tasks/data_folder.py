"""Where data sets are looked for: the folder of `--data-dir`, else that which an environment variable names."""

import os
from pathlib import Path

from benchmarks.errors import DataMissing

VARIABLE = "KERAS_EGRU_DATA"


def chosen(data_dir) -> str | None:
    """The folder as it was named, or None where it was not."""
    return data_dir or os.environ.get(VARIABLE) or None


def as_recorded(data_dir) -> str | None:
    """How a record names the folder: as the user typed it, and no path that nobody typed."""
    return data_dir or (f"${VARIABLE}" if chosen(data_dir) else None)


def existing(folder) -> Path:
    """The folder as a path.

    Raises:
        DataMissing: it does not exist, or may not be read.
    """
    path = Path(os.path.expanduser(folder))
    if not os.path.isdir(path):
        raise DataMissing(f"the data folder {folder} does not exist.")
    if not os.access(path, os.R_OK | os.X_OK):
        raise DataMissing(f"the data folder {folder} may not be read.")
    return path
