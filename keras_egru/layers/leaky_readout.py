"""The read-out of spiking networks: leaky integrators that never spike, and what is made of their potentials."""

import math

import keras
from keras import constraints, initializers, ops, regularizers

from keras_egru import readouts
from keras_egru.layers import spike_links, time_constants
from keras_egru.layers.input_checks import (
    assert_finite,
    assert_weights_finite,
    check_known_features,
    check_sequences,
    checked_units,
    time_mask,
    validation_is_on,
)
from keras_egru.layers.recording import is_recording, record
from keras_egru.layers.step_tensors import kernel_tensor, step_dtype
from keras_egru.ops import fused_lif
from keras_egru.ops.lif_sequence import IMPLEMENTATIONS, lif_sequence
from keras_egru.ops.lif_step import LIFConstants, LIFState

# Units that never spike, whatever the rest.
INTEGRATORS = LIFConstants("surrogate", False, "subtract", 1.0, 0.0, 0.0, 0, None)


@keras.saving.register_keras_serializable(package="keras_egru")
class LeakyReadout(keras.layers.Layer):
    """Leaky integrators that read spikes out, and a reduction of their potentials over time.

    The units are those of `EventLIF` with a threshold that is never reached. After a layer that spikes with Eventprop
    they hand it gradients of its spikes' times, exact to the order of `dt`, where there is a `tau_syn`.

    Example:

    >>> spikes = (np.random.random((32, 10, 8)) < 0.1).astype("float32")
    >>> keras_egru.LeakyReadout(4)(spikes).shape
    (32, 4)
    >>> keras_egru.LeakyReadout(4, readout=None)(spikes).shape
    (32, 10, 4)

    Args:
        units: Positive integer, the number of units.
        readout: What is returned of the potentials (`keras_egru.readouts`): `"sum"` (their integral), `"sum_exp"`
            (with weights that fall exponentially), `"max"`, `"last"`, `"first_spike"` (the time at which they first
            cross `threshold`), or None: the potentials at every step. Default `"sum"`.
        tau_mem: Time constant of the potentials, in the unit of `dt`: a float, or an initializer that draws one a unit.
            Default 20.
        tau_syn: The same of the currents that spikes cause, or None: spikes jump on the potential. Default None.
        dt: Float, the length of a step. Default 1.
        time_constant: Of the weights of `"sum_exp"`; None for the length of the sequences. Default None.
        threshold: Of `"first_spike"`. Default 1.
        phantom: Of `"first_spike"`, how steeply the time of a unit that does not spike falls with its last potential:
            float of at least 0, in the unit of `dt`; see `keras_egru.readouts.first_spike_time`. Default 1.
        train_time_constants: Boolean, whether `tau_mem` and `tau_syn` are trained, one a unit; they stay above 3 and 1
            steps. Default `False`.
        kernel_initializer: Initializer of `kernel`, `[features, units]`. Default `"glorot_uniform"`.
        kernel_regularizer: Regularizer of `kernel`. Default `None`.
        kernel_constraint: Constraint of `kernel`. Default `None`.
        validate_inputs: Boolean, as in `EventLIF`. Default `False`.
        implementation: `"auto"` (default), `"fused"` or `"reference"`, as in `EventLIF`.
        **kwargs: `name`, `dtype`, `trainable`, `activity_regularizer`.

    Call arguments:
        sequences: Float tensor, `[batch, time, features]`.
        mask: Boolean tensor, `[batch, time]`: where `False` the step is skipped, and left out of the read-out.
        training: Python boolean, as in `EventLIF`.

    Returns:
        `[batch, units]`, or `[batch, time, units]` without a read-out.

    Raises:
        TypeError: `units` is not an integer, or `sequences` is not of a floating-point type.
        ValueError: another argument is wrong, the batch is empty, or the sequences have no step; the sentence says
            which.
        RuntimeError: `implementation="fused"` cannot run here; the sentence says why.
    """

    def __init__(
        self,
        units: int,
        readout: str | None = "sum",
        tau_mem=20.0,
        tau_syn=None,
        dt: float = 1.0,
        time_constant: float | None = None,
        threshold: float = 1.0,
        phantom: float = 1.0,
        train_time_constants: bool = False,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        kernel_constraint=None,
        validate_inputs: bool = False,
        implementation: str = "auto",
        **kwargs,
    ):
        units = checked_units(units)
        if readout is not None:
            readouts.check_readout(readout)
        if time_constant is not None:
            readouts.check_positive("time_constant", time_constant)
        if not math.isfinite(threshold):
            raise ValueError(f"`threshold` must be a finite number, received {threshold}.")
        readouts.check_phantom(phantom)
        if implementation not in IMPLEMENTATIONS:
            raise ValueError(f"`implementation` must be one of {IMPLEMENTATIONS}, received {implementation!r}.")
        super().__init__(**kwargs)
        self.units = units
        self.readout = readout
        self.tau_mem = time_constants.checked("tau_mem", tau_mem)
        self.tau_syn = None if tau_syn is None else time_constants.checked("tau_syn", tau_syn)
        self.dt = time_constants.checked_dt(dt)
        self.time_constant = time_constant
        self.threshold = float(threshold)
        self.phantom = float(phantom)
        self.train_time_constants = train_time_constants
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.validate_inputs = validate_inputs
        self.implementation = implementation
        self.supports_masking = True
        reason = fused_lif.why_not(step_dtype(self), INTEGRATORS)
        if implementation == "fused" and reason is not None:
            raise RuntimeError(f"implementation=\"fused\" of layer '{self.name}' cannot run: {reason}")
        if implementation != "reference" and reason is None:
            self.supports_jit = False  # XLA compiles no custom op
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.kernel_mask = None  # of a pruned kernel, as in `EventLIFCell`

    def __setattr__(self, name, value):
        if name == "kernel_mask":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def __call__(self, sequences, *args, **kwargs):
        # Before Keras converts, builds or computes anything.
        check_sequences(sequences, self.name)
        return super().__call__(sequences, *args, **kwargs)

    def build(self, sequences_shape):
        check_known_features(sequences_shape, self.name)
        self.kernel = self.add_weight(
            shape=(sequences_shape[-1], self.units),
            name="kernel",
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            autocast=False,
        )
        time_constants.add_variables(self)
        self.input_spec = keras.layers.InputSpec(ndim=3, axes={-1: sequences_shape[-1]})

    def call(self, sequences, mask=None, training=False):
        dtype = step_dtype(self)
        if validation_is_on(self.validate_inputs):
            sequences = assert_finite(sequences, "sequences", self.name)
            assert_weights_finite(self, self.name)
        link = spike_links.of(sequences)
        if link is not None and link.gradient == "eventprop" and self.tau_syn is None:
            link = None  # the exact way on goes through a current
        inputs, mask = ops.cast(sequences, dtype), time_mask(mask)
        zeros = ops.zeros((ops.shape(inputs)[0], self.units), dtype)
        v = lif_sequence(
            inputs,
            LIFState(zeros, None if self.tau_syn is None else zeros, zeros, None),
            kernel_tensor(self.kernel, self.kernel_mask, dtype),
            None,
            time_constants.decays_of(self, dtype),
            gradient="surrogate" if link is None else link.gradient,
            spiking=False,
            link=link,
            mask=mask,
            train_decays=self.train_time_constants,
            all_v=True,
            training=bool(training),
            implementation=self.implementation,
        ).v
        if is_recording():
            record(self, inputs, None, v, None, None, mask)
        if self.readout is None:
            return ops.cast(v, self.compute_dtype)
        if mask is not None and self.readout in ("sum", "sum_exp"):
            v = v * ops.cast(mask, dtype)[:, :, None]
        if mask is not None and self.readout == "max":
            # Before the first valid step v is 0, which may be more than it gets to; where none is valid it is all.
            counts = ops.logical_or(mask, ops.logical_not(ops.any(mask, axis=1, keepdims=True)))
            v = ops.where(counts[:, :, None], v, -math.inf)
        result = readouts.read_out(v, self.readout, self.dt, self.time_constant, self.threshold, self.phantom)
        return ops.cast(result, self.compute_dtype)

    def compute_output_shape(self, sequences_shape):
        batch, time, _ = sequences_shape
        return (batch, time, self.units) if self.readout is None else (batch, self.units)

    def compute_mask(self, sequences, mask=None):
        return mask if self.readout is None else None

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "readout": self.readout,
            "tau_mem": time_constants.serialized(self.tau_mem),
            "tau_syn": None if self.tau_syn is None else time_constants.serialized(self.tau_syn),
            "dt": self.dt,
            "time_constant": self.time_constant,
            "threshold": self.threshold,
            "phantom": self.phantom,
            "train_time_constants": self.train_time_constants,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "validate_inputs": self.validate_inputs,
            "implementation": self.implementation,
        }
