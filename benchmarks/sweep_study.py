"""The runs of a sweep as a queue in an Optuna study, which processes on one machine or many take from.

- All runs are put into the study at its beginning, a grid's with their values; Optuna's sampler fills in the others as
  they are taken. (Its `GridSampler` can give one combination to two processes.)
- Whoever changes the queue holds the lock of the sweep's folder, which all machines must share; whoever trains a run,
  that of the run's folder. A run that is marked as running while nobody holds its lock has lost its process: it goes
  back to the end of the queue with its values, to be continued from its checkpoint.
- The sampler is seeded by the number of the run. With one process, a sweep that was stopped and continued asks for the
  same runs as one that was not.
"""

import json
import os
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import sqlalchemy
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

from benchmarks import checkpoints
from benchmarks.errors import CannotRun, CannotWrite, ConfigError
from benchmarks.file_locks import FileLock, locked
from benchmarks.sweep_file import Point, Range

DEFINITION, JOURNAL = "definition.json", "study.journal"
LOSSES = 3  # of a process, without an epoch between them, after which a run counts as failed
MAY_CHANGE = ("summary", "trials")  # of a definition, when a sweep is continued

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Taken(NamedTuple):
    """A run that this process holds."""

    index: int
    point: Point
    folder: Path
    trial: Any
    lock: FileLock


class Entry(NamedTuple):
    """A run as the study knows it; `state` is waiting, running, done, stopped (by `prune`) or failed."""

    index: int
    state: str
    value: float | None
    point: Point | None
    error: str | None


class Queue:
    """The queue of `sweep`, in `folder`; `begin` makes it.

    Args:
        sweep: `Sweep`.
        name: Its name.
        folder: Of the sweep, shared by all machines.
        storage: URL of a data base for Optuna; None for a file in the folder.
        better: "maximize" or "minimize".
    """

    def __init__(self, sweep, name, folder, storage, better):
        self.sweep, self.folder, self.name = sweep, Path(folder), name
        self._lock = self.folder / "queue.lock"
        with locked(self._lock), _storage_told(self.folder, storage):
            pruner = optuna.pruners.MedianPruner(n_warmup_steps=1) if sweep.prune else optuna.pruners.NopPruner()
            self.study = optuna.create_study(
                study_name=name,
                storage=_journal(self.folder / JOURNAL) if storage is None else storage,
                direction=better,
                pruner=pruner,
                load_if_exists=True,
            )
            self._told = lambda: _storage_told(self.folder, storage)
            self._begin()

    def _begin(self):
        definition = self.sweep.model_dump(mode="json", by_alias=True)
        begun = self.study.user_attrs.get("sweep")
        if begun is None:
            begun = {"identity": str(uuid.uuid4()), "definition": definition}
            checkpoints.write_atomically(self.folder / DEFINITION, json.dumps(begun, indent=2).encode())
            self.study.set_user_attr("sweep", begun)
        if _identity(self.folder) != begun["identity"]:
            raise ConfigError(
                f"--storage holds the sweep {self.name} of another folder than {self.folder}: machines of one sweep "
                "share one folder."
            )
        changed = [
            key for key in definition if definition[key] != begun["definition"].get(key) and key not in MAY_CHANGE
        ]
        if changed:
            raise ConfigError(
                f"{self.folder} holds another sweep {self.name}, which differs in {', '.join(changed)}: choose another "
                "--out."
            )
        points = self.sweep.points() if self.sweep.method == "grid" else [None] * self.sweep.trials
        there = {trial.user_attrs["index"] for trial in self._trials()}
        for index, point in enumerate(points):
            if index not in there:
                self._put(index, {} if point is None else _parameters(point))

    def take(self) -> Taken | None:
        """The next run, its folder locked, or None where none waits."""
        with locked(self._lock), self._told():
            for trial in self._lost():
                self._put_back(trial)
            if not self._trials(TrialState.WAITING):
                return None
            trial = self.study.ask()
            index = trial.user_attrs["index"]
            self.study.sampler = optuna.samplers.TPESampler(seed=self.sweep.seeds[0] + index)
            point = self._suggested(trial)
            lock = self._lock_of(index)
            lock.acquire()
            return Taken(index, point, self.folder_of(index), trial, lock)

    def finish(self, taken, *, value=None, stopped=False, error=None):
        """Ends a run: with a value, or `stopped` by the pruner, or as failed with a sentence."""
        with self._told():
            if error is not None:
                taken.trial.set_user_attr("error", error)
                self.study.tell(taken.trial, state=TrialState.FAIL)
            elif stopped:
                self.study.tell(taken.trial, state=TrialState.PRUNED)
            else:
                self.study.tell(taken.trial, value)
        taken.lock.release()

    def has_lost(self) -> bool:
        """Whether a run has lost its process."""
        with locked(self._lock), self._told():
            return bool(self._lost())

    def entries(self) -> list:
        """An `Entry` a run, in the order of the file."""
        with self._told():
            latest = {trial.user_attrs["index"]: trial for trial in self._trials()}
        return [self._entry(index, latest[index]) for index in sorted(latest)]

    def folder_of(self, index) -> Path:
        return self.folder / f"{index:04d}"

    def _entry(self, index, trial):
        state = {
            TrialState.WAITING: "waiting",
            TrialState.RUNNING: "running",
            TrialState.COMPLETE: "done",
            TrialState.PRUNED: "stopped",
            TrialState.FAIL: "failed",
        }[trial.state]
        error = None
        if state == "failed":
            error = trial.user_attrs.get("error", f"its process ended {LOSSES} times within an epoch.")
        values = trial.params or trial.system_attrs.get("fixed_params", {})
        return Entry(index, state, trial.value, self._point(values) if values else None, error)

    def _trials(self, *states):
        return [t for t in self.study.get_trials(deepcopy=False, states=states or None) if "index" in t.user_attrs]

    def _lost(self):
        lost = []
        for trial in self._trials(TrialState.RUNNING):
            lock = self._lock_of(trial.user_attrs["index"])
            if lock.acquire(wait=False):
                lost.append(trial)
                lock.release()
        return lost

    def _put(self, index, parameters, losses=0, epochs=0):
        attributes = {"index": index, "losses": losses, "epochs": epochs}
        self.study.enqueue_trial(parameters, user_attrs=attributes)

    def _put_back(self, trial):
        """Puts the run of a trial that was lost back, unless it is lost again and again."""
        epochs = trial.last_step or 0
        losses = trial.user_attrs["losses"] + 1 if epochs <= trial.user_attrs["epochs"] else 1
        self._exchange(trial, losses, epochs)

    def put_back(self, taken):
        """Gives up a run that was interrupted on purpose; the next process continues it."""
        with locked(self._lock), self._told():
            trial = next(trial for trial in self._trials() if trial.number == taken.trial.number)
            self._exchange(trial, trial.user_attrs["losses"], trial.user_attrs["epochs"])
        taken.lock.release()

    def _exchange(self, trial, losses, epochs):
        """Puts another trial of the same run into the queue, then ends this one: whatever comes between, the run is
        there."""
        index = trial.user_attrs["index"]
        followed = any(other.number > trial.number for other in self._trials() if other.user_attrs["index"] == index)
        if losses < LOSSES and not followed:
            given = trial.system_attrs.get("fixed_params", {})  # it may have been lost before all were asked for
            self._put(index, given | trial.params, losses, epochs)
        self.study.tell(trial.number, state=TrialState.FAIL)

    def _lock_of(self, index):
        return FileLock(self.folder_of(index) / "run.lock")

    def _suggested(self, trial):
        if self.sweep.method == "grid":
            axes = {"model": self.sweep.models, "seed": list(map(str, self.sweep.seeds))}
            if self.sweep.variants:
                axes["variant"] = list(self.sweep.variants)
        else:
            axes = {}
        return self._point({name: _suggest(trial, name, axis) for name, axis in (axes | self.sweep.space).items()})

    def _point(self, parameters):
        values = {key: _text(parameters[key]) for key in self.sweep.space if key in parameters}
        model = parameters.get("model", self.sweep.models[0])
        return Point(model, int(parameters.get("seed", self.sweep.seeds[0])), parameters.get("variant"), values)


def _identity(folder):
    try:
        return json.loads((folder / DEFINITION).read_text("utf-8"))["identity"]
    except (OSError, ValueError, KeyError):
        return None


def _parameters(point):
    variant = {} if point.variant is None else {"variant": point.variant}
    return {"model": point.model, "seed": str(point.seed), **variant, **point.values}


def _suggest(trial, name, axis):
    if not isinstance(axis, Range):
        return trial.suggest_categorical(name, list(axis))
    if isinstance(axis.low, int) and isinstance(axis.high, int):
        return trial.suggest_int(name, axis.low, axis.high, log=axis.log)
    return trial.suggest_float(name, axis.low, axis.high, log=axis.log)


def _text(value):
    return value if isinstance(value, str) else repr(value)


def _journal(path):
    """Optuna's file, without what a full disk or a killed process left of a line that was never whole."""
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        if path.exists():
            content = path.read_bytes()
            if not content.endswith(b"\n"):
                os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


@contextmanager
def _storage_told(folder, storage):
    """Turns what Optuna and data bases raise into sentences."""
    where = folder if storage is None else f"--storage {hidden(storage)}"
    try:
        yield
    except OSError as error:
        raise CannotWrite(f"the study of {where} cannot be written: {error.strerror or error}.") from None
    except json.JSONDecodeError:
        raise ConfigError(f"{folder / JOURNAL} is damaged: choose another --out.") from None
    except ImportError as error:
        raise CannotRun(f"{where} cannot be opened: {error}.") from None
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError) as error:
        raise ConfigError(f"--storage must be the URL of a data base, such as sqlite:///sweeps.db: {error}") from None
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise CannotWrite(f"the study of {where} cannot be read or written: {reason}.") from None


def check_storage(storage):
    """Raises `ConfigError` or `CannotRun` where no data base of this kind can be opened."""
    if storage is not None:
        with _storage_told(None, storage):
            sqlalchemy.create_engine(storage)


def hidden(storage) -> str:
    """The URL without its password."""
    try:
        return sqlalchemy.make_url(storage).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "..."
