"""The thresholded RNN's cell: units without a memory of their own, which are on or off."""

import keras
from keras import constraints, initializers, ops, regularizers

from keras_egru import surrogates
from keras_egru.initializers import Beta
from keras_egru.layers.input_checks import check_float, check_states, checked_units
from keras_egru.layers.step_tensors import kernel_tensor, step_dtype
from keras_egru.ops.thresholded_rnn_step import thresholded_rnn_step


@keras.saving.register_keras_serializable(package="keras_egru")
class ThresholdedRNNCell(keras.layers.Layer):
    """Cell of a thresholded RNN: `y_t = H(x_t U + y_{t-1} V - threshold)` (Subramoney 2023, Eq. 5).

    The network of "Efficient real time recurrent learning through combined activity and parameter sparsity": units have
    no state but their activity, so that where the surrogate is zero nothing of the past has any influence. It works in
    `keras.layers.RNN` and stepped by hand. There is no bias beside the thresholds.

    The state is `[y]`, 0 or 1, which is the output too. With float16 or bfloat16 compute types the step itself is done
    in float32.

    Example:

    >>> inputs = np.random.random((32, 10, 8)).astype("float32")
    >>> rnn = keras.layers.RNN(keras_egru.ThresholdedRNNCell(4), return_sequences=True)
    >>> rnn(inputs).shape
    (32, 10, 4)

    Args:
        units: Positive integer, the number of units.
        kernel_initializer: Initializer of `kernel`, `[features, units]`. Default `"glorot_uniform"`.
        recurrent_initializer: Initializer of `recurrent_kernel`, `[units, units]`. Default `"orthogonal"`.
        threshold_initializer: Initializer of `threshold`, `[units]`. Default `None`:
            `keras_egru.initializers.Beta(0.3)`, in (0, 1).
        threshold_trainable: Boolean, whether thresholds are trained. Default `True`.
        surrogate: Derivative of the event function, a `keras_egru.surrogates.Surrogate`. Default `None`:
            `Triangular(height=0.7, width=1.0)`.
        kernel_regularizer: Regularizer of `kernel`. Default `None`.
        recurrent_regularizer: Regularizer of `recurrent_kernel`. Default `None`.
        kernel_constraint: Constraint of `kernel`. Default `None`.
        recurrent_constraint: Constraint of `recurrent_kernel`. Default `None`.
        threshold_constraint: Constraint of `threshold`. Default `None`.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        sequence: Float tensor of one step, `[batch, features]`.
        states: List `[y]` of the step before, `[batch, units]`.

    Returns:
        `(y, [y])`.

    Raises:
        TypeError: `units` is not an integer, or an input is not of a floating-point type.
        ValueError: any other argument is wrong; the sentence names it.
    """

    def __init__(
        self,
        units: int,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        threshold_initializer=None,
        threshold_trainable: bool = True,
        surrogate=None,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        threshold_constraint=None,
        **kwargs,
    ):
        units = checked_units(units)
        super().__init__(**kwargs)
        self.units = units
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.threshold_initializer = (
            Beta(0.3) if threshold_initializer is None else initializers.get(threshold_initializer)
        )
        self.threshold_trainable = threshold_trainable
        self.surrogate = surrogates.get(surrogate)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.threshold_constraint = constraints.get(threshold_constraint)
        self.state_size = self.output_size = units

    def build(self, input_shape):
        features = input_shape[-1]
        if features is None:
            raise ValueError(
                f"The last dimension of the inputs of '{self.name}' must be known, received {input_shape}."
            )
        for name, shape, trainable in (
            ("kernel", (features, self.units), True),
            ("recurrent_kernel", (self.units, self.units), True),
            ("threshold", (self.units,), self.threshold_trainable),
        ):
            short = name.removesuffix("_kernel")
            variable = self.add_weight(
                shape=shape,
                name=name,
                initializer=getattr(self, f"{short}_initializer"),
                regularizer=getattr(self, f"{short}_regularizer", None),  # a threshold has none
                constraint=getattr(self, f"{short}_constraint"),
                trainable=trainable,
                autocast=False,  # the step wants the variables in their own precision
            )
            setattr(self, name, variable)
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={-1: features})

    def call(self, sequence, states):
        check_float(sequence, "sequence", self.name)
        check_states(states, ("y",), self.units, sequence.shape[0], self.name)
        dtype = step_dtype(self)
        kernel, recurrent_kernel, threshold = (
            kernel_tensor(weight, None, dtype) for weight in (self.kernel, self.recurrent_kernel, self.threshold)
        )
        x, y = ops.cast(sequence, dtype), ops.cast(states[0], dtype)
        y, _ = thresholded_rnn_step(ops.matmul(x, kernel), y, recurrent_kernel, threshold, surrogate=self.surrogate)
        y = ops.cast(y, self.compute_dtype)
        return y, [y]

    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, self.units), dtype=self.compute_dtype)]

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "threshold_initializer": initializers.serialize(self.threshold_initializer),
            "threshold_trainable": self.threshold_trainable,
            "surrogate": keras.saving.serialize_keras_object(self.surrogate),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "recurrent_constraint": constraints.serialize(self.recurrent_constraint),
            "threshold_constraint": constraints.serialize(self.threshold_constraint),
        }
