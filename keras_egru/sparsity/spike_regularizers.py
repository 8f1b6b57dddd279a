"""Regularisers of spike counts: a penalty for surrogate gradients, a heuristic for exact ones.

Section E.4 of Perez-Nieves & Goodman 2021, "Sparse spiking gradient descent", and section 4.2 of Nowotny, Turner &
Knight 2022, "Loss shaping enhances exact gradient learning with Eventprop in spiking neural networks".
"""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_egru")
class SpikeCounts(keras.regularizers.Regularizer):
    """Penalty on units that fire too little and on layers that fire too much, an `activity_regularizer`.

    With `z_bi` the spikes of unit i in sample b, averaged over the batch
    (Perez-Nieves & Goodman 2021, section E.4):

        lower_weight mean_i max(0, lower - z_bi)^2  +  upper_weight max(0, mean_i z_bi - upper)

    The paper prints both terms with a minus sign, which would reward what they are meant to penalise. It takes
    `upper=10` for the Spiking Heidelberg Digits and the defaults for Fashion-MNIST and N-MNIST. The gradient of a count
    is the spikes' surrogate gradient; with exact gradients there is none, and `SpikeRate` takes its place.

    Keras divides an activity penalty by the size of the batch, so a call returns the *sum* over the batch. Keras also
    applies it to each output of a layer: `return_sequences=True` is needed, without `return_state`.

    Example:

    >>> layer = keras_egru.EventLIF(128, return_sequences=True, activity_regularizer=SpikeCounts(upper=10.0))

    Args:
        lower: Float >= 0, spikes a unit and trial. Default 0.001: what has fired at all is not penalised.
        lower_weight: Float >= 0. Default 100.0.
        upper: Float >= 0, spikes a trial, as a mean over units. Default 1.0.
        upper_weight: Float >= 0. Default 0.06.

    Call arguments:
        spikes: Tensor, `[batch, time, units]`.

    Raises:
        ValueError: an argument is negative or not finite, or `spikes` has another rank.
    """

    def __init__(
        self, lower: float = 0.001, lower_weight: float = 100.0, upper: float = 1.0, upper_weight: float = 0.06
    ):
        self.lower = _at_least_zero("lower", lower)
        self.lower_weight = _at_least_zero("lower_weight", lower_weight)
        self.upper = _at_least_zero("upper", upper)
        self.upper_weight = _at_least_zero("upper_weight", upper_weight)

    def __call__(self, spikes):
        if len(spikes.shape) != 3:
            raise ValueError(
                f"`spikes` must be [batch, time, units], received the shape {tuple(spikes.shape)}: "
                "a layer that SpikeCounts regularises needs return_sequences=True and no return_state."
            )
        if keras.backend.standardize_dtype(spikes.dtype) in ("float16", "bfloat16"):
            spikes = ops.cast(spikes, "float32")  # half precision cannot count far
        counts = ops.sum(spikes, axis=1)
        silent = ops.mean(ops.square(ops.relu(self.lower - counts)), axis=1)
        busy = ops.relu(ops.mean(counts, axis=1) - self.upper)
        return ops.sum(self.lower_weight * silent + self.upper_weight * busy)

    def get_config(self):
        return {
            "lower": self.lower,
            "lower_weight": self.lower_weight,
            "upper": self.upper,
            "upper_weight": self.upper_weight,
        }


@keras.saving.register_keras_serializable(package="keras_egru")
class SpikeRate:
    """Holds the spike count of each unit near a target where gradients are exact (Nowotny et al., Eq. 6-7).

    The penalty `strength / 2 sum_i (mean_n count_ni - target)^2` is no function of spike times or potentials, so it has
    no exact gradient. In its place, the adjoint `lambda_V` of unit i decreases by `jumps(...)[i]` at each of its spikes
    in the backward pass: units that fire too often are driven less.

    Args:
        target: Float >= 0, spikes a unit and trial. Default 14.0: 14 Hz in a trial of one second.
        strength: Float >= 0, the paper's k_reg. Default 1e-9. The best value differs by orders of magnitude among
            losses (section 2.2), so it is worth a search.

    Raises:
        ValueError: an argument is negative or not finite.
    """

    def __init__(self, target: float = 14.0, strength: float = 1e-9):
        self.target = _at_least_zero("target", target)
        self.strength = _at_least_zero("strength", strength)

    def jumps(self, mean_counts, batch_size=1):
        """`strength / batch_size * (mean_counts - target)`, what `lambda_V` of each unit decreases by at its spikes.

        Args:
            mean_counts: Float tensor, `[units]`, spikes a trial averaged over the batch.
            batch_size: Integer. Eq. 7 divides by it, for the loss is a mean over the batch. Default 1: the caller
                does.

        Returns:
            Tensor of the shape of `mean_counts`.
        """
        return (mean_counts - self.target) * (self.strength / batch_size)

    def get_config(self):
        return {"target": self.target, "strength": self.strength}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _at_least_zero(name, value):
    if not 0.0 <= value < math.inf:
        raise ValueError(f"`{name}` must be a finite number of at least 0, received {value!r}.")
    return float(value)
