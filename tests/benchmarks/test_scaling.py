import json

import numpy as np
import pytest

from benchmarks import scaling
from benchmarks.errors import CannotRun, ConfigError
from keras_egru.ops import fused_egru

needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)
TINY = (
    scaling.Point("events", 16, 4, 10, 3, 0.5),
    scaling.Point("events", 16, 4, 10, 3, 0.8),
    scaling.Point("batch", 16, 8, 10, 3, 0.8),
)


def result(**figures):
    return {**scaling.POINTS[0]._asdict(), "mode": "inference", "threads": 1, **figures}


def test_the_line_through_a_series_is_the_one_of_least_squares():
    exact = [result(events=events, milliseconds=2.0 + 0.5 * events) for events in (10, 20, 40)]
    assert scaling.line(exact) == pytest.approx(scaling.Line(0.5, 2.0, 1.0))
    # Of 1, 2, 2 at 0, 1, 2 the line is 7/6 + x/2 and explains three quarters of the variance.
    noisy = [result(series="steps", steps=steps, milliseconds=ms) for steps, ms in ((0, 1.0), (1, 2.0), (2, 2.0))]
    assert scaling.line(noisy) == pytest.approx(scaling.Line(0.5, 7 / 6, 0.75))


def test_units_are_laid_against_their_square():
    squares = [result(series="units", units=units, milliseconds=3.0 * units**2) for units in (1, 2, 3)]
    assert scaling.line(squares).slope == pytest.approx(3.0)


def test_every_size_is_varied_alone():
    middle = scaling.Point("events")
    for point in scaling.POINTS:
        varied = {"events": "activity"}.get(point.series, point.series)
        others = [name for name in scaling.Point._fields if name not in ("series", varied)]
        assert [getattr(point, name) for name in others] == [getattr(middle, name) for name in others]


@needs_op
def test_a_scaling_record_counts_its_events_and_goes_on_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.timing.SHORTEST", 0.0)
    monkeypatch.setattr(scaling, "use_threads", lambda threads: None)
    path, told = tmp_path / "scaling.json", []
    scaling.compare(1, "a command", threads=1, out=path, points=TINY[:2])
    record = scaling.compare(1, "a command", threads=1, out=path, points=TINY, progress=told.append)
    assert len(told) == 1
    assert json.loads(path.read_text()) == record
    assert record["kind"] == "scaling"
    assert list(scaling.grouped(record["results"])) == [
        ("events", "inference", 1),
        ("events", "training", 1),
        ("batch", "inference", 1),
        ("batch", "training", 1),
    ]
    for found in record["results"]:
        entries = found["batch"] * found["steps"] * found["units"]
        assert found["events"] <= entries
        # Without the last step, of which the share may be another.
        assert found["events"] / entries == pytest.approx(1 - found["activity_sparsity"], abs=0.1)
        assert found["milliseconds"] > 0
    with pytest.raises(ConfigError, match="another repeats"):
        scaling.compare(2, "a command", threads=1, out=path, points=TINY)


def test_each_number_of_threads_has_a_process_and_is_measured_once(monkeypatch, tmp_path):
    monkeypatch.setattr(scaling.records, "machine", lambda: {"cores": 4})
    asked = []

    def process(repeats, threads):
        asked.append((repeats, threads))
        return [result(threads=threads, events=1, milliseconds=1.0)]

    monkeypatch.setattr(scaling, "_in_a_process", process)
    for _ in range(2):
        record = scaling.compare(3, "a command", out=tmp_path / "scaling.json")
    assert asked == [(3, 1), (3, 4)]
    assert [found["threads"] for found in record["results"]] == [1, 4]


def test_a_process_that_fails_stops_the_run(monkeypatch):
    monkeypatch.setattr(scaling.sys, "executable", "/bin/false")
    with pytest.raises(CannotRun, match="with 2 threads stopped"):
        scaling._in_a_process(1, 2)


def test_the_table_shows_every_point_and_the_lines(capsys):
    from benchmarks import speed_table

    results = [result(activity_sparsity=0.5, events=e, milliseconds=float(np.sqrt(e))) for e in (1, 4, 9)]
    speed_table.show_scaling({"results": results})
    shown = capsys.readouterr().out
    assert "50.0% silent" in shown
    assert "R²" in shown
