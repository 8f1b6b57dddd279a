import json

import pytest

from benchmarks import lif_growth
from benchmarks.errors import ConfigError
from benchmarks.lif_imposed import run
from keras_egru.ops import fused_egru

needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)
TINY = lif_growth.CASE._replace(units=24, batch=16, steps=30, features=20)
POINTS = (
    lif_growth.Point("spikes", activity=0.05, spikes=3.0),
    lif_growth.Point("spikes", activity=0.1, spikes=3.0),
    lif_growth.Point("dt", activity=0.05, spikes=3.0, dt=2.0),
    lif_growth.Point("dt", activity=0.05, spikes=3.0, dt=0.5),
)


def result(series="spikes", **changes):
    times = {"ours": 2.0, "reference": None}
    return {
        **lif_growth.Point(series)._asdict(),
        "steps": 100,
        "spikes": 1000,
        "share_of_spikes": 0.01,
        "input_spikes": 5000,
        "kept_bytes": {"counts": 400, "codes": 600},
        "milliseconds": {"forward": times, "backward": times},
        **changes,
    }


@needs_op
def test_a_growth_record_counts_what_is_kept_and_goes_on_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.timing.SHORTEST", 0.0)
    monkeypatch.setattr("benchmarks.timing.PATIENCE", 0.0)
    path, told = tmp_path / "growth.json", []
    lif_growth.compare(1, "a command", out=path, points=POINTS[:2], middle=TINY)
    record = lif_growth.compare(1, "a command", out=path, points=POINTS, middle=TINY, progress=told.append)
    assert len(told) == 2
    assert json.loads(path.read_text()) == record
    assert record["kind"] == "speed-lif-growth"
    few, many, coarse, fine = record["results"]
    for found in record["results"]:
        rows = found["batch"] * found["steps"]
        # A count for each sample and step; a spike has a code and two numbers, one of the inputs a place and a number.
        assert found["kept_bytes"] == {
            "counts": 4 * rows,
            "codes": 4 * found["spikes"],
            "values": 8 * found["spikes"],
            "input_counts": 4 * rows,
            "input_index": 4 * found["input_spikes"],
            "input_value": 4 * found["input_spikes"],
        }
        assert found["spikes"] == pytest.approx(found["share_of_spikes"] * rows * 24)
        assert (found["milliseconds"]["forward"]["reference"] is None) == (found["series"] == "spikes")
        assert found["milliseconds"]["backward"]["ours"] > 0
    assert many["spikes"] / few["spikes"] == pytest.approx(2.0, rel=0.1)
    assert (coarse["steps"], fine["steps"]) == (15, 60)
    assert coarse["spikes"] == pytest.approx(fine["spikes"], rel=0.5)
    with pytest.raises(ConfigError, match="another repeats"):
        lif_growth.compare(2, "a command", out=path, points=POINTS, middle=TINY)


@needs_op
def test_the_spikes_that_are_counted_are_those_of_the_op():
    from benchmarks.lif_imposed import layer_for, weights_with_activity
    from benchmarks.lif_workload import workload_for

    inputs = TINY._replace(spikes=3.0).inputs()
    weights = weights_with_activity(TINY, inputs, 0.05).weights
    _, spikes = lif_growth.kept_bytes(workload_for(TINY, inputs, weights))
    layer = layer_for(TINY, "fused")
    layer.build(inputs.shape)
    for variable, weight in zip(layer.trainable_variables, weights, strict=True):
        variable.assign(weight)
    assert spikes == int(run(layer, inputs).counters.events) > 0


def test_every_point_varies_one_thing():
    middle = lif_growth.Point("spikes")
    for point in lif_growth.POINTS:
        varied = {"spikes": "activity", "inputs": "spikes", "dt": "dt"}[point.series]
        others = [name for name in lif_growth.Point._fields if name not in ("series", varied)]
        assert [getattr(point, name) for name in others] == [getattr(middle, name) for name in others]
        assert point.case().steps * point.case().dt == 100


def test_fits_are_lines_and_power_laws():
    kept = [result(spikes=n, kept_bytes={"codes": 12 * n}) for n in (100, 200, 400)]
    (fit,) = lif_growth.fits(kept)
    assert (fit.series, fit.what) == ("spikes", "bytes kept")
    assert fit.line == pytest.approx((12.0, 0.0, 1.0), abs=1e-6)
    assert fit.exponent == pytest.approx(1.0)
    grown = [
        result("dt", steps=steps, milliseconds={
            "forward": {"ours": 3.0 * steps**0.5, "reference": None},
            "backward": {"ours": 7.0, "reference": 0.1 * steps},
        })
        for steps in (25, 50, 100)
    ]  # fmt: skip
    exponents = {fit.what: fit.exponent for fit in lif_growth.fits(grown)}
    assert exponents.pop("bytes kept") == pytest.approx(0.0, abs=1e-9)
    assert exponents == pytest.approx(
        {"forward, ours": 0.5, "backward, ours": 0.0, "backward, reference": 1.0}, abs=1e-9
    )
    assert lif_growth.fits(kept[:1]) == []


def test_the_table_shows_every_point_and_the_fits(capsys):
    from benchmarks import lif_table

    lif_table.show_growth({"results": [result(spikes=n, share_of_spikes=n / 1e5) for n in (1000, 4000)]})
    shown = capsys.readouterr().out
    assert "1.00% spikes" in shown
    assert "4,000" in shown
    assert "exponent" in shown
