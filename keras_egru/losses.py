"""Losses of spiking classifiers: on the membrane potential of non-spiking output units, or on first-spike times.

Those of Nowotny, Turner & Knight 2022, "Loss shaping enhances exact gradient learning with Eventprop in spiking neural
networks", and of Wunderlich & Pehle 2021. Labels are class numbers throughout.
"""

import keras
from keras import ops
from keras.src.backend import get_keras_mask

from keras_egru.readouts import READOUTS, check_positive, check_readout, read_out

# Spike times are no logits: `FirstSpikeLoss` takes them.
_POTENTIALS = tuple(readout for readout in READOUTS if readout != "first_spike")


class PotentialLoss(keras.losses.Loss):
    """Base class: a loss of potentials `[batch, time, classes]` without a mask. A subclass gives `call`."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Keras would weight the losses, one a sample, by the mask, which has one value a step.
        if get_keras_mask(y_pred) is not None:
            raise ValueError(
                f"`y_pred` of {type(self).__name__} must have no mask of steps, received one; reduce masked sequences "
                "by LeakyReadout(readout=...)."
            )
        return super().__call__(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="keras_egru")
class MembraneCrossentropy(PotentialLoss):
    """Softmax cross-entropy of the membrane potential reduced over time.

    `-log softmax(r)_label`, where `r` is the potential's integral (`"sum"`, Nowotny et al., Eq. 2), its exponentially
    weighted integral (`"sum_exp"`, their best), its maximum (`"max"`, Eq. 29) or its last value. A model that ends in
    `LeakyReadout(readout=...)` returns `r` already and is trained with
    `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`.

    The paper writes integrals, and its authors' program divides them by the duration of the trial. With potentials of
    order 1 over hundreds of milliseconds an undivided integral saturates the softmax; `dt = 1 / steps` divides it, in
    `"sum_exp"` too while `time_constant` is `None`.

    Example:

    >>> v = np.random.normal(size=(4, 100, 20)).astype("float32")
    >>> float(keras_egru.losses.MembraneCrossentropy("sum_exp", dt=1 / 100)(np.array([3, 0, 19, 7]), v)) > 0
    True

    Args:
        readout: `"sum"` (default), `"sum_exp"`, `"max"` or `"last"`.
        dt: Float > 0, milliseconds a step. Default 1.0.
        time_constant: Float > 0, of `"sum_exp"` in the unit of `dt`, or `None` (default): the duration of the trial.
        **kwargs: `reduction`, `name`, `dtype`.

    Call arguments:
        y_true: Integers, `[batch]` or `[batch, 1]`.
        y_pred: Floats, `[batch, time, classes]`.

    Raises:
        ValueError: `readout` is another, `dt` or `time_constant` is not a positive finite number, or `y_pred` has
            another rank, no step or a mask.
    """

    def __init__(self, readout: str = "sum", dt: float = 1.0, time_constant: float | None = None, **kwargs):
        check_readout(readout, _POTENTIALS)
        check_positive("dt", dt)
        if time_constant is not None:
            check_positive("time_constant", time_constant)
        super().__init__(**kwargs)
        self.readout = readout
        self.dt = float(dt)
        self.time_constant = None if time_constant is None else float(time_constant)

    def call(self, y_true, y_pred):
        _check_predictions(y_pred, 3, "membrane potentials [batch, time, classes]")
        logits = read_out(y_pred, self.readout, self.dt, self.time_constant)
        return ops.sparse_categorical_crossentropy(_labels(y_true), logits, from_logits=True)

    def get_config(self):
        return {**super().get_config(), "readout": self.readout, "dt": self.dt, "time_constant": self.time_constant}


@keras.saving.register_keras_serializable(package="keras_egru")
class AverageCrossentropy(PotentialLoss):
    """Mean over time of the softmax cross-entropy at every step (Nowotny et al., Eq. 1).

    It asks for the right class at every moment, in silence too. With exact gradients, which do not know of spikes that
    might appear or vanish, it switches off the very units that drive the right class: networks on the Spiking
    Heidelberg Digits stay near chance with it (section 2). Here to reproduce that; use `MembraneCrossentropy`.

    Args:
        **kwargs: `reduction`, `name`, `dtype`.

    Call arguments:
        y_true: Integers, `[batch]` or `[batch, 1]`.
        y_pred: Floats, membrane potentials `[batch, time, classes]`.

    Raises:
        ValueError: `y_pred` has another rank, no step or a mask.
    """

    def call(self, y_true, y_pred):
        _check_predictions(y_pred, 3, "membrane potentials [batch, time, classes]")
        labels = ops.broadcast_to(_labels(y_true)[:, None], ops.shape(y_pred)[:2])
        return ops.mean(ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True), axis=1)


@keras.saving.register_keras_serializable(package="keras_egru")
class FirstSpikeLoss(keras.losses.Loss):
    """`-log softmax(-t / tau_0)_label + alpha (exp(t_label / tau_1) - 1)` (Wunderlich & Pehle 2021, Eq. 3).

    The unit of the label is to spike before the others, and early. The defaults are those of Nowotny et al. for the
    Spiking Heidelberg Digits (table 3). `alpha` is 0 to leave the second term out.

    Args:
        tau_0: Float > 0, milliseconds by which spikes are to be apart. Default 1.0.
        tau_1: Float > 0, milliseconds. Default 100.0. Trials of more than some 80 `tau_1` overflow float32.
        alpha: Float >= 0. Default 5e-5.
        **kwargs: `reduction`, `name`, `dtype`.

    Call arguments:
        y_true: Integers, `[batch]` or `[batch, 1]`.
        y_pred: Floats, `[batch, classes]`, first-spike times in milliseconds as `LeakyReadout(readout="first_spike")`
            gives them.

    Raises:
        ValueError: `tau_0` or `tau_1` is not a positive finite number, `alpha` is negative or not finite, or `y_pred`
            has another rank.
    """

    def __init__(self, tau_0: float = 1.0, tau_1: float = 100.0, alpha: float = 5e-5, **kwargs):
        check_positive("tau_0", tau_0)
        check_positive("tau_1", tau_1)
        if not 0.0 <= alpha < float("inf"):
            raise ValueError(f"`alpha` must be a finite number of at least 0, received {alpha!r}.")
        super().__init__(**kwargs)
        self.tau_0 = float(tau_0)
        self.tau_1 = float(tau_1)
        self.alpha = float(alpha)

    def call(self, y_true, y_pred):
        _check_predictions(y_pred, 2, "first-spike times [batch, classes]")
        labels = _labels(y_true)
        order = ops.sparse_categorical_crossentropy(labels, -y_pred / self.tau_0, from_logits=True)
        if self.alpha == 0.0:
            return order
        time = ops.squeeze(ops.take_along_axis(y_pred, labels[:, None], axis=1), axis=1)
        return order + self.alpha * ops.expm1(time / self.tau_1)

    def get_config(self):
        return {**super().get_config(), "tau_0": self.tau_0, "tau_1": self.tau_1, "alpha": self.alpha}


def _labels(y_true):
    """Integers `[batch]`. Keras's losses convert labels to floats, and its models may add an axis to them."""
    labels = ops.cast(y_true, "int32")
    if len(labels.shape) == 2 and labels.shape[1] == 1:
        labels = ops.squeeze(labels, axis=1)
    if len(labels.shape) != 1:
        raise ValueError(
            f"`y_true` must be class numbers [batch] or [batch, 1], received the shape {tuple(y_true.shape)}."
        )
    return labels


def _check_predictions(y_pred, rank, meaning):
    if len(y_pred.shape) != rank or (rank == 3 and y_pred.shape[1] == 0):
        raise ValueError(f"`y_pred` must be {meaning}, received the shape {tuple(y_pred.shape)}.")
