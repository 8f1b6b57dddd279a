"""The event-LIF's cell: its weights and one time step."""

import math

import keras
from keras import constraints, initializers, ops, regularizers

from keras_egru import surrogates
from keras_egru.layers import time_constants
from keras_egru.layers.input_checks import check_float, check_states, checked_units
from keras_egru.layers.step_tensors import kernel_tensor, step_dtype
from keras_egru.ops.lif_step import GRADIENTS, RESETS, LIFConstants, LIFState, lif_step, reset_of


@keras.saving.register_keras_serializable(package="keras_egru")
class EventLIFCell(keras.layers.Layer):
    """Cell class of the `EventLIF` layer: one step of leaky integrate-and-fire units (`keras_egru.ops.lif_step`).

    It processes one step; `EventLIF` processes a sequence, and faster. The cell also works in `keras.layers.RNN` and
    stepped by hand. Eventprop goes backwards through the spikes of a whole sequence, so a cell with
    `gradient="eventprop"` steps in inference alone.

    The state is `[y, v]`, then `i` with a synapse, then `wait` with a refractory period: the spikes of the last step,
    the membrane before its reset, the current, and the refractory steps to come. The output is `y`, 0 or 1.

    Example:

    >>> spikes = (np.random.random((32, 10, 8)) < 0.1).astype("float32")
    >>> rnn = keras.layers.RNN(keras_egru.EventLIFCell(4), return_sequences=True)
    >>> rnn(spikes).shape
    (32, 10, 4)

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
        refractory: Float, the time after a spike in which the membrane stays at `v_reset`. Default 0.
        recurrent: Boolean, whether the units see each other's spikes. Default `False`.
        gradient: `"surrogate"` or `"eventprop"`, which needs a `tau_syn`. Default `"surrogate"`.
        surrogate: Derivative of the spikes, a `keras_egru.surrogates.Surrogate`; not for Eventprop. Default `None`:
            `FastSigmoid(slope=100, width=0.2)`.
        train_time_constants: Boolean, whether `tau_mem` and `tau_syn` are trained, one a unit; they stay above 3 and 1
            steps. Default `False`.
        kernel_initializer: Initializer of `kernel`, `[features, units]`. Default `"glorot_uniform"`.
        recurrent_initializer: Initializer of `recurrent_kernel`, `[units, units]`. Default `"orthogonal"`.
        kernel_regularizer: Regularizer of `kernel`. Default `None`.
        recurrent_regularizer: Regularizer of `recurrent_kernel`. Default `None`.
        kernel_constraint: Constraint of `kernel`. Default `None`.
        recurrent_constraint: Constraint of `recurrent_kernel`. Default `None`.

    Call arguments:
        sequence: Float tensor of one step, `[batch, features]`.
        states: List of the state of the step before, each `[batch, units]`.
        training: Boolean.

    Returns:
        `(y, states)`.

    Raises:
        TypeError: `units` is not an integer, or an input is not of a floating-point type.
        ValueError: any other argument is wrong; the sentence names it.
        RuntimeError: `training` with Eventprop.
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
        **kwargs,
    ):
        units = checked_units(units)
        for name, value, allowed in (("reset", reset, RESETS), ("gradient", gradient, GRADIENTS)):
            if value not in allowed:
                raise ValueError(f"`{name}` must be one of {allowed}, received {value!r}.")
        for name, potential in (("threshold", threshold), ("v_reset", v_reset), ("v_rest", v_rest)):
            if not math.isfinite(potential):
                raise ValueError(f"`{name}` must be a finite number, received {potential}.")
        if not threshold > v_reset:
            raise ValueError(f"`threshold` must lie above `v_reset`, received {threshold} and {v_reset}.")
        if not 0.0 <= refractory < math.inf:
            raise ValueError(f"`refractory` must be a time of at least 0, received {refractory}.")
        if gradient == "eventprop" and tau_syn is None:
            raise ValueError(
                '`tau_syn` must be given with gradient="eventprop", received None: spikes that jump on the membrane '
                "cross the threshold with no slope."
            )
        if gradient == "eventprop" and surrogate is not None:
            raise ValueError(f'`surrogate` has no use with gradient="eventprop", received {surrogate!r}.')
        super().__init__(**kwargs)
        self.units = units
        self.tau_mem = time_constants.checked("tau_mem", tau_mem)
        self.tau_syn = None if tau_syn is None else time_constants.checked("tau_syn", tau_syn)
        self.dt = time_constants.checked_dt(dt)
        self.threshold = float(threshold)
        self.v_reset = float(v_reset)
        self.v_rest = float(v_rest)
        self.reset = reset
        self.refractory = float(refractory)
        self.recurrent = recurrent
        self.gradient = gradient
        self.surrogate = surrogates.FastSigmoid() if surrogate is None else surrogates.get(surrogate)
        self.train_time_constants = train_time_constants
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.recurrent_constraint = constraints.get(recurrent_constraint)
        self.refractory_steps = round(self.refractory / self.dt)
        self.state_size = [self.units] * (2 + (tau_syn is not None) + (self.refractory_steps > 0))
        self.output_size = self.units
        self.recurrent_kernel = None
        # Of pruned kernels: variables of zeros and ones, or None. Where one is zero so is the weight, without gradient.
        self.kernel_mask = None
        self.recurrent_mask = None

    def __setattr__(self, name, value):
        if name in ("kernel_mask", "recurrent_mask"):
            # Keras would save them with the cell, and they are another's: the pruning wrapper's.
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def build(self, input_shape):
        features = input_shape[-1]
        if features is None:
            raise ValueError(
                f"The last dimension of the inputs of '{self.name}' must be known, received {input_shape}."
            )
        # autocast=False: the step wants the variables in their own precision, whatever the compute type.
        self.kernel = self.add_weight(
            shape=(features, self.units),
            name="kernel",
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            autocast=False,
        )
        if self.recurrent:
            self.recurrent_kernel = self.add_weight(
                shape=(self.units, self.units),
                name="recurrent_kernel",
                initializer=self.recurrent_initializer,
                regularizer=self.recurrent_regularizer,
                constraint=self.recurrent_constraint,
                autocast=False,
            )
        time_constants.add_variables(self)
        self.input_spec = keras.layers.InputSpec(ndim=2, axes={-1: features})

    @property
    def step_dtype(self) -> str:
        """The type in which the step is computed."""
        return step_dtype(self)

    @property
    def constants(self) -> LIFConstants:
        """What `keras_egru.ops.lif_step` needs beside weights and state."""
        return LIFConstants(
            self.gradient, True, self.reset, self.threshold, self.v_reset, self.v_rest, self.refractory_steps,
            self.surrogate,
        )  # fmt: skip

    def step_weights(self):
        """`(kernel, recurrent_kernel, Decays)` as tensors of `step_dtype`, without pruned weights."""
        dtype = self.step_dtype
        return (
            kernel_tensor(self.kernel, self.kernel_mask, dtype),
            kernel_tensor(self.recurrent_kernel, self.recurrent_mask, dtype),
            time_constants.decays_of(self, dtype),
        )

    def to_state(self, states) -> LIFState:
        """The `LIFState` of a list of states, in `step_dtype`."""
        y, v, *rest = (ops.cast(state, self.step_dtype) for state in states)
        i = rest.pop(0) if self.tau_syn is not None else None
        return LIFState(v, i, y, rest[0] if rest else None)

    def to_list(self, state) -> list:
        """The list of states of a `LIFState`, in the compute type."""
        present = (state.y, state.v, state.i, state.wait)
        return [ops.cast(tensor, self.compute_dtype) for tensor in present if tensor is not None]

    def call(self, sequence, states, training=False):
        check_float(sequence, "sequence", self.name)
        self.check_states(states, sequence.shape[0])
        if training and self.gradient == "eventprop":
            raise RuntimeError(
                f"'{self.name}' steps in inference alone: Eventprop goes backwards through whole sequences, which "
                "`keras_egru.EventLIF` processes."
            )
        state = self.to_state(states)
        kernel, recurrent_kernel, decay = self.step_weights()
        drive = ops.matmul(ops.cast(sequence, self.step_dtype), kernel)
        u = reset_of(state.v, state.y, self.constants)
        zeros = ops.zeros_like(u)
        state, _, _ = lif_step(drive, None, state, recurrent_kernel, decay, self.constants, u, zeros)
        states = self.to_list(state)
        return states[0], states

    def check_states(self, states, batch) -> None:
        """Raises a ValueError unless `states` are the cell's states, each `[batch, units]` (unknown sizes pass)."""
        names = ["y", "v", *(["i"] if self.tau_syn is not None else []), *(["wait"] if self.refractory_steps else [])]
        check_states(states, names, self.units, batch, self.name)

    def get_initial_state(self, batch_size=None):
        zeros = [ops.zeros((batch_size, self.units), dtype=self.compute_dtype) for _ in self.state_size]
        zeros[1] = zeros[1] + self.v_rest
        return zeros

    def get_config(self):
        config = {
            "units": self.units,
            "tau_mem": time_constants.serialized(self.tau_mem),
            "tau_syn": None if self.tau_syn is None else time_constants.serialized(self.tau_syn),
            "dt": self.dt,
            "threshold": self.threshold,
            "v_reset": self.v_reset,
            "v_rest": self.v_rest,
            "reset": self.reset,
            "refractory": self.refractory,
            "recurrent": self.recurrent,
            "gradient": self.gradient,
            "surrogate": keras.saving.serialize_keras_object(self.surrogate) if self.gradient == "surrogate" else None,
            "train_time_constants": self.train_time_constants,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "recurrent_constraint": constraints.serialize(self.recurrent_constraint),
        }
        return {**super().get_config(), **config}
