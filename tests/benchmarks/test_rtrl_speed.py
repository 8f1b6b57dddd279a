import json

import pytest

from benchmarks import rtrl_speed, speed_targets
from benchmarks.errors import ConfigError
from benchmarks.rtrl_cases import RTRL_CASES
from benchmarks.rtrl_contenders import ROWS
from benchmarks.rtrl_speed import CALLS, DENSE
from keras_egru.ops import fused_egru
from tests.benchmarks.rtrl_results import online_result

needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)
KEYS = {
    "case",
    "description",
    "network",
    "units",
    "steps",
    "features",
    "parameters",
    "asked",
    "parameter_sparsity",
    "backward_sparsity",
    "milliseconds",
    "multiply_adds",
    "influence_bytes",
    "analytic_multiply_adds",
    "analytic_influence_bytes",
    "peak_memory_mib",
}


@pytest.fixture
def quick(monkeypatch):
    """Measurements of no length."""
    monkeypatch.setattr("benchmarks.timing.SHORTEST", 0.0)
    monkeypatch.setattr("benchmarks.timing.PATIENCE", 0.0)


@needs_op
def test_a_record_of_online_learning_has_the_fields_of_its_format(quick, call, tmp_path):
    path = tmp_path / "speed.json"
    result = call(
        "speed", "--case", "rtrl-all", "--units", 20, "--parameter-sparsity", 0.7, "--backward-sparsity", 0.25,
        "--repeats", 1, "--json", "--out", path,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert json.loads(path.read_text()) == record
    assert (record["kind"], record["repeats"]) == ("speed-rtrl", 1)
    assert [case["case"] for case in record["cases"]] == ["rtrl-thresholded", "rtrl-egru"]
    for case in record["cases"]:
        assert case.keys() == KEYS
        assert case["asked"] == {"units": 20, "parameter": 0.7, "backward": 0.25}
        assert case["parameter_sparsity"] == pytest.approx(0.7)
        assert case["backward_sparsity"] == pytest.approx(0.25)
        assert case["milliseconds"].keys() == set(CALLS)
        for call_ in CALLS:
            times = case["milliseconds"][call_]
            assert list(times) == list(ROWS)
            assert [name for name, time in times.items() if time is None] == (["bptt"] if call_ == "single" else [])
            assert all(time > 0 for time in times.values() if time is not None)
        for field in ("multiply_adds", "influence_bytes", "analytic_multiply_adds", "analytic_influence_bytes"):
            assert case[field].keys() == ROWS.keys()
        assert case["influence_bytes"]["tensorflow"] == case["analytic_influence_bytes"]["tensorflow"]
        assert case["influence_bytes"]["tensorflow"] == 4 * 20 * case["parameters"]
        assert case["multiply_adds"]["tensorflow"] == pytest.approx(
            case["analytic_multiply_adds"]["tensorflow"], rel=0.06
        )
        # Of a sequence that goes on, of which the first step has products too; the leak is one more for each entry.
        leak = {"thresholded": 0, "egru": 20 * case["parameters"]}[case["network"]]
        of_shapes = (20 * 20 + 20 + 1) * case["parameters"]
        assert case["multiply_adds"]["tensorflow"] == of_shapes
        assert case["multiply_adds"]["ours_dense"] == of_shapes + leak
        assert case["peak_memory_mib"] == dict.fromkeys(ROWS)
    for word in ("rtrl-egru", "20 units", "70% pruned", "25% backward", "ms a step"):
        assert word in result.stderr


@needs_op
def test_memory_is_measured_when_it_is_asked_for_and_in_the_table(quick, call, monkeypatch):
    asked = []

    def measure(names, case, threads):
        asked.append((list(names), case.name, case.units, threads))
        return dict.fromkeys(names, 12.3)

    monkeypatch.setattr("benchmarks.rtrl_memory.measure", measure)
    result = call("speed", "--case", "rtrl-thresholded", "--units", 20, "--repeats", 1, "--memory")
    assert result.exit_code == 0, result.stderr
    assert asked == [(list(ROWS), "rtrl-thresholded", 20, None)]
    for word in ("rtrl-thresholded, 20 units, 80% pruned, 50% backward", "single", "gain", "MACs", "SnAp-2", "12.3"):
        assert word in result.stdout


def _measured(case):
    return online_result(case.name, units=case.units) | {"asked": case.asked()}


@needs_op
def test_a_run_that_was_stopped_goes_on_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(rtrl_speed, "measure", lambda case, plan: _measured(case))
    path, told = tmp_path / "speed.json", []
    case = RTRL_CASES["rtrl-thresholded"]
    cases = case._replace(units=8), case, case._replace(backward=0.25)
    plan = rtrl_speed.Plan(cases, repeats=1)

    def stop(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rtrl_speed.compare(plan, "the command", path, stop)
    begun = json.loads(path.read_text())
    assert [case["units"] for case in begun["cases"]] == [8]
    record = rtrl_speed.compare(plan, "the command", path, told.append)
    assert len(told) == 2
    assert [case["asked"] for case in record["cases"]] == [case.asked() for case in cases]
    with pytest.raises(ConfigError, match="begun with another repeats"):
        rtrl_speed.compare(plan._replace(repeats=2), "the command", path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--case", "rtrl-nobody"), "'rtrl-nobody' is not one of"),
        (("--case", "rtrl-egru", "--case", "stream"), "--case does not go with rtrl-egru"),
        (("--case", "rtrl-egru", "--case", "lif-shd"), "--case does not go with lif-shd"),
        (("--case", "rtrl-egru", "--batch", 3), "--batch does not go with rtrl-egru"),
        (("--case", "rtrl-all", "--activity-sparsity", 0), "--activity-sparsity does not go with rtrl-all"),
        (("--case", "rtrl-egru", "--mode", "training"), "--mode does not go with rtrl-egru"),
        (("--case", "rtrl-egru", "--block", "1x16"), "--block does not go with rtrl-egru"),
        (("--case", "rtrl-egru", "--activity", "0.1"), "--activity is of spiking layers"),
        (("--case", "rtrl-egru", "--parameter-sparsity", "1"), "--parameter-sparsity wants numbers in [0, 1)"),
        (("--case", "rtrl-egru", "--backward-sparsity", 1), "--backward-sparsity of online learning wants a number"),
        (("--case", "rtrl-egru", "--units", 0), "--units"),
        (("--rtrl-scaling", "--case", "rtrl-egru"), "--case does not go with --rtrl-scaling"),
        (("--rtrl-scaling", "--units", 16), "--units does not go with --rtrl-scaling"),
        (("--rtrl-scaling", "--memory"), "--memory does not go with --rtrl-scaling"),
        (("--rtrl-scaling", "--scaling"), "--scaling does not go with --rtrl-scaling"),
        (("--rtrl-scaling", "--lif-growth"), "--rtrl-scaling does not go with --lif-growth"),
    ],
)
def test_options_that_make_no_sense_are_refused(call, options, sentence):
    result = call("speed", *options)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())


def test_without_the_op_nothing_is_measured(call, monkeypatch):
    monkeypatch.setattr(fused_egru, "why_not", lambda *_: "its library is missing.")
    for options in (("--case", "rtrl-egru"), ("--rtrl-scaling",)):
        result = call("speed", *options)
        assert result.exit_code == 4
        assert "its library is missing" in result.stderr


def test_list_names_the_cases(call):
    rows = json.loads(call("list", "--speed", "--json").stdout)
    assert [row["case"] for row in rows if row["layer"] == "online learning"] == ["rtrl-thresholded", "rtrl-egru"]


def test_gains_are_over_the_faster_dense_one_and_shares_of_memory_of_the_smaller():
    result = online_result("rtrl-egru")
    assert rtrl_speed.gain(result) == pytest.approx(12.0 / 2.0)
    assert rtrl_speed.gain(result, "tensorflow") == 1.0
    assert rtrl_speed.gain(result, "bptt", "single") is None
    assert rtrl_speed.share_of_memory(result) == pytest.approx(0.25)
    assert rtrl_speed.share_of_memory(result, "bptt") is None
    # A tenth of the time at a hundredth of the analytic cost.
    assert rtrl_speed.over_analytic(result, "ours") == pytest.approx(10.0)
    assert rtrl_speed.of_dense(result["multiply_adds"], "ours") == pytest.approx(0.02)
    assert set(DENSE) <= ROWS.keys()


def test_targets_are_held_against_the_example_of_the_paper():
    slow, fast = online_result("rtrl-egru"), online_result("rtrl-thresholded", ours=0.5, size=26)
    assert speed_targets.online_verdicts([slow, fast]) == [
        ("rtrl-egru, 128 units, 80 % pruned, 50 % backward: gain", "8x", "6.0x", False),
        ("rtrl-egru, 128 units, 80 % pruned, 50 % backward: influence kept, of dense", "at most 25%", "25.0%", True),
        ("rtrl-thresholded, 128 units, 80 % pruned, 50 % backward: gain", "15x", "24.0x", True),
        (
            "rtrl-thresholded, 128 units, 80 % pruned, 50 % backward: influence kept, of dense",
            "at most 25%",
            "26.0%",
            False,
        ),
    ]
    other = online_result("rtrl-egru", units=64)
    assert speed_targets.online_verdicts([other]) == []
