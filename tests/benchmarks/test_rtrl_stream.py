import json

import pytest
from typer.testing import CliRunner

from benchmarks import performance_page, rtrl_stream
from benchmarks.cli import app
from keras_egru.ops import fused_egru
from tests.benchmarks.test_rtrl_scaling import COMMON

needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)


@needs_op
def test_a_stream_is_timed_step_by_step(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.timing.SHORTEST", 0.0)
    monkeypatch.setattr("benchmarks.timing.PATIENCE", 0.0)
    told = []
    record = rtrl_stream.compare(5, 1, "a command", out=tmp_path / "stream.json", progress=told.append)
    (result,) = record["cases"]
    assert result["milliseconds"].keys() == result["steps_per_second"].keys() == rtrl_stream.LEARNERS.keys()
    for name, time in result["milliseconds"].items():
        assert result["steps_per_second"][name] == pytest.approx(1e3 / time)
    operations = result["multiply_adds"]
    assert 0 < operations["snap1"] < operations["snap2"] <= operations["rtrl"]
    assert json.loads((tmp_path / "stream.json").read_text()) == record
    assert told == [rtrl_stream.describe(result)]


def test_the_page_tells_rates_and_the_target(tmp_path):
    rates = {"rtrl": 250.0, "snap1": 500.0, "snap2": 99.0}
    result = {
        "units": 64,
        "milliseconds": {name: 1e3 / rate for name, rate in rates.items()},
        "steps_per_second": rates,
        "influence_bytes": dict.fromkeys(rates, 2**20),
    }
    stream = {**COMMON, "kind": rtrl_stream.KIND, "command": "listen", "threads": 1, "cases": [result]}
    speed = {**COMMON, "kind": "speed", "command": "time", "limits": {}, "cases": []}
    for name, record in {"a": speed, "b": stream}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    page = performance_page.to_markdown(tmp_path, "images")
    assert "| 64 units | RTRL | 4.00 | 250 | 1.00 |" in page
    assert "rtrl-stream, 64 units, one thread: steps a second | 100 | 250 |" in page
    assert "one thread." in page


def test_other_options_are_refused():
    for option in (["--case", "rtrl-egru"], ["--rtrl-scaling"], ["--memory"], ["--batch", "3"]):
        found = CliRunner().invoke(app, ["speed", "--rtrl-stream", *option])
        assert found.exit_code == 2
        assert "does not go with --rtrl-stream" in found.output
