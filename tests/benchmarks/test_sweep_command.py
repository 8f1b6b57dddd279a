import json


def test_list_shows_the_sweeps_that_come_with_the_suite(call):
    rows = json.loads(call("list", "--sweeps", "--json").stdout)
    ablations = next(row for row in rows if row["sweep"] == "ablations_smnist")
    assert ablations["task"] == "smnist"
    assert ablations["runs"] == 15
    assert "Table S2" in ablations["what"]
    table = call("list", "--sweeps").stdout
    assert "ablations_smnist" in table
    assert "cases of speed" not in table
    assert "ablations_smnist" in call("list").stdout


def test_help_shows_a_file_and_the_exit_codes(call):
    result = call("sweep", "--help")
    assert result.exit_code == 0
    assert "\n  [space]" in result.stdout  # line by line, as it is written
    assert "7 no run of a sweep came to its end" in " ".join(result.stdout.split())
    assert "3 the data is missing" in " ".join(call("remove-units", "--help").stdout.split())


def test_a_wrong_file_is_one_sentence_and_exit_code_2(call, tmp_path):
    (tmp_path / "mine.toml").write_text('task = "spiral"\n[space]\nunitss = [4]\n')
    result = call("sweep", tmp_path / "mine.toml", "--out", tmp_path / "sweep")
    assert result.exit_code == 2
    assert "mine.toml asks for a run with model=egru, unitss=4" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "sweep").exists()
