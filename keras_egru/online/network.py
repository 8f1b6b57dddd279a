"""A network that learns online: recurrent layers, and between and behind them layers that know one step alone.

The gradient of a loss of step t reaches a recurrent layer through what is above it at that step (`credit`), and its
parameters through their influence, which goes forward in time. So it is exact for the last recurrent layer and all
that is above. Of recurrent layers below, and of trained layers that feed one, the paths that lead through the past of
a recurrent layer above are left out.
"""

from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from keras_egru.online.online_cells import OnlineCell, is_recurrent, online_cell
from keras_egru.pruning.masked import Masked

# Layers of Keras that know one step alone when they are called on `[samples, features]`.
STEPWISE = (
    keras.layers.Dense,
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Softmax,
    keras.layers.LayerNormalization,
    keras.layers.Rescaling,
    keras.layers.Dropout,
    keras.layers.GaussianNoise,
    keras.layers.Embedding,
    keras.layers.Identity,
)


class Gradients(NamedTuple):
    """What a chunk of steps gave.

    loss: Scalar, or None where nothing was asked of the outputs.
    outputs: `[batch, time, ...]`, or `[batch, ...]` where the last recurrent layer returns its last step alone.
    gradients: One for each of `Network.variables`, None where there is none.
    states: Of each recurrent layer, after the chunk.
    counters: `[recurrent layers, 3]` int64, see `keras_egru.ops.Influence`.
    """

    loss: Any
    outputs: Any
    gradients: list
    states: list
    counters: Any


class Network:
    """The recurrent layers of a model and the layers below, between and above them.

    Args:
        layers: Built layers, bottom first; the first recurrent one may be a bare cell.
        order: None for exact learning, 1 or 2 for SnAp.
        implementation: `"auto"`, `"fused"` or `"reference"`.
        readout: None, or a layer, model or function of `[samples, units]`, called after `layers` on each step.

    Raises:
        ValueError: a layer carries something from step to step, or looks at several steps, in a way that is not known
            here; or there is no recurrent layer.
    """

    def __init__(self, layers, order=None, implementation="auto", readout=None):
        self.below: list[list] = [[]]  # the layers that feed each recurrent one
        self.recurrent: list[OnlineCell] = []
        for layer in layers:
            inner = layer.layer if isinstance(layer, Masked) else layer
            if is_recurrent(inner) or hasattr(inner, "get_initial_state"):
                masked = layer if inner is not layer else None
                self.recurrent.append(online_cell(inner, order, implementation, masked))
                self.below.append([])
            elif not isinstance(inner, keras.layers.InputLayer):
                self.below[-1].append(_stepwise(layer))
        if not self.recurrent:
            raise ValueError("Online learning needs a recurrent layer, and the model has none.")
        self.above = self.below.pop()
        if readout is not None:
            self.above.append(readout)
        *inner, last = [getattr(cell.layer, "return_sequences", True) for cell in self.recurrent]
        if not all(inner):
            name = next(cell.layer.name for cell in self.recurrent[:-1] if not cell.layer.return_sequences)
            raise ValueError(f"'{name}' must return sequences, since a recurrent layer follows it.")
        self.every_step = last  # whether there is an output, and so can be a loss, at every step

    @property
    def variables(self) -> list:
        """All trained variables: of the recurrent layers, then of the others, bottom first."""
        recurrent = [v for cell in self.recurrent for v in cell.variables if v is not None and v.trainable]
        others = [v for layers in (*self.below, self.above) for layer in layers for v in _trained(layer)]
        return recurrent + others

    def initial_states(self, batch) -> list[dict]:
        return [cell.initial_state(batch) for cell in self.recurrent]

    def influence_bytes(self, batch) -> int:
        return sum(cell.influence_bytes(batch) for cell in self.recurrent)

    def gradients(self, x, states, loss_of=None, *, mask=None, training=True, count_nonzero=False) -> Gradients:
        """Takes the network through a chunk of steps.

        Args:
            x: `[batch, time, ...]`.
            states: Of each recurrent layer, before the chunk.
            loss_of: Function of the outputs that returns a scalar, or None to move on without learning.
            mask: Bool `[batch, time]`, False at steps that every layer leaves out; or None.
            training: Whether layers are called with `training=True`.
            count_nonzero: Whether nonzero entries of the influence are counted.
        """
        with tf.GradientTape(persistent=True) as tape:
            hidden = x
            passed: list[tuple] = []
            for layers, cell, state in zip(self.below, self.recurrent, states, strict=True):
                hidden = _each_step(layers, hidden, training)
                inputs = ops.cast(hidden, state["y"].dtype)
                with tape.stop_recording():
                    sequences = cell.forward(inputs, state, mask)
                # Within a step, so that a gradient reaches what is below; where nothing is trained there, no call.
                instant = None
                if passed or any(_trained(layer) for layer in layers):
                    instant = _instant(cell, inputs, sequences, state, mask)
                activity = tf.stop_gradient(sequences[0])
                tape.watch(activity)
                passed.append((inputs, sequences, activity, instant))
                hidden = ops.cast(activity, cell.cell.compute_dtype)
            outputs = self._outputs(hidden, training)
            loss = None if loss_of is None else loss_of(outputs)
        if loss is None:
            credits = [ops.zeros_like(activity) for _, _, activity, _ in passed]
            found = {}
        else:
            credits, found = self._backward(tape, loss, passed)
        del tape

        after, counters = [], []
        for cell, state, credit, (inputs, sequences, _, _) in zip(self.recurrent, states, credits, passed, strict=True):
            gradients, following, counted = cell.influence(inputs, sequences, state, credit, mask, count_nonzero)
            after.append(following)
            counters.append(counted)
            for variable, gradient in zip(cell.variables, gradients, strict=True):
                _add(found, variable, gradient)
        return Gradients(loss, outputs, [found.get(id(v)) for v in self.variables], after, ops.stack(counters))

    def through_time(self, x, states, loss_of, *, mask=None, training=True) -> Gradients:
        """The same by back-propagation through the steps of the chunk and no further: truncated, if others came before.

        The influence in `states` is left as it is; there are no counters.
        """
        with tf.GradientTape() as tape:
            hidden, after = x, []
            for layers, cell, state in zip(self.below, self.recurrent, states, strict=True):
                inputs = ops.cast(_each_step(layers, hidden, training), state["y"].dtype)
                sequences = cell.forward(inputs, state, mask, training=True)
                after.append(state | {name: seq[:, -1] for name, seq in zip(cell.names, sequences, strict=True)})
                hidden = ops.cast(sequences[0], cell.cell.compute_dtype)
            outputs = self._outputs(hidden, training)
            loss = loss_of(outputs)
        gradients = tape.gradient(loss, self.variables)
        return Gradients(loss, outputs, gradients, after, tf.zeros([len(after), 3], "int64"))

    def _outputs(self, hidden, training):
        if self.every_step:
            return _each_step(self.above, hidden, training)
        outputs = hidden[:, -1]
        for layer in self.above:
            outputs = _call(layer, outputs, training)
        return outputs

    def _backward(self, tape, loss, passed):
        """The credit of each recurrent layer, and by `id` the gradients that do not come from an influence."""
        found: dict[int, Any] = {}

        def differentiate(target, variables, activity, upstream=None):
            *gradients, credit = tape.gradient(target, [*variables, activity], output_gradients=upstream)
            for variable, gradient in zip(variables, gradients, strict=True):
                _add(found, variable, gradient)
            return ops.zeros_like(activity) if credit is None else credit

        # The loss knows weights of recurrent layers by their regularizers alone.
        credits = [differentiate(loss, self.variables, passed[-1][2])]
        for number in range(len(passed) - 1, -1, -1):
            instant = passed[number][3]
            if instant is not None:
                below = [variable for layer in self.below[number] for variable in _trained(layer)]
                credit = differentiate(instant, below, passed[max(0, number - 1)][2], credits[0])
                credits[:0] = [credit] if number else []
        return credits, found


def _instant(cell, inputs, sequences, state, mask):
    """The activity again, `[batch, time, units]`, each step from a past that is a constant."""
    past = [
        tf.stop_gradient(ops.concatenate([state[name][:, None], values[:, :-1]], axis=1))
        for name, values in zip(cell.names, sequences, strict=True)
    ]
    units = cell.cell.units
    flat = cell.instant(
        ops.reshape(inputs, (-1, inputs.shape[-1])), [ops.reshape(values, (-1, units)) for values in past]
    )
    activity = ops.reshape(flat, ops.shape(past[0]))
    return activity if mask is None else ops.where(mask[:, :, None], activity, past[0])


def _each_step(layers, hidden, training):
    for layer in layers:
        shape = ops.shape(hidden)
        flat = _call(layer, ops.reshape(hidden, (-1, *shape[2:])), training)
        hidden = ops.reshape(flat, (*shape[:2], *ops.shape(flat)[1:]))
    return hidden


def _call(layer, inputs, training):
    if isinstance(layer, keras.layers.Layer) and layer._call_has_training_arg:
        return layer(inputs, training=training)
    return layer(inputs)


def _stepwise(layer):
    inner = layer.layer if isinstance(layer, Masked) else layer
    if isinstance(inner, keras.layers.TimeDistributed):
        return inner.layer
    if type(inner) not in STEPWISE:
        known = ", ".join(kind.__name__ for kind in STEPWISE)
        raise ValueError(
            f"Online learning wants layers that know one step alone, and '{layer.name}' is a {type(inner).__name__}; "
            f"it knows {known}, and any layer within TimeDistributed."
        )
    if getattr(inner, "activity_regularizer", None) is not None:
        raise ValueError(f"Online learning does not know `activity_regularizer`, and '{layer.name}' has one.")
    return layer


def _trained(layer):
    return layer.trainable_variables if isinstance(layer, keras.layers.Layer) else []


def _add(found, variable, gradient):
    if gradient is not None:
        gradient = tf.convert_to_tensor(gradient)  # of an embedding, only some rows come
        known = found.get(id(variable))
        found[id(variable)] = gradient if known is None else known + gradient
