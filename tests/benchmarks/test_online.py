import json
import math
import shutil

import keras
import numpy as np
import pytest

from benchmarks import online_report, records, report
from benchmarks.config import online_label, recorded, resolve
from benchmarks.errors import ConfigError
from benchmarks.online import LastStepAccuracy, OnlineClassification
from benchmarks.problem import problem_class
from benchmarks.tasks import TASKS
from benchmarks.training import Run, execute

TINY = ("units=6", "epochs=2", "steps_per_epoch=4", "batch_size=10", "evaluation_size=20", "sparsity_sample=20")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """`(folder, {(model, gradient): record})` of tiny runs, each with half of its recurrent weights."""
    folder = tmp_path_factory.mktemp("online")
    wanted = [
        ("egru", "rtrl"),
        ("egru", "snap-1"),
        ("egru", "snap-2"),
        ("egru", "bptt"),
        ("gru", "rtrl"),
    ]
    found = {}
    for model, gradient in wanted:
        found[model, gradient] = execute(_run(folder, model, f"gradient={gradient}", "parameter_sparsity=0.5"))
    return folder, found


def test_a_gradient_decides_that_every_step_is_read_out():
    assert problem_class("classification", "egru", _config("egru", "gradient=bptt")) is OnlineClassification
    assert problem_class("classification", "egru", _config("egru")).__name__ == "Classification"


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["gradient=rtrl", "readout=trace"], "gradient=rtrl reads out at every step and does not go with readout"),
        (["gradient=rtrl", "prune=0.5"], "does not go with prune"),
        (["gradient=snap-1", "dropconnect=0.1"], "does not go with dropconnect"),
        (["gradient=rtrl", "update_every=0"], "update_every = '0' is refused"),
        (["gradient=rtrl", "parameter_sparsity=1"], "parameter_sparsity = '1' is refused"),
        (["gradient=rtrl", "parameter_sparsity=-0.1"], "parameter_sparsity = '-0.1' is refused"),
        (["gradient=uoro"], "gradient = 'uoro' is refused"),
        (["parameter_sparsity=0.5"], "parameter_sparsity must come with gradient"),
        (["update_every=1"], "update_every must come with gradient"),
    ],
)
def test_options_of_online_learning_that_do_not_fit_together_are_refused(assignments, words):
    with pytest.raises(ConfigError, match=words):
        _config("egru", *assignments)


def test_an_lstm_does_not_learn_online():
    with pytest.raises(ConfigError, match="gradient applies to the models egru and gru only"):
        _config("lstm", "gradient=rtrl")
    assert resolve(TASKS["spiral"].config_class, "spiral", "paper", "lstm").gradient is None


def test_names_tell_the_runs_apart():
    names = [_run(None, "egru", *assignments).name for assignments in (
        ["gradient=rtrl", "parameter_sparsity=0.8"],
        ["gradient=rtrl", "parameter_sparsity=0.8", "update_every=2"],
        ["gradient=snap-1"],
        [],
    )]  # fmt: skip
    assert names == [
        "spiral-smoke-egru-rtrl-w0.8-0",
        "spiral-smoke-egru-rtrl-every2-w0.8-0",
        "spiral-smoke-egru-snap-1-w0-0",
        "spiral-smoke-egru-0",
    ]
    assert online_label(resolve(TASKS["ptb"].config_class, "ptb", "smoke", "egru")) is None


def test_a_record_keeps_the_options_that_apply():
    online, other = recorded(_config("egru", "gradient=rtrl"), "egru"), recorded(_config("egru"), "egru")
    assert (online["gradient"], online["update_every"], online["parameter_sparsity"]) == ("rtrl", None, 0.0)
    assert not {"readout", "time_constant", "dropconnect"} & online.keys()
    assert not {"gradient", "update_every", "parameter_sparsity"} & other.keys()
    assert other["readout"] == "trace"


def test_the_paper_s_preset_is_its_number_of_updates_by_exact_online_learning():
    for model in ("egru", "gru"):
        config = resolve(TASKS["spiral"].config_class, "spiral", "paper", model)
        assert (config.gradient, config.units, config.batch_size) == ("rtrl", 16, 32)
        assert config.epochs * config.steps_per_epoch == 1700


def test_a_record_names_its_gradient_and_has_figures_of_every_epoch(runs):
    for (model, gradient), record in runs[1].items():
        assert set(record) == set(records.FIELDS)
        assert record["method"] == gradient
        counted = {"influence_sparsity", "influence_sparsity_all", "multiply_adds"}
        for epoch in record["epochs"]:
            assert {"loss", "val_accuracy", "compute_adjusted_iterations", "seconds"} <= epoch.keys()
            assert (counted <= epoch.keys()) == (gradient != "bptt")
            assert not any(name.startswith(("val_influence", "val_multiply")) for name in epoch)
            assert (epoch["activity_sparsity"] is None) == (model == "gru")
            assert epoch.get("multiply_adds", 1) > 0
        assert record["recurrent_parameter_sparsity"] == 0.5
        shares = record["kernel_sparsities"]
        assert [share for path, share in shares.items() if not path.endswith("recurrent_kernel")] == [0.0, 0.0]
        best = record["epochs"][record["best_epoch"] - 1]
        assert record["influence_sparsity"] == best.get("influence_sparsity")


def test_compute_adjusted_iterations_are_the_sum_of_the_paper_s_factor(runs):
    egru = runs[1]["egru", "rtrl"]["epochs"]
    factors = [(0.5 * (1.0 - epoch["backward_sparsity"])) ** 2 for epoch in egru]
    assert max(epoch["backward_sparsity"] for epoch in egru) > 0.0
    expected = np.cumsum([4 * factor for factor in factors])  # four updates an epoch
    np.testing.assert_allclose([epoch["compute_adjusted_iterations"] for epoch in egru], expected)
    gru = runs[1]["gru", "rtrl"]["epochs"]
    assert [epoch["compute_adjusted_iterations"] for epoch in gru] == pytest.approx([1.0, 2.0])


def test_exact_learning_takes_the_steps_of_learning_through_time(runs):
    exact, through_time = (runs[1]["egru", gradient]["epochs"] for gradient in ("rtrl", "bptt"))
    biased = runs[1]["egru", "snap-1"]["epochs"]
    losses = [[epoch["val_loss"] for epoch in epochs] for epochs in (exact, through_time, biased)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)  # eight updates of float32
    assert not np.allclose(losses[0], losses[2], rtol=1e-4)


def test_every_step_may_be_an_update(tmp_path):
    record = execute(_run(tmp_path, "egru", "gradient=rtrl", "update_every=1", "epochs=1", "steps_per_epoch=1"))
    with np.load(tmp_path / record["name"] / "checkpoint.npz") as file:
        iterations = [int(file[name]) for name in file.files if name.startswith("optimizer") and file[name].shape == ()]
    assert 17 in iterations


def test_a_resumed_run_adds_its_compute_to_what_was_before(tmp_path, interrupt_after, runs):
    run = _run(tmp_path, "egru", "gradient=rtrl", "parameter_sparsity=0.5")
    with pytest.raises(KeyboardInterrupt):
        execute(run._replace(progress=interrupt_after(epoch=1)))
    resumed = execute(run._replace(resume=True))["epochs"]
    whole = runs[1]["egru", "rtrl"]["epochs"]
    for name in ("compute_adjusted_iterations", "val_loss", "multiply_adds"):
        assert [epoch[name] for epoch in resumed] == pytest.approx([epoch[name] for epoch in whole])


def test_the_saved_model_is_an_ordinary_one_of_the_best_epoch_with_the_mask_in_its_weights(runs):
    folder, found = runs
    record = found["egru", "rtrl"]
    model = keras.saving.load_model(folder / record["name"] / "model.keras")
    assert type(model) is keras.Sequential
    validation = TASKS["spiral"].load(_config("egru", *TINY), None).validation
    labels = np.repeat(validation.y[:, None], 17, axis=1)
    loss, accuracy = model.evaluate(validation.x, labels, verbose=0)
    best = record["epochs"][record["best_epoch"] - 1]
    assert loss == pytest.approx(best["val_loss"], rel=1e-5)
    assert accuracy == pytest.approx(best["val_accuracy"])
    assert np.mean(model.layers[0].cell.recurrent_kernel.numpy() == 0) == 0.5


def test_accuracy_is_of_the_last_step():
    metric = LastStepAccuracy()
    outputs = np.zeros((1, 3, 2), "float32")
    outputs[0, :2, 0] = outputs[0, 2, 1] = 1.0
    metric.update_state(np.array([[1, 1, 1]]), outputs)
    assert float(metric.result()) == 1.0


def test_a_report_has_the_paper_s_panels_of_each_gradient_and_a_table_over_seeds(runs, call, tmp_path):
    result = call("report", runs[0], "--out", tmp_path)
    assert result.exit_code == 0, result.stderr
    names = [f"spiral-smoke-6-{name}.svg" for name in ("bptt", "multiply-adds", "rtrl", "snap-1", "snap-2")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md", *names]
    markdown = (tmp_path / "report.md").read_text()
    for name in names:
        assert f"]({name})" in markdown
    section = markdown[markdown.index("## spiral (smoke, 6 units)") :]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + 5
    bptt = next(line for line in lines if "| bptt |" in line).split(" | ")
    assert bptt[online_report.COLUMNS.index("multiply-adds an iteration")] == "-"


def test_the_table_s_figures_are_those_of_the_seeds(runs):
    first = runs[1]["egru", "rtrl"]
    worse = [{**epoch, "val_accuracy": epoch["val_accuracy"] - 0.25} for epoch in first["epochs"]]
    cheaper = [{**epoch, "multiply_adds": epoch["multiply_adds"] / 3} for epoch in worse]
    found = [first, {**first, "seed": 1, "epochs": cheaper}]
    (study,) = online_report.studies(found)
    (row,) = online_report.table(study)
    best = first["validation_accuracy"]
    assert row["validation"] == pytest.approx((best - 0.125, 0.125))
    assert (row["seeds"], row["worst seed"]) == (2, best - 0.25)
    counted = sum(epoch["multiply_adds"] for epoch in first["epochs"])
    assert row["multiply-adds an iteration"] == pytest.approx(counted * 2 / 3 / 8)  # eight updates


def test_the_standard_error_of_one_seed_is_not_known():
    assert online_report.mean_and_error([0.5]) == (0.5, None)
    assert online_report.mean_and_error([1.0, 2.0, 3.0]) == (2.0, pytest.approx(1.0 / math.sqrt(3)))


def test_runs_at_every_step_have_no_part_in_gaps_and_other_plots(runs, spiral_run, tmp_path):
    shutil.copytree(runs[0], tmp_path / "online")
    shutil.copytree(spiral_run[0], tmp_path / "other")
    gathered = report.gather(report.read(tmp_path))
    assert len(gathered["runs"]) == 6
    assert (gathered["gaps"], gathered["grids"]) == ([], [])
    assert [len(study["rows"]) for study in gathered["studies"]] == [5]
    json.dumps(gathered, allow_nan=False)


def _config(model, *assignments):
    return resolve(TASKS["spiral"].config_class, "spiral", "smoke", model, assignments)


def _run(folder, model, *assignments):
    narrow = ["surrogate_width=0.2"] if model == "egru" else []  # so that some states pass no gradient
    config = _config(model, *TINY, *narrow, *assignments)
    run = Run("spiral", "smoke", model, config, 0, None, folder, "a test")
    return run if folder is None else run._replace(out=folder / run.name)
