import json

import pytest

from benchmarks import records, sparsity_grid
from benchmarks.sparsity_grid import Grid


@pytest.fixture
def folder(spiral_run, tmp_path):
    """Made from one record: EGRUs at two activities and three parameter sparsities, two seeds of one, and a GRU."""
    _, record = spiral_run
    runs = [
        ("egru", 0.82, 0.0, 0.9, 60.0),
        ("egru", 0.84, 0.8, 0.8, 30.0),
        ("egru", 0.84, 0.8, 0.6, 60.0),
        ("egru", 1.0, 0.9, 0.5, 24.0),
        ("gru", None, 0.0, 0.95, 120.0),
    ]
    for number, (model, activity, pruned, accuracy, seconds) in enumerate(runs):
        changed = {
            "model": model,
            "activity_sparsity": activity,
            "recurrent_parameter_sparsity": pruned,
            "test_accuracy": accuracy,
            "seconds": seconds,
            "effective_macs": None,
        }
        (tmp_path / f"{number}.json").write_bytes(records.to_json({**record, **changed}))
    return tmp_path


def test_runs_are_laid_out_by_both_sparsities_and_seeds_averaged(folder, call):
    result = call("report", folder, "--json")
    assert result.exit_code == 0, result.stderr
    (grid,) = json.loads(result.stdout)["grids"]
    assert grid["title"] == "spiral (smoke, 8 units)"
    assert grid["rows"] == ["EGRU, 80-85 % silent", "EGRU, 95-100 % silent", "GRU"]
    assert grid["columns"] == [0.0, 0.8, 0.9]
    assert grid["figures"]["test accuracy"] == [[0.9, pytest.approx(0.7), None], [None, None, 0.5], [0.95, None, None]]
    assert grid["figures"]["minutes"] == [[1.0, 0.75, None], [None, None, 0.4], [2.0, None, None]]
    assert set(grid["figures"]) == {"test accuracy", "minutes"}


def test_the_report_has_the_grid_as_a_table_and_as_a_heat_map(folder, call):
    _write_speed_record(folder / "speed.json")
    assert call("report", folder, "--out", folder / "out").exit_code == 0
    markdown = (folder / "out" / "report.md").read_text()
    assert "|  | 0 % zero | 80 % zero | 90 % zero |" in markdown
    assert "| EGRU, 80-85 % silent | 90.0% / 1.0 | 70.0% / 0.8 | - |" in markdown
    assert "| EGRU, 80-85 % silent | 4.0 | 2.0 |" in markdown
    for name in ("spiral-smoke-8-grid.svg", "speed-small-inference-1x16-grid.svg"):
        assert f"]({name})" in markdown
        assert "<svg" in (folder / "out" / name).read_text()


def test_runs_of_one_parameter_sparsity_make_no_grid(spiral_run, call, tmp_path):
    folder, _ = spiral_run
    assert json.loads(call("report", folder, "--out", tmp_path, "--json").stdout)["grids"] == []


def test_speed_records_make_grids_of_milliseconds(tmp_path):
    _write_speed_record(tmp_path / "speed.json")
    assert sparsity_grid.of_speed(tmp_path) == [
        Grid(
            "speed, small, inference, blocks of 1x16",
            "speed-small-inference-1x16-grid",
            ["EGRU, 0-5 % silent", "EGRU, 80-85 % silent"],
            [0.0, 0.9],
            {"milliseconds": [[None, None], [4.0, 2.0]]},
        )
    ]


def test_figures_are_written_as_what_they_are():
    written = [sparsity_grid.written(name, 0.5) for name in ("test accuracy", "test perplexity", "minutes")]
    assert written == ["50.0%", "0.5", "0.5"]
    assert sparsity_grid.written("effective MACs", 49_543) == "49.5k"


def _write_speed_record(path):
    points = [
        {
            "case": "small",
            "mode": mode,
            "activity_sparsity": active,
            "asked": {"activity": active, "parameter": pruned, "block": [1, 16]},
            "milliseconds": {"ours": ms},
        }
        for mode, active, pruned, ms in (
            ("inference", 0.8, 0.0, 4.0),
            ("inference", 0.8, 0.9, 2.0),
            ("inference", 0.0, 0.9, None),
            ("training", 0.8, 0.0, 9.0),
        )
    ]
    path.write_text(json.dumps({"kind": "speed-pruned", "cases": points}))
