"""Real-time recurrent learning against back-propagation, which has the same gradient; the op against the reference."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru.ops import influence_sequence
from keras_egru.ops.egru_step import RESETS
from keras_egru.surrogates import Boxcar, FastSigmoid, Triangular
from tests.ops.influence_cases import (
    BATCH,
    MASK,
    TIME,
    UNITS,
    WEIGHTS,
    X,
    egru,
    layout_of,
    online,
    prune,
    states_of,
    terms_of,
    thresholded,
)

tf = pytest.importorskip("tensorflow")

NETWORKS = {
    **{
        f"egru-{reset}-{'after' if after else 'before'}": (egru, {"reset": reset, "reset_after": after})
        for reset in RESETS
        for after in (True, False)
    },
    "thresholded": (thresholded, {}),
}
SHARES = {"dense": None, "pruned": 0.4, "sparse": 0.8}


@pytest.fixture(params=NETWORKS)
def network(request):
    make, options = NETWORKS[request.param]
    return lambda **more: make(**options, **more)


def _through_time(layer, mask=None, masks=None, credit=WEIGHTS):
    valid = np.ones((BATCH, TIME), bool) if mask is None else mask
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(X, mask=mask) * credit * valid[:, :, None])
    gradients = [np.array(g) for g in tape.gradient(loss, [weight.value for weight in layer.weights])]
    if masks is not None:
        gradients[:2] = [gradient * kept for gradient, kept in zip(gradients[:2], masks, strict=True)]
    return np.concatenate([np.ravel(gradient) for gradient in gradients])


def _assert_equal(found, expected):
    assert np.any(expected != 0)
    # float64 sums of some thousand terms of size 1
    assert_allclose(found, expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())


def _credit(mask):
    return WEIGHTS if mask is None else WEIGHTS * mask[:, :, None]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
@pytest.mark.parametrize("implementation", ["reference", "fused"])
def test_the_gradient_is_that_of_back_propagation(network, implementation, mask, share):
    layer = network()
    masks = None if SHARES[share] is None else prune(layer, SHARES[share])
    events = states_of(layer, mask)[0]
    assert 0.05 < np.mean(events != 0) < 0.95
    layout = layout_of(layer, masks=masks or (None, None))
    found, _, passes = online(layer, layout, mask=mask, credit=_credit(mask), implementation=implementation)
    assert 0 < np.count_nonzero(passes == 0) < passes.size
    _assert_equal(found, _through_time(layer, mask, masks))


@pytest.mark.parametrize("surrogate", [Triangular(0.7, 1.0), FastSigmoid(3.0, 0.5)], ids=["triangular", "fast_sigmoid"])
@pytest.mark.parametrize("implementation", ["reference", "fused"])
def test_other_surrogates(network, surrogate, implementation):
    layer = network(surrogate=surrogate)
    found, _, _ = online(layer, layout_of(layer), implementation=implementation)
    _assert_equal(found, _through_time(layer))


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("implementation", ["reference", "fused"])
def test_without_a_bias(reset_after, implementation):
    layer = egru(use_bias=False, reset_after=reset_after)
    found, _, _ = online(layer, layout_of(layer), implementation=implementation)
    _assert_equal(found, _through_time(layer))


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
@pytest.mark.parametrize("order", [None, 1, 2])
def test_chunks_change_nothing(network, order, mask):
    layer = network()
    layout = layout_of(layer, order=order, masks=prune(layer, 0.5))
    whole, once, _ = online(layer, layout, mask=mask, implementation="fused")
    parts, last, _ = online(layer, layout, chunks=(1, 3, 1, 1, 2), mask=mask, implementation="fused")
    _assert_equal(parts, whole)
    assert_allclose(last.influence, once.influence, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "masked"])
@pytest.mark.parametrize("order", [None, 1, 2])
def test_the_op_keeps_what_the_reference_does(network, order, mask, share):
    layer = network()
    masks = (None, None) if SHARES[share] is None else prune(layer, SHARES[share])
    layout = layout_of(layer, order=order, masks=masks)
    expected, reference, passes = online(layer, layout, mask=mask, implementation="reference")
    found, fused, _ = online(layer, layout, mask=mask, implementation="fused")
    _assert_equal(found, expected)
    live = 1.0 if layout.leaks else (passes[:, -1] != 0)[:, :, None]
    dense = layout.dense(fused.influence, passes[:, -1])
    assert_allclose(dense, np.array(reference.influence) * live, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("units", [1, 16, 37, 130])
@pytest.mark.parametrize("make", [egru, thresholded])
def test_odd_sizes_on_one_step_and_many(make, units):
    layer = make(units, surrogate=Boxcar(0.5, 3.0 if units == 1 else 0.3))
    masks = prune(layer, 0.5)
    credit = np.random.default_rng(2).normal(size=(BATCH, TIME, units))
    for layout in (layout_of(layer, masks=masks), layout_of(layer)):
        found, _, _ = online(layer, layout, chunks=(1, 1, TIME - 2), credit=credit, implementation="fused")
        trained = masks if layout.columns < layout.parameters else None
        _assert_equal(found, _through_time(layer, masks=trained, credit=credit))


def test_all_silent_and_all_active():
    for bias, share in ((-9.0, 0.0), (9.0, 1.0)):
        layer = egru(surrogate=Boxcar(0.5, 0.1))
        layer.cell.kernel.assign(0.1 * layer.cell.kernel)
        values = np.zeros((2, 3 * UNITS))
        values[0, 2 * UNITS :], values[0, :UNITS] = bias, 2.0
        layer.cell.bias.assign(values)
        layer.cell.threshold.assign(np.full(UNITS, 0.2))
        credit = WEIGHTS * (np.arange(TIME)[:, None] >= 2)  # until then states are on their way
        found, _, _ = online(layer, layout_of(layer), credit=credit, implementation="fused")
        expected = _through_time(layer, credit=credit)
        assert np.mean(states_of(layer)[0][:, 2:] != 0) == share or share == 1.0
        assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_frozen_weights_have_no_column():
    layer = egru()
    layout = layout_of(layer, trained=(False, True, True, False))
    found, _, _ = online(layer, layout, implementation="fused")
    everything, _, _ = online(layer, layout_of(layer), implementation="fused")
    expected = everything.copy()
    expected[: layer.cell.kernel.shape[0] * 3 * UNITS] = 0.0
    expected[-UNITS:] = 0.0
    _assert_equal(found, expected)
    assert layout.columns < layout.parameters


def test_float32(network):
    layer = network()
    layout = layout_of(layer, masks=prune(layer, 0.5))
    expected, _, _ = online(layer, layout, implementation="fused")
    states = states_of(layer)
    zeros = [np.zeros((BATCH, UNITS)) for _ in states]
    terms, _ = terms_of(layer, states, slice(0, TIME), zeros, zeros[0])
    single = type(terms)(*(None if term is None else tf.cast(term, "float32") for term in terms))
    found = influence_sequence(None, single, tf.cast(WEIGHTS, "float32"), layout, implementation="fused").gradient
    # single precision over 8 steps of products of numbers around 1
    assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_counters(network):
    layer = network()
    layout = layout_of(layer, masks=prune(layer, 0.5))
    _, fused, _ = online(layer, layout, chunks=(1,) * TIME, implementation="fused", count_nonzero=True)
    operations, nonzero, entries = fused.counters
    states = states_of(layer)
    expected, slope = 0, np.zeros((BATCH, UNITS))
    initial, influence = [slope for _ in states], None
    for t in range(TIME):
        steps = slice(t, t + 1)
        terms, slope = terms_of(layer, states, steps, initial, slope)
        influence = influence_sequence(
            influence, terms, WEIGHTS[:, steps], layout, implementation="reference"
        ).influence
        expected += np.count_nonzero(np.array(influence) * np.array(terms.passes)[:, -1, :, None])
        initial = [state[:, t] for state in states]
    assert nonzero == expected
    assert entries == BATCH * TIME * UNITS * layout.columns
    assert 0 < operations < entries * 2 * UNITS


def test_nothing_within_reach_costs_nothing():
    layer = thresholded()
    masks = (np.zeros(layer.cell.kernel.shape), np.zeros(layer.cell.recurrent_kernel.shape))
    layout = layout_of(layer, masks=masks, trained=(True, True, False))
    assert layout.columns == layout.size == 0
    found, fused, _ = online(layer, layout, implementation="fused")
    assert_array_equal(found, 0.0)
    assert fused.influence.shape == (0,)
    assert_array_equal(fused.counters, 0)
