"""The contenders among spiking layers compute the same, and what is imposed on them is what is counted."""

import sys

import numpy as np
import pytest

from benchmarks import lif_contenders, lif_memory
from benchmarks.errors import CannotRun
from benchmarks.lif_cases import LATENCY, LIF_CASES, LIFCase, at_step
from benchmarks.lif_contenders import CONTENDERS, check_alike
from benchmarks.lif_imposed import TOLERANCE, layer_for, run, weights_with_activity
from benchmarks.lif_workload import LIFWorkload, workload_for
from keras_egru.ops import fused_egru

needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)
TINY = LIFCase("tiny", 20, 6, 30, 15, spikes=3.0)
TINIES = {
    "forward": TINY,
    "recurrent": TINY._replace(recurrent=True, dt=2.0),
    "layers": TINY._replace(layers=2),
    "eventprop": TINY._replace(recurrent=True, gradient="eventprop", reset="zero", tau_mem=20.0, tau_syn=5.0),
}


def workload_of(case, activity=0.05):
    inputs = case.inputs()
    return workload_for(case, inputs, weights_with_activity(case, inputs, activity).weights)


@needs_op
@pytest.mark.parametrize("kind", TINIES)
def test_all_contenders_compute_the_same_gradients_in_every_pass(kind):
    workload = workload_of(TINIES[kind])
    passes = {name: build(workload) for name, build in CONTENDERS.items()}
    assert [name for name, contender in passes.items() if contender is None] == (
        ["plain_tensorflow"] if kind == "eventprop" else []
    )
    assert check_alike(passes, workload.grad) == 1.0
    for contender in filter(None, passes.values()):
        apart, together = contender.backward(contender.forward()), contender.step()
        assert len(apart) == len(workload.weights)
        for gradient, wanted, weight in zip(apart, together, workload.weights, strict=True):
            assert gradient.shape == weight.shape
            assert np.any(np.asarray(wanted) != 0)
            np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-5)


@needs_op
def test_contenders_that_differ_are_not_timed():
    workload = workload_of(TINY)
    alike = {"ours": CONTENDERS["ours"](workload), "nobody": None}
    double = workload._replace(weights=[2 * weight for weight in workload.weights])
    with pytest.raises(CannotRun, match="spike alike in 0% of the samples"):
        check_alike(alike | {"double": CONTENDERS["reference"](double)}, workload.grad)

    class Wrong(lif_contenders.Passes):
        def backward(self, forward, grad=None):
            return [1.01 * gradient for gradient in super().backward(forward, grad)]

    right = CONTENDERS["plain_tensorflow"](workload)
    wrong = Wrong(right.run, right._weights, workload)
    with pytest.raises(CannotRun, match="the gradients of ours and wrong differ by 1.0e-02 of their norm"):
        check_alike(alike | {"wrong": wrong}, workload.grad)


@needs_op
def test_samples_that_spike_otherwise_are_left_out_of_the_comparison():
    workload = workload_of(TINY)
    inputs = workload.inputs.copy()
    inputs[0] = 0.0  # silent, where all others have it spike
    passes = {
        "ours": CONTENDERS["ours"](workload),
        "other": CONTENDERS["reference"](workload._replace(inputs=inputs)),
    }
    assert check_alike(passes, workload.grad) == pytest.approx(5 / 6)


@needs_op
@pytest.mark.parametrize("kind", TINIES)
@pytest.mark.parametrize("activity", [0.02, 0.1])
def test_the_activity_asked_for_is_the_one_that_plain_numpy_counts(kind, activity):
    case, layers, v = TINIES[kind]._replace(batch=16), [], []
    inputs = case.inputs()
    imposed = weights_with_activity(case, inputs, activity)
    assert imposed.activity == pytest.approx(activity, rel=TOLERANCE)
    spikes = inputs
    for weights in workload_for(case, inputs, imposed.weights).by_layer():
        layer = layer_for(case, "fused")
        layer.build(spikes.shape)
        for variable, weight in zip(layer.trainable_variables, weights, strict=False):
            variable.assign(weight)
        layer.return_membrane = True
        spikes, membranes = (np.asarray(tensor) for tensor in layer(spikes))
        layers.append(spikes)
        v.append(membranes)
    assert np.mean(layers) == pytest.approx(imposed.activity)
    near = np.asarray(layers) if case.gradient == "eventprop" else np.abs(np.asarray(v) - 1.0) < 0.2
    spiking = np.asarray(layers) != 0
    # Far above the threshold there is a spike and no gradient; whether the op lists such an entry is its own matter.
    assert near.mean() - 1e-6 <= imposed.active_share <= np.mean(spiking | (near != 0)) + 1e-6


@needs_op
def test_an_activity_that_cannot_be_imposed_is_said():
    with pytest.raises(CannotRun, match="a share of spikes of 0.01 cannot be imposed"):
        weights_with_activity(TINY, np.zeros((2, 5, TINY.features), "float32"), 0.01)


@needs_op
def test_the_kernel_alone_is_scaled_and_two_draws_are_the_same():
    case = TINIES["recurrent"]
    first, again, more = (weights_with_activity(case, case.inputs(), share).weights for share in (0.02, 0.02, 0.1))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], more[1])
    ratio = more[0] / first[0]
    assert ratio.min() > 1.0
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)


def test_trains_are_the_same_at_every_length_of_a_step():
    fine, coarse = (at_step(dt)._replace(batch=2).inputs() for dt in (0.25, 4.0))
    assert fine.shape == (2, 400, 700)
    np.testing.assert_array_equal(fine.reshape(2, 25, 16, 700).sum(axis=2), coarse)
    assert coarse.sum() / (2 * 700) == pytest.approx(1.5, rel=0.1)


def test_latencies_are_one_spike_at_most_of_half_of_the_channels():
    case = LIF_CASES["lif-fashion"]._replace(batch=32)
    assert case.spikes == LATENCY
    counts = case.inputs().sum(axis=1)
    assert set(np.unique(counts)) == {0.0, 1.0}
    assert counts.mean() == pytest.approx(0.5, abs=0.02)
    # The strongest come at 20 log(1 / 0.8) ms, and most before those of middle strength.
    steps = np.nonzero(case.inputs())[1]
    assert steps.min() == 4
    assert np.mean(steps < 20) > 0.7


def test_every_case_says_what_it_is_and_has_inputs_of_its_shape():
    assert {"lif-fashion", "lif-hidden", "lif-nmnist", "lif-shd", "lif-eventprop"} <= LIF_CASES.keys()
    for name, case in LIF_CASES.items():
        assert case.name == name
        assert f"{case.units} " in case.describe()
        inputs = case._replace(batch=1).inputs()
        assert (inputs.dtype, inputs.shape) == (np.float32, (1, case.steps, case.features))
        assert 0.002 < np.mean(inputs != 0) < 0.07


def test_a_workload_survives_its_file(tmp_path):
    rng = np.random.default_rng(0)
    inputs = rng.random((2, 3, 5)).astype("float32")
    weights = [rng.random(shape).astype("float32") for shape in ((5, 20), (20, 20))]
    workload = workload_for(TINIES["recurrent"], inputs, weights)
    workload.save(tmp_path / "workload.npz")
    loaded = LIFWorkload.load(tmp_path / "workload.npz")
    assert loaded.case == workload.case
    assert [kernel.shape for kernel in loaded.by_layer()[0]] == [(5, 20), (20, 20)]
    for mine, theirs in zip((*loaded[1:3], *loaded.weights), (*workload[1:3], *workload.weights), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@needs_op
def test_counters_are_of_the_whole_layer():
    case = TINIES["forward"]
    layer, inputs = layer_for(case, "fused"), case.inputs()
    layer.build(inputs.shape)
    counters = run(layer, inputs).counters
    assert int(counters.steps) == case.batch * case.steps
    assert int(counters.input_events) == np.count_nonzero(inputs)


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_what_is_kept_is_what_is_in_use_between_the_passes():
    class Fake:
        def noted_step(self, note):
            def step():
                freed, held = np.ones(64 * 2**20, "uint8"), np.ones(48 * 2**20, "uint8")
                del freed
                note()
                return np.ones(80 * 2**20, "uint8").sum() + held.sum()

            return step

    assert lif_memory.kept_mib(Fake()) == pytest.approx(48, abs=4)


@needs_op
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_the_memory_of_a_contender_is_measured_in_a_process_of_its_own():
    case = TINY._replace(units=200, batch=256, steps=50)
    weights = [np.zeros((15, 200), "float32")]
    found = lif_memory.measure(["plain_tensorflow"], workload_for(case, case.inputs(), weights))
    membranes = 256 * 50 * 200 * 4 / 2**20
    # Kept are at the least the membranes, of every step; a step has those and the spikes in use.
    assert membranes * 0.9 < found["kept"]["plain_tensorflow"] < 6 * membranes
    assert 2 * membranes * 0.9 < found["peak"]["plain_tensorflow"] < 12 * membranes
