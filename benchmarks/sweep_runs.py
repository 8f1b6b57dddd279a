"""One process's share of a sweep: it takes runs from the queue, trains each as `run` would, and reports its epochs."""

import multiprocessing
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import keras
import optuna

from benchmarks import checkpoints
from benchmarks.errors import BenchmarkError, CannotRun, CannotWrite, DataMissing
from benchmarks.progress import describe
from benchmarks.sweep_file import Sweep
from benchmarks.sweep_study import Queue
from benchmarks.tasks import TASKS
from benchmarks.threads import threads_used
from benchmarks.training import Run, execute

STOPS_ALL = (DataMissing, CannotRun, CannotWrite)  # what would befall every other run too


class Plan(NamedTuple):
    """What a process needs to take part in a sweep."""

    sweep: Sweep
    name: str
    folder: Path
    data_dir: str | None
    storage: str | None
    threads: int | None


def objective(task) -> str:
    """The field of a record that a sweep chooses by; it is of the validation split."""
    return "validation_perplexity" if TASKS[task].kind == "language model" else "validation_accuracy"


def queue(plan) -> Queue:
    """The queue of a plan's sweep."""
    better = "minimize" if objective(plan.sweep.task) == "validation_perplexity" else "maximize"
    return Queue(plan.sweep, plan.name, plan.folder, plan.storage, better)


def work(plan):
    """Takes runs until none waits.

    Raises:
        BenchmarkError: no run could go on; what was begun can be continued.
        KeyboardInterrupt: what was begun is back in the queue.
    """
    runs = queue(plan)
    while (taken := runs.take()) is not None:
        try:
            _train(plan, runs, taken)
        except (KeyboardInterrupt, *STOPS_ALL) as stop:
            _give_back(runs, taken, stop)
            raise
        keras.backend.clear_session()


def _train(plan, runs, taken):
    try:
        record = execute(run_of(plan, taken))
    except optuna.TrialPruned:
        _say(plan, taken, "stopped: worse than the median of the others")
        return runs.finish(taken, stopped=True)
    except STOPS_ALL:
        raise
    except Exception as error:  # of this run alone; those that follow may be sound
        sentence = str(error) if isinstance(error, BenchmarkError) else f"{type(error).__name__}: {error}"
        _say(plan, taken, f"failed: {sentence}")
        return runs.finish(taken, error=sentence)
    value = record[objective(plan.sweep.task)]
    runs.finish(taken, value=value)
    _say(plan, taken, f"done, {objective(plan.sweep.task).replace('_', ' ')} {value:.4g}")


def _give_back(runs, taken, stop):
    """Where even that fails, as on a full disk, the lock that is let go of tells that the run lost its process."""
    try:
        runs.put_back(taken)
    except CannotWrite:
        taken.lock.release()
        if isinstance(stop, KeyboardInterrupt):
            raise


def run_of(plan, taken) -> Run:
    """The `Run` of a taken one, which goes on from its checkpoint if it has one."""
    sweep, point = plan.sweep, taken.point
    return Run(
        sweep.task,
        sweep.preset,
        point.model,
        sweep.config(point),
        point.seed,
        plan.data_dir,
        taken.folder,
        command_of(plan, taken),
        resume=True,
        progress=EpochsTold(plan, taken),
    )


def command_of(plan, taken) -> str:
    """The command that repeats the run alone."""
    sweep, point = plan.sweep, taken.point
    options = ["--preset", sweep.preset, "--model", point.model, "--seed", point.seed, "--threads", threads_used()]
    for assignment in sweep.assignments(point):
        options += ["--set", assignment]
    if plan.data_dir is not None:
        options += ["--data-dir", plan.data_dir]
    options += ["--out", f"runs/{plan.name}-{taken.index:04d}"]
    return shlex.join(["python", "-m", "benchmarks", "run", sweep.task, *map(str, options)])


class EpochsTold(keras.callbacks.Callback):
    """Tells the study and the terminal of every epoch; stops a run that the pruner refuses or whose sweep is gone."""

    def __init__(self, plan, taken):
        super().__init__()
        self.plan, self.taken = plan, taken
        self.figure = objective(plan.sweep.task).replace("validation", "val")

    def on_train_begin(self, logs=None):
        checkpoint = checkpoints.load(self.taken.folder)
        for epoch in checkpoint[0]["epochs"] if checkpoint else ():
            self.taken.trial.report(epoch[self.figure], epoch["epoch"])

    def on_train_batch_end(self, batch, logs=None):
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        _say(self.plan, self.taken, f"epoch {epoch + 1}/{self.params['epochs']}  {describe(logs)}")
        self.taken.trial.report(float(logs[self.figure]), epoch + 1)
        if self.plan.sweep.prune and self.taken.trial.should_prune():
            raise optuna.TrialPruned


def _say(plan, taken, text):
    print(f"{plan.name} {taken.index:04d} ({taken.point.describe()})  {text}", file=sys.stderr, flush=True)
