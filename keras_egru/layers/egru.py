"""The EGRU layer: `EGRUCell` over a sequence, on the custom op where it can run."""

import keras
from keras import ops, regularizers
from keras.src.backend import get_keras_mask

from keras_egru.layers import quantization
from keras_egru.layers.egru_cell import EGRUCell, masked
from keras_egru.layers.input_checks import (
    assert_finite,
    check_known_features,
    check_sequences,
    time_mask,
    validation_is_on,
)
from keras_egru.layers.recording import is_recording, record
from keras_egru.ops import checkpointed, fused_egru
from keras_egru.ops.egru_sequence import IMPLEMENTATIONS, egru_sequence


def _of_cell(name):
    return property(lambda self: getattr(self.cell, name), doc=f"`{name}` of the cell.")


@keras.saving.register_keras_serializable(package="keras_egru")
class EGRU(keras.layers.RNN):
    """Event-based Gated Recurrent Unit - Subramoney et al. 2023 (Eq. 1-4).

    A GRU whose units speak only when their internal state `c` exceeds a threshold: the output `y` is `c` at such an
    event and zero elsewhere. Both are state, so `return_state`, `initial_state` and `stateful` deal in `[y, c]`.
    `keras_egru.ops.egru_step` has the equations.

    The fast path is a custom TensorFlow op whose products, forward and backward, touch only what is active: silent
    units cost them nothing. Its values and gradients equal the reference's to rounding. The requirements to use it:

    1. The backend is TensorFlow and the op's library loads.
    2. `recurrent_dropout` == 0 (`dropout`, `output_dropout`, `dropconnect` and `zoneout` are all possible).
    3. `surrogate` is a `keras_egru.surrogates.Triangular`.

    A layer that takes the fast path, or has `checkpoint_steps`, is left out of XLA compilation.

    `quantize("int8")`, of the layer or of a model, is for inference: it holds the recurrent kernel as int8, with one
    scale a column (largest magnitude / 127, rounded to nearest), and frees the floats. The recurrent kernel is what a
    step streams from memory; the rest is read once a sequence or is small, and stays float, as do the events. The fast
    path reads the integers as they are; elsewhere they are widened at every call. A quantized layer is saved and loaded
    as such. It refuses `training=True` and gradients. Quantize after training, and compile XLA functions anew.

    Example:

    >>> inputs = np.random.random((32, 10, 8)).astype("float32")
    >>> egru = keras_egru.EGRU(4)
    >>> egru(inputs).shape
    (32, 4)
    >>> egru = keras_egru.EGRU(4, return_sequences=True, return_state=True)
    >>> events, last_y, last_c = egru(inputs)
    >>> events.shape
    (32, 10, 4)
    >>> last_c.shape
    (32, 4)

    Thresholds stay as they are drawn, most of them near zero, and the surrogate is narrow: of what was tried, the form
    that learns fastest (`docs/training.md`), with a learning rate about three times a GRU's and a clip norm of 1. The
    paper trains its thresholds and has a wider surrogate: `threshold_trainable=True, surrogate=Triangular(0.7, 1.0)`.
    Thresholds that are trained often want a smaller learning rate than weights:

    ```python
    slow = keras.optimizers.OptimizerMap(keras.optimizers.Adam(1e-2), {".*/threshold": keras.optimizers.Adam(1e-4)})
    model.compile(optimizer=keras.optimizers.MultiOptimizer(slow), loss="mse")
    ```

    Args:
        units: Positive integer, dimensionality of the output space.
        use_bias: Boolean, (default `True`), whether the layer uses a bias vector.
        kernel_initializer: Initializer for `kernel`, `[features, 3 units]`, gates in the order u, r, z.
            Default: `"glorot_uniform"`.
        recurrent_initializer: Initializer for `recurrent_kernel`, `[units, 3 units]`. Default: `"orthogonal"`.
        bias_initializer: Initializer for `bias`, `[2, 3 units]` (input, recurrent) with `reset_after`, else
            `[3 units]`. Default: `"zeros"`.
        threshold_initializer: Initializer for `threshold`, `[units]`; what it draws must lie inside (0, 1).
            Default: `None`, `keras_egru.initializers.Beta(0.05)`.
        kernel_regularizer: Regularizer function applied to `kernel`. Default: `None`.
        recurrent_regularizer: Regularizer function applied to `recurrent_kernel`. Default: `None`.
        bias_regularizer: Regularizer function applied to `bias`. Default: `None`.
        activity_regularizer: Regularizer function applied to the output of the layer. Default: `None`.
        kernel_constraint: Constraint function applied to `kernel`. Default: `None`.
        recurrent_constraint: Constraint function applied to `recurrent_kernel`. Default: `None`.
        bias_constraint: Constraint function applied to `bias`. Default: `None`.
        threshold_constraint: Constraint function applied to `threshold`.
            Default: `None`, `keras_egru.constraints.OpenUnitInterval()`.
        threshold_trainable: Boolean (default `False`), whether thresholds are trained.
        shared_threshold: Boolean (default `False`), one threshold, `[1]`, for all units: the paper's ablation.
        reset: What an event takes from `c`: `"threshold"` (default, the authors' code), `"subtract"` (the paper's
            Eq. 2) or `"zero"`.
        reset_after: GRU convention. `True` (default, as in `keras.layers.GRU` and in the authors' code): the gate r
            multiplies after the recurrent product; `False`: before, as in the paper.
        surrogate: Derivative of the event function in training, a `keras_egru.surrogates.Surrogate`.
            Default: `None`, `Triangular(height=0.7, width=0.1)`.
        dropout: Float in [0, 1). Fraction of the inputs to drop, one mask a sequence. Default: 0.
        recurrent_dropout: Float in [0, 1). Fraction of `y_{t-1}` to drop in the recurrent product, one mask a sequence.
            Rules the fast path out. Default: 0.
        output_dropout: Float in [0, 1). Fraction of the outputs to drop, one mask a sequence; what recurs and what
            `return_state` returns is left alone. Default: 0.
        dropconnect: Float in [0, 1). Fraction of `recurrent_kernel` to drop, one mask a batch (Wan et al. 2013,
            Merity et al. 2018). Default: 0.
        zoneout: Float in [0, 1). Probability that a unit keeps its `c_{t-1}` at a step (Krueger et al. 2017): drawn at
            every entry in training, its expected value in inference. It acts before the event function. Default: 0.
        state_regularizer: Callable `(c, threshold, surrogate, mask) -> scalar`, added to the losses of every call;
            `c` is `[batch, time, units]`, `mask` is `[batch, time]` or `None`. To save the layer it must be
            serializable by Keras. Default: `None`.
        seed: Integer or `None`, random seed of the masks.
        validate_inputs: Boolean (default `False`), whether NaN and Inf in the sequences and the initial state raise an
            error that names them. The environment variable `KERAS_EGRU_VALIDATE=1` asks for it in every layer.
        implementation: `"auto"` (default) takes the fast path where it can run; it multiplies densely where the density
            that it counts makes that faster. `"fused"` insists on the fast path, `"dense"` on the fast path with dense
            products alone, to measure against, `"reference"` on plain `keras.ops`.
        return_sequences: Boolean. Whether to return the last output in the output sequence, or the full sequence.
            Default: `False`.
        return_state: Boolean. Whether to return the last state, `y` and `c`, in addition to the output.
            Default: `False`.
        go_backwards: Boolean (default `False`). If `True`, process the input sequence backwards and return the reversed
            sequence.
        stateful: Boolean (default `False`). If `True`, the last state for each sample at index i in a batch will be
            used as initial state for the sample of index i in the following batch.
        unroll: Boolean (default `False`). Whether the reference unrolls its loop; the fast path and the segments of
            `checkpoint_steps` have no loop to unroll.
        checkpoint_steps: Integer K >= 1 or `None` (default), saves memory in training: the backward pass keeps `y` and
            `c` before every K-th step only and computes the steps in between again, a second forward pass. The
            gradients are the same. The memory is that of K steps plus that of `timesteps / K` states: least, and
            growing as `sqrt(timesteps)`, with K near `sqrt(timesteps)`. What stays of the size of the sequences: the
            inputs and their gradient, `y` with `return_sequences`, `c` with a `state_regularizer`, both inside
            `record_states`, and the draws of `zoneout`. TensorFlow only; other backends raise an error in training.
        **kwargs: `name`, `dtype`, `trainable` and `zero_output_for_mask`: `False` (default) repeats the last valid
            output at masked steps, `True` puts zeros there.

    Call arguments:
        sequences: A 3D float tensor, with shape `(batch, timesteps, features)`. Zeros in it cost nothing
            on the fast path.
        initial_state: List `[y, c]` of tensors with shape `(batch, units)`. Default: `None`, zeros.
        mask: Boolean tensor of shape `(batch, timesteps)`. Where `False`, the step is skipped and the state carried
            over. Default: `None`.
        training: Python boolean, whether the dropout, DropConnect and zoneout masks are drawn. Default: `False`.

    Raises:
        TypeError: `units` is not an integer, or `sequences` is not of a floating-point type.
        ValueError: another argument is wrong, the batch is empty, or the sequences have no step; the sentence says
            which.
        RuntimeError: `implementation="fused"` or `"dense"`, or `checkpoint_steps` in training, cannot run here; the
            sentence says why. Or a quantized layer is asked to train.
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
        activity_regularizer=None,
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
        state_regularizer=None,
        seed: int | None = None,
        validate_inputs: bool = False,
        implementation: str = "auto",
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        checkpoint_steps: int | None = None,
        **kwargs,
    ):
        if implementation not in IMPLEMENTATIONS:
            raise ValueError(f"`implementation` must be one of {IMPLEMENTATIONS}, received {implementation!r}.")
        if isinstance(state_regularizer, dict):
            state_regularizer = keras.saving.deserialize_keras_object(state_regularizer)
        if state_regularizer is not None and not callable(state_regularizer):
            raise TypeError(
                "`state_regularizer` must be a callable (c, threshold, surrogate, mask) -> scalar, "
                f"received {state_regularizer!r}."
            )
        cell = EGRUCell(
            units,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            threshold_initializer=threshold_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            bias_constraint=bias_constraint,
            threshold_constraint=threshold_constraint,
            threshold_trainable=threshold_trainable,
            shared_threshold=shared_threshold,
            reset=reset,
            reset_after=reset_after,
            surrogate=surrogate,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            output_dropout=output_dropout,
            dropconnect=dropconnect,
            zoneout=zoneout,
            seed=seed,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="egru_cell",
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.state_regularizer = state_regularizer
        self.validate_inputs = validate_inputs
        self.implementation = implementation
        self.checkpoint_steps = checkpointed.checked_steps(checkpoint_steps)
        reason = self._why_not_fused()
        if implementation in ("fused", "dense") and reason is not None:
            raise RuntimeError(f"implementation=\"{implementation}\" of layer '{self.name}' cannot run: {reason}")
        recomputes = checkpoint_steps is not None and keras.backend.backend() == "tensorflow"
        if reason is None or recomputes:
            # XLA compiles no custom op, and no segments of unequal lengths.
            self.supports_jit = False

    def _why_not_fused(self):
        """Why the fast path is not taken: a sentence, or None when it is."""
        if self.implementation == "reference":
            return 'implementation="reference" was asked for.'
        if self.recurrent_dropout:
            if self.implementation != "auto":
                raise ValueError(
                    f'`recurrent_dropout` must be 0 with implementation="{self.implementation}", '
                    f"received {self.recurrent_dropout}."
                )
            return "`recurrent_dropout` needs the reference."
        return fused_egru.why_not(self.cell.step_dtype, self.surrogate, None)

    def __call__(self, sequences, *args, **kwargs):
        # Before Keras converts, builds or computes anything.
        check_sequences(sequences, self.name)
        return super().__call__(sequences, *args, **kwargs)

    def build(self, sequences_shape, initial_state_shape=None):
        check_known_features(sequences_shape, self.name)
        super().build(sequences_shape, initial_state_shape)
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: sequences_shape[-1]})

    def call(self, sequences, initial_state=None, mask=None, training=False):
        if mask is None:
            # Keras passes the mask of `sequences` on only where no initial state is given.
            mask = get_keras_mask(sequences)
        if initial_state is not None:
            self.cell.check_states(initial_state, sequences.shape[0])
        if validation_is_on(self.validate_inputs):
            sequences = assert_finite(sequences, "sequences", self.name)
            if initial_state is not None:
                initial_state = [assert_finite(state, "initial_state", self.name) for state in initial_state]
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        cell = self.cell
        quantization.check_training(self, training)
        inputs, y, c = (ops.cast(tensor, cell.step_dtype) for tensor in (sequences, *initial_state))
        mask = time_mask(mask)
        if self.go_backwards:
            inputs = ops.flip(inputs, axis=1)
            mask = None if mask is None else ops.flip(mask, axis=1)
        kernel, recurrent_kernel, bias, threshold = cell.step_weights()
        kernel_mask, recurrent_mask = cell.weight_masks()
        zoneout = cell.zoneout or None
        recurrent_dropout_mask = output_dropout_mask = None
        if training:
            inputs_mask = cell.get_dropout_mask(inputs[:, 0, :])
            if inputs_mask is not None:
                inputs = masked(inputs, inputs_mask[:, None, :])
            recurrent_dropout_mask = cell.get_recurrent_dropout_mask(y)
            output_dropout_mask = cell.get_output_dropout_mask(y)
            recurrent_kernel = masked(recurrent_kernel, cell.get_dropconnect_mask())
            zoneout = cell.draw_zoneout((*ops.shape(inputs)[:2], cell.units))
            self._maybe_reset_dropout_masks(cell)

        y, c, _ = egru_sequence(
            inputs,
            y,
            c,
            kernel,
            recurrent_kernel,
            bias,
            threshold,
            recurrent_scale=cell.recurrent_scale,
            kernel_mask=kernel_mask,
            recurrent_mask=recurrent_mask,
            reset=cell.reset,
            reset_after=cell.reset_after,
            surrogate=cell.surrogate,
            mask=mask,
            zoneout=zoneout,
            recurrent_dropout_mask=recurrent_dropout_mask,
            training=bool(training),
            unroll=self.unroll,
            checkpoint_steps=self.checkpoint_steps,
            keep=self._kept_states(),
            implementation="reference" if cell.recurrent_dropout else self.implementation,
        )
        record(self, inputs, y, c, threshold, cell.surrogate, mask)
        if self.state_regularizer is not None:
            self.add_loss(self.state_regularizer(c, threshold, cell.surrogate, mask))

        outputs = self._outputs_at_masked_steps(y, mask)
        if output_dropout_mask is not None:
            outputs = masked(outputs, output_dropout_mask[:, None, :])
        return outputs[:, -1], outputs, [y[:, -1], c[:, -1]]

    def quantize(self, mode=None, type_check=True, config=None):
        """Holds the recurrent kernel as int8, for inference; `EGRUCell.quantize`, which a model's `quantize` calls."""
        if type_check and type(self) is not EGRU:
            raise self._not_implemented_error(self.quantize)
        self.cell.quantize(mode, type_check=type_check, config=config)

    @property
    def quantization_mode(self):
        """`"int8"` or None: the cell's."""
        return self.cell.quantization_mode

    def _int8_call(self, *args, **kwargs):
        return self.call(*args, **kwargs)

    def _kept_states(self):
        """Those of `"y"` and `"c"` that are needed at every step, not at the last one alone."""
        wanted = {"y": self.return_sequences, "c": self.state_regularizer is not None}
        return tuple(name for name in wanted if wanted[name] or is_recording())

    def _outputs_at_masked_steps(self, y, mask):
        """The outputs as `keras.layers.RNN` defines them, which at masked steps are not the carried state.

        Before the first valid step the output is zero, even if the initial `y` is not. `y` may be the last step alone.
        """
        if mask is None:
            return y
        visible = mask if self.zero_output_for_mask else ops.cumsum(ops.cast(mask, "int32"), axis=1) > 0
        if y.shape[1] == 1:
            visible = visible[:, -1:]
        return ops.where(visible[:, :, None], y, 0.0)

    def _maybe_config_dropout_masks(self, cell, input_sequence, input_state):
        """`inner_loop` draws the masks itself, and only in training: one for `recurrent_kernel` is not cheap."""

    units = _of_cell("units")
    use_bias = _of_cell("use_bias")
    kernel_initializer = _of_cell("kernel_initializer")
    recurrent_initializer = _of_cell("recurrent_initializer")
    bias_initializer = _of_cell("bias_initializer")
    threshold_initializer = _of_cell("threshold_initializer")
    kernel_regularizer = _of_cell("kernel_regularizer")
    recurrent_regularizer = _of_cell("recurrent_regularizer")
    bias_regularizer = _of_cell("bias_regularizer")
    kernel_constraint = _of_cell("kernel_constraint")
    recurrent_constraint = _of_cell("recurrent_constraint")
    bias_constraint = _of_cell("bias_constraint")
    threshold_constraint = _of_cell("threshold_constraint")
    threshold_trainable = _of_cell("threshold_trainable")
    shared_threshold = _of_cell("shared_threshold")
    reset = _of_cell("reset")
    reset_after = _of_cell("reset_after")
    surrogate = _of_cell("surrogate")
    dropout = _of_cell("dropout")
    recurrent_dropout = _of_cell("recurrent_dropout")
    output_dropout = _of_cell("output_dropout")
    dropconnect = _of_cell("dropconnect")
    zoneout = _of_cell("zoneout")
    seed = _of_cell("seed")
    kernel = _of_cell("kernel")
    recurrent_kernel = _of_cell("recurrent_kernel")
    bias = _of_cell("bias")
    threshold = _of_cell("threshold")

    def get_config(self):
        config = super().get_config()
        del config["cell"]
        cell_config = self.cell.get_config()
        for name in ("name", "trainable"):
            cell_config.pop(name)
        regularizer = self.state_regularizer
        return {
            **config,
            **cell_config,  # its `dtype` says whether the layer is quantized
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "state_regularizer": None if regularizer is None else keras.saving.serialize_keras_object(regularizer),
            "validate_inputs": self.validate_inputs,
            "implementation": self.implementation,
            "checkpoint_steps": self.checkpoint_steps,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)
