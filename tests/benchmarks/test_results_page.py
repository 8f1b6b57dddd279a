from pathlib import Path

from benchmarks import report, results_page
from tests.benchmarks.made_up_records import made_up, save

ROOT = Path(__file__).parents[2]


def test_the_page_in_the_repository_is_made_from_the_records():
    """Otherwise: python -m benchmarks report benchmarks/results --results RESULTS.md"""
    made = results_page.to_markdown(report.read(ROOT / "benchmarks" / "results"))
    assert (ROOT / "RESULTS.md").read_text("utf-8") == made


def test_the_command_writes_the_page_alone(call, tmp_path):
    save(tmp_path / "records", egru=made_up(), gru=made_up("gru", accuracies=(0.5, 0.96)))
    page = tmp_path / "page.md"
    result = call("report", tmp_path / "records", "--results", page)
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.md", "records"]
    assert str(page) in result.stdout


def test_the_page_has_conditions_figures_papers_and_the_command_of_every_run(tmp_path):
    save(tmp_path, egru=made_up(test=0.93), gru=made_up("gru", accuracies=(0.5, 0.96)))
    markdown = results_page.to_markdown(report.read(tmp_path))
    lines = [line.split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    results = [line for line in lines if len(line) == len(lines[0])]  # the first table; learning speed is the other
    cells = {line[0]: dict(zip(lines[0], line, strict=True)) for line in results}
    ours, paper = cells["| EGRU-8"], cells["| EGRU, 590 units"]
    assert (ours["preset"], ours["data"], ours["epochs"], ours["seeds"]) == (
        "`cpu`",
        "MNIST, 1,000 / 100 / 200, 49 steps",
        "3",
        "1 (0)",
    )
    assert (ours["test accuracy"], ours["activity sparsity"]) == ("**93.0%**", "80.0%")
    assert paper["preset"] == "published"
    assert "python -m benchmarks run smnist --model gru --seed 0  # gru" in markdown
    assert "EGRU-8 less GRU-8: +3.00 points" in markdown
    assert ["| EGRU-8", "1 of 1", "30", "3.0", "1.50x |"] in lines


def test_files_that_cannot_be_read_are_named_on_the_page(tmp_path):
    save(tmp_path, egru=made_up())
    (tmp_path / "broken.json").write_text("{")
    assert "broken.json is not JSON" in results_page.to_markdown(report.read(tmp_path))
