"""One run: load, build, one `fit` with checkpoints, the kept epoch's weights on the test set, one record."""

import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from benchmarks import checkpoints, pruning, records
from benchmarks.batches import EpochClock
from benchmarks.config import online_label, recorded
from benchmarks.errors import CannotWrite, ConfigError, Diverged
from benchmarks.event_sample import event_sample
from benchmarks.problem import problem_class
from benchmarks.sparsities import SPARSITIES, weight_sparsity
from benchmarks.tasks import TASKS

CUMULATIVE = {"compute_adjusted_iterations"}  # figures of an epoch that a record adds up from epoch to epoch


class Run(NamedTuple):
    """What is to be run. `out` is its folder; `progress` is a Keras callback that shows how it goes, or None; with
    `export` the trained network becomes a TF-Lite file too."""

    task: str
    preset: str
    model: str
    config: object
    seed: int
    data_dir: str | None
    out: Path
    command: str
    resume: bool = False
    progress: object = None
    export: bool = False

    @property
    def name(self) -> str:
        """What tells runs apart: `smnist-cpu-egru-0`, and `smnist-cpu-egru-prune0.8-1x16-0` with pruning.

        Of runs with a gradient at every step `spiral-paper-egru-rtrl-w0.8-0`.
        """
        labels = (online_label(self.config), pruning.label(self.config))
        parts = (self.task, self.preset, self.model, *labels, str(self.seed))
        return "-".join(part for part in parts if part is not None)

    def identity(self) -> dict:
        """What must be equal for a checkpoint to be continued."""
        return {
            "task": self.task,
            "preset": self.preset,
            "model": self.model,
            "seed": self.seed,
            "config": recorded(self.config, self.model),
        }


def execute(run: Run) -> dict:
    """Trains, evaluates, writes `checkpoint.npz`, `model.keras` and `record.json` into `run.out`; returns the record.

    Raises:
        BenchmarkError: a subclass says what is wrong, before training wherever that can be known.
    """
    checkpoint = _starting_point(run)
    task = TASKS[run.task]
    dataset = task.load(run.config, run.data_dir)
    with pruning.blocks_must_fit(run.config):
        problem = problem_class(task.kind, run.model, run.config)(run.config, run.model, dataset, run.seed)
    unpruned = _serialised(problem.deployed())
    checkpoints.write_atomically(run.out / "config.json", json.dumps(run.identity(), indent=2).encode())
    if run.export:
        from benchmarks import run_export

        run_export.check(run, problem.deployed())
    journal = Journal(run, problem)
    if checkpoint is not None:
        journal.restore(problem.network, *checkpoint)
    if journal.done < run.config.epochs:
        _fit(run, problem, journal)
    problem.network.set_weights(journal.best)
    network = problem.deployed()
    model = _serialised(network)
    record = records.compose(
        run,
        dataset,
        epochs=journal.epochs,
        best_epoch=journal.best_epoch + 1,
        seconds=journal.seconds,
        parameters=int(network.count_params()),
        model_bytes=_sizes(model, unpruned),
        events=event_sample(network, problem.example()),
        **weight_sparsity(network),
        **problem.test(),
    )
    checkpoints.write_atomically(run.out / "model.keras", model)
    checkpoints.write_atomically(run.out / records.FILE, records.to_json(record))
    if run.export:
        run_export.write(run, network, dataset, record)
    return record


def _fit(run, problem, journal):
    options = problem.fit_options()
    callbacks = [EpochClock(problem.batches), *options.pop("callbacks", ()), *problem.pruning.callbacks(), journal]
    problem.network.fit(
        problem.batches,
        epochs=run.config.epochs,
        initial_epoch=journal.done,
        callbacks=[*callbacks, *([run.progress] if run.progress else [])],
        shuffle=False,  # the batches are in their order already, decided by seed and epoch alone
        verbose=0,
        **options,
    )


class Journal(keras.callbacks.Callback):
    """Completes each epoch's figures, keeps the weights of the best epoch or of the last, and writes the checkpoint.

    It comes before the progress bar in the list of callbacks, which then shows what it adds to `logs`.
    """

    def __init__(self, run, problem):
        super().__init__()
        self.run, self.problem = run, problem
        self.epochs, self.best, self.best_epoch = [], None, None

    @property
    def done(self):
        return len(self.epochs)

    @property
    def seconds(self):
        return sum(epoch["seconds"] for epoch in self.epochs)

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise Diverged(
                f"the loss of epoch {epoch + 1} is {logs['loss']}: try a smaller learning_rate or a clipnorm; "
                f"the checkpoint holds {self.done} epochs."
            )
        measured = self.problem.figures()
        layers = measured.pop("layers")  # `logs`, which other callbacks read, hold numbers alone
        logs.update({name: value for name, value in measured.items() if value is not None})
        seconds = time.perf_counter() - self._began
        figures = {name: float(value) for name, value in logs.items()}
        for name in CUMULATIVE & figures.keys():
            figures[name] += self.epochs[-1][name] if self.epochs else 0.0
        score = self.problem.score
        if not np.isfinite(score(figures)):
            raise Diverged(
                f"validation after epoch {epoch + 1} gave no number; the checkpoint holds {self.done} epochs."
            )
        if self._masks_are_final(epoch) and (
            self.best_epoch is None
            or self.run.config.kept_epoch == "last"
            or score(figures) > score(self.epochs[self.best_epoch])
        ):
            self.best, self.best_epoch = self.model.get_weights(), epoch
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        missing = dict.fromkeys(SPARSITIES)
        figures = {"epoch": epoch + 1, **missing, **figures, "learning_rate": rate, "seconds": seconds}
        updates = int(self.model.optimizer.iterations)  # since the run began
        self.epochs.append({**figures, "updates": updates, "layers": layers})
        self._save()

    def _masks_are_final(self, epoch):
        """An epoch with more live weights than were asked for is no candidate, however good."""
        return (epoch + 1) * len(self.problem.batches) >= self.problem.pruning.last_update

    def _save(self):
        state = {"identity": self.run.identity(), "epochs": self.epochs, "best_epoch": self.best_epoch}
        arrays = {
            "model": [np.asarray(v) for v in self.model.variables],  # weights and the states of the random generators
            "optimizer": [np.asarray(v) for v in self.model.optimizer.variables],
            "best": self.best or [],
        }
        checkpoints.save(self.run.out, state, arrays)

    def restore(self, network, state, arrays):
        network.optimizer.build(network.trainable_variables)
        for name, variables in (("model", network.variables), ("optimizer", network.optimizer.variables)):
            checkpoints.assign(variables, arrays.get(name, []), self.run.out)
        self.epochs, self.best_epoch, self.best = state["epochs"], state["best_epoch"], arrays.get("best")


def _starting_point(run):
    """The checkpoint to continue from, or None; a folder in use by another run is refused."""
    checkpoint = checkpoints.load(run.out)
    if checkpoint is None:
        return None
    if not run.resume:
        raise ConfigError(f"{run.out} already holds a run: continue it with --resume or choose another --out.")
    before, now = checkpoint[0]["identity"], run.identity()
    changed = [key for key in ("task", "preset", "model", "seed") if before[key] != now[key]]
    keys = before["config"].keys() | now["config"].keys()
    changed += sorted(key for key in keys if before["config"].get(key) != now["config"].get(key))
    if changed:
        raise ConfigError(
            f"--resume continues the run in {run.out} as it began, but these differ: {', '.join(changed)}."
        )
    return checkpoint


def _sizes(model, unpruned):
    """Bytes of the saved model and of the same network before training, which has no weight pruned."""
    files = {"model": model, "unpruned_model": unpruned}
    zipped = {f"{name}_gzip": gzip.compress(content, mtime=0) for name, content in files.items()}
    return {name: len(content) for name, content in (files | zipped).items()}


def _serialised(network):
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            network.save(path)
            return path.read_bytes()
    except OSError as error:
        where = tempfile.gettempdir()
        raise CannotWrite(f"the model cannot be written to {where} (TMPDIR): {error.strerror or error}.") from None
