import json
import shutil

import pytest

from benchmarks import figures, records, report

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def folder(spiral_run, tmp_path):
    """An EGRU's record and, made from it, those of a GRU and of a digit run."""
    source, record = spiral_run
    shutil.copytree(source, tmp_path / "egru")
    silent = {"activity_sparsity": None, "backward_sparsity": None, "surrogate_sparsity": None}
    epochs = [{**epoch, **silent} for epoch in record["epochs"]]
    gru = {**record, **silent, "model": "gru", "epochs": epochs, "test_accuracy": record["test_accuracy"] - 0.25}
    digits = {**record, "task": "smnist", "preset": "cpu", "dataset": {**record["dataset"], "complete": True}}
    (tmp_path / "gru").mkdir()
    (tmp_path / "gru" / records.FILE).write_bytes(records.to_json(gru))
    (tmp_path / "digits.json").write_bytes(records.to_json(digits))
    return tmp_path


def test_a_report_lays_the_runs_beside_the_paper_s_figures(folder, call):
    result = call("report", folder, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert sorted((run["run"], run["task"], run["model"]) for run in document["runs"]) == [
        ("digits.json", "smnist", "egru"),
        ("egru", "spiral", "egru"),
        ("gru", "spiral", "gru"),
    ]
    paper = [row for row in document["published"] if row["model"] == "EGRU"]
    assert [(row["task"], row["accuracy"], row["activity_sparsity"]) for row in paper] == [("smnist", 0.983, 0.721)]
    assert len(document["gaps"]) == 1
    assert document["gaps"][0]["peer"] == "gru"
    assert document["gaps"][0]["difference"] == pytest.approx(0.25)


def test_a_report_writes_a_markdown_table_and_plots_that_it_shows(folder, call, tmp_path):
    out = tmp_path / "new" / "report"
    result = call("report", folder, "--out", out)
    assert result.exit_code == 0, result.stderr
    names = ["smnist-accuracy.png", "smnist-sparsity.png", "spiral-accuracy.png", "spiral-sparsity.png"]
    assert sorted(path.name for path in out.iterdir()) == ["report.md", *names]
    markdown = (out / "report.md").read_text()
    for name in names:
        assert (out / name).read_bytes().startswith(PNG)
        assert f"]({name})" in markdown
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    # Header, rule, three runs, and the paper's three rows for sequential MNIST.
    assert len(table) == 2 + 3 + 3
    assert "| 98.3% |" in markdown
    assert "+25.00 points" in markdown
    assert report.FOOTNOTE in markdown
    assert "98.3%" in result.stdout


def test_dense_runs_alone_have_no_plot_of_sparsity(folder, call, tmp_path):
    result = call("report", folder / "gru", "--out", tmp_path / "dense")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "dense").iterdir()) == ["report.md", "spiral-accuracy.png"]


def test_a_figure_that_is_not_known_is_a_dash_and_numbers_keep_three_digits():
    assert figures.number(None) == figures.share(None) == figures.decimal(None) == "-"
    assert [figures.number(value) for value in (56.2, 866, 10_215, 1_054_000)] == ["56", "866", "10.2k", "1.05M"]


def test_sizes_of_several_layers_are_written_shortly():
    assert [figures.units(value) for value in (128, [256, 256, 256], [512, 256], [64])] == [
        "128",
        "3x256",
        "512-256",
        "64",
    ]


def test_a_record_refuses_what_json_has_not():
    with pytest.raises(ValueError, match="JSON"):
        records.to_json({"loss": float("nan")})
