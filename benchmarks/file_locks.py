"""Locks that the system gives back when their process ends in whatever way, also between machines with one folder."""

import fcntl
from contextlib import contextmanager
from pathlib import Path

from benchmarks.errors import CannotWrite


class FileLock:
    """A lock on `path`, which is made for it and left there."""

    def __init__(self, path, *, shared=False):
        self.path, self.shared, self._file = Path(path), shared, None

    def acquire(self, *, wait=True) -> bool:
        """Takes the lock; without `wait` returns False where another has it.

        Raises:
            CannotWrite: the file cannot be made, or its file system has no locks.
        """
        kind = fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            fcntl.flock(self._file, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        except OSError as error:
            self.release()
            raise CannotWrite(f"{self.path} cannot be locked: {error.strerror or error}.") from None
        return True

    def release(self):
        """Gives the lock back, if it was taken."""
        if self._file is not None:
            self._file.close()
            self._file = None


@contextmanager
def locked(path):
    """Waits for the lock on `path` and holds it."""
    lock = FileLock(path)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
