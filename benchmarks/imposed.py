"""An EGRU that has the sparsity one asks for, on the inputs one gives it.

Speed is measured on the real layer, so its silence cannot be pretended: weights are drawn such that states are mostly
positive and units out of step with each other, then thresholds are set, in two steps, so that the wanted share of the
states stays below them.

1. Each unit's threshold moves to the quantile of its own states. That takes some thousand states a unit to be sharp;
   inputs that give fewer are joined by copies of themselves with the steps in another order.
2. All thresholds are shifted together until the events counted on the inputs themselves are as many as wanted.

What the layer then does is counted from its tensors. A recurrent kernel is pruned before all that, at random: the time
depends on the pattern of the mask and not on how it was found.
"""

from typing import NamedTuple

import keras
import numpy as np

from benchmarks.errors import CannotRun, ConfigError
from keras_egru.layers import EGRU
from keras_egru.layers.recording import record_states
from keras_egru.sparsity import activity_sparsity, backward_sparsity
from keras_egru.surrogates import Triangular

TOLERANCE = 0.01  # between the activity sparsity that is asked for and the one that is reached
SHARP_TOLERANCE = 0.005  # the same from an activity sparsity of `SHARP` on, where 0.01 is half of the events
SHARP = 0.95
STATES = 3000  # of a unit, from which its quantiles are taken
ROUNDS = 40  # of the thresholds towards their quantiles
HALVINGS = 20  # of the interval of the common shift
STRONG, WEAK = 1.0, 0.1  # gains of the inputs; weak ones turn no candidate negative and close no update gate
LOWEST, HIGHEST = 1e-4, 1.0 - 1e-4  # of a threshold


class ImposedEGRU(NamedTuple):
    """A built layer that returns sequences, and what was counted when it ran on the inputs.

    recurrent_mask: float32 `[units, 3 units]`, zero where the recurrent kernel is pruned, or None.
    """

    layer: EGRU
    activity_sparsity: float
    backward_sparsity: float
    recurrent_mask: np.ndarray | None = None


def egru_with_sparsity(
    units, inputs, activity, backward=None, seed=0, *, parameter=0.0, block=(1, 1), **options
) -> ImposedEGRU:
    """Builds an `EGRU(units)` whose share of silent entries on `inputs` is `activity`, to within `tolerance(activity)`.

    Args:
        units: Positive integer.
        inputs: float32 `[batch, steps, features]`, alike at every step.
        activity: Float in [0, 1), the activity sparsity; at 0 every unit fires at every step.
        backward: Float in [0, 1], the backward sparsity, reached through the width of the surrogate; None leaves the
            width at its default. Every event passes a gradient, so at most `activity` can be had and is taken.
        seed: Integer, of the weights.
        parameter: Float in [0, 1), the share of the recurrent kernel's blocks to prune, gate by gate.
        block: Rows and columns of a block.
        **options: Further arguments of `EGRU`.

    Raises:
        CannotRun: no thresholds give the wanted sparsity.
        ConfigError: the blocks do not divide the kernel of a gate.
    """
    layer = EGRU(units, return_sequences=True, surrogate=Triangular(), **options)
    layer.build(inputs.shape)
    _draw_weights(layer, inputs, WEAK if activity == 0.0 else STRONG, seed)
    mask = None
    if parameter > 0.0:
        mask = random_mask(units, parameter, block, seed)
        # The variance of what a unit receives stays the same.
        layer.recurrent_kernel.assign(layer.recurrent_kernel * mask / np.sqrt(1.0 - parameter))
    if activity > 0.0:
        _move_to_quantiles(layer, _enough(inputs, np.random.default_rng(seed)), activity)
        _shift_together(layer, inputs, activity)
    y, c, threshold = states_of(layer, inputs)
    if backward is not None:
        width = _width_for(y, c, threshold, min(backward, activity))
        weights = layer.get_weights()
        layer = EGRU(units, return_sequences=True, surrogate=Triangular(width=width), **options)
        layer.build(inputs.shape)
        layer.set_weights(weights)
    reached = activity_sparsity(y)
    if abs(reached - activity) > tolerance(activity):
        raise CannotRun(f"an activity sparsity of {activity} cannot be imposed to within {tolerance(activity)} here.")
    return ImposedEGRU(layer, reached, backward_sparsity(c, threshold, layer.surrogate), mask)


def random_mask(units, sparsity, block, seed=0):
    """float32 `[units, 3 units]` of ones, and zeros in the share `sparsity` of the blocks of every gate.

    Raises:
        ConfigError: the blocks do not divide `[units, units]`.
    """
    rows, columns = block
    if units % rows or units % columns:
        raise ConfigError(f"blocks of {rows}x{columns} do not divide the [{units}, {units}] weights of a gate.")
    rng, blocks = np.random.default_rng(seed), (units // rows) * (units // columns)
    gates = []
    for _ in range(3):
        live = np.ones(blocks, "float32")
        live[rng.permutation(blocks)[: round(sparsity * blocks)]] = 0.0
        gates.append(np.kron(live.reshape(units // rows, units // columns), np.ones(block, "float32")))
    return np.concatenate(gates, axis=1)


def tolerance(activity):
    return SHARP_TOLERANCE if activity >= SHARP else TOLERANCE


def states_of(layer, inputs):
    """`(y, c, threshold)` as arrays, `y` and `c` `[batch, steps, units]`."""
    with record_states() as records:
        layer(inputs)
    record = records[0]
    return tuple(keras.ops.convert_to_numpy(tensor) for tensor in (record.y, record.c, record.threshold))


def _draw_weights(layer, inputs, gain, seed):
    """Inputs that move the gates and update gates of many speeds, so that units do not fire in step; candidates around
    tanh(1.5), so that any share of the states can lie above a threshold in (0, 1)."""
    rng, units = np.random.default_rng(seed), layer.units
    kernel = rng.uniform(-1.0, 1.0, layer.kernel.shape) / np.sqrt(np.mean(np.square(inputs)) * inputs.shape[-1])
    kernel[:, : 2 * units] *= 3.0
    kernel *= gain
    bias = np.zeros(layer.bias.shape)
    from_inputs = bias.reshape(-1, 3 * units)[0]
    from_inputs[:units] = rng.uniform(-3.0, 0.0, units)
    from_inputs[2 * units :] = 1.5
    recurrent_kernel = rng.normal(0.0, 0.2 / np.sqrt(units), layer.recurrent_kernel.shape)
    threshold = np.full(layer.threshold.shape, LOWEST)
    layer.set_weights([weight.astype("float32") for weight in (kernel, recurrent_kernel, bias, threshold)])


def _enough(inputs, rng):
    """As many whole sequences as give `STATES` states a unit: some of `inputs`, or all of them and shuffled copies."""
    batch, steps, _ = inputs.shape
    wanted = -(-STATES // steps)
    copies = [inputs[:, rng.permutation(steps)] for _ in range(-(-wanted // batch) - 1)]
    return np.concatenate([inputs, *copies])[:wanted]


def _move_to_quantiles(layer, inputs, activity):
    """Fixed-point iteration, since the thresholds change the states; the step shrinks while it goes on."""
    for round_ in range(ROUNDS):
        y, c, threshold = states_of(layer, inputs)
        if abs(activity_sparsity(y) - activity) < tolerance(activity):
            break
        wanted = np.quantile(c, activity, axis=(0, 1))
        _set_thresholds(layer, threshold + 0.7 * 0.96**round_ * (wanted - threshold))


def _shift_together(layer, inputs, activity):
    """Bisection of one number, added to every threshold; the best one met is kept."""
    start, (low, high) = keras.ops.convert_to_numpy(layer.threshold), (-1.0, 1.0)
    shift, closest = 0.0, (np.inf, start)
    for _ in range(HALVINGS):
        _set_thresholds(layer, start + shift)
        y, _, threshold = states_of(layer, inputs)
        reached = activity_sparsity(y)
        closest = min(closest, (abs(reached - activity), threshold), key=lambda found: found[0])
        if closest[0] < tolerance(activity) / 4:
            break
        low, high = (shift, high) if reached < activity else (low, shift)
        shift = (low + high) / 2
    _set_thresholds(layer, closest[1])


def _set_thresholds(layer, values):
    layer.threshold.assign(np.clip(values, LOWEST, HIGHEST).astype("float32"))


def _width_for(y, c, threshold, backward):
    """The surrogate width at which the share `backward` of all entries is silent and outside of the support."""
    distance = np.abs(c - threshold)
    outside = round(backward * y.size)
    if outside == 0:
        return float(distance.max() * 2.0)
    silent = distance[y == 0]
    place = len(silent) - min(outside, len(silent))
    return float(max(np.partition(silent, place)[place], 1e-6))
