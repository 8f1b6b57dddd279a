"""The EGRU's cell: its weights and one time step."""

import keras
import numpy as np
from keras import constraints, initializers, ops, regularizers
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

from keras_egru import surrogates
from keras_egru.constraints import OpenUnitInterval
from keras_egru.initializers import Beta
from keras_egru.layers import quantization
from keras_egru.layers.input_checks import check_float, check_states, checked_units, is_symbolic
from keras_egru.layers.step_tensors import step_dtype
from keras_egru.ops.egru_step import RESETS, egru_step
from keras_egru.surrogates import Triangular

RATES = ("dropout", "recurrent_dropout", "output_dropout", "dropconnect", "zoneout")


@keras.saving.register_keras_serializable(package="keras_egru")
class EGRUCell(keras.layers.Layer, DropoutRNNCell):
    """Cell class of the `EGRU` layer: one step of the event-based GRU (Subramoney et al. 2023, Eq. 1-4).

    It processes one step; `EGRU` processes a sequence, and faster. The cell also works in `keras.layers.RNN`,
    in `keras.layers.StackedRNNCells`, and stepped by hand. `keras_egru.ops.egru_step` has the equations.

    The state is `[y, c]`: the events that other units see, zero at silent units, and the internal state. The output
    is `y`. With float16 or bfloat16 compute types the step itself is done in float32.

    `quantize("int8")` holds the recurrent kernel in 8 bits, to save memory in inference; every step widens all of it
    again. The fast path of `EGRU` reads the integers as they are.

    Example:

    >>> inputs = np.random.random((32, 10, 8)).astype("float32")
    >>> rnn = keras.layers.RNN(keras_egru.EGRUCell(4), return_sequences=True)
    >>> rnn(inputs).shape
    (32, 10, 4)

    Args:
        units: Positive integer, the number of units.
        use_bias: Boolean, whether there is a bias. Default `True`.
        kernel_initializer: Initializer of `kernel`, `[features, 3 units]`, gates u, r, z. Default `"glorot_uniform"`.
        recurrent_initializer: Initializer of `recurrent_kernel`, `[units, 3 units]`. Default `"orthogonal"`.
        bias_initializer: Initializer of `bias`, `[2, 3 units]` (input, recurrent) with `reset_after`, else `[3 units]`.
            Default `"zeros"`.
        threshold_initializer: Initializer of `threshold`, `[units]`; what it draws must lie inside (0, 1).
            Default `None`: `keras_egru.initializers.Beta(0.05)`.
        kernel_regularizer: Regularizer of `kernel`. Default `None`.
        recurrent_regularizer: Regularizer of `recurrent_kernel`. Default `None`.
        bias_regularizer: Regularizer of `bias`. Default `None`.
        kernel_constraint: Constraint of `kernel`. Default `None`.
        recurrent_constraint: Constraint of `recurrent_kernel`. Default `None`.
        bias_constraint: Constraint of `bias`. Default `None`.
        threshold_constraint: Constraint of `threshold`. Default `None`: `keras_egru.constraints.OpenUnitInterval()`.
        threshold_trainable: Boolean, whether thresholds are trained. Default `False`.
        shared_threshold: Boolean, one threshold for all units (`[1]`), the paper's ablation. Default `False`.
        reset: `"threshold"` (the authors' code), `"subtract"` (the paper's Eq. 2) or `"zero"`. Default `"threshold"`.
        reset_after: Boolean, whether the gate r multiplies after the recurrent product, as in `keras.layers.GRU`.
            The paper's form is `False`. Default `True`.
        surrogate: Derivative of the event function, a `keras_egru.surrogates.Surrogate`. Default `None`:
            `Triangular(height=0.7, width=0.1)`, narrow as the thresholds are low.
        dropout: Float in [0, 1), share of the inputs to drop; one mask a sequence. Default 0.
        recurrent_dropout: Float in [0, 1), share of `y_{t-1}` to drop; one mask a sequence. Default 0.
        output_dropout: Float in [0, 1), share of the outputs to drop; one mask a sequence. What recurs is left alone.
            Default 0.
        dropconnect: Float in [0, 1), share of `recurrent_kernel` to drop; one mask for a whole batch of sequences.
            Default 0.
        zoneout: Float in [0, 1), the probability that a unit keeps its `c_{t-1}` (Krueger et al. 2017): drawn at every
            entry and step in training, its expected value in inference. It acts before the event function. Default 0.
        seed: Integer or None, the seed of the masks.

    Call arguments:
        sequence: Float tensor of one step, `[batch, features]`.
        states: List `[y, c]` of the step before, each `[batch, units]`.
        training: Boolean, whether masks are drawn. The masks that last for a sequence are kept until
            `reset_dropout_mask()` and `reset_recurrent_dropout_mask()`, which `keras.layers.RNN` calls after a
            sequence.

    Returns:
        `(y, [y, c])`.

    Raises:
        TypeError: `units` is not an integer, or an input is not of a floating-point type.
        ValueError: any other argument is wrong; the sentence names it.
        RuntimeError: a quantized cell is asked to train.
    """

    def __init__(
        self,
        units: int,
        use_bias: bool = True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        threshold_initializer=None,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        threshold_constraint=None,
        threshold_trainable: bool = False,
        shared_threshold: bool = False,
        reset: str = "threshold",
        reset_after: bool = True,
        surrogate=None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        output_dropout: float = 0.0,
        dropconnect: float = 0.0,
        zoneout: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        units = checked_units(units)
        if reset not in RESETS:
            raise ValueError(f"`reset` must be one of {RESETS}, received {reset!r}.")
        super().__init__(**kwargs)
        self.units = units
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.threshold_initializer = (
            Beta(0.05) if threshold_initializer is None else initializers.get(threshold_initializer)
        )
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.threshold_constraint = (
            OpenUnitInterval() if threshold_constraint is None else constraints.get(threshold_constraint)
        )
        self.threshold_trainable = threshold_trainable
        self.shared_threshold = shared_threshold
        self.reset = reset
        self.reset_after = reset_after
        self.surrogate = Triangular(width=0.1) if surrogate is None else surrogates.get(surrogate)
        self.dropout = _rate("dropout", dropout)
        self.recurrent_dropout = _rate("recurrent_dropout", recurrent_dropout)
        self.output_dropout = _rate("output_dropout", output_dropout)
        self.dropconnect = _rate("dropconnect", dropconnect)
        self.zoneout = _rate("zoneout", zoneout)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed=seed)
        self.recurrent_scale = None  # until the cell is quantized

        self.state_size = [self.units, self.units]
        self.output_size = self.units
        self._output_dropout_mask = None
        self._dropconnect_mask = None
        # Of pruned kernels: variables of zeros and ones, or None. Where one is zero so is the weight, without gradient.
        self.kernel_mask = None
        self.recurrent_mask = None

    def __setattr__(self, name, value):
        if name in ("kernel_mask", "recurrent_mask"):
            # Keras would save them with the cell, and they are another's: the pruning wrapper's.
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def step_dtype(self) -> str:
        """The type in which the step is computed: events come of a comparison, which half precision would blur."""
        return step_dtype(self)

    def build(self, input_shape):
        features = input_shape[-1]
        if features is None:
            raise ValueError(
                f"The last dimension of the inputs of '{self.name}' must be known, received {input_shape}."
            )
        # autocast=False: the step wants the variables in their own precision, whatever the compute type.
        self.kernel = self.add_weight(
            shape=(features, 3 * self.units),
            name="kernel",
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            autocast=False,
        )
        if self.quantization_mode is None:
            self.recurrent_kernel = self.add_weight(
                shape=(self.units, 3 * self.units),
                name="recurrent_kernel",
                initializer=self.recurrent_initializer,
                regularizer=self.recurrent_regularizer,
                constraint=self.recurrent_constraint,
                autocast=False,
            )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(2, 3 * self.units) if self.reset_after else (3 * self.units,),
                name="bias",
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
                autocast=False,
            )
        self.threshold = self.add_weight(
            shape=(1,) if self.shared_threshold else (self.units,),
            name="threshold",
            initializer=_drawn_inside_unit_interval(self.threshold_initializer),
            constraint=self.threshold_constraint,
            trainable=self.threshold_trainable,
            autocast=False,
        )
        if self.quantization_mode is not None:
            # Last, as in a cell that is quantized after it was built: files hold weights by their order.
            quantization.build(self, self.quantization_mode)
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={-1: features})

    def quantize(self, mode=None, type_check=True, config=None):
        """Holds the recurrent kernel as int8, with one scale a column (`recurrent_scale`), for inference."""
        if type_check and type(self) is not EGRUCell:
            raise self._not_implemented_error(self.quantize)
        quantization.quantize(self, mode, config)

    def _int8_call(self, *args, **kwargs):
        return self.call(*args, **kwargs)

    def step_weights(self):
        """`(kernel, recurrent_kernel, bias, threshold)` as tensors of `step_dtype`; `bias` is None without one.

        A quantized `recurrent_kernel` stays int8, and `recurrent_scale` belongs to it.
        """

        def as_tensor(variable):
            if variable is None:
                return None
            tensor = ops.convert_to_tensor(variable)
            return tensor if variable.dtype == "int8" else ops.cast(tensor, self.step_dtype)

        return tuple(as_tensor(weight) for weight in (self.kernel, self.recurrent_kernel, self.bias, self.threshold))

    def weight_masks(self):
        """`(kernel_mask, recurrent_mask)` as tensors of `step_dtype`, or None."""
        masks = (self.kernel_mask, self.recurrent_mask)
        return tuple(None if mask is None else ops.cast(ops.convert_to_tensor(mask), self.step_dtype) for mask in masks)

    def call(self, sequence, states, training=False):
        check_float(sequence, "sequence", self.name)
        self.check_states(states, sequence.shape[0])
        quantization.check_training(self, training)
        x, y, c = (ops.cast(tensor, self.step_dtype) for tensor in (sequence, *states))
        kernel, recurrent_kernel, bias, threshold = self.step_weights()
        recurrent_kernel = quantization.widened(self, recurrent_kernel)
        kernel_mask, recurrent_mask = self.weight_masks()
        kernel, recurrent_kernel = masked(kernel, kernel_mask), masked(recurrent_kernel, recurrent_mask)
        zoneout, recurrent_dropout_mask = self.zoneout or None, None
        if training:
            x = masked(x, self.get_dropout_mask(sequence))
            recurrent_dropout_mask = self.get_recurrent_dropout_mask(y)
            recurrent_kernel = masked(recurrent_kernel, self.get_dropconnect_mask())
            zoneout = self._draw_step_zoneout(c)

        projection = ops.matmul(x, kernel)
        recurrent_bias = None
        if bias is not None:
            projection = projection + (bias[0] if self.reset_after else bias)
        if self.reset_after:
            recurrent_bias = ops.zeros((3 * self.units,), self.step_dtype) if bias is None else bias[1]
        y, c = egru_step(
            projection,
            y,
            c,
            recurrent_kernel,
            recurrent_bias,
            threshold,
            reset=self.reset,
            reset_after=self.reset_after,
            surrogate=self.surrogate,
            zoneout=zoneout,
            recurrent_dropout_mask=recurrent_dropout_mask,
        )
        y, c = quantization.without_gradient(self, (y, c))
        y, c = ops.cast(y, self.compute_dtype), ops.cast(c, self.compute_dtype)
        output = masked(y, self.get_output_dropout_mask(y)) if training else y
        return output, [y, c]

    def check_states(self, states, batch) -> None:
        """Raises a ValueError unless `states` is `[y, c]`, each `[batch, units]` (unknown sizes pass)."""
        check_states(states, ("y", "c"), self.units, batch, self.name)

    # `keras.layers.RNN` asks for these two masks before its loop and resets them after it. The masks of the outputs and
    # of the recurrent weights live as long, so they are drawn and reset along with the recurrent one.

    def get_recurrent_dropout_mask(self, step_input):
        """The mask of `y_{t-1}`, `[batch, units]` or None; `step_input` gives the shape."""
        mask = super().get_recurrent_dropout_mask(step_input)
        self.get_output_dropout_mask(step_input)
        if self.built:
            self.get_dropconnect_mask()
        return mask

    def reset_recurrent_dropout_mask(self):
        """Forgets the masks of `y_{t-1}`, of the outputs and of the recurrent weights."""
        super().reset_recurrent_dropout_mask()
        self._output_dropout_mask = None
        self._dropconnect_mask = None

    def get_output_dropout_mask(self, step_output):
        """The mask of the outputs, `[batch, units]` or None; `step_output` gives the shape."""
        if self._output_dropout_mask is None and self.output_dropout > 0:
            self._output_dropout_mask = self._create_dropout_mask(step_output, self.output_dropout)
        return self._output_dropout_mask

    def get_dropconnect_mask(self):
        """The mask of `recurrent_kernel`, 0 or `1 / (1 - dropconnect)`, or None."""
        if self._dropconnect_mask is None and self.dropconnect > 0:
            ones = ops.ones(self.recurrent_kernel.shape, self.step_dtype)
            self._dropconnect_mask = self._create_dropout_mask(ones, self.dropconnect)
        return self._dropconnect_mask

    def draw_zoneout(self, shape):
        """A mask of `shape`: 1 with probability `zoneout`, where `c_{t-1}` is kept, else 0; None without zoneout."""
        if not self.zoneout:
            return None
        draw = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return ops.cast(draw < self.zoneout, self.step_dtype)

    def _draw_step_zoneout(self, c):
        if self.zoneout and keras.backend.backend() == "jax" and is_symbolic(c):
            # A seed that advances inside a JAX loop would leak out of it.
            raise NotImplementedError(
                f"'{self.name}' cannot draw `zoneout` step by step in a traced JAX function: use `keras_egru.EGRU`."
            )
        return self.draw_zoneout(ops.shape(c))

    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, self.units), dtype=self.compute_dtype) for _ in range(2)]

    def get_config(self):
        config = {
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "threshold_initializer": initializers.serialize(self.threshold_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "recurrent_constraint": constraints.serialize(self.recurrent_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
            "threshold_constraint": constraints.serialize(self.threshold_constraint),
            "threshold_trainable": self.threshold_trainable,
            "shared_threshold": self.shared_threshold,
            "reset": self.reset,
            "reset_after": self.reset_after,
            "surrogate": keras.saving.serialize_keras_object(self.surrogate),
            **{name: getattr(self, name) for name in RATES},
            "seed": self.seed,
        }
        return {**super().get_config(), **config}


def masked(tensor, mask):
    """`tensor * mask` in the type of `tensor`; `mask` None leaves it alone."""
    return tensor if mask is None else tensor * ops.cast(mask, tensor.dtype)


def _rate(name, value):
    if not 0.0 <= value < 1.0:
        raise ValueError(f"`{name}` must lie in [0, 1), received {value}.")
    return float(value)


def _drawn_inside_unit_interval(initializer):
    def draw(shape, dtype=None):
        thresholds = initializer(shape, dtype=dtype)
        if not is_symbolic(thresholds):
            values = np.asarray(ops.convert_to_numpy(thresholds))
            if not np.all((values > 0.0) & (values < 1.0)):
                raise ValueError(
                    "`threshold_initializer` must draw thresholds inside (0, 1), "
                    f"received values from {values.min()} to {values.max()}."
                )
        return thresholds

    return draw
