"""A sweep from beginning to end: what is checked first, the processes that train, the table that is left.

A process that is killed costs the epoch that it was in: its run goes to another process, or to the next one that comes
with `--resume`.
"""

import json
import multiprocessing
import signal
import sys
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path
from typing import NamedTuple

from benchmarks import checkpoints, records, sweep_file
from benchmarks.errors import BenchmarkError, CannotRun, ConfigError, NothingFinished
from benchmarks.file_locks import FileLock
from benchmarks.threads import cores, use_threads

KIND, FILE = "sweep", "sweep.json"
OF_RECORD = ("best_epoch", "effective_macs", "dense_macs", "parameters", "parameter_sparsity", "seconds", "command")
OF_EPOCH = ("activity_sparsity", "backward_sparsity", "surrogate_sparsity")  # on validation data


class Request(NamedTuple):
    """What the command asks for; `out` None is runs/sweep-NAME."""

    file: str
    out: Path | None
    data_dir: str | None
    storage: str | None
    workers: int
    threads: int | None
    resume: bool
    command: str


def execute(request) -> dict:
    """Runs a sweep, or takes part in one that runs elsewhere; returns what it leaves in `sweep.json` too.

    Raises:
        BenchmarkError: a subclass says what is wrong, before the first run wherever that can be known.
        KeyboardInterrupt: `sweep.json` tells what is done so far.
    """
    name, sweep = sweep_file.load(request.file)
    folder = request.out or Path("runs") / f"sweep-{name}"
    _check_folder(folder, request.resume)
    threads = request.threads
    if threads is None and request.workers > 1:
        threads = max(1, cores() // request.workers)
    if threads is not None and request.workers == 1:
        use_threads(threads)
    from benchmarks.sweep_runs import Plan, queue, work
    from benchmarks.sweep_study import check_storage
    from benchmarks.tasks import TASKS

    check_storage(request.storage)
    TASKS[sweep.task].load(sweep.config(sweep.first_point()), request.data_dir)
    plan = Plan(sweep, name, folder, request.data_dir, request.storage, threads)
    presence = _presence(folder)
    presence.acquire()
    try:
        runs = queue(plan)
        try:
            if request.workers == 1:
                work(plan)
            else:
                _supervise(plan, request.workers, runs)
        finally:
            document = _document(plan, runs, request)
            checkpoints.write_atomically(folder / FILE, records.to_json(document))
    finally:
        presence.release()
    _something_was_done(document)
    return document


def _presence(folder):
    """What every process that takes part holds together with the others."""
    return FileLock(folder / "presence.lock", shared=True)


def _check_folder(folder, resume):
    if resume or not (folder / "presence.lock").exists():
        return
    alone = FileLock(folder / "presence.lock")
    if alone.acquire(wait=False):
        alone.release()
        raise ConfigError(f"{folder} already holds a sweep: continue it with --resume or choose another --out.")


def _supervise(plan, workers, runs):
    """Keeps `workers` processes at work until no run waits."""
    team = [_Worker(plan) for _ in range(workers)]
    try:
        while team:
            gone = connection.wait([worker.process.sentinel for worker in team])
            for worker in [worker for worker in team if worker.process.sentinel in gone]:
                team.remove(worker)
                worker.check()
                if worker.was_killed() and runs.has_lost():
                    team.append(_Worker(plan))
    finally:
        for worker in team:
            worker.process.terminate()
        for worker in team:
            worker.process.join()


class _Worker:
    """A process that takes runs until none waits."""

    def __init__(self, plan):
        fresh = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        self._receiver, sender = fresh.Pipe(duplex=False)
        self.process = fresh.Process(target=_work_alone, args=(plan, sender))
        before = signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # which the process keeps: Ctrl-C is its parent's business
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        sender.close()

    def was_killed(self):
        return self.process.exitcode < 0

    def check(self):
        """Raises what stopped the process, if it was more than a signal."""
        self.process.join()
        try:
            stop = self._receiver.recv() if self._receiver.poll() else None
        except EOFError:
            stop = None
        if stop is None and self.process.exitcode > 0:
            stop = CannotRun(f"a process of the sweep ended with exit code {self.process.exitcode}.")
        if stop is not None:
            raise stop


def _work_alone(plan, sender):
    """The whole of a worker's process, which its parent asks to end."""
    _listen()
    try:
        use_threads(plan.threads)
        from benchmarks.sweep_runs import work

        work(plan)
    except BenchmarkError as error:
        with suppress(OSError):  # the parent is gone
            sender.send(error)
    except KeyboardInterrupt:
        return


def _listen():
    """Makes SIGTERM a KeyboardInterrupt, wherever it finds the process."""
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _interrupt)
    sys.unraisablehook = _interrupt_again


def _interrupt(number, frame):
    raise KeyboardInterrupt


def _interrupt_again(unraisable):
    """An interrupt in a callback of the garbage collector, such as JAX's, would be forgotten: it comes again."""
    if unraisable.exc_type is KeyboardInterrupt:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
    else:
        sys.__unraisablehook__(unraisable)


def _document(plan, runs, request):
    from benchmarks.sweep_runs import objective
    from benchmarks.sweep_study import hidden

    command = request.command
    if request.storage is not None:
        command = command.replace(request.storage, hidden(request.storage))
    sweep = plan.sweep
    return {
        "kind": KIND,
        "name": plan.name,
        "command": command,
        "sweep": sweep.model_dump(mode="json", by_alias=True),
        "objective": objective(sweep.task),
        "better": runs.study.direction.name.lower(),
        "versions": records.versions(),
        "machine": records.machine(),
        "runs": [_row(entry, runs.folder_of(entry.index)) for entry in runs.entries()],
    }


def _row(entry, folder):
    point = entry.point._asdict() if entry.point is not None else {}
    row = {"index": entry.index, "folder": folder.name, "state": entry.state, **point}
    row |= {"value": entry.value, "error": entry.error}
    record = _record(folder) if entry.state == "done" else None
    if record is not None:
        row |= {name: record["epochs"][record["best_epoch"] - 1].get(name) for name in OF_EPOCH}
        row |= {name: record[name] for name in OF_RECORD}
    return row


def _record(folder):
    try:
        return json.loads((folder / records.FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _something_was_done(document):
    """Raises `NothingFinished` where all runs are over and none has a value."""
    runs = document["runs"]
    failed = [run for run in runs if run["state"] == "failed"]
    if failed and len(failed) == len(runs):
        raise NothingFinished(f"no run of the sweep came to its end; the first one says: {failed[0]['error']}")
