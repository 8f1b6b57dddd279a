"""What the optimizers of language models have beside Keras's: learning rates of their own for some variables and some
updates, and a schedule that stands still for a while. The arithmetic of an update stays Keras's.
"""

import keras
import numpy as np
from keras import ops

UNDECAYED = ("bias", "threshold")  # parts of names of variables; of an embedding all is decayed, as in AWD-LSTM


class _ScaledRates:
    """Goes before a Keras optimizer in a class: scales the learning rate of each update of each variable.

    Keras's `MultiOptimizer` does not do: it has no learning rate that a record could tell, and each of its optimizers
    clips the norm of its own gradients.

    Args:
        threshold_rate: Factor of all variables with the name `threshold`.
        update_rates: Factors of the updates, one after the other; the last one stays. None for 1.
    """

    def __init__(self, *args, threshold_rate=1.0, update_rates=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.threshold_rate = threshold_rate
        self.update_rates = None if update_rates is None else np.asarray(update_rates, "float32")

    def update_step(self, gradient, variable, learning_rate):
        if self._trainable_variables[self._get_variable_index(variable)].name == "threshold":
            learning_rate = learning_rate * self.threshold_rate
        if self.update_rates is not None:
            update = ops.minimum(self.iterations, len(self.update_rates) - 1)
            learning_rate = learning_rate * ops.take(self.update_rates, update)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        rates = None if self.update_rates is None else self.update_rates.tolist()
        return {**super().get_config(), "threshold_rate": self.threshold_rate, "update_rates": rates}


def with_scaled_rates(optimizer_class) -> type:
    """A class of optimizers like `optimizer_class` that takes `threshold_rate` and `update_rates` too."""
    return type(optimizer_class.__name__, (_ScaledRates, optimizer_class), {})


@keras.saving.register_keras_serializable(package="keras_egru_benchmarks")
class Held(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule, whose clock stands still after `begin` updates for `updates` of them."""

    def __init__(self, schedule, begin, updates):
        super().__init__()
        self.schedule, self.begin, self.updates = schedule, begin, updates

    def __call__(self, step):
        step = ops.cast(step, "float32")
        return self.schedule(step - ops.clip(step - self.begin, 0.0, self.updates))

    def get_config(self):
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "begin": self.begin, "updates": self.updates}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "schedule": keras.saving.deserialize_keras_object(config["schedule"])})
