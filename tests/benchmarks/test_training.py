import json
import os

import keras
import numpy as np
import pytest

from benchmarks import checkpoints, records
from benchmarks.classification import Classification
from benchmarks.config import resolve
from benchmarks.errors import CannotWrite, ConfigError
from benchmarks.sparsities import SPARSITIES
from benchmarks.tasks import TASKS
from benchmarks.training import Run, execute

FIGURES_THAT_MUST_AGREE = (
    "test_accuracy",
    "test_loss",
    "best_epoch",
    "validation_accuracy",
    "effective_macs",
    "events",
)


def test_a_smoke_run_writes_record_model_and_checkpoint(spiral_run):
    folder, record = spiral_run
    assert json.loads((folder / records.FILE).read_text()) == record
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.npz",
        "config.json",
        "model.keras",
        "record.json",
    ]


def test_the_record_has_every_field_and_figures_that_hold_together(spiral_run):
    _, record = spiral_run
    assert set(record) == set(records.FIELDS)
    assert (record["task"], record["preset"], record["model"], record["method"]) == ("spiral", "smoke", "egru", "bptt")
    assert record["command"].startswith("python -m benchmarks")
    assert record["dataset"] == {
        "name": "spirals",
        "path": None,
        "train": 1000,
        "validation": 200,
        "test": 200,
        "complete": False,
        "verified": None,
        "steps": 17,
        "features": 2,
    }
    assert record["versions"]["keras"] == keras.__version__
    assert record["machine"]["cores"] >= 1
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2]
    assert [epoch["updates"] for epoch in record["epochs"]] == [10, 20]
    for epoch in record["epochs"]:
        assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"} <= epoch.keys()
        assert 0.0 < epoch["activity_sparsity"] < 1.0
        assert epoch["layers"] == {"recurrent": {name: epoch[name] for name in SPARSITIES}}
    best = max(epoch["val_accuracy"] for epoch in record["epochs"])
    assert record["validation_accuracy"] == record["epochs"][record["best_epoch"] - 1]["val_accuracy"] == best
    assert record["seconds"] == pytest.approx(sum(epoch["seconds"] for epoch in record["epochs"]))
    # kernel 2 x 24, recurrent 8 x 24, bias 2 x 24, thresholds 8, classifier 8 x 2 + 2
    assert record["parameters"] == 48 + 192 + 48 + 8 + 18
    # 3n inputs and 3n recurrent weights a unit a step, and a read-out of 8 x 2 once in 17 steps
    assert record["dense_macs"] == pytest.approx(48 + 192 + 16 / 17)
    assert record["effective_macs"] < record["dense_macs"]
    assert record["parameter_sparsity"] == 0.0
    assert record["influence_sparsity"] is None
    assert record["test_perplexity"] is None
    assert record["schema"] == records.SCHEMA
    events = record["events"]["recurrent"]
    assert (events["units"], events["steps"]) == (8, 17)
    assert len(events["unit"]) == len(events["step"]) > 0


def test_the_saved_model_is_the_best_epoch_s(spiral_run):
    folder, record = spiral_run
    model = keras.saving.load_model(folder / "model.keras")
    dataset = TASKS["spiral"].load(_config("spiral", "egru"), None)
    _, accuracy = model.evaluate(*dataset.test, verbose=0)
    assert accuracy == pytest.approx(record["test_accuracy"])


def test_the_last_epoch_can_be_kept_whatever_validation_says(tmp_path, monkeypatch):
    monkeypatch.setattr(Classification, "score", lambda self, figures: figures["loss"])  # the first epoch is the best
    kept = {}
    for which in ("best", "last"):
        options = ["epochs=3", f"kept_epoch={which}"]
        record = kept[which] = execute(_run(tmp_path / which, model="gru", assignments=options))
        assert record["validation_accuracy"] == record["epochs"][record["best_epoch"] - 1]["val_accuracy"]
        model = keras.saving.load_model(tmp_path / which / "model.keras")
        _, accuracy = model.evaluate(*TASKS["spiral"].load(_config("spiral", "gru"), None).validation, verbose=0)
        assert accuracy == pytest.approx(record["validation_accuracy"])
    assert [kept[which]["best_epoch"] for which in ("best", "last")] == [1, 3]


@pytest.mark.parametrize("model", ["gru", "lstm"])
def test_a_dense_model_has_no_activity_sparsity_and_saves_no_macs(tmp_path, model):
    record = execute(_run(tmp_path, model=model, assignments=["epochs=1", "readout=mean"]))
    assert record["activity_sparsity"] is None
    assert record["epochs"][0]["activity_sparsity"] is None
    assert record["epochs"][0]["layers"] == record["events"] == {}
    assert record["effective_macs"] == record["dense_macs"]
    assert "threshold_mean" not in record["config"]


def test_a_resumed_run_has_the_same_figures_as_an_uninterrupted_one(tmp_path, interrupt_after):
    assignments = [
        "epochs=4",
        "dropout=0.2",
        "input_dropout=0.1",
        "dropconnect=0.2",
        "zoneout=0.1",
        "schedule=cosine",
        "warmup_epochs=1",
        "clipnorm=1",
        "state_regularizer=target_rate",
        "state_regularizer_weight=0.1",
    ]
    whole = execute(_run(tmp_path / "whole", assignments=assignments))
    with pytest.raises(KeyboardInterrupt):
        execute(_run(tmp_path / "parts", assignments=assignments, progress=interrupt_after(epoch=2)))
    assert not (tmp_path / "parts" / records.FILE).exists()
    parts = execute(_run(tmp_path / "parts", assignments=assignments, resume=True))
    assert [_timeless(epoch) for epoch in parts["epochs"]] == [_timeless(epoch) for epoch in whole["epochs"]]
    for name in FIGURES_THAT_MUST_AGREE:
        assert parts[name] == whole[name], name
    # The figures tell something only if the epochs differ from one another.
    assert len({epoch["loss"] for epoch in whole["epochs"]}) == 4


def test_resuming_a_finished_run_evaluates_it_again_without_training(spiral_run, call):
    folder, record = spiral_run
    result = call("run", "spiral", "--preset", "smoke", "--out", folder, "--resume", "--json")
    assert result.exit_code == 0
    again = json.loads(result.stdout)
    assert again["epochs"] == record["epochs"]
    assert again["test_loss"] == record["test_loss"]


def test_training_that_diverges_says_so_and_keeps_the_last_good_checkpoint(call, tmp_path):
    options = ["--set", "optimizer=sgd", "--set", "learning_rate=1e38", "--set", "steps_per_epoch=3"]
    result = call("run", "spiral", "--preset", "smoke", "--model", "gru", "--out", tmp_path / "run", *options)
    assert result.exit_code == 6
    assert "the loss of epoch 1 is" in result.stderr
    assert not (tmp_path / "run" / records.FILE).exists()


def test_a_folder_in_use_is_refused_without_resume(spiral_run, call):
    folder, _ = spiral_run
    result = call("run", "spiral", "--preset", "smoke", "--out", folder)
    assert result.exit_code == 2
    assert "continue it with --resume" in result.stderr


def test_resume_refuses_another_configuration_and_names_what_differs(spiral_run, call):
    folder, _ = spiral_run
    result = call("run", "spiral", "--preset", "smoke", "--out", folder, "--resume", "--seed", 1, "--set", "units=9")
    assert result.exit_code == 2
    assert "these differ: seed, units" in result.stderr


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / checkpoints.FILE).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ConfigError, match="not a readable checkpoint"):
        execute(_run(tmp_path, resume=True))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, {"epoch": 1}, {"model": [np.ones(3)]})

    def disk_full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(CannotWrite, match="No space left on device"):
        checkpoints.save(tmp_path, {"epoch": 2}, {"model": [np.zeros(3)]})
    assert [path.name for path in tmp_path.iterdir()] == [checkpoints.FILE]
    state, arrays = checkpoints.load(tmp_path)
    assert state == {"epoch": 1}
    np.testing.assert_array_equal(arrays["model"][0], np.ones(3))


def test_a_full_temporary_folder_is_named_before_training(tmp_path, monkeypatch):
    def disk_full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", disk_full)
    with pytest.raises(CannotWrite, match=r"cannot be written to .+ \(TMPDIR\): No space left on device"):
        execute(_run(tmp_path / "run"))
    assert not (tmp_path / "run" / "record.json").exists()


def test_a_checkpoint_keeps_the_order_of_many_arrays(tmp_path):
    arrays = {"model": [np.full(2, i) for i in range(12)], "best": [np.arange(4.0)]}
    checkpoints.save(tmp_path, {}, arrays)
    _, loaded = checkpoints.load(tmp_path)
    assert [int(array[0]) for array in loaded["model"]] == list(range(12))
    np.testing.assert_array_equal(loaded["best"][0], np.arange(4.0))


@pytest.mark.parametrize("task", ["smnist", "psmnist"])
def test_digits_train_in_the_smoke_preset(mnist_folder, call, tmp_path, task):
    result = call("run", task, "--preset", "smoke", "--data-dir", mnist_folder, "--out", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["dataset"]["name"] == "MNIST"
    assert record["dataset"]["path"] == mnist_folder
    assert record["dataset"]["steps"] == 49
    assert not record["dataset"]["complete"]
    assert 0.0 <= record["test_accuracy"] <= 1.0


def _config(task, model, assignments=()):
    return resolve(TASKS[task].config_class, task, "smoke", model, assignments)


def _run(folder, model="egru", assignments=(), resume=False, progress=None):
    config = _config("spiral", model, assignments)
    return Run("spiral", "smoke", model, config, 0, None, folder, "a test", resume, progress)


def _timeless(epoch):
    return {name: value for name, value in epoch.items() if name != "seconds"}
