"""The event-LIF layer: `EventLIFCell` over a sequence, on the custom op where it can run, with one of two gradients."""

import keras
from keras import ops, regularizers, tree
from keras.src.backend import get_keras_mask

from keras_egru.layers import spike_links
from keras_egru.layers.event_lif_cell import EventLIFCell
from keras_egru.layers.input_checks import (
    assert_finite,
    assert_weights_finite,
    check_known_features,
    check_sequences,
    time_mask,
    validation_is_on,
)
from keras_egru.layers.recording import is_recording, record
from keras_egru.layers.spike_rate import SpikeRate
from keras_egru.ops import fused_lif
from keras_egru.ops.lif_sequence import IMPLEMENTATIONS, lif_sequence


def _of_cell(name):
    return property(lambda self: getattr(self.cell, name), doc=f"`{name}` of the cell.")


@keras.saving.register_keras_serializable(package="keras_egru")
class EventLIF(keras.layers.RNN):
    """Leaky integrate-and-fire units with one of two sparse gradients.

    Both gradients share the forward pass; `keras_egru.ops.lif_step` has the equations.

    - `gradient="surrogate"`: back-propagation through time with a surrogate derivative of bounded support, which passes
      through membranes near the threshold and nothing else (Perez-Nieves & Goodman 2021), not through the reset.
    - `gradient="eventprop"`: the gradient of the continuous-time network, exact where no spike appears or disappears,
      which passes through the times of spikes alone (Wunderlich & Pehle 2021; Nowotny, Turner & Knight). Spikes lie on
      the grid of steps, so that it is exact to the order of `dt`. It needs a `tau_syn`.

    The fast path is a custom TensorFlow op that reads incoming spikes only, keeps lists of what was active and goes
    backwards through these lists. Its values and gradients equal the reference's to rounding. The requirements to use
    it:

    1. The backend is TensorFlow and the op's library loads.
    2. With a surrogate gradient `surrogate` is a `Triangular`, `FastSigmoid` or `Boxcar` of `keras_egru.surrogates`.

    A layer that takes the fast path is left out of XLA compilation.

    Layers of this package hand spikes on with their lists, so that gradients come back as lists too, and for Eventprop
    as those of spike times. Anything else may follow as well: the gradient of Eventprop's spikes is then taken from how
    the gradient of their amplitude changes from step to step. (What reads no times, such as a count of spikes, gives
    Eventprop none.)

    Example:

    >>> spikes = (np.random.random((32, 10, 8)) < 0.1).astype("float32")
    >>> keras_egru.EventLIF(4, return_sequences=True)(spikes).shape
    (32, 10, 4)
    >>> model = keras.Sequential(
    ...     [
    ...         keras_egru.EventLIF(128, tau_syn=5.0, gradient="eventprop", return_sequences=True),
    ...         keras_egru.LeakyReadout(10, tau_syn=5.0, readout="sum_exp"),
    ...     ]
    ... )
    >>> model(spikes).shape
    (32, 10)

    Args:
        units: Positive integer, the number of units.
        tau_mem: Time constant of the membranes, in the unit of `dt`: a float, or an initializer such as
            `keras_egru.initializers.GammaTimeConstants` that draws one a unit. Default 20.
        tau_syn: The same of the currents that spikes cause, or None: spikes jump on the membrane. Default None.
        dt: Float, the length of a step. Default 1, for steps and time constants in ms.
        threshold: Float above `v_reset`. Default 1.
        v_reset: Float, the membrane after a spike. Default 0.
        v_rest: Float, the membrane without inputs. Default 0.
        reset: `"subtract"` takes `threshold - v_reset` away, `"zero"` goes to `v_reset`. Default `"subtract"`.
        refractory: Float, the time after a spike in which the membrane stays at `v_reset`, rounded to steps. Default 0.
        recurrent: Boolean, whether the units see each other's spikes. Default `False`.
        gradient: `"surrogate"` or `"eventprop"`. Default `"surrogate"`.
        surrogate: Derivative of the spikes, a `keras_egru.surrogates.Surrogate`; not for Eventprop. Default `None`:
            `FastSigmoid(slope=100, width=0.2)`.
        rate_regularizer: A `keras_egru.sparsity.SpikeRate`, for Eventprop, whose gradient a loss of spike counts does
            not reach. Default `None`.
        train_time_constants: Boolean, whether `tau_mem` and `tau_syn` are trained, one a unit; they stay above 3 and 1
            steps. The fast path then runs the forward pass twice. Default `False`.
        kernel_initializer: Initializer of `kernel`, `[features, units]`. Default `"glorot_uniform"`.
        recurrent_initializer: Initializer of `recurrent_kernel`, `[units, units]`. Default `"orthogonal"`.
        kernel_regularizer: Regularizer of `kernel`. Default `None`.
        recurrent_regularizer: Regularizer of `recurrent_kernel`. Default `None`.
        activity_regularizer: Regularizer of the output of the layer. Default `None`.
        kernel_constraint: Constraint of `kernel`. Default `None`.
        recurrent_constraint: Constraint of `recurrent_kernel`. Default `None`.
        validate_inputs: Boolean (default `False`), whether NaN and Inf in the sequences, the initial state and the
            weights raise an error that names them. The environment variable `KERAS_EGRU_VALIDATE=1` asks for it in
            every layer.
        implementation: `"auto"` (default) takes the fast path where it can run; `"fused"` insists on it, `"reference"`
            on plain `keras.ops`.
        return_sequences: Boolean. Whether to return the last output, or the full sequence. Default `False`.
        return_state: Boolean. Whether to return the last state, `y`, `v`, then `i` with a synapse and `wait` with a
            refractory period, in addition to the output. Default `False`.
        return_membrane: Boolean. Whether to return the membranes before their resets beside the spikes, of the same
            shape; not for `keras.layers.Bidirectional`, which turns a single sequence round. Default `False`.
        go_backwards: Boolean (default `False`). If `True`, process the input sequence backwards and return the reversed
            sequence.
        stateful: Boolean (default `False`). If `True`, the last state for each sample at index i in a batch will be
            used as initial state for the sample of index i in the following batch.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        sequences: Float tensor, `[batch, time, features]`: spikes, or any numbers. Zeros in it cost nothing.
        initial_state: List of tensors `[batch, units]`, as `return_state` gives them. Default: `None`, at rest.
        mask: Boolean tensor, `[batch, time]`. Where `False`, the step is skipped: no spikes, and the state is carried
            over. Default: `None`.
        training: Python boolean. In inference the fast path keeps nothing for a gradient; it is still exact where it is
            asked for, but takes another forward pass. Default: `False`.

    Returns:
        The spikes, 0 or 1: `[batch, units]` of the last step that the mask leaves in, or with `return_sequences`
        `[batch, time, units]`; then, if asked for, the membranes and the states.

    Raises:
        TypeError: `units` is not an integer, `rate_regularizer` no `SpikeRate`, or `sequences` not of a floating-point
            type.
        ValueError: another argument is wrong, the batch is empty, or the sequences have no step; the sentence says
            which.
        RuntimeError: `implementation="fused"` cannot run here; the sentence says why.
    """

    def __init__(
        self,
        units: int,
        tau_mem=20.0,
        tau_syn=None,
        dt: float = 1.0,
        threshold: float = 1.0,
        v_reset: float = 0.0,
        v_rest: float = 0.0,
        reset: str = "subtract",
        refractory: float = 0.0,
        recurrent: bool = False,
        gradient: str = "surrogate",
        surrogate=None,
        train_time_constants: bool = False,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        kernel_regularizer=None,
        recurrent_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        rate_regularizer=None,
        activity_regularizer=None,
        validate_inputs: bool = False,
        implementation: str = "auto",
        return_sequences: bool = False,
        return_state: bool = False,
        return_membrane: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        **kwargs,
    ):
        if implementation not in IMPLEMENTATIONS:
            raise ValueError(f"`implementation` must be one of {IMPLEMENTATIONS}, received {implementation!r}.")
        if isinstance(rate_regularizer, dict):
            rate_regularizer = keras.saving.deserialize_keras_object(rate_regularizer)
        if rate_regularizer is not None and not isinstance(rate_regularizer, SpikeRate):
            raise TypeError(
                f"`rate_regularizer` must be a `keras_egru.sparsity.SpikeRate`, received {rate_regularizer!r}."
            )
        if rate_regularizer is not None and gradient != "eventprop":
            raise ValueError(
                f'`rate_regularizer` is for gradient="eventprop", received {rate_regularizer!r} with {gradient!r}; an '
                "`activity_regularizer` such as `keras_egru.sparsity.SpikeCounts` does it here."
            )
        cell = EventLIFCell(
            units,
            tau_mem=tau_mem,
            tau_syn=tau_syn,
            dt=dt,
            threshold=threshold,
            v_reset=v_reset,
            v_rest=v_rest,
            reset=reset,
            refractory=refractory,
            recurrent=recurrent,
            gradient=gradient,
            surrogate=surrogate,
            train_time_constants=train_time_constants,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            kernel_constraint=kernel_constraint,
            recurrent_constraint=recurrent_constraint,
            dtype=kwargs.get("dtype"),
            trainable=kwargs.get("trainable", True),
            name="event_lif_cell",
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.rate_regularizer = rate_regularizer
        self.validate_inputs = validate_inputs
        self.implementation = implementation
        self.return_membrane = return_membrane
        self._membranes = None
        reason = fused_lif.why_not(cell.step_dtype, cell.constants)
        if implementation == "fused" and reason is not None:
            raise RuntimeError(f"implementation=\"fused\" of layer '{self.name}' cannot run: {reason}")
        if implementation != "reference" and reason is None:
            self.supports_jit = False  # XLA compiles no custom op

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
            assert_weights_finite(self.cell, self.name)
            if initial_state is not None:
                initial_state = [assert_finite(state, "initial_state", self.name) for state in initial_state]
        outputs = super().call(sequences, initial_state=initial_state, mask=mask, training=training)
        membranes, self._membranes = self._membranes, None
        if not self.return_membrane:
            return outputs
        if not self.return_sequences:
            membranes = membranes[:, -1]
        membranes = ops.cast(membranes, self.compute_dtype)
        return (outputs[0], membranes, *outputs[1:]) if self.return_state else (outputs, membranes)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        cell = self.cell
        link = spike_links.of(sequences)
        inputs = ops.cast(sequences, cell.step_dtype)
        mask = time_mask(mask)
        if self.go_backwards:
            inputs, link = ops.flip(inputs, axis=1), None
            mask = None if mask is None else ops.flip(mask, axis=1)
        kernel, recurrent_kernel, decay = cell.step_weights()
        rate = self.rate_regularizer
        result = lif_sequence(
            inputs,
            cell.to_state(initial_state),
            kernel,
            recurrent_kernel,
            decay,
            gradient=cell.gradient,
            reset=cell.reset,
            threshold=cell.threshold,
            v_reset=cell.v_reset,
            v_rest=cell.v_rest,
            refractory=cell.refractory_steps,
            surrogate=cell.surrogate,
            link=link,
            mask=mask,
            rate_target=0.0 if rate is None else rate.target,
            rate_strength=0.0 if rate is None else rate.strength * cell.dt,
            train_decays=cell.train_time_constants,
            all_v=is_recording() or (self.return_membrane and self.return_sequences),
            training=bool(training),
            implementation=self.implementation,
        )
        if result.penalty is not None:
            self.add_loss(result.penalty)
        if is_recording():
            threshold = ops.convert_to_tensor([cell.threshold], cell.step_dtype)
            surrogate = cell.surrogate if cell.gradient == "surrogate" else None
            record(self, inputs, result.y, result.v, threshold, surrogate, mask, binary=True)
        if self.return_membrane:
            self._membranes = result.v
        outputs = ops.cast(result.y, self.compute_dtype)
        spike_links.attach(outputs, result.link)
        last = outputs[:, -1] if mask is None or self.return_sequences else _at_last_valid_step(outputs, mask)
        return last, outputs, cell.to_list(result.state)

    def reset_state(self):
        """Puts the states of a stateful layer to rest, which Keras takes to be zero."""
        if self.states is not None:
            rest = self.get_initial_state(self.states[0].shape[0])
            for variable, value in zip(self.states, rest, strict=True):
                variable.assign(value)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        shape = super().compute_output_shape(sequences_shape, initial_state_shape)
        if not self.return_membrane:
            return shape
        return (shape[0], shape[0], *shape[1:]) if self.return_state else (shape, shape)

    def compute_mask(self, sequences, mask=None, **kwargs):
        mask = tree.flatten(mask)[0] if mask is not None else None
        spikes = mask if self.return_sequences else None
        states = [None] * len(self.cell.state_size) if self.return_state else []
        masks = [spikes, *([spikes] if self.return_membrane else []), *states]
        return masks if len(masks) > 1 else spikes

    units = _of_cell("units")
    tau_mem = _of_cell("tau_mem")
    tau_syn = _of_cell("tau_syn")
    dt = _of_cell("dt")
    threshold = _of_cell("threshold")
    v_reset = _of_cell("v_reset")
    v_rest = _of_cell("v_rest")
    reset = _of_cell("reset")
    refractory = _of_cell("refractory")
    recurrent = _of_cell("recurrent")
    gradient = _of_cell("gradient")
    surrogate = _of_cell("surrogate")
    train_time_constants = _of_cell("train_time_constants")
    kernel_initializer = _of_cell("kernel_initializer")
    recurrent_initializer = _of_cell("recurrent_initializer")
    kernel_regularizer = _of_cell("kernel_regularizer")
    recurrent_regularizer = _of_cell("recurrent_regularizer")
    kernel_constraint = _of_cell("kernel_constraint")
    recurrent_constraint = _of_cell("recurrent_constraint")
    kernel = _of_cell("kernel")
    recurrent_kernel = _of_cell("recurrent_kernel")

    def get_config(self):
        config = super().get_config()
        for name in ("cell", "unroll", "zero_output_for_mask"):
            config.pop(name, None)
        cell_config = self.cell.get_config()
        for name in ("name", "trainable"):
            cell_config.pop(name)
        rate = self.rate_regularizer
        return {
            **config,
            **cell_config,
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "rate_regularizer": None if rate is None else keras.saving.serialize_keras_object(rate),
            "validate_inputs": self.validate_inputs,
            "implementation": self.implementation,
            "return_membrane": self.return_membrane,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _at_last_valid_step(spikes, mask):
    """`spikes` `[batch, time, units]` at the last step that is not masked; zero, as at any masked step, without one."""
    steps = ops.arange(ops.shape(mask)[1])
    last = ops.max(ops.where(mask, steps, 0), axis=1)
    return ops.take_along_axis(spikes, last[:, None, None], axis=1)[:, 0]
