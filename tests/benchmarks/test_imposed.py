"""The sparsity that the speed comparison imposes is the one that plain NumPy counts."""

import numpy as np
import pytest

from benchmarks.errors import CannotRun
from benchmarks.imposed import egru_with_sparsity, states_of, tolerance
from benchmarks.speed_cases import CASES
from keras_egru.ops import egru_sequence, fused_egru

needs_op = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)


@pytest.fixture
def inputs():
    return np.random.default_rng(1).normal(size=(8, 15, 5)).astype("float32")


@pytest.mark.parametrize("activity", [0.0, 0.25, 0.5, 0.8, 0.95, 0.98])
def test_the_sparsity_asked_for_is_the_one_that_the_layer_has(inputs, activity):
    imposed = egru_with_sparsity(40, inputs, activity)
    assert imposed.activity_sparsity == pytest.approx(activity, abs=tolerance(activity))
    assert np.mean(np.asarray(imposed.layer(inputs)) == 0) == pytest.approx(imposed.activity_sparsity)


@pytest.mark.parametrize("activity", [0.8, 0.95, 0.98])
def test_a_single_sequence_has_it_too_though_it_gives_few_states_a_unit(activity):
    inputs = np.random.default_rng(1).normal(size=(1, 20, 32)).astype("float32")
    imposed = egru_with_sparsity(200, inputs, activity)
    events = np.asarray(imposed.layer(inputs))[0] != 0
    assert 1 - events.mean() == pytest.approx(activity, abs=tolerance(activity))
    # Spread over the steps, as a network's would be: no step holds many times its share.
    assert events.sum(axis=1).max() < 5 * events.sum(axis=1).mean()


def test_with_no_sparsity_every_unit_fires_at_every_step_whatever_the_inputs():
    for case in (CASES["smnist128"], CASES["events"]):
        inputs = case._replace(batch=2, steps=30).inputs()
        assert np.all(np.asarray(egru_with_sparsity(32, inputs, 0.0).layer(inputs)) != 0)


def test_inputs_that_are_events_are_mostly_exact_zeros():
    inputs = CASES["events"].inputs()
    assert inputs.dtype == np.float32
    assert np.mean(inputs != 0) == pytest.approx(0.02, rel=0.05)
    imposed = egru_with_sparsity(64, inputs[:, :100], 0.9)
    assert imposed.activity_sparsity == pytest.approx(0.9, abs=tolerance(0.9))


@pytest.mark.parametrize("reset", ["threshold", "subtract", "zero"])
def test_backward_sparsity_comes_from_the_width_of_the_surrogate(inputs, reset):
    imposed = egru_with_sparsity(40, inputs, 0.8, 0.4, reset=reset)
    assert imposed.activity_sparsity == pytest.approx(0.8, abs=tolerance(0.8))
    assert imposed.backward_sparsity == pytest.approx(0.4, abs=0.01)
    y, c, threshold = states_of(imposed.layer, inputs)
    outside = np.abs(c - threshold) >= imposed.layer.surrogate.width
    assert np.mean(outside & (y == 0)) == pytest.approx(imposed.backward_sparsity, abs=1e-3)


def test_backward_sparsity_is_at_most_the_activity_sparsity(inputs):
    imposed = egru_with_sparsity(40, inputs, 0.3, 0.9)
    assert imposed.backward_sparsity == pytest.approx(imposed.activity_sparsity, abs=0.01)


@needs_op
def test_the_counters_of_the_op_agree_with_the_sparsity_that_is_reported(inputs):
    imposed = egru_with_sparsity(40, inputs, 0.7, 0.2, implementation="fused")
    layer, zeros = imposed.layer, np.zeros((8, 40), "float32")
    counters = egru_sequence(
        inputs, zeros, zeros, layer.kernel, layer.recurrent_kernel, layer.bias, layer.threshold,
        surrogate=layer.surrogate, implementation="fused",
    ).counters  # fmt: skip
    entries = 8 * 15 * 40
    assert 1 - int(counters.events) / entries == pytest.approx(imposed.activity_sparsity)
    assert 1 - int(counters.backward_entries) / entries == pytest.approx(imposed.backward_sparsity, abs=1e-3)


def test_a_pruned_kernel_is_zero_where_its_mask_is_and_the_activity_is_imposed_all_the_same(inputs):
    imposed = egru_with_sparsity(40, inputs, 0.7, parameter=0.75, block=(2, 4))
    mask, kernel = imposed.recurrent_mask, np.asarray(imposed.layer.recurrent_kernel)
    assert imposed.activity_sparsity == pytest.approx(0.7, abs=tolerance(0.7))
    assert np.array_equal(kernel != 0, mask != 0)
    for gate in np.split(mask, 3, axis=1):
        blocks = gate.reshape(20, 2, 10, 4).transpose(0, 2, 1, 3).reshape(200, 8)
        assert np.sum(blocks[:, 0]) == 50
        assert np.array_equal(blocks, np.repeat(blocks[:, :1], 8, axis=1))


def test_what_cannot_be_imposed_is_said():
    inputs = np.ones((1, 1, 3), "float32")
    with pytest.raises(CannotRun, match="0.5 cannot be imposed"):
        egru_with_sparsity(1, inputs, 0.5)
