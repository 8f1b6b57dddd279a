"""Places that exports are written to: refused where something is there already, and whole or not there afterwards."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_file(path) -> Iterator[Path]:
    """Yields the name of a temporary file beside `path`, which takes its place when the block ends without an error.

    Raises:
        FileExistsError: there is something at `path`.
        OSError: it cannot be written; nothing is left behind.
    """
    with _new(path) as folder:
        file = folder / Path(path).name
        yield file
        os.replace(file, path)


@contextmanager
def new_folder(path) -> Iterator[Path]:
    """The same for a folder: yields a temporary one, which exists and is empty.

    Raises:
        FileExistsError: there is something at `path`.
        OSError: it cannot be written; nothing is left behind.
    """
    with _new(path) as folder:
        inner = folder / Path(path).name
        inner.mkdir()
        yield inner
        os.rename(inner, path)


def check_new(path) -> None:
    """Raises a FileExistsError if there is something at `path`: said before an export has taken its time."""
    if os.path.lexists(path):
        raise FileExistsError(f"`path` must be new, and there is something at {path}: remove it or choose another.")


def size_of(path) -> int:
    """Bytes of a file, or of all files in a folder."""
    path = Path(path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


@contextmanager
def _new(path):
    check_new(path)
    parent, temporary = Path(path).absolute().parent, None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own, so that whatever a writer leaves beside its file goes with it.
        temporary = Path(tempfile.mkdtemp(dir=parent, prefix=f".{Path(path).name}."))
        yield temporary
    except OSError as error:
        raise OSError(f"`path` {path} cannot be written: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
