"""Constraints: thresholds stay inside (0, 1), time constants above a minimum."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_egru")
class OpenUnitInterval(keras.constraints.Constraint):
    """Clips a weight to `[margin, 1 - margin]`, so that it stays inside the open interval (0, 1).

    A threshold of 0 or less would make a silent unit's `y = 0` an event; one of 1 or more could never be reached.

    Args:
        margin: Float in (0, 0.5). Default 1e-4.

    Raises:
        ValueError: if `margin` is outside (0, 0.5).
    """

    def __init__(self, margin: float = 1e-4):
        if not 0.0 < margin < 0.5:
            raise ValueError(f"`margin` must lie in (0, 0.5), received {margin}.")
        self.margin = float(margin)

    def __call__(self, w):
        return ops.clip(w, self.margin, 1.0 - self.margin)

    def get_config(self):
        return {"margin": self.margin}


@keras.saving.register_keras_serializable(package="keras_egru")
class AtLeast(keras.constraints.Constraint):
    """Clips a weight from below, such as a time constant that is trained.

    Args:
        minimum: Float > 0.

    Raises:
        ValueError: if `minimum` is not a positive finite number.
    """

    def __init__(self, minimum: float):
        if not 0.0 < minimum < float("inf"):
            raise ValueError(f"`minimum` must be a positive finite number, received {minimum}.")
        self.minimum = float(minimum)

    def __call__(self, w):
        return ops.maximum(w, self.minimum)

    def get_config(self):
        return {"minimum": self.minimum}
