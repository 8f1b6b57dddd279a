"""Initializer of the thresholds: a Beta distribution on (0, 1)."""

import keras
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
