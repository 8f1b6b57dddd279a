"""Regularisers of the internal state, which push an event-based layer towards silence or towards a rate.

Each is a callable `(c, threshold, surrogate, mask) -> scalar`, the signature of a layer's `state_regularizer`:
c `[batch, time, units]` before the reset, threshold `[units]` or `[1]`, a `Surrogate`, mask `[batch, time]` or None.
"""

import keras
from keras import ops


class StateRegularizer:
    """Base class: a subclass gives `__call__` and `get_config`.

    Args:
        weight: Float, multiplies the penalty.

    Raises:
        ValueError: `weight` is negative or not finite.
    """

    def __init__(self, weight: float):
        if not 0.0 <= weight < float("inf"):
            raise ValueError(f"`weight` must be a finite number of at least 0, received {weight}.")
        self.weight = float(weight)

    def __call__(self, c, threshold, surrogate, mask=None):
        """Scalar penalty of a call of the layer."""
        raise NotImplementedError(f"{type(self).__name__} must implement `__call__`.")

    def get_config(self):
        return {"weight": self.weight}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_egru")
class EventRate(StateRegularizer):
    """`weight * (mean H(c - threshold) - target)`: the event rate itself (EGRU preprint, Eq. S53).

    As printed, the penalty is linear: `target` shifts its value alone, events are pushed down at every rate, and the
    penalty is negative below the target. Use `TargetRate` to hold a rate. The gradient is the surrogate's and reaches
    states and thresholds.

    Args:
        weight: Float >= 0, the preprint's w_reg. Default 0.01.
        target: Float in [0, 1]. Default 0.05.

    Raises:
        ValueError: `weight` is negative or `target` is outside [0, 1].
    """

    def __init__(self, weight: float = 0.01, target: float = 0.05):
        super().__init__(weight)
        self.target = _checked_rate(target)

    def __call__(self, c, threshold, surrogate, mask=None):
        rates = _mean_over_steps(surrogate.event(c - ops.cast(threshold, c.dtype)), mask)
        return self.weight * (ops.mean(rates) - self.target)

    def get_config(self):
        return {**super().get_config(), "target": self.target}


@keras.saving.register_keras_serializable(package="keras_egru")
class InternalState(StateRegularizer):
    """`weight * mean(c - (threshold - margin))`: how far states lie above a margin below the threshold (Eq. S54).

    As printed in the EGRU preprint, the penalty is linear: it pulls every state down, those far below the threshold
    too, and can be negative. The threshold is detached, so that only the state moves.

    Args:
        weight: Float >= 0, the preprint's w_v. Default 0.05.
        margin: Float. Default 0.05.

    Raises:
        ValueError: `weight` is negative.
    """

    def __init__(self, weight: float = 0.05, margin: float = 0.05):
        super().__init__(weight)
        self.margin = float(margin)

    def __call__(self, c, threshold, surrogate, mask=None):
        ceiling = ops.stop_gradient(ops.cast(threshold, c.dtype)) - self.margin
        return self.weight * ops.mean(_mean_over_steps(c - ceiling, mask))

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable(package="keras_egru")
class TargetRate(StateRegularizer):
    """`weight * mean over units (rate_i - target)^2`, rate_i the share of steps in which unit i has an event.

    It quietens busy units and wakes silent ones whose state comes within the surrogate's support.

    Args:
        target: Float in [0, 1], events per unit and step. Default 0.05.
        weight: Float >= 0. Default 1.0.

    Raises:
        ValueError: `weight` is negative or `target` is outside [0, 1].
    """

    def __init__(self, target: float = 0.05, weight: float = 1.0):
        super().__init__(weight)
        self.target = _checked_rate(target)

    def __call__(self, c, threshold, surrogate, mask=None):
        rates = _mean_over_steps(surrogate.event(c - ops.cast(threshold, c.dtype)), mask)
        return self.weight * ops.mean(ops.square(rates - self.target))

    def get_config(self):
        return {**super().get_config(), "target": self.target}


@keras.saving.register_keras_serializable(package="keras_egru")
class SilentUnits(StateRegularizer):
    """`weight * mean over units of [rate_i < target] mean max(0, threshold_i - c_i)`: rescues units that hardly fire.

    A unit whose state stays out of the surrogate's support gets no gradient from the task and never fires again, as in
    networks of ReLUs. This penalty lifts the states of such units, and of no others, until they fire at `target`. The
    threshold is detached, so that only the state moves.

    Args:
        target: Float in [0, 1], events per unit and step below which a unit is lifted. Default 0.02.
        weight: Float >= 0. Default 0.01.

    Raises:
        ValueError: `weight` is negative or `target` is outside [0, 1].
    """

    def __init__(self, target: float = 0.02, weight: float = 0.01):
        super().__init__(weight)
        self.target = _checked_rate(target)

    def __call__(self, c, threshold, surrogate, mask=None):
        below = ops.stop_gradient(ops.cast(threshold, c.dtype)) - c
        rates = _mean_over_steps(ops.cast(below < 0, c.dtype), mask)
        depth = _mean_over_steps(ops.maximum(below, 0.0), mask)
        return self.weight * ops.mean(ops.where(rates < self.target, depth, 0.0))

    def get_config(self):
        return {**super().get_config(), "target": self.target}


@keras.saving.register_keras_serializable(package="keras_egru")
class Sum(StateRegularizer):
    """The sum of several penalties; `Sum(EventRate(0.01), InternalState(0.05))` are the EGRU preprint's (S53, S54).

    Args:
        *regularizers: Callables with the signature of a `state_regularizer`; to save the layer, Keras must be able to
            serialize them. Their weights are their own.

    Raises:
        TypeError: one of them is not callable.
        ValueError: there is none.
    """

    def __init__(self, *regularizers):
        super().__init__(weight=1.0)
        if not regularizers:
            raise ValueError("`regularizers` must be one at least, received none.")
        for regularizer in regularizers:
            if not callable(regularizer):
                raise TypeError(f"`regularizers` must be callables, received {regularizer!r}.")
        self.regularizers = regularizers

    def __call__(self, c, threshold, surrogate, mask=None):
        return sum(regularizer(c, threshold, surrogate, mask) for regularizer in self.regularizers)

    def get_config(self):
        return {"regularizers": [keras.saving.serialize_keras_object(each) for each in self.regularizers]}

    @classmethod
    def from_config(cls, config):
        return cls(*(keras.saving.deserialize_keras_object(each) for each in config["regularizers"]))


def _checked_rate(target):
    if not 0.0 <= target <= 1.0:
        raise ValueError(f"`target` must be a rate in [0, 1], received {target}.")
    return float(target)


def _mean_over_steps(values, mask):
    """Mean over batch and valid steps, `[units]`, in at least float32: half precision cannot count far."""
    if keras.backend.standardize_dtype(values.dtype) in ("float16", "bfloat16"):
        values = ops.cast(values, "float32")
    if mask is None:
        steps = ops.prod(ops.shape(values)[:2])
        return ops.sum(values, axis=(0, 1)) / ops.maximum(ops.cast(steps, values.dtype), 1.0)
    valid = ops.cast(mask, "bool")[:, :, None]
    steps = ops.maximum(ops.sum(ops.cast(valid, values.dtype)), 1.0)
    return ops.sum(ops.where(valid, values, 0.0), axis=(0, 1)) / steps
