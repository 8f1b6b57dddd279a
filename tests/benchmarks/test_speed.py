import json

import keras
import numpy as np
import pytest

from benchmarks import contenders, speed, speed_cases, speed_records, speed_targets
from benchmarks.errors import ConfigError
from benchmarks.peers import PEERS
from benchmarks.speed_cases import CASES, MODES, Case, Sparsity, custom_case, points_of
from keras_egru.ops import fused_egru

needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)
KEYS = {
    "case",
    "description",
    "units",
    "batch",
    "steps",
    "features",
    "mode",
    "asked",
    "activity_sparsity",
    "activity_sparsity_int8",
    "backward_sparsity",
    "parameter_sparsity",
    "milliseconds",
    "ratio_to_fastest_peer",
    "peak_memory_mib",
    "work",
    "limit",
}
TINY = ("--units", 24, "--batch", 8, "--steps", 12, "--features", 2, "--repeats", 1)


@pytest.fixture
def quick(monkeypatch):
    """Measurements of no length."""
    monkeypatch.setattr("benchmarks.timing.SHORTEST", 0.0)
    monkeypatch.setattr("benchmarks.machine_limits.SECONDS", 0.01)
    monkeypatch.setattr("benchmarks.machine_limits.ATTEMPTS", 1)


@needs_op
def test_a_speed_record_has_the_fields_of_its_format(quick, call, tmp_path):
    path = tmp_path / "speed.json"
    result = call(
        "speed", *TINY, "--activity-sparsity", "0.5,0.8", "--backward-sparsity", 0.3, "--reference", "--json",
        "--out", path,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert json.loads(path.read_text()) == record
    assert [(case["mode"], round(case["activity_sparsity"], 1)) for case in record["cases"]] == [
        ("inference", 0.5),
        ("training", 0.5),
        ("inference", 0.8),
        ("training", 0.8),
    ]
    for case in record["cases"]:
        assert case.keys() == KEYS
        assert case["milliseconds"].keys() == case["peak_memory_mib"].keys() == contenders.CONTENDERS.keys()
        peers = [case["milliseconds"][name] for name in PEERS if case["milliseconds"][name] is not None]
        assert case["ratio_to_fastest_peer"] == pytest.approx(case["milliseconds"]["ours"] / min(peers))
        assert case["milliseconds"]["reference_cell"] > 0
        assert case["backward_sparsity"] == pytest.approx(0.3, abs=0.01)
        assert case["limit"]["share"] == pytest.approx(case["limit"]["milliseconds"] / case["milliseconds"]["ours"])
    assert record["kind"] == "speed"
    assert record["repeats"] == 1
    assert record["versions"]["keras"] == keras.__version__
    assert record["limits"]["custom"]["buffer_bytes"] == 24 * 72 * 4


@needs_op
def test_the_table_of_speeds_names_the_sparsity_the_gain_and_the_limit(quick, call):
    result = call("speed", *TINY, "--activity-sparsity", "0.5", "--mode", "inference")
    assert result.exit_code == 0, result.stderr
    for word in ("custom", "silent", "gain", "limit", "infer"):
        assert word in result.stdout
    assert "train" not in result.stdout


@needs_op
def test_a_pruned_layer_is_timed_beside_itself_unpruned(quick, call):
    result = call(
        "speed", *TINY, "--units", 32, "--activity-sparsity", 0.5, "--parameter-sparsity", "0 0.75",
        "--block", "1x8", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert record["kind"] == "speed-pruned"
    assert [(case["asked"]["parameter"], case["mode"]) for case in record["cases"]] == [
        (parameter, mode) for parameter in (0.0, 0.75) for mode in MODES
    ]
    for case in record["cases"]:
        pruned = case["asked"]["parameter"] > 0
        assert case["asked"]["block"] == [1, 8]
        assert (case["milliseconds"]["ours_unpruned"] is not None) == pruned
        # Of the layer's two kernels, [2, 96] and [32, 96].
        assert case["parameter_sparsity"] == pytest.approx(0.75 * 32 / 34 if pruned else 0.0)
    assert "75% pruned" in result.stderr
    assert "0% pruned" not in result.stderr.replace("50% pruned", "")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--parameter-sparsity", "1.0"), "--parameter-sparsity wants numbers in [0, 1), received '1.0'"),
        (("--parameter-sparsity", "much"), "--parameter-sparsity wants numbers in [0, 1), received 'much'"),
        (("--parameter-sparsity", "0.5", "--block", "16"), "--block wants two whole numbers, as 1x16, received '16'"),
        (("--block", "1x16"), "--block needs --parameter-sparsity"),
    ],
)
def test_pruning_that_makes_no_sense_is_refused(call, options, sentence):
    result = call("speed", *TINY, *options)
    assert result.exit_code == 2
    assert sentence in result.stderr


@needs_op
def test_blocks_that_do_not_fit_are_refused(quick, call):
    result = call("speed", *TINY, "--activity-sparsity", 0.5, "--parameter-sparsity", 0.5, "--block", "1x16")
    assert result.exit_code == 2
    assert "blocks of 1x16 do not divide the [24, 24] weights of a gate" in result.stderr


@needs_op
def test_a_run_that_was_stopped_goes_on_where_it_was(quick, monkeypatch, tmp_path):
    path, done = tmp_path / "speed.json", []
    points = (Sparsity(0.5, 0.3), Sparsity(0.8, 0.5))
    plan = speed.Plan((Case("tiny", 16, 4, 10, 2, points=points),), repeats=1)

    def stop_after(count):
        def progress(text):
            done.append(text)
            if len(done) == count:
                raise KeyboardInterrupt

        return progress

    with pytest.raises(KeyboardInterrupt):
        speed.compare(plan, "the command", path, stop_after(3))
    begun = json.loads(path.read_text())
    assert len(begun["cases"]) == 3
    record = speed.compare(plan, "the command", path, done.append)
    assert len(done) == 4
    assert record["cases"][:3] == begun["cases"]
    assert [(case["asked"]["activity"], case["mode"]) for case in record["cases"]] == [
        (point.activity, mode) for point in points for mode in MODES
    ]
    assert record["limits"] == begun["limits"]
    speed.compare(plan, "the command", path, done.append)
    assert len(done) == 4
    with pytest.raises(ConfigError, match="begun with another command and repeats"):
        speed.compare(plan._replace(repeats=2), "another command", path)


def test_a_file_that_is_no_record_is_not_overwritten(tmp_path):
    path = tmp_path / "notes.json"
    path.write_text('{"cases": []}')
    with pytest.raises(ConfigError, match="is not a record"):
        speed_records.begun(path, {"kind": "speed"}, {})
    assert path.read_text() == '{"cases": []}'


def test_records_of_a_kind_are_found_among_other_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.json").write_text('{"kind": "speed", "cases": []}')
    (tmp_path / "b.json").write_text('{"kind": "scaling"}')
    (tmp_path / "c.json").write_text("[")
    found = speed_records.find(tmp_path, "speed")
    assert [(path.name, record["cases"]) for path, record in found] == [("a.json", [])]


def test_the_ratio_is_taken_of_the_fastest_dense_peer_alone():
    milliseconds = {"ours": 5.0, "ours_dense": 1.0, "keras_gru": 40.0, "torch_gru": 20.0, "onnxruntime_gru": None}
    assert speed.ratio_to_fastest(milliseconds, PEERS) == pytest.approx(0.25)
    assert speed.gain({"ratio_to_fastest_peer": 0.25}) == pytest.approx(4.0)
    alone = dict.fromkeys(milliseconds) | {"ours": 5.0}
    assert speed.ratio_to_fastest(alone, PEERS) is None
    assert speed.gain({"ratio_to_fastest_peer": None}) is None


def test_peak_memory_is_measured_at_one_point_of_a_case():
    assert speed._nearest(CASES["batch64"].points, speed.MEMORY_AT) == Sparsity(0.8, 0.5)
    assert speed._nearest((Sparsity(0.0, None), Sparsity(0.5, None)), speed.MEMORY_AT).activity == 0.5


def test_cases_pair_activity_with_backward_sparsity():
    assert points_of(CASES["ptb"])[2] == Sparsity(0.8, 0.46)
    assert Sparsity(0.72, 0.27) in points_of(CASES["smnist128"])
    assert points_of(custom_case(), [0.9, 0.33]) == (Sparsity(0.9, 0.6), Sparsity(0.33, None))
    assert points_of(custom_case(), [0.9], backward=0.1) == (Sparsity(0.9, 0.1),)
    assert all(point.activity in {0, 0.5, 0.8, 0.9, 0.95, 0.98} for point in CASES["stream"].points)


@pytest.mark.parametrize("case", speed_cases.CASES.values(), ids=speed_cases.CASES)
def test_the_inputs_of_a_case_have_its_shape_and_unit_variance_or_are_events(case):
    inputs = case._replace(batch=min(case.batch, 64)).inputs()
    assert inputs.dtype == np.float32
    assert inputs.shape[1:] == (case.steps, case.features)
    if case.nonzero == 1.0:
        assert inputs.std() == pytest.approx(1.0, abs=0.05)
    else:
        assert set(np.unique(inputs)) == {0.0, 1.0}


def test_every_target_is_of_a_point_that_is_measured():
    for case, activity in speed_targets.TARGETS:
        assert activity in [point.activity for point in CASES[case].points]


def test_without_the_op_nothing_is_measured(call, monkeypatch):
    monkeypatch.setattr(fused_egru, "why_not", lambda *_: "its library is missing.")
    for command in (("speed", *TINY), ("speed", "--scaling", "--threads", 1)):
        result = call(*command)
        assert result.exit_code == 4
        assert "its library is missing" in result.stderr
