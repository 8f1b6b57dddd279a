"""Small networks whose influence can be held against back-propagation, with a lively mix of activity and silence."""

import keras
import numpy as np

from keras_egru import EGRU, ThresholdedRNNCell
from keras_egru.initializers import Beta
from keras_egru.layers.egru_cell import EGRUCell
from keras_egru.ops import (
    egru_influence_terms,
    egru_layout,
    influence_sequence,
    thresholded_influence_terms,
    thresholded_layout,
)
from keras_egru.surrogates import Boxcar

BATCH, TIME, FEATURES, UNITS = 3, 8, 2, 5
RNG = np.random.default_rng(0)
X, WEIGHTS = 2.0 * RNG.normal(size=(BATCH, TIME, FEATURES)), RNG.normal(size=(BATCH, TIME, UNITS))
MASK = RNG.random((BATCH, TIME)) < 0.7
MASK[0, :2] = False
MASK[1] = False


def egru(units=UNITS, **options):
    """A float64 EGRU of the reference."""
    keras.utils.set_random_seed(1)
    trained = {"threshold_initializer": Beta(0.3), "threshold_trainable": True, "surrogate": Boxcar(0.5, 0.3)}
    options = {**trained, **options}
    loud = {"kernel_initializer": keras.initializers.RandomNormal(stddev=1.5)}
    if options.get("use_bias", True):
        loud["bias_initializer"] = keras.initializers.RandomNormal(0.5, 0.5)
    layer = EGRU(units, return_sequences=True, implementation="reference", dtype="float64", **loud, **options)
    layer.build(X.shape)
    return layer


def thresholded(units=UNITS, **options):
    """A float64 thresholded RNN."""
    keras.utils.set_random_seed(1)
    cell = ThresholdedRNNCell(
        units, dtype="float64", kernel_initializer="he_normal", **{"surrogate": Boxcar(0.5, 0.3), **options}
    )
    layer = keras.layers.RNN(cell, return_sequences=True, dtype="float64")
    layer.build(X.shape)
    return layer


def prune(layer, share, seed=3):
    """Zeroes a share of the kernels, and returns masks of what is left: `(kernel_mask, recurrent_mask)`."""
    rng, masks = np.random.default_rng(seed), []
    for weight in (layer.cell.kernel, layer.cell.recurrent_kernel):
        masks.append(rng.random(weight.shape) >= share)
        weight.assign(np.array(weight) * masks[-1])
    return tuple(masks)


def layout_of(layer, **options):
    """The `InfluenceLayout` of a layer."""
    cell = layer.cell
    if isinstance(cell, EGRUCell):
        return egru_layout(
            FEATURES, cell.units, reset=cell.reset, reset_after=cell.reset_after, use_bias=cell.use_bias, **options
        )
    return thresholded_layout(FEATURES, cell.units, **options)


def states_of(layer, mask=None):
    """`[y, c]`, or `[y]`, at every step, each `[batch, time, units]`: those of the cell, stepped by hand."""
    state = [np.array(part) for part in layer.cell.get_initial_state(batch_size=BATCH)]
    steps = []
    for t in range(TIME):
        _, stepped = layer.cell(X[:, t], state)
        keep = np.ones((BATCH, 1), bool) if mask is None else mask[:, t, None]
        state = [np.where(keep, new, old) for new, old in zip(stepped, state, strict=True)]
        steps.append(state)
    return [np.stack(parts, axis=1) for parts in zip(*steps, strict=True)]


def terms_of(layer, states, steps, initial, slope, mask=None):
    """`(terms, slope)` of the steps `steps`, a slice, from the states `initial`."""
    cell, x = layer.cell, X[:, steps]
    weights = [np.array(weight) for weight in layer.weights]
    chunk = [state[:, steps] for state in states]
    mask = None if mask is None else mask[:, steps]
    if not isinstance(cell, EGRUCell):
        return thresholded_influence_terms(x, *chunk, *initial, slope, *weights, surrogate=cell.surrogate, mask=mask)
    kernel, recurrent_kernel, *bias, threshold = weights
    return egru_influence_terms(
        x, *chunk, *initial, slope, kernel, recurrent_kernel, bias[0] if bias else None, threshold,
        reset=cell.reset, reset_after=cell.reset_after, surrogate=cell.surrogate, mask=mask,
    )  # fmt: skip


def online(layer, layout, chunks=(TIME,), mask=None, credit=WEIGHTS, **options):
    """The gradient of `sum(credit * y)` in chunks of steps, and what the last chunk returned with its terms."""
    states = states_of(layer, mask)
    initial = [np.zeros((BATCH, layout.units)) for _ in states]
    slope, found, total, start = initial[0], None, 0.0, 0
    counters = np.zeros(3, "int64")
    for steps in chunks:
        chunk = slice(start, start + steps)
        terms, slope = terms_of(layer, states, chunk, initial, slope, mask)
        found = influence_sequence(
            None if found is None else found.influence, terms, credit[:, chunk], layout, **options
        )
        initial, start = [state[:, start + steps - 1] for state in states], start + steps
        total = total + np.array(found.gradient)
        counters += np.array(found.counters)
    assert start == TIME
    return total, found._replace(counters=counters), np.array(terms.passes)


def gradient_of(layer, mask):
    """The gradient of `sum(WEIGHTS * y)` over the steps that are not masked, by the reference."""
    return online(layer, layout_of(layer), mask=mask, credit=WEIGHTS * mask[:, :, None], implementation="reference")[0]
