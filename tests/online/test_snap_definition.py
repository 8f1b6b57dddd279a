"""SnAp against its definition, by brute force: Jacobians of a step by autodiff, entries out of reach set to zero."""

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose

from keras_egru.surrogates import Triangular
from tests.ops.influence_cases import TIME, WEIGHTS, X, egru, layout_of, online, prune, thresholded

WIDE = Triangular(0.7, 100.0)  # no derivative vanishes: what is structurally there shows

CASES = {
    **{
        f"egru-{reset}-{'after' if after else 'before'}": (egru, {"reset": reset, "reset_after": after})
        for reset in ("threshold", "subtract")
        for after in (True, False)
    },
    "thresholded": (thresholded, {}),
}


def _step(cell, weights, state, x):
    """The next state of one sample, its states one after the other, as a function of weights and state."""
    before = [weight.value for weight in cell.weights]
    for variable, weight in zip(cell.weights, weights, strict=True):
        variable._value = weight
    parts = tf.split(state[None], len(cell.get_initial_state(1)), axis=1)
    _, after = cell(x[None], parts)
    for variable, weight in zip(cell.weights, before, strict=True):
        variable._value = weight
    return tf.concat(after, axis=1)[0]


def _jacobians(cell, state, x):
    """`(dF/dstate, dF/dweights)` of the step F."""
    weights = [tf.constant(np.array(weight)) for weight in cell.weights]
    state = tf.constant(state)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([state, *weights])
        following = _step(cell, weights, state, tf.constant(x))
    by_weights = [
        np.zeros((following.shape[0], w.shape.num_elements())) if j is None else np.reshape(j, (following.shape[0], -1))
        for w, j in zip(weights, tape.jacobian(following, weights), strict=True)
    ]
    return np.array(tape.jacobian(following, state)), np.concatenate(by_weights, axis=1), np.array(following)


def _kept(make, options, order):
    """`[units, parameters]` bool, from the Jacobians of a few random steps of the network with a wide surrogate."""
    cell = make(surrogate=WIDE, **options)
    masks = prune(cell, 0.5)
    cell, rng = cell.cell, np.random.default_rng(5)
    blocks = len(cell.get_initial_state(1))
    units, j, d = cell.units, 0.0, 0.0
    for _ in range(3):
        state = rng.uniform(0.5, 1.0, blocks * units)
        by_state, by_weights, _ = _jacobians(cell, state, rng.normal(size=X.shape[-1]))
        j = j + np.abs(by_state).reshape(blocks, units, blocks, units).sum((0, 2))
        d = d + np.abs(by_weights).reshape(blocks, units, -1).sum(0)
    live = np.concatenate([np.ravel(mask) for mask in masks])
    first = d != 0
    first[:, : live.size] &= live
    return first if order == 1 else first | (((j != 0) @ first) & first.any(axis=0))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_snap_is_the_influence_cut_to_what_is_within_reach(case, order):
    make, options = CASES[case]
    kept = _kept(make, options, order)
    layer = make(**options)
    masks = prune(layer, 0.5)
    cell = layer.cell
    expected = np.zeros(kept.shape[1])
    credit = WEIGHTS * [[[1.0]], [[0.0]], [[0.0]]]  # of the first sample alone
    state = np.concatenate([np.zeros(cell.units) for _ in cell.get_initial_state(1)])
    rows = np.tile(kept, (state.size // cell.units, 1))
    influence = np.zeros(rows.shape)
    for t in range(TIME):
        by_state, by_weights, state = _jacobians(cell, state, X[0, t])
        influence = rows * (by_state @ influence + by_weights)
        expected += credit[0, t] @ influence[: cell.units]
    layout = layout_of(layer, order=order, masks=masks)
    found = [online(layer, layout, credit=credit, implementation=name)[0] for name in ("fused", "reference")]
    assert kept.sum() == layout.pattern.sum()
    assert np.array_equal(kept, layout.pattern)
    for gradient in found:
        assert_allclose(gradient, expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())
    exact, _, _ = online(layer, layout_of(layer, masks=masks), credit=credit)
    assert not np.allclose(exact, expected)
