"""The rate that Eventprop holds spiking units near: what `EventLIF` takes as its `rate_regularizer`."""

import math

import keras


@keras.saving.register_keras_serializable(package="keras_egru")
class SpikeRate:
    """Holds the spike count of each unit near a target where gradients are exact (Nowotny et al., Eq. 6-7).

    The penalty `strength / 2 sum_i (mean_n count_ni - target)^2` is no function of spike times or potentials, so it has
    no exact gradient. In its place, the adjoint `lambda_V` of unit i decreases at each of its spikes by
    `strength / batch (mean_n count_ni - target)` in the backward pass: units that fire too often are driven less.

    Args:
        target: Float >= 0, spikes a unit and trial. Default 14.0: 14 Hz in a trial of one second.
        strength: Float >= 0, the paper's k_reg. Default 1e-9. The best value differs by orders of magnitude among
            losses (section 2.2), so it is worth a search.

    Raises:
        ValueError: an argument is negative or not finite.
    """

    def __init__(self, target: float = 14.0, strength: float = 1e-9):
        self.target = at_least_zero("target", target)
        self.strength = at_least_zero("strength", strength)

    def get_config(self):
        return {"target": self.target, "strength": self.strength}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def at_least_zero(name, value):
    if not 0.0 <= value < math.inf:
        raise ValueError(f"`{name}` must be a finite number of at least 0, received {value!r}.")
    return float(value)
