"""Regularisers of spike counts: a penalty for surrogate gradients, a heuristic for exact ones.

Section E.4 of Perez-Nieves & Goodman 2021, "Sparse spiking gradient descent", and section 4.2 of Nowotny, Turner &
Knight 2022, "Loss shaping enhances exact gradient learning with Eventprop in spiking neural networks".
"""

import keras
from keras import ops

from keras_egru.layers.spike_rate import at_least_zero


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
        self.lower = at_least_zero("lower", lower)
        self.lower_weight = at_least_zero("lower_weight", lower_weight)
        self.upper = at_least_zero("upper", upper)
        self.upper_weight = at_least_zero("upper_weight", upper_weight)

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
