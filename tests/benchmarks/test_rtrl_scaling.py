import json

import pytest

from benchmarks import performance_page, rtrl_scaling, rtrl_speed, rtrl_table
from benchmarks.errors import ConfigError
from benchmarks.rtrl_cases import RTRL_CASES
from keras_egru.ops import fused_egru
from tests.benchmarks.rtrl_results import online_result

needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)
PNG = b"\x89PNG\r\n\x1a\n"
COMMON = {
    "versions": {"python": "3.12.0"},
    "machine": {"system": "Linux", "architecture": "x86_64", "processor": "A processor", "cores": 2},
}


def growing(case, exponent=3):
    return [online_result(case, units=units, growth=float(units) ** exponent) for units in (16, 32, 128)]


@pytest.fixture
def folder(tmp_path):
    """Records of an EGRU that was not measured, and of online learning."""
    records = tmp_path / "records"
    records.mkdir()
    speed = {**COMMON, "kind": "speed", "command": "time", "limits": {}, "cases": []}
    (records / "a.json").write_text(json.dumps(speed))
    cases = [online_result("rtrl-egru"), online_result("rtrl-thresholded", ours=0.5)]
    online = {**COMMON, "kind": "speed-rtrl", "command": "learn", "cases": cases}
    (records / "b.json").write_text(json.dumps(online))
    growth = {**COMMON, "kind": "speed-rtrl-scaling", "command": "grow", "cases": growing("rtrl-egru")}
    (records / "c.json").write_text(json.dumps(growth))
    return records


@needs_op
def test_a_scaling_record_goes_on_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.timing.SHORTEST", 0.0)
    monkeypatch.setattr("benchmarks.timing.PATIENCE", 0.0)
    cases = tuple(RTRL_CASES["rtrl-thresholded"]._replace(units=units) for units in (8, 24))
    path, told = tmp_path / "scaling.json", []
    rtrl_scaling.compare(1, "a command", out=path, cases=cases[:1])
    record = rtrl_scaling.compare(1, "a command", out=path, cases=cases, progress=told.append)
    assert len(told) == 1
    assert json.loads(path.read_text()) == record
    assert record["kind"] == "speed-rtrl-scaling"
    assert [result["units"] for result in record["cases"]] == [8, 24]
    exponents = {(fit.name, fit.what): fit.exponent for fit in rtrl_scaling.fits(record["cases"])}
    # n^2 p of parameters n^2 + 3 n, and n p numbers.
    assert 3.5 < exponents["tensorflow", "multiply-adds"] < 4.0
    assert 2.5 < exponents["tensorflow", "bytes of influence"] < 3.0
    assert ("bptt", "ms a step") in exponents
    assert ("bptt", "multiply-adds") not in exponents
    with pytest.raises(ConfigError, match="another repeats"):
        rtrl_scaling.compare(2, "a command", out=path, cases=cases)


@needs_op
def test_the_command_sweeps_the_sizes(monkeypatch, call):
    measured = []

    def measure(case, plan):
        measured.append((case.name, case.units, plan.repeats))
        return online_result(case.name, units=case.units, growth=float(case.units) ** 3)

    monkeypatch.setattr(rtrl_speed, "measure", measure)
    result = call("speed", "--rtrl-scaling", "--repeats", 5)
    assert result.exit_code == 0, result.stderr
    assert measured == [(case.name, case.units, 5) for case in rtrl_scaling.CASES]
    for word in ("rtrl-thresholded: ms a step", "rtrl-egru: MiB of M", "n=16", "n=256", "exponent", "3.00", "plain TF"):
        assert word in result.stdout


def test_the_sweep_is_over_both_networks_at_the_example_of_the_paper():
    assert [(case.name, case.units) for case in rtrl_scaling.CASES] == [
        (name, units) for name in ("rtrl-thresholded", "rtrl-egru") for units in (16, 32, 64, 128, 256)
    ]
    assert all((case.parameter, case.backward) == (0.8, 0.5) for case in rtrl_scaling.CASES)


def test_exponents_are_those_of_power_laws():
    found = rtrl_scaling.fits([*growing("rtrl-egru", 3), *growing("rtrl-thresholded", 2)])
    exponents = {(fit.case, fit.name, fit.what): fit.exponent for fit in found}
    assert exponents["rtrl-egru", "ours", "ms a step"] == pytest.approx(3.0)
    assert exponents["rtrl-thresholded", "ours", "bytes of influence"] == pytest.approx(2.0)
    assert exponents["rtrl-egru", "bptt", "ms a step"] == pytest.approx(3.0)
    assert ("rtrl-egru", "bptt", "bytes of influence") not in exponents
    assert all(fit.r_squared == pytest.approx(1.0) for fit in found)
    assert rtrl_scaling.fits(growing("rtrl-egru")[:1]) == []


def test_the_page_has_a_section_and_targets_of_online_learning(folder):
    page = performance_page.to_markdown(folder, "performance").splitlines()
    for line in (
        "learn",
        "grow",
        "## Online learning",
        "### rtrl-egru, 128 units, 80% pruned, 50% backward",
        "| RTRL, both | 2.00 | 2.00 | 6x | 20 | 2.0 % | 1.0 % | 10.0 | 2.38e-05 | 25 % | 10 % | - |",
        "| BPTT | 5.00 | - | 2.4x | - | - | 50 % | 0.500 | - | - | - | - |",
        "| rtrl-egru, 128 units, 80 % pruned, 50 % backward: gain | 8x | 6.0x | no |",
        "| rtrl-thresholded, 128 units, 80 % pruned, 50 % backward: gain | 15x | 24.0x | yes |",
        "### Growth with units",
        "| `rtrl-egru` | RTRL, both | 3.00 (1.000) | 3.00 (1.000) | 3.00 (1.000) |",
        "| `rtrl-egru` | BPTT | 3.00 (1.000) | - | - |",
        "|  | 16 | 32 | 128 |",
        "| RTRL, both | 8192 | 65536 | 4194304 |",
    ):
        assert line in page
    # Named cases come in their order, whatever the record's; a scaling record is held against no target.
    headings = [line for line in page if line.startswith("### rtrl-")]
    assert [heading.split(",")[0] for heading in headings] == ["### rtrl-thresholded", "### rtrl-egru"]
    assert len([line for line in page if "backward: gain" in line]) == 2
    tables = [line for line in page if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    for line, following in zip(tables, tables[1:], strict=False):
        if following.startswith("| ---"):
            assert line.count("|") == following.count("|")


def test_the_growth_is_plotted(folder, call, tmp_path):
    result = call("report", folder, "--performance", tmp_path / "performance.md")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "performance" / "rtrl-scaling.png").read_bytes().startswith(PNG)
    assert "![Growth of RTRL](performance/rtrl-scaling.png)" in (tmp_path / "performance.md").read_text()


@pytest.mark.parametrize("kept", ["b", "c"])
def test_the_page_is_made_of_either_record_alone(folder, kept):
    (folder / ("c.json" if kept == "b" else "b.json")).unlink()
    page = performance_page.to_markdown(folder, "performance")
    assert "## Online learning" in page
    assert ("### Growth with units" in page) == (kept == "c")


def test_without_records_of_online_learning_there_is_no_section_of_it(folder):
    for name in ("b", "c"):
        (folder / f"{name}.json").unlink()
    page = performance_page.to_markdown(folder, "performance")
    assert "nline" not in page
    assert "rtrl" not in page


def test_small_figures_keep_their_digits():
    assert [rtrl_table.percent(share) for share in (None, 1.0, 0.123, 0.012, 0.000244)] == [
        *("-", "100 %", "12 %"),
        *("1.2 %", "0.024 %"),
    ]
    assert [rtrl_table.digits(figure) for figure in (None, 0.00823, 0.5, 1.234, 1350.0)] == [
        *("-", "0.00823", "0.500"),
        *("1.23", "1350"),
    ]
