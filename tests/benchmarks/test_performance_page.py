import json
from pathlib import Path

import pytest

from benchmarks import performance_page, speed_targets
from benchmarks.contenders import CONTENDERS

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "performance.md"
PNG = b"\x89PNG\r\n\x1a\n"
MACHINE = {"system": "Linux", "architecture": "x86_64", "processor": "A processor", "cores": 2}
LIMITS = {
    "threads": 2,
    "buffer_bytes": 2**20,
    "read_bytes_per_second": 40.4e9,
    "multiply_adds_per_second": 150e9,
}


def speed_result(mode, asked, **milliseconds):
    times = dict.fromkeys(CONTENDERS) | milliseconds
    dense = [times[name] for name in ("keras_gru", "torch_gru", "onnxruntime_gru") if times[name] is not None]
    return {
        "case": "batch64",
        "description": "1024 units, batch 64, 50 steps, 64 features",
        "mode": mode,
        "asked": {"activity": asked, "backward": asked / 2},
        "activity_sparsity": asked + 0.001,
        "backward_sparsity": asked / 2,
        "milliseconds": times,
        "ratio_to_fastest_peer": times["ours"] / min(dense),
        "peak_memory_mib": dict.fromkeys(CONTENDERS),
        "limit": {"limit": "multiply-adds", "milliseconds": 10.0, "share": 0.321},
    }


def pruned_result(parameter, block, **milliseconds):
    result = speed_result("inference", 0.8, keras_gru=160.0, **milliseconds)
    asked = {**result["asked"], "parameter": parameter, "block": block}
    return {**result, "case": "stream", "asked": asked}


@pytest.fixture
def folder(tmp_path):
    inference = [
        speed_result("inference", 0.8, ours=50.0, ours_dense=100.0, keras_gru=160.0, torch_gru=200.0),
        speed_result("inference", 0.0, ours=110.0, ours_dense=100.0, keras_gru=160.0, torch_gru=200.0),
    ]
    training = speed_result("training", 0.8, ours=5.25, ours_dense=10.0, keras_gru=10.0)
    training["peak_memory_mib"] |= {"ours": 50.0, "keras_gru": 100.0}
    record = {
        "kind": "speed",
        "command": "python -m benchmarks speed --case batch64",
        "versions": {"python": "3.12.0", "keras": "3.15.0"},
        "machine": MACHINE,
        "limits": {"batch64": LIMITS},
        "cases": [*inference, training],
    }
    common = {"series": "events", "threads": 2, "units": 1024, "batch": 64, "steps": 50, "mode": "inference"}
    growth = {
        **record,
        "kind": "scaling",
        "command": "python -m benchmarks speed --scaling",
        "results": [
            {**common, "activity_sparsity": share, "events": events, "milliseconds": 1.0 + events * 1e-4}
            for share, events in ((0.5, 40_000), (0.8, 10_000), (0.9, 5_000))
        ],
    }
    records = tmp_path / "records"
    records.mkdir()
    (records / "a.json").write_text(json.dumps(record))
    (records / "b.json").write_text(json.dumps(growth))
    return records


def test_the_page_holds_the_figures_of_the_records(folder):
    page = performance_page.to_markdown(folder, "performance")
    for line in (
        "Machine: A processor, 2 cores, Linux x86_64.",
        "Versions: python 3.12.0, keras 3.15.0.",
        "python -m benchmarks speed --case batch64",
        "python -m benchmarks speed --scaling",
        "| silent | backward | EGRU | EGRU, dense | Keras GRU | torch GRU | gain | target | limit |",
        "| 0.1 % | 0.0 % | 110 | 100 | 160 | 200 | 1.5x |  | 32% |",
        "| 80.1 % | 40.0 % | 50.0 | 100 | 160 | 200 | 3.2x | 3x | 32% |",
        "| 80.1 % | 40.0 % | 5.25 | 10.0 | 10.0 | 1.9x | 3x | 32% |",
        "| training | 80.1 % | 50.0 | 100 |",
        "| batch64 | 2 | 1.0 MiB | 40.4 GB/s | 150 G/s |",
        "| events | inference | 2 | 100 ns / event | 1.00 | 1.0000 |",
        "| 80.0% silent | inference | 2 | 10,000 | 2.00 |",
    ):
        assert line in page.splitlines()
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


def test_the_page_says_which_targets_are_met(folder):
    page = performance_page.to_markdown(folder, "performance").splitlines()
    for line in (
        "| batch64, inference, 80 % silent: gain | 3x | 3.2x | yes |",
        "| batch64, training, 80 % silent: gain | 3x | 1.9x | no |",
        "| batch64, inference, 0 % silent: time, of the dense EGRU's | at most 105% | 110% | no |",
        "| batch64, inference, 0 % silent: time, of Keras GRU's | at most 100% | 69% | yes |",
        "| batch64, training, 80 % silent: peak memory, of Keras GRU's | at most 60% | 50% | yes |",
    ):
        assert line in page


def test_pruned_weights_have_tables_and_targets_of_their_own(folder):
    results = [
        pruned_result(0.0, [1, 16], ours=8.0),
        pruned_result(0.8, [1, 16], ours=2.0, ours_unpruned=8.2),
        pruned_result(0.9, [1, 1], ours=8.0, ours_unpruned=7.9),
    ]
    record = {
        **json.loads((folder / "a.json").read_text()),
        "kind": "speed-pruned",
        "command": "prune",
        "cases": results,
    }
    (folder / "c.json").write_text(json.dumps(record))
    page = performance_page.to_markdown(folder, "performance").splitlines()
    for line in (
        "prune",
        "### `stream`, inference",
        "| silent | pruned | blocks | EGRU | EGRU, unpruned | Keras GRU | gain | over peers |",
        "| 80.1 % | 0.0 % | - | 8.00 | - | 160 | - | 20.0x |",
        "| 80.1 % | 80.0 % | 1x16 | 2.00 | 8.20 | 160 | 4.10x | 80.0x |",
        "| 80.1 % | 90.0 % | 1x1 | 8.00 | 7.90 | 160 | 0.99x | 20.0x |",
        "| stream, inference, 80 % silent, 80 % pruned in 1x16: over unpruned | 3x | 4.10x | yes |",
        "| stream, inference, 80 % silent, 80 % pruned in 1x16: over the fastest peer | 12x | 80.0x | yes |",
        "| stream, inference, 80 % silent, 90 % pruned in 1x1: over unpruned | 1.5x | 0.99x | no |",
    ):
        assert line in page
    assert "## `stream`" not in page  # a case of its own is what was measured unpruned


def spiking_result(case, gradient, **figures):
    passes = ("forward", "backward", "step")
    times = {"ours": 10.0, "reference": 60.0, "plain_tensorflow": 45.0 if gradient == "surrogate" else None}
    faster = {"reference": 6.0, "plain_tensorflow": 4.5 if gradient == "surrogate" else None}
    return {
        "case": case,
        "description": f"200 units, {gradient}",
        "gradient": gradient,
        "asked": {"activity": 0.01},
        "activity": 0.0102,
        "active_share": 0.0176,
        "milliseconds": dict.fromkeys(passes, times),
        "speedups": dict.fromkeys(passes, faster),
        "kept_mib": dict.fromkeys(times),
        "peak_memory_mib": dict.fromkeys(times),
        **figures,
    }


def growth_result(series, dt=1.0, spikes=1000):
    times = {"ours": 1.0 + 2.0 / dt, "reference": 30.0 / dt if series == "dt" else None}
    return {
        "series": series,
        "dt": dt,
        "steps": round(100 / dt),
        "spikes": spikes,
        "share_of_spikes": spikes / 1e5,
        "input_spikes": 5000,
        "kept_bytes": {"counts": 1000, "codes": 12 * spikes},
        "milliseconds": {"forward": times, "backward": times},
    }


@pytest.fixture
def spiking_folder(folder):
    """`folder` with records of spiking layers too."""
    common = {name: json.loads((folder / "a.json").read_text())[name] for name in ("versions", "machine")}
    memory = {
        "kept_mib": {"ours": 2.0, "reference": 60.3, "plain_tensorflow": 40.0},
        "peak_memory_mib": {"ours": 24.0, "reference": 119.0, "plain_tensorflow": 80.0},
    }
    cases = [spiking_result("lif-eventprop", "eventprop"), spiking_result("lif-fashion", "surrogate", **memory)]
    record = {**common, "kind": "speed-lif", "command": "spike", "cases": cases}
    (folder / "d.json").write_text(json.dumps(record))
    results = [growth_result("spikes", spikes=n) for n in (1000, 2000)] + [growth_result("dt", dt) for dt in (2.0, 0.5)]
    record = {**common, "kind": "speed-lif-growth", "command": "grow", "results": results}
    (folder / "e.json").write_text(json.dumps(record))
    return folder


def test_spiking_layers_have_a_section_and_targets_of_their_own(spiking_folder):
    page = performance_page.to_markdown(spiking_folder, "performance").splitlines()
    for line in (
        "spike",
        "grow",
        "## Spiking layers",
        "| `lif-fashion` | 200 units, surrogate |",
        "| case | spikes | active | ms | EventLIF | reference | plain TensorFlow | gain |",
        "| `lif-fashion` | 1.02 % | 1.76 % | backward | 10.0 | 60.0 | 45.0 | 4.5x |",
        "| `lif-eventprop` | 1.02 % | 1.76 % | step | 10.0 | 60.0 | - | 6.0x |",
        "| `lif-fashion` | 1.02 % | 1.76 % | kept | 2.00 | 60.3 | 40.0 | 5% |",
        "| `lif-fashion` | 1.02 % | 1.76 % | peak | 24.0 | 119 | 80.0 | 30% |",
        "| lif-fashion, 1 % spikes, backward: gain | 20x | 4.5x | no |",
        "| lif-fashion, 1 % spikes: peak memory of a step, of dense | at most 30% | 30% | yes |",
        "| spikes | bytes kept | 12 | 1e+03 | 1.0000 | 0.94 |",
        "| dt | forward, ours | 0.02 | 1 | 1.0000 | 0.66 |",
        "| steps of 2 ms | 50 | 1,000 | 5,000 | 13,000 | 2.00 | 15.0 | 2.00 | 15.0 |",
        "| 2.00% spikes | 100 | 2,000 | 5,000 | 25,000 | 3.00 | - | 3.00 | - |",
    ):
        assert line in page
    # Named cases come in their order, whatever the record's.
    assert page.index("| `lif-fashion` | 200 units, surrogate |") < page.index(
        "| `lif-eventprop` | 200 units, eventprop |"
    )
    tables = [line for line in page if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


def test_the_growth_of_eventprop_is_plotted(spiking_folder, call, tmp_path):
    result = call("report", spiking_folder, "--performance", tmp_path / "performance.md")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "performance" / "eventprop-growth.png").read_bytes().startswith(PNG)
    assert "![Growth of Eventprop](performance/eventprop-growth.png)" in (tmp_path / "performance.md").read_text()


def test_without_records_of_spiking_layers_there_is_no_section_of_them(folder):
    page = performance_page.to_markdown(folder, "performance")
    assert "piking" not in page
    assert "eventprop" not in page


def test_unstructured_pruning_is_held_to_slow_nothing_down():
    result = pruned_result(0.9, [1, 1], ours=10.0, ours_unpruned=9.0) | {"case": "ptb", "mode": "training"}
    assert [verdict[1:] for verdict in speed_targets.pruned_verdicts([result])] == [("1x", "0.90x", False)]
    result["asked"]["parameter"] = 0.5
    assert speed_targets.pruned_verdicts([result]) == []


def test_reading_is_held_against_the_time_at_the_measured_bandwidth():
    result = speed_result("inference", 0.8, ours=6.0, keras_gru=36.0) | {"case": "stream"}
    result["limit"] = {"limit": "reading weights", "milliseconds": 3.0, "share": 0.5}
    assert speed_targets.verdicts([result]) == [
        ("stream, inference, 80 % silent: gain", "5x", "6.0x", True),
        ("stream, inference, 80 % silent: time, of that to read the active rows", "at most 150%", "200%", False),
    ]


def test_the_command_writes_the_page_and_the_plots_that_it_shows(folder, call, tmp_path):
    page = tmp_path / "docs" / "performance.md"
    result = call("report", folder, "--performance", page)
    assert result.exit_code == 0, result.stderr
    assert page.read_text() == performance_page.to_markdown(folder, "performance")
    plots = sorted((tmp_path / "docs" / "performance").iterdir())
    assert [path.name for path in plots] == ["batch64-inference.png", "events.png"]
    for path in plots:
        assert path.read_bytes().startswith(PNG)
        assert f"](performance/{path.name})" in page.read_text()
        assert path.name in result.stdout
    assert not (folder / "report.md").exists()


def test_without_a_speed_record_there_is_no_page(call, tmp_path):
    result = call("report", tmp_path, "--performance", tmp_path / "page.md")
    assert result.exit_code == 2
    assert "holds no speed record" in result.stderr


def test_the_notes_are_on_the_page_as_they_are(folder, monkeypatch, tmp_path):
    (tmp_path / "notes.md").write_text("Memory.\n\n- And *more*.\n")
    monkeypatch.setattr(performance_page, "NOTES", tmp_path / "notes.md")
    page = performance_page.to_markdown(folder, "performance")
    assert page.endswith("## What limits it\n\nMemory.\n\n- And *more*.\n")


def test_slopes_are_given_in_a_unit_that_fits():
    assert [performance_page._slope(ms) for ms in (2.5, 0.0123, 4.56e-5)] == ["2.5 ms", "12.3 us", "45.6 ns"]


def test_the_committed_page_is_made_from_the_committed_records():
    if not PAGE.exists():
        pytest.skip("no speed is recorded yet")
    assert PAGE.read_text("utf-8") == performance_page.to_markdown(RESULTS, "performance")
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("!["):
            assert (PAGE.parent / line.split("](")[1].rstrip(")")).is_file()
