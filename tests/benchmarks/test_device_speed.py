import json

import numpy as np
import pytest

from benchmarks import device_contenders, device_page, device_speed, performance_page, speed_targets
from benchmarks.device_cases import DEVICE_CASES, chosen_cases
from benchmarks.device_contenders import CONTENDERS, IN_8_BITS, Workload
from benchmarks.errors import CannotRun, ConfigError
from keras_egru.export import litert_op
from keras_egru.ops import fused_egru
from tests.benchmarks.device_needs import needs_ops

KEYS = {
    "case",
    "description",
    "network",
    "units",
    "steps",
    "features",
    "batch",
    "mode",
    "asked",
    "activity_sparsity",
    "backward_sparsity",
    "parameter_sparsity",
    "milliseconds",
    "ratio_to_fastest_peer",
    "file_bytes",
    "agreement",
    "peak_memory_mib",
}
EGRU, LIF = (
    DEVICE_CASES[name]._replace(units=32, features=32, steps=20) for name in ("device-egru128", "device-lif512")
)


@pytest.fixture
def quick(monkeypatch):
    """Small layers, and measurements of no length."""
    monkeypatch.setattr("benchmarks.timing.SHORTEST", 0.0)
    monkeypatch.setattr("benchmarks.timing.PATIENCE", 0.0)
    for case in (EGRU, LIF):
        monkeypatch.setitem(DEVICE_CASES, case.name, case)


@pytest.fixture(scope="module")
def steps():
    from benchmarks.device_imposed import recorded

    return recorded(EGRU._replace(activity=0.8))


@needs_ops
def test_a_record_of_a_device_has_the_fields_of_its_format(quick, call, tmp_path):
    path = tmp_path / "speed.json"
    result = call(
        "speed", "--case", "device-egru128", "--activity-sparsity", 0.8, "--parameter-sparsity", 0.5, "--repeats", 1,
        "--json", "--out", path,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert json.loads(path.read_text()) == record
    assert (record["kind"], record["repeats"], record["threads"]) == ("speed-device", 1, None)
    assert "ai-edge-litert" in record["versions"]
    (case,) = record["cases"]
    assert case.keys() == KEYS
    assert case["asked"] == {"activity": 0.8, "parameter": 0.5, "block": [1, 16]}
    assert case["activity_sparsity"] == pytest.approx(0.8, abs=0.06)
    assert case["parameter_sparsity"] == pytest.approx(0.25)  # kernel and recurrent kernel are of one size here
    for field in ("milliseconds", "file_bytes", "agreement", "peak_memory_mib"):
        assert list(case[field]) == list(CONTENDERS)
    assert all(time > 0 for time in case["milliseconds"].values())
    assert case["ratio_to_fastest_peer"] == pytest.approx(
        case["milliseconds"]["ours"] / case["milliseconds"]["keras_gru"]
    )
    for name, found in case["agreement"].items():
        assert found["largest_difference"] < (0.1 if name in IN_8_BITS else 1e-5)
    assert case["agreement"]["builtins_int8"]["largest_difference"] > 1e-4  # or nothing was rounded
    assert case["file_bytes"]["streaming_model"] is None
    assert case["file_bytes"]["sparse_int8"] < case["file_bytes"]["ours"]
    for word in ("device-egru128", "50% pruned", "us a step"):
        assert word in result.stderr


@needs_ops
def test_times_are_of_a_step_and_spiking_layers_have_no_8_bits_for_the_sparse_op(quick, call, monkeypatch):
    def medians(calls, rounds):
        return {name: None if call is None else 0.04 * LIF.steps for name, call in calls.items()}

    monkeypatch.setattr(device_speed, "interleaved_medians", medians)
    result = call("speed", "--case", "device-lif512", "--activity-sparsity", 0.8, "--repeats", 1)
    assert result.exit_code == 0, result.stderr
    row = next(line.split() for line in result.stdout.splitlines() if "%" in line and "spike" not in line)
    assert row[1:] == ["-", "40.0", "-", "40.0", "40.0", "40.0", "40.0", "1.00x"]  # nothing is pruned
    assert float(row[0].rstrip("%")) == pytest.approx(80, abs=6)


@needs_ops
def test_recorded_steps_are_those_of_the_whole_sequence(steps):
    from benchmarks.device_imposed import inputs_of

    case = EGRU._replace(activity=0.8)
    whole = np.asarray(steps.model(inputs_of(case)))[0]
    assert steps.inputs.shape == (case.steps, 1, case.features)
    np.testing.assert_array_equal(steps.inputs[:, 0], inputs_of(case)[0, 1:])
    np.testing.assert_allclose(steps.outputs[:, 0], whole[1:], atol=1e-6)
    (events,) = steps.events
    np.testing.assert_allclose(steps.states[events][:, 0], whole[:-1], atol=1e-6)
    assert steps.activity_sparsity == np.mean(whole[:-1] == 0.0)
    for name, after in steps.following.items():
        np.testing.assert_array_equal(after[:-1], steps.states[name][1:])


@needs_ops
def test_contenders_that_compute_something_else_are_refused(steps):
    (events,) = steps.events
    workload = Workload(steps, steps)
    contender = CONTENDERS["builtins"](workload)
    assert device_contenders.check_alike({"builtins": contender, "sparse_int8": None})["sparse_int8"] is None
    other = dict.fromkeys(steps.following)
    for name, after in steps.following.items():
        other[name] = after.copy()
        other[name][3] += 0.01 * (after[3] != 0.0)
    contender.steps = steps._replace(following=other)
    with pytest.raises(CannotRun, match="builtins computes something else than Keras: it differs by"):
        device_contenders.check_alike({"builtins": contender})
    flipped = steps.following[events].copy()
    flipped[3] = np.where(flipped[3] == 0.0, 0.5, 0.0)
    contender.steps = steps._replace(following={**steps.following, events: flipped})
    with pytest.raises(CannotRun, match="5.0% of the events are others"):
        device_contenders.check_alike({"builtins": contender})


@needs_ops
def test_every_step_is_given_its_own_inputs_and_states(steps):
    """In another order, what comes out is in that order too: nothing is carried from step to step."""
    backwards = steps._replace(
        inputs=steps.inputs[::-1],
        outputs=steps.outputs[::-1],
        states={name: values[::-1] for name, values in steps.states.items()},
        following={name: values[::-1] for name, values in steps.following.items()},
    )
    contender = CONTENDERS["ours"](Workload(backwards, backwards))
    assert device_contenders.agreement(contender)["largest_difference"] < 1e-6


@needs_ops
def test_interpreters_have_the_threads_that_are_asked_for(steps, monkeypatch):
    from ai_edge_litert import interpreter

    asked = []

    class Interpreter(interpreter.Interpreter):
        def __init__(self, num_threads=None, **options):
            asked.append(num_threads)
            super().__init__(num_threads=num_threads, **options)

    monkeypatch.setattr(interpreter, "Interpreter", Interpreter)
    for name in ("ours", "builtins"):
        CONTENDERS[name](Workload(steps, steps, threads=2))
    assert asked == [2, 2]


@needs_ops
def test_an_activity_that_cannot_be_imposed_is_one_sentence(quick, call):
    result = call("speed", "--case", "device-lif512", "--activity-sparsity", 0, "--repeats", 1)
    assert result.exit_code == 4
    assert "an activity sparsity of 0 cannot be imposed on spiking layers" in result.stderr


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(device_speed, "measure", lambda case, plan: device_result(case.name, **case.asked()))


@needs_ops
def test_a_run_that_was_stopped_goes_on_where_it_was(measured, tmp_path):
    path, told = tmp_path / "speed.json", []
    plan = device_speed.Plan(chosen_cases(["device-egru128"], [0.5, 0.8], [0.0, 0.5], [1, 16]), repeats=1)

    def stop(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        device_speed.compare(plan, "the command", path, stop)
    assert [case["asked"]["activity"] for case in json.loads(path.read_text())["cases"]] == [0.5]
    record = device_speed.compare(plan, "the command", path, told.append)
    assert len(told) == 3
    assert [case["asked"] for case in record["cases"]] == [case.asked() for case in plan.cases]
    with pytest.raises(ConfigError, match="begun with another repeats"):
        device_speed.compare(plan._replace(repeats=2), "the command", path)


def test_cases_are_measured_at_every_pair_of_sparsities():
    cases = chosen_cases(["device-egru512"], [0.5, 0.8], [0.0, 0.9], [1, 8])
    assert [(case.activity, case.parameter, case.block) for case in cases] == [
        (0.5, 0.0, (1, 8)),
        (0.5, 0.9, (1, 8)),
        (0.8, 0.0, (1, 8)),
        (0.8, 0.9, (1, 8)),
    ]
    assert [case.activity for case in chosen_cases(["device-egru512"])] == [0.0, 0.5, 0.8, 0.9, 0.95]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--case", "device-nobody"), "'device-nobody' is not one of"),
        (("--case", "device-egru512", "--case", "stream"), "--case does not go with device-egru512"),
        (("--case", "device-egru512", "--case", "rtrl-egru"), "--case does not go with rtrl-egru"),
        (("--case", "device-all", "--units", 8), "--units does not go with device-all"),
        (("--case", "device-egru512", "--batch", 3), "--batch does not go with device-egru512"),
        (("--case", "device-egru512", "--backward-sparsity", 0.5), "--backward-sparsity does not go with"),
        (("--case", "device-egru512", "--memory"), "--memory does not go with device-egru512"),
        (("--case", "device-egru512", "--mode", "training"), "--mode does not go with device-egru512"),
        (("--case", "device-egru512", "--activity", 0.1), "--activity is of spiking layers"),
        (("--case", "device-egru512", "--activity-sparsity", 1), "--activity-sparsity wants numbers in [0, 1)"),
        (("--case", "device-egru512", "--block", "1x16"), "--block needs --parameter-sparsity"),
        (("--case", "device-all", "--parameter-sparsity", 0.5), "--parameter-sparsity does not go with device-lif512"),
    ],
)
def test_options_that_make_no_sense_are_refused(call, options, sentence):
    result = call("speed", *options)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())


@pytest.mark.skipif(fused_egru.why_not() is not None, reason="the op cannot run")
def test_without_the_library_nothing_is_measured(call, monkeypatch):
    def missing():
        raise RuntimeError("its library is missing")

    monkeypatch.setattr(litert_op, "library", missing)
    result = call("speed", "--case", "device-egru128")
    assert result.exit_code == 4
    assert "its library is missing" in result.stderr


def test_list_names_the_cases(call):
    rows = json.loads(call("list", "--speed", "--json").stdout)
    assert [row["case"] for row in rows if row["layer"] == "on a device"] == list(DEVICE_CASES)


def device_result(case, *, activity, parameter=0.0, block=(1, 16), ours=0.1):
    """Ours takes 0.1 ms, builtins 0.25 and a file of 2 MiB."""
    times = dict.fromkeys(CONTENDERS, 0.2) | {"ours": ours, "builtins": 0.25, "sparse_int8": None}
    return {
        "case": case,
        "description": "an EGRU",
        "asked": {"activity": activity, "parameter": parameter, "block": list(block)},
        "activity_sparsity": activity + 0.001,
        "milliseconds": times,
        "ratio_to_fastest_peer": 0.5,
        "file_bytes": dict.fromkeys(CONTENDERS, 2**20) | {"builtins": 2**21, "streaming_model": None},
    }


def test_the_page_has_a_section_of_devices_with_its_target(tmp_path):
    cases = [
        device_result("device-egru512", activity=0.9, parameter=0.8),
        device_result("device-egru512", activity=0.8),
        device_result("device-egru128", activity=0.8, ours=0.05),
    ]
    record = {"kind": "speed-device", "threads": 1, "cases": cases}
    (tmp_path / "a.json").write_text(json.dumps(record))
    page = "\n\n".join(device_page.parts(device_page.records(tmp_path))).splitlines()
    names = "sparse op | sparse op, 8-bit weights | builtins | builtins, int8 | Keras GRU, builtins | StreamingModel"
    for line in (
        "## On a device",
        f"| silent | pruned | {names} | gain | target |",
        "| 80.1% | - | 100 | - | 250 | 200 | 200 | 200 | 2.50x | 3x |",
        "| 90.1% | 80% 1x16 | 100 | - | 250 | 200 | 200 | 200 | 2.50x |  |",
        "| 80.1% | - | 50.0 | - | 250 | 200 | 200 | 200 | 5.00x |  |",
        "| `device-egru512` | 80% 1x16 | 1024 | 1024 | 2048 | 1024 | 1024 |",
    ):
        assert line in page
    assert any("The interpreters had one thread" in line for line in page)
    assert device_page.NOTES.read_text().strip().splitlines()[0] in page
    assert device_page.parts([]) == []


def test_the_target_is_held_against_builtins_where_nothing_is_pruned():
    slow = device_result("device-egru512", activity=0.8)
    fast = device_result("device-egru512", activity=0.8, ours=0.05)
    others = [
        device_result("device-egru512", activity=0.8, parameter=0.8),
        device_result("device-egru512", activity=0.9),
        device_result("device-egru128", activity=0.8),
    ]
    assert speed_targets.device_verdicts([slow, fast, *others]) == [
        ("device-egru512, 80 % silent: gain over builtins", "3x", "2.5x", False),
        ("device-egru512, 80 % silent: gain over builtins", "3x", "5.0x", True),
    ]


def test_the_whole_page_has_the_section_and_the_commands_of_devices(tmp_path):
    origin = {
        "versions": {"python": "3.12.0"},
        "machine": {"system": "Linux", "architecture": "x86_64", "processor": "A processor", "cores": 2},
    }
    speed = {**origin, "kind": "speed", "command": "speed", "limits": {}, "cases": []}
    device = {**origin, "kind": "speed-device", "command": "speed --case device-egru512", "threads": None}
    device["cases"] = [device_result("device-egru512", activity=0.8)]
    (tmp_path / "a.json").write_text(json.dumps(speed))
    (tmp_path / "b.json").write_text(json.dumps(device))
    page = performance_page.to_markdown(tmp_path, "performance").splitlines()
    assert "## On a device" in page
    assert "speed --case device-egru512" in page
    assert "| device-egru512, 80 % silent: gain over builtins | 3x | 2.5x | no |" in page
