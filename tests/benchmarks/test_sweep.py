import gc
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from benchmarks import checkpoints, records, sweep_runs, sweep_study
from benchmarks import sweep as sweep_module
from benchmarks.errors import CannotRun, Diverged
from benchmarks.file_locks import FileLock

TASK = 'task = "spiral"\npreset = "smoke"\n'
GRID = TASK + "[space]\nthreshold_mean = [0.2, 0.3, 0.4]\n"
REAL = TASK + "[set]\nepochs = 4\n[space]\nunits = [4, 6]\n"


@pytest.fixture
def sweep(call, tmp_path):
    """`sweep(text, ...)` calls the command on a file of `text`; its folder is `tmp_path / "sweep"`."""

    def sweep(text, *options):
        (tmp_path / "mine.toml").write_text(text)
        return call("sweep", tmp_path / "mine.toml", "--out", tmp_path / "sweep", *options)

    return sweep


@pytest.fixture
def made_up(monkeypatch):
    """Takes the place of training: `made_up.figures` is a function of a `Run` that gives the figure of each epoch, or
    raises; `made_up.runs` are the runs that came to it. Epochs are in the checkpoint before the study hears of them."""
    return MadeUp(monkeypatch)


class MadeUp:
    def __init__(self, monkeypatch):
        self.runs = []
        self.figures = lambda run: [run.config.threshold_mean]
        monkeypatch.setattr(sweep_runs, "execute", self.execute)

    def execute(self, run):
        self.runs.append(run)
        checkpoint = checkpoints.load(run.out)
        epochs = checkpoint[0]["epochs"] if checkpoint else []
        run.progress.set_params({"epochs": 0})
        run.progress.on_train_begin()
        for number, figure in enumerate(self.figures(run)):
            if number >= len(epochs):
                epochs.append({"epoch": number + 1, "val_accuracy": figure})
                checkpoints.save(run.out, {"epochs": epochs}, {})
                run.progress.on_epoch_end(number, {"val_accuracy": figure})
        best = max(epochs, key=lambda epoch: epoch["val_accuracy"])
        record = dict.fromkeys(records.FIELDS) | {"epochs": epochs, "best_epoch": best["epoch"]}
        record |= {"validation_accuracy": best["val_accuracy"], "command": run.command}
        checkpoints.write_atomically(run.out / records.FILE, records.to_json(record))
        return record

    def asked(self):
        return [run.config.threshold_mean for run in self.runs]


def _document(tmp_path):
    return json.loads((tmp_path / "sweep" / "sweep.json").read_text())


def _states(tmp_path):
    return [run["state"] for run in _document(tmp_path)["runs"]]


def _curve(record):
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in record["epochs"]]


def _record(folder):
    return json.loads((folder / records.FILE).read_text())


@pytest.fixture(scope="module")
def whole(call, tmp_path_factory):
    """The folder of a real sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "mine.toml").write_text(REAL)
    result = call("sweep", folder / "mine.toml", "--out", folder / "sweep")
    assert result.exit_code == 0, result.stderr
    return folder / "sweep"


def test_every_run_has_a_folder_with_what_run_leaves_there(whole):
    document = json.loads((whole / "sweep.json").read_text())
    assert document["objective"] == "validation_accuracy"
    assert [(run["folder"], run["values"]) for run in document["runs"]] == [
        (f"000{i}", {"units": units}) for i, units in enumerate(("4", "6"))
    ]
    for run in document["runs"]:
        record = _record(whole / run["folder"])
        best = record["epochs"][record["best_epoch"] - 1]
        assert run["value"] == record["validation_accuracy"] == best["val_accuracy"]
        assert run["activity_sparsity"] == best["activity_sparsity"]
        assert "test_accuracy" not in run
        assert (whole / run["folder"] / "model.keras").exists()


def test_the_command_of_a_record_repeats_the_run_alone(whole, call, tmp_path):
    record = _record(whole / "0001")
    words = shlex.split(record["command"])
    assert words[:4] == ["python", "-m", "benchmarks", "run"]
    at = words.index("--threads")
    assert int(words[at + 1]) == record["machine"]["threads"]
    del words[at : at + 2]  # this process has begun to compute with its own
    words[words.index("--out") + 1] = str(tmp_path / "again")
    result = call(*words[3:])
    assert result.exit_code == 0, result.stderr
    again = _record(tmp_path / "again")
    assert _curve(again) == _curve(record)
    assert again["test_loss"] == record["test_loss"]
    assert again["config"] == record["config"]


def test_ctrl_c_ends_all_workers_and_resume_goes_on_to_the_same_curves(whole, sweep, tmp_path):
    (tmp_path / "mine.toml").write_text(REAL)
    command = [sys.executable, "-m", "benchmarks", "sweep", tmp_path / "mine.toml", "--out", tmp_path / "sweep"]
    # A process that ignores the signal, as those that a shell puts in the background do, would hand that down.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        options = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True}
        process = subprocess.Popen([*command, "--workers", "2"], **options)
    finally:
        signal.signal(signal.SIGINT, inherited)
    while not any((tmp_path / "sweep").glob("*/config.json")):  # training begins, which takes longer than the signal
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    _, text = process.communicate()
    assert process.returncode == 130, text
    assert "--resume continues" in text
    assert "Traceback" not in text
    for path in (tmp_path / "sweep").glob("*/run.lock"):
        assert FileLock(path).acquire(wait=False), f"a worker is still at {path}"
    states = _states(tmp_path)
    assert "waiting" in states
    assert "running" not in states
    assert sweep(REAL, "--resume").exit_code == 0
    for folder in ("0000", "0001"):
        assert _curve(_record(tmp_path / "sweep" / folder)) == _curve(_record(whole / folder))


def test_the_table_begins_with_the_best_and_shows_what_differs(made_up, sweep):
    result = sweep(GRID)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines() if line.split()[:1] and line.split()[0][:3] == "000"]
    assert [line[:3] for line in lines] == [
        ["0002", "0.4", "40.00%"],
        ["0001", "0.3", "30.00%"],
        ["0000", "0.2", "20.00%"],
    ]
    assert "seed" not in result.stdout


def test_a_run_that_diverges_is_told_and_does_not_stop_the_others(made_up, sweep, tmp_path):
    def figures(run):
        if run.config.threshold_mean == 0.3:
            raise Diverged("the loss of epoch 1 is nan.")
        return [run.config.threshold_mean]

    made_up.figures = figures
    result = sweep(GRID)
    assert result.exit_code == 0
    assert _states(tmp_path) == ["done", "failed", "done"]
    assert _document(tmp_path)["runs"][1]["error"] == "the loss of epoch 1 is nan."
    assert "0001 failed: the loss of epoch 1 is nan." in result.stdout
    assert sweep(GRID, "--resume").exit_code == 0
    assert made_up.asked() == [0.2, 0.3, 0.4]


def test_an_unknown_error_of_a_run_is_told_with_its_type(made_up, sweep, tmp_path):
    def figures(run):
        raise ValueError("Unknown initializer")

    made_up.figures = figures
    result = sweep(GRID)
    assert result.exit_code == 7
    assert "no run of the sweep came to its end; the first one says: ValueError: Unknown init" in result.stderr
    assert _states(tmp_path) == ["failed"] * 3


def test_what_would_befall_every_run_stops_the_sweep_and_can_be_continued(made_up, sweep, tmp_path):
    def figures(run):
        if len(made_up.runs) == 2:
            raise CannotRun("a library is missing.")
        return [run.config.threshold_mean]

    made_up.figures = figures
    result = sweep(GRID)
    assert result.exit_code == 4
    assert "a library is missing." in result.stderr
    assert _states(tmp_path) == ["done", "waiting", "waiting"]
    assert sweep(GRID, "--resume").exit_code == 0
    assert sorted(made_up.asked()) == [0.2, 0.3, 0.3, 0.4]
    assert _states(tmp_path) == ["done"] * 3


def test_a_sweep_that_is_over_is_not_begun_again_without_resume(made_up, sweep):
    assert sweep(GRID).exit_code == 0
    result = sweep(GRID)
    assert result.exit_code == 2
    assert "already holds a sweep: continue it with --resume" in result.stderr
    assert sweep(GRID, "--resume").exit_code == 0
    assert len(made_up.runs) == 3


def test_the_same_command_joins_a_sweep_that_runs_and_leaves_its_runs_alone(made_up, sweep, tmp_path):
    made_up.figures = lambda run: (_ for _ in ()).throw(KeyboardInterrupt)
    assert sweep(GRID).exit_code == 130
    made_up.runs.clear()
    made_up.figures = lambda run: [run.config.threshold_mean]
    elsewhere = FileLock(tmp_path / "sweep" / "presence.lock", shared=True)
    elsewhere.acquire()
    theirs = _queue(tmp_path).take()
    assert sweep(GRID).exit_code == 0
    assert len(made_up.runs) == 2
    assert sorted(_states(tmp_path)) == ["done", "done", "running"]
    theirs.lock.release()
    elsewhere.release()
    assert sweep(GRID, "--resume").exit_code == 0
    assert len(made_up.runs) == 3
    assert _states(tmp_path) == ["done"] * 3


def test_a_run_that_loses_its_process_again_and_again_counts_as_failed(made_up, sweep, tmp_path):
    made_up.figures = lambda run: (_ for _ in ()).throw(CannotRun("stop"))
    sweep(GRID)
    queue = _queue(tmp_path)
    for _ in range(3 * sweep_study.LOSSES):
        queue.take().lock.release()  # as a process that is killed does
    assert queue.take() is None
    entries = queue.entries()
    assert [entry.state for entry in entries] == ["failed"] * 3
    assert entries[0].error == "its process ended 3 times within an epoch."


def test_a_run_that_gets_further_each_time_is_never_given_up(made_up, sweep, tmp_path):
    made_up.figures = lambda run: (_ for _ in ()).throw(CannotRun("stop"))
    text = TASK + "[space]\nthreshold_mean = [0.2]\n"
    sweep(text)
    queue = _queue(tmp_path, text)
    for epoch in range(2 * sweep_study.LOSSES):
        taken = queue.take()
        taken.trial.report(0.5, epoch + 1)
        taken.lock.release()
    assert queue.take() is not None


def test_another_file_in_the_same_folder_is_refused_with_what_differs(made_up, sweep):
    sweep(GRID)
    result = sweep(GRID.replace("0.4", "0.5") + "[set]\nepochs = 1", "--resume")
    assert result.exit_code == 2
    assert "holds another sweep mine, which differs in set, space" in result.stderr


def test_a_disk_that_fills_up_stops_the_sweep_and_loses_no_finished_run(made_up, sweep, tmp_path, monkeypatch):
    fsync, full = os.fsync, []

    def figures(run):
        full.extend([True] if len(made_up.runs) == 2 else [])
        return [run.config.threshold_mean]

    def refuses_once_full(descriptor):
        if full:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    made_up.figures = figures
    monkeypatch.setattr(os, "fsync", refuses_once_full)
    result = sweep(GRID)
    assert result.exit_code == 5
    assert "No space left on device" in result.stderr
    monkeypatch.setattr(os, "fsync", fsync)
    with (tmp_path / "sweep" / sweep_study.JOURNAL).open("ab") as journal:
        journal.write(b'{"op_code":6,"wor')  # what there was room for
    result = sweep(GRID, "--resume")
    assert result.exit_code == 0, result.stderr
    assert _states(tmp_path) == ["done"] * 3
    assert sorted(made_up.asked()) == [0.2, 0.3, 0.3, 0.4]


def test_a_damaged_study_is_named(made_up, sweep, tmp_path):
    sweep(GRID)
    journal = tmp_path / "sweep" / sweep_study.JOURNAL
    journal.write_bytes(b"no journal\n" + journal.read_bytes())
    result = sweep(GRID, "--resume")
    assert result.exit_code == 2
    assert "study.journal is damaged" in result.stderr


SEARCH = TASK + 'method = "optuna"\ntrials = 5\n[space]\nthreshold_mean = {low = 0.1, high = 0.9}\nunits = [4, 6]\n'


def test_a_search_that_was_stopped_asks_for_the_same_runs_as_one_that_was_not(made_up, sweep, tmp_path, call):
    def figures(run):
        if len(made_up.runs) == 3:
            raise KeyboardInterrupt
        return [run.config.threshold_mean]

    made_up.figures = figures
    assert sweep(SEARCH).exit_code == 130
    assert sweep(SEARCH, "--resume").exit_code == 0
    stopped = made_up.asked()
    assert stopped.pop() == stopped[2]  # taken up again when the others were over
    made_up.figures = lambda run: [run.config.threshold_mean]
    made_up.runs.clear()
    assert call("sweep", tmp_path / "mine.toml", "--out", tmp_path / "undisturbed").exit_code == 0
    asked = made_up.asked()
    assert asked == stopped
    assert all(0.1 <= value <= 0.9 for value in asked)
    assert len(set(asked)) == 5


def test_pruning_stops_a_run_that_is_worse_than_the_median(made_up, sweep, tmp_path):
    values = ", ".join(f"0.{i}" for i in range(9, 0, -1))
    made_up.figures = lambda run: [run.config.threshold_mean] * 3
    assert sweep(TASK + f"prune = true\n[space]\nthreshold_mean = [{values}]\n").exit_code == 0
    assert _states(tmp_path) == ["done"] * 5 + ["stopped"] * 4
    assert not (tmp_path / "sweep" / "0005" / records.FILE).exists()


def test_missing_data_is_told_before_anything_is_made(call, tmp_path):
    result = call("sweep", "surrogate_width_ptb", "--data-dir", tmp_path / "none", "--out", tmp_path / "sweep")
    assert result.exit_code == 3
    assert "does not exist" in result.stderr
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("nonsense", 2, "must be the URL of a data base"),
        ("nosuchbase:///x", 2, "must be the URL of a data base"),
        ("sqlite:////nowhere/at/all.db", 5, "unable to open database file"),
    ],
)
def test_a_storage_that_is_none_is_a_sentence(made_up, sweep, tmp_path, url, code, words):
    result = sweep(GRID, "--storage", url)
    assert result.exit_code == code
    assert words in result.stderr
    assert made_up.runs == []
    assert code == 5 or not (tmp_path / "sweep").exists()


def test_a_data_base_keeps_the_study_too_and_refuses_another_folder(made_up, sweep, call, tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    assert sweep(GRID, "--storage", url).exit_code == 0
    assert _states(tmp_path) == ["done"] * 3
    result = call("sweep", tmp_path / "mine.toml", "--out", tmp_path / "elsewhere", "--storage", url)
    assert result.exit_code == 2
    assert "machines of one sweep share one folder" in result.stderr


def test_the_password_of_a_data_base_is_not_written_down():
    assert sweep_study.hidden("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"


def _queue(tmp_path, text=GRID):
    from benchmarks import sweep_file

    (tmp_path / "mine.toml").write_text(text)
    sweep = sweep_file.load(str(tmp_path / "mine.toml")).sweep
    return sweep_study.Queue(sweep, "mine", tmp_path / "sweep", None, "maximize")


def test_an_interrupt_in_a_callback_of_the_garbage_collector_is_not_lost(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}

    def callback(phase, info):
        gc.callbacks.remove(callback)
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the signal has not interrupted the callback")

    try:
        sweep_module._listen()
        gc.callbacks.append(callback)
        gc.collect()  # which ignores what a callback raises
        with pytest.raises(KeyboardInterrupt):
            time.sleep(10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)
