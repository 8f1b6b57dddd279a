import json

import pytest

from benchmarks import lif_speed, speed_targets
from benchmarks.errors import ConfigError
from benchmarks.lif_cases import LIF_CASES, LIFCase
from benchmarks.lif_contenders import CONTENDERS, DENSE
from benchmarks.lif_speed import PASSES
from keras_egru.ops import fused_egru

needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)
KEYS = {
    "case",
    "description",
    "units",
    "layers",
    "batch",
    "steps",
    "dt",
    "features",
    "gradient",
    "recurrent",
    "asked",
    "activity",
    "active_share",
    "input_share",
    "samples_alike",
    "milliseconds",
    "speedups",
    "peak_memory_mib",
    "kept_mib",
}
TINY = LIFCase("lif-shd", 20, 16, 30, 15, spikes=3.0, recurrent=True)


@pytest.fixture
def quick(monkeypatch):
    """Measurements of no length, of small cases."""
    monkeypatch.setattr("benchmarks.timing.SHORTEST", 0.0)
    monkeypatch.setattr("benchmarks.timing.PATIENCE", 0.0)
    monkeypatch.setitem(LIF_CASES, "lif-shd", TINY)
    eventprop = {"gradient": "eventprop", "tau_mem": 20.0, "tau_syn": 5.0}
    monkeypatch.setitem(LIF_CASES, "lif-eventprop", TINY._replace(name="lif-eventprop", **eventprop))


@needs_op
def test_a_record_of_spiking_layers_has_the_fields_of_its_format(quick, call, tmp_path):
    path = tmp_path / "speed.json"
    result = call(
        "speed", "--case", "lif-shd", "--case", "lif-eventprop", "--activity", "0.05,0.1", "--repeats", 1, "--json",
        "--out", path,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert json.loads(path.read_text()) == record
    assert (record["kind"], record["repeats"]) == ("speed-lif", 1)
    assert [(case["case"], case["asked"]["activity"]) for case in record["cases"]] == [
        (name, share) for name in ("lif-shd", "lif-eventprop") for share in (0.05, 0.1)
    ]
    for case in record["cases"]:
        assert case.keys() == KEYS
        assert case["activity"] == pytest.approx(case["asked"]["activity"], rel=0.05)
        assert case["active_share"] >= case["activity"]
        assert case["input_share"] == pytest.approx(0.1, abs=0.01)
        assert case["samples_alike"] == 1.0
        assert case["peak_memory_mib"] == case["kept_mib"] == dict.fromkeys(CONTENDERS)
        assert case["milliseconds"].keys() == case["speedups"].keys() == set(PASSES)
        for pass_ in PASSES:
            times, speedups = case["milliseconds"][pass_], case["speedups"][pass_]
            assert times.keys() == CONTENDERS.keys()
            assert speedups.keys() == DENSE.keys()
            assert times["ours"] > 0
            assert speedups["reference"] == pytest.approx(times["reference"] / times["ours"])
            assert (times["plain_tensorflow"] is None) == (case["gradient"] == "eventprop")
    for word in ("lif-shd", "forward", "backward", "step", "spikes"):
        assert word in result.stderr


@needs_op
def test_the_table_names_every_pass_and_both_shares(quick, call):
    result = call("speed", "--case", "lif-shd", "--activity", 0.05, "--repeats", 1)
    assert result.exit_code == 0, result.stderr
    for word in ("lif-shd", "spikes", "active", "forward", "backward", "step", "plain TF", "gain"):
        assert word in result.stdout
    assert "MiB" not in result.stdout


@needs_op
def test_memory_is_measured_when_it_is_asked_for(quick, call, monkeypatch):
    asked = []

    def measure(names, workload, threads):
        asked.append((list(names), workload.case.name, threads))
        return {"peak": {"ours": 3.0, "reference": 20.0, "plain_tensorflow": 12.0}, "kept": dict.fromkeys(names, 5.0)}

    monkeypatch.setattr("benchmarks.lif_memory.measure", measure)
    result = call("speed", "--case", "lif-shd", "--activity", 0.05, "--repeats", 1, "--memory")
    assert result.exit_code == 0, result.stderr
    assert asked == [(list(CONTENDERS), "lif-shd", None)]
    assert "25%" in next(line for line in result.stdout.splitlines() if "MiB peak" in line)
    assert "100%" in next(line for line in result.stdout.splitlines() if "MiB kept" in line)


@needs_op
def test_a_run_that_was_stopped_goes_on_where_it_was(quick, tmp_path):
    path, told = tmp_path / "speed.json", []
    plan = lif_speed.Plan((TINY,), (0.05, 0.1), repeats=1)

    def stop(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lif_speed.compare(plan, "the command", path, stop)
    begun = json.loads(path.read_text())
    assert [case["asked"]["activity"] for case in begun["cases"]] == [0.05]
    record = lif_speed.compare(plan, "the command", path, told.append)
    assert len(told) == 1
    assert record["cases"][0] == begun["cases"][0]
    assert [case["asked"]["activity"] for case in record["cases"]] == [0.05, 0.1]
    with pytest.raises(ConfigError, match="begun with another repeats"):
        lif_speed.compare(plan._replace(repeats=2), "the command", path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--case", "lif-nobody"), "'lif-nobody' is not one of"),
        (("--case", "lif-shd", "--case", "stream"), "--case does not go with lif-shd"),
        (("--case", "lif-shd", "--units", 3), "--units does not go with lif-shd"),
        (("--case", "lif-all", "--backward-sparsity", 0), "--backward-sparsity does not go with lif-all"),
        (("--case", "lif-shd", "--mode", "training"), "--mode does not go with lif-shd"),
        (("--case", "lif-shd", "--activity", "1"), "--activity wants numbers in [0, 1), received '1'"),
        (("--case", "lif-shd", "--activity", "0"), "--activity wants shares above 0"),
        (("--case", "stream", "--activity", "0.1"), "--activity is of spiking layers"),
        (("--lif-growth", "--case", "lif-shd"), "--case does not go with --lif-growth"),
        (("--lif-growth", "--activity", "0.1"), "--activity does not go with --lif-growth"),
    ],
)
def test_options_that_make_no_sense_are_refused(call, options, sentence):
    result = call("speed", *options)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())


def test_without_the_op_nothing_is_measured(call, monkeypatch):
    monkeypatch.setattr(fused_egru, "why_not", lambda *_: "its library is missing.")
    for options in (("--case", "lif-shd"), ("--lif-growth",)):
        result = call("speed", *options)
        assert result.exit_code == 4
        assert "its library is missing" in result.stderr


def spiking_result(gradient="surrogate", asked=0.02, **changes):
    milliseconds = {
        "forward": {"ours": 10.0, "reference": 80.0, "plain_tensorflow": 40.0},
        "backward": {"ours": 2.0, "reference": 44.0, "plain_tensorflow": 50.0},
        "step": {"ours": 12.0, "reference": 120.0, "plain_tensorflow": None},
    }
    return {
        "case": "lif-fashion",
        "gradient": gradient,
        "asked": {"activity": asked},
        "speedups": {pass_: lif_speed.speedups(times) for pass_, times in milliseconds.items()},
        "kept_mib": {"ours": 2.0, "reference": 60.0, "plain_tensorflow": 40.0},
        "peak_memory_mib": {"ours": 30.0, "reference": 120.0, "plain_tensorflow": 80.0},
        **changes,
    }


def test_the_gain_is_over_the_faster_dense_one_and_memory_that_of_the_smaller():
    result = spiking_result()
    assert [lif_speed.gain(result, pass_) for pass_ in PASSES] == [4.0, 22.0, 10.0]
    assert lif_speed.share_of_memory(result, "kept_mib") == pytest.approx(0.05)
    alone = spiking_result(speedups={"forward": {"reference": None}}, kept_mib={"ours": 1.0, "reference": None})
    assert lif_speed.gain(alone, "forward") is None
    assert lif_speed.share_of_memory(alone, "kept_mib") is None


def test_targets_are_held_against_surrogate_gradients_of_low_activity():
    assert speed_targets.spiking_verdicts([spiking_result()]) == [
        ("lif-fashion, 2 % spikes, forward: gain", "5x", "4.0x", False),
        ("lif-fashion, 2 % spikes, backward: gain", "20x", "22.0x", True),
        ("lif-fashion, 2 % spikes: kept between the passes, of dense", "at most 30%", "5%", True),
        ("lif-fashion, 2 % spikes: peak memory of a step, of dense", "at most 30%", "38%", False),
    ]
    unmeasured = dict.fromkeys(CONTENDERS)
    without = spiking_result(kept_mib=unmeasured, peak_memory_mib=unmeasured)
    assert len(speed_targets.spiking_verdicts([without])) == 2
    assert speed_targets.spiking_verdicts([spiking_result(asked=0.05), spiking_result("eventprop")]) == []
