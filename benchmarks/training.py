"""One run: load, build, one `fit` with checkpoints, the best epoch's weights on the test set, one record."""

import io
import json
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from benchmarks import checkpoints, models, records
from benchmarks.batches import Batches, EpochClock
from benchmarks.config import recorded
from benchmarks.errors import ConfigError, Diverged
from benchmarks.tasks import TASKS

SPARSITIES = ("activity_sparsity", "backward_sparsity", "surrogate_sparsity")


class Run(NamedTuple):
    """What is to be run. `progress` is a Keras callback that shows how it goes, or None."""

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
    dataset = TASKS[run.task].load(run.config, run.data_dir)
    checkpoints.write_atomically(run.out / "config.json", json.dumps(run.identity(), indent=2).encode())
    network = models.build(run.config, run.model, dataset, run.seed)
    batches = Batches(dataset.train, run.config.batch_size, run.config.steps_per_epoch, run.seed)
    journal = Journal(run, dataset)
    if checkpoint is not None:
        journal.restore(network, *checkpoint)
    if journal.done < run.config.epochs:
        network.fit(
            batches,
            epochs=run.config.epochs,
            initial_epoch=journal.done,
            validation_data=tuple(dataset.validation),
            validation_batch_size=run.config.evaluation_batch_size,
            callbacks=[EpochClock(batches), journal, *([run.progress] if run.progress else [])],
            shuffle=False,  # the batches shuffle themselves, from seed and epoch alone
            verbose=0,
        )
    network.set_weights(journal.best)
    record = _evaluate(run, network, dataset, journal)
    checkpoints.write_atomically(run.out / "model.keras", _serialised(network))
    checkpoints.write_atomically(run.out / records.FILE, records.to_json(record))
    return record


class Journal(keras.callbacks.Callback):
    """Completes each epoch's figures, keeps the weights of the best epoch on validation, and writes the checkpoint.

    It comes before the progress bar in the list of callbacks, which then shows what it adds to `logs`.
    """

    def __init__(self, run, dataset):
        super().__init__()
        self.run = run
        sample = dataset.validation.x[: run.config.sparsity_sample]
        self.measure = lambda network: sparsity(network, sample, run)
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
        measured = self.measure(self.model)
        logs.update({name: measured[name] for name in SPARSITIES if measured[name] is not None})
        seconds = time.perf_counter() - self._began
        figures = {name: float(value) for name, value in logs.items()}
        if self.best_epoch is None or figures["val_accuracy"] > self.epochs[self.best_epoch]["val_accuracy"]:
            self.best, self.best_epoch = self.model.get_weights(), epoch
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        missing = dict.fromkeys(SPARSITIES)
        self.epochs.append({"epoch": epoch + 1, **missing, **figures, "learning_rate": rate, "seconds": seconds})
        self._save()

    def _save(self):
        state = {"identity": self.run.identity(), "epochs": self.epochs, "best_epoch": self.best_epoch}
        arrays = {
            "model": [np.asarray(v) for v in self.model.variables],  # weights and the states of the random generators
            "optimizer": [np.asarray(v) for v in self.model.optimizer.variables],
            "best": self.best,
        }
        checkpoints.save(self.run.out, state, arrays)

    def restore(self, network, state, arrays):
        network.optimizer.build(network.trainable_variables)
        for name, variables in (("model", network.variables), ("optimizer", network.optimizer.variables)):
            for variable, value in zip(variables, arrays[name], strict=True):
                variable.assign(value)
        self.epochs, self.best_epoch, self.best = state["epochs"], state["best_epoch"], arrays["best"]


def sparsity(network, x, run) -> dict:
    """Sparsities and MACs over the sequences `x`; None where a measure does not apply to the model."""
    from keras_egru.sparsity import measure

    figures = measure(network, x, batch_size=run.config.evaluation_batch_size)
    return {name: figures[name] for name in (*SPARSITIES, "effective_macs", "dense_macs")}


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


def _evaluate(run, network, dataset, journal):
    loss, accuracy = network.evaluate(*dataset.test, batch_size=run.config.evaluation_batch_size, verbose=0)
    from keras_egru.sparsity import parameter_sparsity

    return records.compose(
        run,
        dataset,
        epochs=journal.epochs,
        best_epoch=journal.best_epoch + 1,
        seconds=journal.seconds,
        test_accuracy=float(accuracy),
        test_loss=float(loss),
        parameters=int(network.count_params()),
        parameter_sparsity=parameter_sparsity(network)["overall"],
        **sparsity(network, dataset.test.x, run),
    )


def _serialised(network):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        network.save(path)
        return io.FileIO(path).readall()
