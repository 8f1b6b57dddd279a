"""The read-out of the EGRU paper: an exponential trace of events, smooth enough for a dense layer to read."""

import math

import keras
import numpy as np
from keras import ops

from keras_egru.layers.input_checks import check_sequences


@keras.saving.register_keras_serializable(package="keras_egru")
class ExponentialTrace(keras.layers.Layer):
    """Leaky sum of a sequence, `trace_t = alpha trace_{t-1} + y_t` with `alpha = exp(-1 / time_constant)`.

    Subramoney et al. 2023 read their networks out through such a trace with `alpha = e^(-1/10)`. The last trace is
    computed in closed form, a weighted sum over time, without a loop. Masked steps leave the trace alone: it neither
    decays nor grows. With float16 or bfloat16 compute types the sum is done in float32.

    Example:

    >>> events = np.random.random((32, 10, 8)).astype("float32")
    >>> keras_egru.ExponentialTrace()(events).shape
    (32, 8)
    >>> keras_egru.ExponentialTrace(time_constant=20.0, return_sequences=True)(events).shape
    (32, 10, 8)

    Args:
        time_constant: Float > 0, in steps. With `trainable_time_constant`, the value that training starts from.
            Default 10.0.
        trainable_time_constant: Boolean, whether the time constant is trained. Its logarithm is the variable, a
            scalar, so that it stays above 0. Default `False`.
        return_sequences: Boolean, whether to return the trace at every step, or the last one. Default `False`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        sequences: Float tensor, `[batch, time, features]`.
        mask: Boolean tensor, `[batch, time]`, or `None`. Default `None`.

    Returns:
        `[batch, features]`, or `[batch, time, features]` with `return_sequences`.

    Raises:
        TypeError: `sequences` is not of a floating-point type.
        ValueError: `time_constant` is not a positive finite number, the batch is empty, or the sequences have no step.
    """

    def __init__(
        self,
        time_constant: float = 10.0,
        trainable_time_constant: bool = False,
        return_sequences: bool = False,
        **kwargs,
    ):
        if not 0.0 < time_constant < math.inf:
            raise ValueError(f"`time_constant` must be a positive finite number, received {time_constant}.")
        super().__init__(**kwargs)
        self.time_constant = float(time_constant)
        self.trainable_time_constant = trainable_time_constant
        self.return_sequences = return_sequences
        self.supports_masking = True
        self.input_spec = keras.layers.InputSpec(ndim=3)

    def __call__(self, sequences, *args, **kwargs):
        # Before Keras converts, builds or computes anything.
        check_sequences(sequences, self.name)
        return super().__call__(sequences, *args, **kwargs)

    def build(self, sequences_shape):
        self.log_time_constant = None
        if self.trainable_time_constant:
            self.log_time_constant = self.add_weight(
                shape=(),
                name="log_time_constant",
                initializer=keras.initializers.Constant(math.log(self.time_constant)),
                autocast=False,
            )

    def call(self, sequences, mask=None):
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        values = ops.cast(sequences, dtype)
        rate = self._rate(dtype)
        if mask is not None:
            mask = ops.cast(mask, "bool")
            values = ops.where(mask[:, :, None], values, ops.zeros_like(values))
        trace = _trace(values, rate, mask) if self.return_sequences else _last_trace(values, rate, mask)
        return ops.cast(trace, self.compute_dtype)

    def _rate(self, dtype):
        """`1 / time_constant`, a scalar tensor."""
        if self.log_time_constant is None:
            # As an array: Keras takes a Python float through float32 on its way to float64.
            return ops.convert_to_tensor(np.asarray(1.0 / self.time_constant, dtype))
        return ops.exp(-ops.cast(ops.convert_to_tensor(self.log_time_constant), dtype))

    def compute_output_shape(self, sequences_shape):
        batch, time, features = sequences_shape
        return (batch, time, features) if self.return_sequences else (batch, features)

    def compute_mask(self, sequences, mask=None):
        return mask if self.return_sequences else None

    def get_config(self):
        return {
            **super().get_config(),
            "time_constant": self.time_constant,
            "trainable_time_constant": self.trainable_time_constant,
            "return_sequences": self.return_sequences,
        }


def _last_trace(values, rate, mask):
    """`sum_t exp(-rate n_t) values_t`, where `n_t` counts the valid steps after t."""
    if mask is None:
        steps_after = ops.flip(ops.cast(ops.arange(ops.shape(values)[1]), values.dtype))
        return ops.einsum("t,btf->bf", ops.exp(-rate * steps_after), values)
    valid = ops.cast(mask, values.dtype)
    steps_after = ops.sum(valid, axis=1, keepdims=True) - ops.cumsum(valid, axis=1)
    return ops.einsum("bt,btf->bf", ops.exp(-rate * steps_after), values)


def _trace(values, rate, mask):
    """The trace at every step; `values` are zero where `mask` is False."""
    alpha, features = ops.exp(-rate), values.shape[-1]
    if mask is not None:
        decay = ops.where(mask, alpha, ops.ones_like(alpha))[:, :, None]
        # One tensor, since Keras 3.15 cannot scan several over an unknown number of steps.
        values = ops.concatenate([values, decay], axis=-1)

    def step(trace, current):
        trace = (alpha if mask is None else current[:, features:]) * trace + current[:, :features]
        return trace, trace

    _, traces = ops.scan(step, ops.zeros_like(values[:, 0, :features]), ops.swapaxes(values, 0, 1))
    return ops.swapaxes(traces, 0, 1)
