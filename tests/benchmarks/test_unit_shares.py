import json

import numpy as np
import pytest

from benchmarks import unit_shares
from benchmarks.finished_runs import find
from benchmarks.tasks import TASKS


@pytest.fixture(scope="module")
def words(call, text_folder, tmp_path_factory):
    """`(folder, record)` of a language model of two layers, whose read-out is its embedding."""
    folder = tmp_path_factory.mktemp("words") / "run"
    options = ["--set", "epochs=1", "--set", "steps_per_epoch=5", "--set", "units=8,6", "--set", "validation_size=300"]
    options += ["--set", "verify_data=false", "--set", "test_size=300"]
    result = call("run", "ptb", "--preset", "smoke", "--data-dir", text_folder, "--out", folder, *options, "--json")
    assert result.exit_code == 0, result.stderr
    return folder, json.loads(result.stdout)


def test_the_shares_are_of_every_layer_and_judged_on_validation_data(call, spiral_run):
    folder, run = spiral_run
    result = call("remove-units", folder, "--share", "0.5,0.25", "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert json.loads((folder / "units.json").read_text()) == record
    (folder / "units.json").unlink()
    assert [(row["share"], row["units"]) for row in record["rows"]] == [
        (0.0, {"recurrent": 8}),
        (0.25, {"recurrent": 6}),
        (0.5, {"recurrent": 4}),
    ]
    # 3n of each input and unit, two biases of 3n, thresholds, classifier of two
    assert [row["parameters"] for row in record["rows"]] == [3 * n * (2 + n + 2) + n + 2 * n + 2 for n in (8, 6, 4)]
    assert record["rows"][0]["validation_accuracy"] == pytest.approx(run["validation_accuracy"])
    assert record["rows"][2]["dense_macs"] < record["rows"][1]["dense_macs"] < record["rows"][0]["dense_macs"]
    assert record["run"]["test_accuracy"] == run["test_accuracy"]


def test_the_test_set_is_asked_once_about_the_largest_share_that_holds(spiral_run, monkeypatch, tmp_path):
    validation = {8: 0.9, 7: 0.9, 6: 0.896, 4: 0.894, 2: 0.5}
    asked = []

    def measure(judge, network, split):
        units = network.get_layer("recurrent").units
        if split is judge.dataset.test:
            asked.append(units)
            return 0.77
        return validation[units]

    monkeypatch.setattr(unit_shares.ClassLabels, "measure", measure)
    shares = [0.125, 0.25, 0.5, 0.75]
    record = unit_shares.execute(spiral_run[0], shares, None, tmp_path / "units.json", "a test")
    assert asked == [6]
    assert record["chosen"] == 0.25
    assert record["test"] == {"test_accuracy": 0.77}
    record = unit_shares.execute(spiral_run[0], [0.5, 0.75], None, tmp_path / "units.json", "a test")
    assert asked == [6]
    assert record["chosen"] is None
    assert record["test"] is None


def test_the_units_that_go_are_those_that_fire_least_on_training_data(spiral_run):
    from keras_egru.layers.recording import record_states

    run = find(spiral_run[0])
    dataset = TASKS["spiral"].load(run.config, None)
    others = dataset.validation._replace(x=0.0 * dataset.validation.x)  # at which none fires
    dataset = dataset._replace(validation=others, test=others)
    judge = unit_shares.ClassLabels(run, dataset)
    with record_states() as found:
        judge.network(dataset.train.x[: run.config.sparsity_sample])
    activity = np.mean(np.asarray(found[0].y) != 0, axis=(0, 1))
    stay = np.sort(np.argsort(-activity, kind="stable")[:4])
    smaller = judge.without(0.5)
    np.testing.assert_array_equal(
        smaller.get_layer("recurrent").cell.threshold,
        np.asarray(judge.network.get_layer("recurrent").cell.threshold)[stay],
    )


def test_a_language_model_loses_units_of_its_last_layer_too(call, words, text_folder, tmp_path):
    folder, run = words
    result = call(
        "remove-units", folder, "--data-dir", text_folder, "--share", "0.5", "--out", tmp_path / "u.json", "--json"
    )
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert [row["units"] for row in rows] == [
        {"recurrent_1": 8, "recurrent_2": 6},
        {"recurrent_1": 4, "recurrent_2": 3},
    ]
    # Its own read-out has the numbers of the embedding: nothing but the order of sums is different.
    assert rows[0]["validation_perplexity"] == pytest.approx(run["validation_perplexity"], rel=1e-4)
    assert rows[0]["parameters"] == run["parameters"]
    assert rows[0]["dense_macs"] == pytest.approx(run["dense_macs"])
    # Of the table a row a word and a bias; 3n of each input and unit, two biases of 3n, thresholds.
    table = run["dataset"]["vocabulary"] * 7
    assert rows[1]["parameters"] == table + 3 * 4 * (6 + 4 + 2) + 4 + 3 * 3 * (4 + 3 + 2) + 3


def test_the_table_tells_the_costs_and_what_the_test_set_said(call, spiral_run, tmp_path):
    result = call("remove-units", spiral_run[0], "--share", "0.25", "--out", tmp_path / "units.json")
    assert result.exit_code == 0, result.stderr
    assert "validation accuracy" in result.stdout
    assert "25%" in result.stdout
    assert "Test accuracy with 25% removed" in result.stdout or "No share costs little enough" in result.stdout


@pytest.mark.parametrize("share", ["0", "1", "half", ",", "0.5,-0.1"])
def test_a_share_that_is_none_is_exit_code_2(call, spiral_run, share):
    result = call("remove-units", spiral_run[0], "--share", share)
    assert result.exit_code == 2
    assert "--share must" in result.stderr


def test_what_is_no_run_of_an_egru_is_refused(call, spiral_run, tmp_path):
    result = call("remove-units", tmp_path)
    assert result.exit_code == 2
    assert "holds no finished run" in result.stderr
    for change, words in (
        ({"model": "gru"}, "must hold a run of the model egru, and it trained gru"),
        ({"config": {"gradient": "rtrl"}}, "with one read-out a sequence"),
    ):
        record = {**spiral_run[1], "config": {}, **change}
        (tmp_path / "record.json").write_text(json.dumps(record))
        result = call("remove-units", tmp_path)
        assert result.exit_code == 2
        assert words in result.stderr
