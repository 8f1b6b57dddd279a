import json

import keras
import numpy as np
import pytest

from benchmarks import pruning
from benchmarks.config import recorded, resolve
from benchmarks.errors import CannotRun
from benchmarks.tasks import TASKS
from benchmarks.training import Run, execute

ARGUMENTS = ("--prune", 0.75, "--block", "1x4")
BRIEF = ("epochs=3", "steps_per_epoch=10", "prune=0.75", "block=1x4")  # updates 6 to 21 of 30 renew the masks


@pytest.fixture(scope="module")
def pruned_run(call, tmp_path_factory):
    """`(folder, record)` of a smoke run of the spiral task, 8 units, with three quarters of the weights pruned."""
    folder = tmp_path_factory.mktemp("pruned")
    result = call("run", "spiral", "--preset", "smoke", *ARGUMENTS, "--out", folder, "--json")
    assert result.exit_code == 0, result.stderr
    assert "pruned 75.0%" in result.stderr
    return folder, json.loads(result.stdout)


def test_the_saved_model_is_a_plain_one_with_whole_blocks_of_zeros(pruned_run):
    folder, _ = pruned_run
    model = keras.saving.load_model(folder / "model.keras")
    layer = model.get_layer("recurrent")
    assert type(layer).__name__ == "EGRU"
    blocks = np.asarray(layer.recurrent_kernel).reshape(8, 3, 2, 4) != 0
    assert np.array_equal(blocks.any(axis=-1), blocks.all(axis=-1))
    assert blocks.any(axis=-1).sum(axis=(0, 2)).tolist() == [4, 4, 4]  # of 16 in each gate
    assert np.all(np.asarray(layer.kernel))


def test_the_record_counts_what_the_saved_model_has(pruned_run):
    folder, record = pruned_run
    assert record["name"] == "spiral-smoke-egru-prune0.75-1x4-0"
    assert record["recurrent_parameter_sparsity"] == 0.75
    assert record["kernel_sparsities"] == {
        "recurrent/egru_cell/kernel": 0.0,
        "recurrent/egru_cell/recurrent_kernel": 0.75,
        "classifier/kernel": 0.0,
    }
    assert record["parameter_sparsity"] == pytest.approx(144 / (48 + 192 + 16))
    assert record["parameters"] == 48 + 192 + 48 + 8 + 18
    assert record["epochs"][-1]["recurrent_parameter_sparsity"] == 0.75
    events = 8 * (1.0 - record["activity_sparsity"])
    layer = record["layers"]["recurrent"]
    assert layer["effective_macs"] == pytest.approx(2 * 24 + events * 24 * 0.25)
    sizes = record["model_bytes"]
    assert sizes["model"] == (folder / "model.keras").stat().st_size
    assert sizes["model_gzip"] < sizes["unpruned_model_gzip"] - 300  # 144 zeros of four bytes, and what marks them
    model = keras.saving.load_model(folder / "model.keras")
    _, accuracy = model.evaluate(*TASKS["spiral"].load(_config(), None).test, verbose=0)
    assert accuracy == pytest.approx(record["test_accuracy"])


def test_a_dense_layer_is_pruned_too_and_its_macs_are_those_of_live_weights(tmp_path):
    record = execute(_run(tmp_path, "lstm", [*BRIEF, "epochs=1"]))
    assert record["recurrent_parameter_sparsity"] == 0.75
    layer = record["layers"]["recurrent"]
    assert layer["dense_macs"] == 4 * 8 * (2 + 8)
    assert layer["effective_macs"] == 4 * 8 * (2 + 2)
    assert record["dense_macs"] - record["effective_macs"] == 4 * 8 * 6


def test_all_kernels_of_a_language_model_are_pruned_on_demand(text_folder, tmp_path):
    assignments = [*BRIEF, "epochs=1", "prune_weights=all", "units=12,8", "test_size=100", "validation_size=100"]
    assignments.append("verify_data=false")
    config = resolve(TASKS["ptb"].config_class, "ptb", "smoke", "egru", assignments)
    run = Run("ptb", "smoke", "egru", config, 0, str(text_folder), tmp_path, "a test")
    record = execute(run)
    assert run.name == "ptb-smoke-egru-prune0.75-1x4-all-0"
    shares = record["kernel_sparsities"]
    embeddings = np.asarray(keras.saving.load_model(tmp_path / "model.keras").get_layer("embedding").embeddings)
    assert shares.pop("embedding/embeddings") == np.mean(embeddings == 0) > 0.6  # the bias is a column of small blocks
    assert list(shares.values()) == [0.75] * 4
    read = TASKS["ptb"].load(config, str(text_folder)).test[:-1]
    inputs = np.count_nonzero(embeddings[read, :-1]) / len(read) * 3 * 12
    first, second = (1.0 - record["layers"][f"recurrent_{i}"]["activity_sparsity"] for i in (1, 2))
    events = 12 * first * 3 * (12 + 8) + 8 * second * 3 * 8
    readout = second * np.count_nonzero(embeddings[:, :-1])
    assert record["effective_macs"] == pytest.approx(0.25 * (inputs + events) + readout)


def test_a_run_resumed_in_mid_schedule_prunes_the_same_weights(tmp_path, interrupt_after):
    assignments = [*BRIEF, "epochs=2", "block=1x1"]  # masks change from update 4 to update 14, update 10 ends an epoch
    whole = execute(_run(tmp_path / "whole", assignments=assignments))
    with pytest.raises(KeyboardInterrupt):
        execute(_run(tmp_path / "parts", assignments=assignments, progress=interrupt_after(epoch=1)))
    parts = execute(_run(tmp_path / "parts", assignments=assignments, resume=True))
    shares = [epoch["recurrent_parameter_sparsity"] for epoch in whole["epochs"]]
    assert 0.0 < shares[0] < shares[-1] == 0.75
    for mine, theirs in zip(whole["epochs"], parts["epochs"], strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
    weights = [keras.saving.load_model(tmp_path / name / "model.keras").get_weights() for name in ("whole", "parts")]
    for mine, theirs in zip(*weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_no_epoch_is_chosen_before_the_last_weight_is_pruned(tmp_path, monkeypatch):
    from benchmarks.classification import Classification

    monkeypatch.setattr(Classification, "score", lambda self, figures: -figures["recurrent_parameter_sparsity"])
    assert execute(_run(tmp_path))["best_epoch"] == 3


@pytest.mark.parametrize(("updates", "begin", "end"), [(10_000, 2000, 7000), (1234, 247, 864), (10, 2, 7)])
def test_the_schedule_begins_and_ends_where_it_should_at_the_share_asked_for(updates, begin, end):
    plan = pruning.Pruning(_config(), updates)
    assert end - (end - begin) / pruning.RENEWALS < plan.last_update <= end
    steps = {step: plan.schedule(step) for step in (begin - 1, begin, plan.last_update, plan.last_update + 1)}
    assert [bool(renews) for renews, _ in steps.values()] == [False, True, True, False]
    assert float(steps[begin][1]) == 0.0
    assert float(steps[plan.last_update][1]) == pytest.approx(0.75)


def test_a_run_without_pruning_is_named_and_recorded_as_before(tmp_path):
    run = _run(tmp_path, assignments=[])
    assert run.name == "spiral-smoke-egru-0"
    assert not any("prune" in key or key == "block" for key in recorded(run.config, "egru"))
    assert recorded(_config(), "gru")["block"] == [1, 4]


def test_tfmot_missing_is_exit_code_4(call, tmp_path, monkeypatch):
    def missing():
        raise ImportError("it is not installed.")

    monkeypatch.setattr("keras_egru.pruning.engine.load_tfmot", missing)
    result = call("run", "spiral", "--preset", "smoke", *ARGUMENTS, "--out", tmp_path)
    assert result.exit_code == CannotRun.exit_code
    assert "--prune cannot run: it is not installed." in result.stderr


def _config(*assignments, model="egru"):
    return resolve(TASKS["spiral"].config_class, "spiral", "smoke", model, assignments or BRIEF)


def _run(folder, model="egru", assignments=BRIEF, resume=False, progress=None):
    config = resolve(TASKS["spiral"].config_class, "spiral", "smoke", model, assignments)
    return Run("spiral", "smoke", model, config, 0, None, folder, "a test", resume, progress)
