"""Initializers: of thresholds, a Beta distribution on (0, 1); of biases, gates that open slowly; of time constants, a
clipped Gamma distribution."""

import keras
import numpy as np
from keras import ops
from keras.src.initializers.random_initializers import RandomInitializer


@keras.saving.register_keras_serializable(package="keras_egru")
class Beta(RandomInitializer):
    """Draws from `Beta(3 m / (1 - m), 3)`, whose mean is `m`.

    Args:
        mean: Float in (0, 1), the mean m. Default 0.3.
        seed: Integer, `keras.random.SeedGenerator` or None.

    Raises:
        ValueError: if `mean` is outside (0, 1).
    """

    concentration = 3.0

    def __init__(self, mean: float = 0.3, seed=None):
        if not 0.0 < mean < 1.0:
            raise ValueError(f"`mean` of the threshold distribution must lie in (0, 1), received {mean}.")
        super().__init__(seed=seed)
        self.mean = float(mean)

    def __call__(self, shape, dtype=None):
        dtype = dtype or keras.config.floatx()
        alpha = self.concentration * self.mean / (1.0 - self.mean)
        draw = keras.random.beta(shape, alpha, self.concentration, dtype="float32", seed=self.seed)
        # A small alpha can round to 0; thresholds live inside the open interval.
        return ops.cast(ops.clip(draw, 1e-4, 1.0 - 1e-4), dtype)

    def get_config(self):
        return {**super().get_config(), "mean": self.mean}


@keras.saving.register_keras_serializable(package="keras_egru")
class UpdateGateBias(keras.initializers.Initializer):
    """The `bias` of an EGRU, zero but for the gate u, so that the internal state lasts longer from the first step on.

    A unit leaks by `sigmoid(value)` a step: a half with 0, 27 % with -1. For what must be remembered for T steps,
    `value = -log(T)` (Tallec & Ollivier 2018, "Can recurrent neural networks warp time?"). Of the two biases of
    `reset_after=True` the input's gets the value.

    Example:

    >>> egru = keras_egru.EGRU(4, bias_initializer=keras_egru.initializers.UpdateGateBias(-1.0))

    Args:
        value: Finite float, the bias of the gate u. Default -1.

    Raises:
        ValueError: `value` is not finite, or the shape asked for is not that of an EGRU's bias.
    """

    def __init__(self, value: float = -1.0):
        if not -float("inf") < value < float("inf"):
            raise ValueError(f"`value` of the update gate's bias must be a finite number, received {value!r}.")
        self.value = float(value)

    def __call__(self, shape, dtype=None):
        if len(shape) not in (1, 2) or shape[-1] % 3 or shape[:-1] not in ((), (2,)):
            raise ValueError(
                f"the bias of an EGRU has the shape [3 units] or [2, 3 units], and `UpdateGateBias` received {shape}."
            )
        bias = np.zeros(shape)
        bias.reshape(-1, shape[-1])[0, : shape[-1] // 3] = self.value
        return ops.convert_to_tensor(bias, dtype or keras.config.floatx())

    def get_config(self):
        return {"value": self.value}


@keras.saving.register_keras_serializable(package="keras_egru")
class GammaTimeConstants(RandomInitializer):
    """Draws time constants from `Gamma(3, mean / 3)`, whose mean is `mean`, clipped to `[minimum, 3 mean]`.

    Eq. 10-11 of Nowotny, Turner & Knight 2022, "Loss shaping enhances exact gradient learning with Eventprop in spiking
    neural networks" (section 4.8), after Perez-Nieves et al. 2021. The paper clips at 3 ms for membranes and at 1 ms
    for synapses. Clipping moves the mean a little: of what is drawn 0.6 % lies above `3 mean`.

    Args:
        mean: Float > 0, in milliseconds.
        minimum: Float in (0, 3 mean], in milliseconds. It has no default, for a time constant near 0 is unstable.
        seed: Integer, `keras.random.SeedGenerator` or None.

    Raises:
        ValueError: `mean` is not a positive finite number, or `minimum` is outside of (0, 3 mean].
    """

    shape_parameter = 3.0
    largest = 3.0  # in means

    def __init__(self, mean: float, minimum: float, seed=None):
        if not 0.0 < mean < float("inf"):
            raise ValueError(f"`mean` of the time constants must be a positive finite number, received {mean!r}.")
        if not 0.0 < minimum <= self.largest * mean:
            raise ValueError(
                f"`minimum` of the time constants must be in (0, 3 mean] = (0, {self.largest * mean}], "
                f"received {minimum!r}."
            )
        super().__init__(seed=seed)
        self.mean = float(mean)
        self.minimum = float(minimum)

    def __call__(self, shape, dtype=None):
        draw = keras.random.gamma(shape, self.shape_parameter, dtype="float32", seed=self.seed)
        time_constants = ops.clip(draw * (self.mean / self.shape_parameter), self.minimum, self.largest * self.mean)
        return ops.cast(time_constants, dtype or keras.config.floatx())

    def get_config(self):
        return {**super().get_config(), "mean": self.mean, "minimum": self.minimum}
