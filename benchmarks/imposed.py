"""An EGRU that has the sparsity one asks for, on the inputs one gives it.

Speed is measured on the real layer, so its silence cannot be pretended: weights are drawn such that every state is
positive, then each unit's threshold is moved to the quantile of its own states until the wanted share is silent. What
the layer then does is counted from its tensors.
"""

from typing import NamedTuple

import keras
import numpy as np

from benchmarks.errors import CannotRun
from keras_egru.layers import EGRU
from keras_egru.layers.recording import record_states
from keras_egru.sparsity import activity_sparsity, backward_sparsity
from keras_egru.surrogates import Triangular

TOLERANCE = 0.01  # between the activity sparsity that is asked for and the one that is reached
ROUNDS = 60
LOWEST, HIGHEST = 1e-4, 1.0 - 1e-4  # of a threshold


class ImposedEGRU(NamedTuple):
    """A built layer that returns sequences, and what was counted when it ran on the inputs."""

    layer: EGRU
    activity_sparsity: float
    backward_sparsity: float


def egru_with_sparsity(units, inputs, activity, backward=None, seed=0, **options) -> ImposedEGRU:
    """Builds an `EGRU(units)` whose share of silent entries on `inputs` is `activity`, to within `TOLERANCE`.

    Args:
        units: Positive integer.
        inputs: float32 `[batch, steps, features]`, of unit variance.
        activity: Float in [0, 1), the activity sparsity.
        backward: Float in [0, 1], the backward sparsity, reached through the width of the surrogate; None leaves the
            width at its default. Every event passes a gradient, so at most `activity` can be had and is taken.
        seed: Integer, of the weights.
        **options: Further arguments of `EGRU`.

    Raises:
        CannotRun: no thresholds give the wanted sparsity.
    """
    layer = EGRU(units, return_sequences=True, **options)
    layer.build(inputs.shape)
    _draw_weights(layer, inputs.shape[-1], seed)
    _move_thresholds(layer, inputs, activity)
    if backward is not None:
        width = _width_for(layer, inputs, min(backward, activity))
        weights = layer.get_weights()
        layer = EGRU(units, return_sequences=True, surrogate=Triangular(width=width), **options)
        layer.build(inputs.shape)
        layer.set_weights(weights)
    y, c, threshold = _states(layer, inputs)
    return ImposedEGRU(layer, activity_sparsity(y), backward_sparsity(c, threshold, layer.surrogate))


def _draw_weights(layer, features, seed):
    """Candidates around tanh(2), so that c is positive and any share of it can lie above a threshold in (0, 1)."""
    rng, units = np.random.default_rng(seed), layer.units
    bias = np.zeros(layer.bias.shape, "float32")
    bias.reshape(-1, 3 * units)[0, 2 * units :] = 2.0
    layer.kernel.assign(rng.normal(0.0, 0.4 / np.sqrt(features), layer.kernel.shape).astype("float32"))
    layer.recurrent_kernel.assign(rng.normal(0.0, 0.2 / np.sqrt(units), layer.recurrent_kernel.shape).astype("float32"))
    layer.bias.assign(bias)
    layer.threshold.assign(np.full(layer.threshold.shape, LOWEST, "float32"))


def _move_thresholds(layer, inputs, activity):
    """Fixed-point iteration, since the thresholds change the states; the step shrinks while it goes on."""
    closest = (np.inf, None)
    for round_ in range(ROUNDS):
        y, c, threshold = _states(layer, inputs)
        error = abs(activity_sparsity(y) - activity)
        closest = min(closest, (error, threshold), key=lambda found: found[0])
        if error < TOLERANCE / 4:
            break
        wanted = np.quantile(c, activity, axis=(0, 1))
        step = 0.7 * 0.96**round_
        layer.threshold.assign(np.clip(threshold + step * (wanted - threshold), LOWEST, HIGHEST).astype("float32"))
    error, threshold = closest
    if error > TOLERANCE:
        raise CannotRun(f"an activity sparsity of {activity} cannot be imposed to within {TOLERANCE} on this case.")
    layer.threshold.assign(threshold)


def _width_for(layer, inputs, backward):
    """The surrogate width at which the share `backward` of all entries is silent and outside of the support."""
    y, c, threshold = _states(layer, inputs)
    distance = np.sort(np.abs(c - threshold)[y == 0])
    outside = round(backward * y.size)
    if outside == 0:
        return float(np.abs(c - threshold).max() * 2.0)
    return float(max(distance[len(distance) - min(outside, len(distance))], 1e-6))


def _states(layer, inputs):
    with record_states() as records:
        layer(inputs)
    record = records[0]
    return tuple(keras.ops.convert_to_numpy(tensor) for tensor in (record.y, record.c, record.threshold))
