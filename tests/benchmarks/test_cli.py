import json

import pytest


def test_list_names_every_task_preset_and_model(call):
    rows = json.loads(call("list", "--json").stdout)
    assert [row["task"] for row in rows] == [
        *("gesture", "smnist", "psmnist", "ptb", "wikitext2", "spiral", "delayed_recall"),
        *("nmnist", "yinyang", "mnist_latency", "fashion_mnist_latency", "shd", "ssc"),
    ]
    assert all(row["presets"] == ["smoke", "cpu", "paper"] for row in rows)
    assert all(row["models"] == ["egru", "gru", "lstm"] for row in rows[1:7])
    assert all(row["models"] == ["egru", "gru", "lstm", "lif"] for row in (rows[0], *rows[7:]))
    table = call("list")
    assert table.exit_code == 0
    assert "psmnist" in table.stdout


def test_list_names_the_cases_of_speed(call):
    rows = json.loads(call("list", "--speed", "--json").stdout)
    assert [(row["case"], row["layer"]) for row in rows if row["case"] in ("stream", "lif-fashion")] == [
        ("stream", "EGRU"),
        ("lif-fashion", "EventLIF"),
    ]
    assert "lif-fashion" in call("list").stdout
    assert "psmnist" not in call("list", "--speed").stdout


@pytest.mark.parametrize("command", [(), ("list",), ("run",), ("report",), ("speed",), ("export",)])
def test_help_explains_the_command_and_its_exit_codes(call, command):
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert "3 the data is missing" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "spirals"], "there is no task 'spirals'"),
        (["run", "spiral", "--preset", "huge"], "--preset"),
        (["run", "spiral", "--model", "rnn"], "--model"),
        (["run", "spiral", "--seed", "-1"], "--seed"),
        (["run", "spiral", "--model", "lif"], "the model lif needs a task of spike trains"),
        (["run", "spiral", "--set", "image_size=14"], "no key 'image_size' for the task spiral"),
        (["run", "spiral", "--set", "epochs"], "--set wants key=value"),
        (["run", "spiral", "--set", "epochs=many"], "epochs = 'many' is refused"),
        (["run", "spiral", "--set", "epochs=0"], "epochs = '0' is refused"),
        (["run", "spiral", "--set", "learning_rate=nan"], "learning_rate = 'nan' is refused"),
        (["run", "spiral", "--set", "reset=half"], "reset = 'half' is refused"),
        (["run", "spiral", "--set", "threshold_mean=1"], "threshold_mean = '1' is refused"),
        (["run", "spiral", "--set", "weight_decay=0.1"], "weight_decay needs optimizer=adamw"),
        (["run", "spiral", "--set", "warmup_epochs=1"], "warmup_epochs needs schedule=cosine"),
        (["run", "spiral", "--model", "gru", "--set", "reset=zero"], "reset applies to the model egru only"),
        (["run", "spiral", "--set", "train_size=9000"], "train_size must be at most 8000"),
        (["run", "smnist", "--set", "image_size=9"], "image_size must divide 28"),
        (["run", "smnist", "--set", "pixels_per_step=3", "--set", "image_size=14"], "pixels_per_step must divide"),
        (["run", "spiral", "--prune", "1.0"], "prune = '1.0' is refused"),
        (["run", "spiral", "--prune", "most"], "prune = 'most' is refused"),
        (["run", "spiral", "--prune", "0.5", "--block", "3"], "block = '3' is refused: it must be HEIGHTxWIDTH"),
        (["run", "spiral", "--prune", "0.5", "--block", "0x2"], "block = '0' is refused"),
        (["run", "spiral", "--block", "1x1"], "block must come with prune"),
        (["run", "spiral", "--prune-weights", "all"], "prune_weights must come with prune"),
        (["run", "spiral", "--prune", "0.5", "--prune-weights", "half"], "prune_weights = 'half' is refused"),
        (["run", "spiral", "--prune", "0.5", "--block", "16x16"], "--block does not fit the network"),
        (["run", "spiral", "--prune", "0.5", "--set", "prune_begin=0.7"], "must leave an update between them"),
        (["report", "nowhere"], "nowhere is not a folder"),
        (["speed", "--activity-sparsity", "0.5 1"], "numbers in [0, 1)"),
        (["speed", "--activity-sparsity", "half"], "numbers in [0, 1)"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(call, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_data_folder_is_exit_code_3(call, tmp_path):
    result = call("run", "smnist", "--preset", "smoke", "--data-dir", tmp_path / "none", "--out", tmp_path / "run")
    assert result.exit_code == 3
    assert "does not exist" in result.stderr
    assert not (tmp_path / "run").exists()


def test_an_output_folder_that_cannot_be_made_is_exit_code_5_before_training(call, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = call("run", "spiral", "--preset", "smoke", "--out", tmp_path / "file" / "run")
    assert result.exit_code == 5
    assert "cannot be written" in result.stderr
    assert "epoch" not in result.stderr


def test_a_report_of_a_folder_without_records_is_exit_code_2(call, tmp_path):
    (tmp_path / "other.json").write_text('{"task": "none"}')
    (tmp_path / "broken.json").write_text("{")
    result = call("report", tmp_path)
    assert result.exit_code == 2
    assert "holds no run record" in result.stderr
