"""Recurrent cells as online learning sees them: their states, what a step alone depends on, and the influence."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_egru.layers import EGRU, EGRUCell, ThresholdedRNNCell
from keras_egru.layers.egru_cell import RATES
from keras_egru.layers.step_tensors import kernel_tensor, step_dtype
from keras_egru.ops import (
    egru_influence_terms,
    egru_layout,
    egru_sequence,
    egru_step,
    gru_influence_terms,
    gru_sequence,
    influence_sequence,
    thresholded_influence_terms,
    thresholded_layout,
    thresholded_rnn_sequence,
    thresholded_rnn_step,
)
from keras_egru.ops.influence_sequence import InfluenceTerms, use_fused
from keras_egru.pruning.masked import MASK_ATTRIBUTES

STEPS_AT_ONCE = 32  # of the influence: lists of that many Jacobians are in memory together


def online_cell(layer, order, implementation, masked=None):
    """The `OnlineCell` of a cell, or of a recurrent layer with one.

    Args:
        layer: An `EGRU`, a `keras.layers.GRU`, a `keras.layers.RNN` with one of their cells or a `ThresholdedRNNCell`,
            or such a cell.
        order: None for exact learning, 1 or 2 for SnAp.
        implementation: `"auto"`, `"fused"` or `"reference"`.
        masked: The `Masked` wrapper of the layer, or None.

    Raises:
        ValueError: the layer is of another type, or has an option that online learning does not know.
    """
    cell = getattr(layer, "cell", layer)
    kind = next((kind for kind in (OnlineEGRU, OnlineThresholdedRNN, OnlineGRU) if type(cell) is kind.cell_class), None)
    if kind is None:
        raise ValueError(
            f"Online learning knows EGRU, GRU and the cells EGRUCell, ThresholdedRNNCell and GRUCell, received "
            f"'{layer.name}' "
            f"({type(layer).__name__}{'' if cell is layer else f' of {type(cell).__name__}'})."
        )
    unsupported = [name for name in (*RATES, "quantization_mode") if getattr(cell, name, None)]
    unsupported += [
        name
        for name in ("go_backwards", "stateful", "return_state", "activity_regularizer", "state_regularizer")
        if getattr(layer, name, None)
    ]
    if unsupported:
        raise ValueError(
            f"Online learning does not know `{unsupported[0]}`, and '{layer.name}' has "
            f"{unsupported[0]}={getattr(layer, unsupported[0], None) or getattr(cell, unsupported[0])!r}."
        )
    if kind is OnlineGRU and (cell.activation, cell.recurrent_activation) != OnlineGRU.activations:
        raise ValueError(f"Online learning of a GRU knows tanh and sigmoid, and '{layer.name}' has others.")
    return kind(layer, cell, order, implementation, masked)


class OnlineCell:
    """A cell, the layout of its parameters' influence, and chunks of steps.

    The state is a dictionary of tensors: those of the cell by name, `slope` (the surrogate derivative of the last step,
    where there are events), each `[batch, units]`, and `influence`, as `influence_sequence` returns it; of size zero
    before the first step.

    layer: The layer, or the cell itself.
    cell: The cell.
    names: The names of the cell's states.
    slope: Whether the state holds a `slope`.
    weights: Names of the weights, in the order in which parameters are counted.
    """

    cell_class: type
    names: tuple[str, ...]
    slope = True
    weights: tuple[str, ...]

    def __init__(self, layer, cell, order, implementation, masked):
        self.layer, self.cell, self.masked = layer, cell, masked
        self.order, self.implementation = order, implementation
        self._layout, self._masks = None, None

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of all states but the influence."""
        return (*self.names, "slope") if self.slope else self.names

    @property
    def variables(self) -> list:
        """The cell's weights; None where it has none of a name."""
        return [getattr(self.cell, name) for name in self.weights]

    @property
    def layout(self):
        """The `InfluenceLayout`, of the masks as they were when it was asked for first."""
        if self._layout is None:
            with tf.init_scope():  # out of the graph that `fit` may be tracing
                self._masks = [None if mask is None else ops.convert_to_numpy(mask) for mask in self._mask_variables()]
            trained = [variable is not None and variable.trainable for variable in self.variables]
            self._layout = self._make_layout(int(self.cell.kernel.shape[0]), trained)
        return self._layout

    def forget_layout(self):
        """Makes the next layout be that of the masks as they are then."""
        self._layout = None

    def changed_masks(self):
        """Whether a mask is another than the layout's: a boolean, or a tensor of one in a graph."""
        changed = self.layout is None
        for mask, known in zip(self._mask_variables(), self._masks, strict=True):
            if (mask is None) != (known is None):
                return True
            if mask is not None:
                changed = ops.logical_or(changed, ops.any(ops.not_equal(mask, known)))
        return changed

    def influence_bytes(self, batch) -> int:
        """Memory of the influence of a batch, at most: before and after a step, as both are needed at once."""
        return 2 * batch * self.layout.entries * np.dtype(step_dtype(self.cell)).itemsize

    def initial_state(self, batch) -> dict:
        dtype = step_dtype(self.cell)
        state = {name: ops.zeros((batch, self.cell.units), dtype) for name in self.state_names}
        shape = (batch, self.cell.units, self.layout.parameters) if self._keeps_dense() else (0,)
        return {**state, "influence": ops.zeros(shape, dtype)}

    def forward(self, x, state, mask=None, training=False) -> tuple:
        """The cell's states at every step, each `[batch, time, units]`, the activity first.

        Args:
            x: `[batch, time, features]`.
            state: The state before.
            mask: Bool `[batch, time]`, or None.
            training: Whether a gradient will be taken through it.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `forward`.")

    def influence(self, x, states, state, credit, mask=None, count_nonzero=False):
        """`(gradients, state, counters)` of a chunk of steps.

        Args:
            x: `[batch, time, features]`.
            states: What `forward` returned for it.
            state: The state before.
            credit: `[batch, time, units]`, the gradient of the loss by the events.
            mask: Bool `[batch, time]`, or None.
            count_nonzero: As of `influence_sequence`.

        Returns:
            Gradients of `variables`, None where there is none or it is not trained; the state afterwards; counters.
        """
        terms, slope = self._terms(x, states, state, mask)
        influence, gradient, counters = state["influence"], 0.0, 0
        time = credit.shape[1]
        for start in range(0, time or 1, STEPS_AT_ONCE):
            steps = slice(start, start + STEPS_AT_ONCE) if time else slice(None)
            found = influence_sequence(
                influence, _steps(terms, steps), credit[:, steps], self.layout, count_nonzero=count_nonzero,
                implementation=self.implementation,
            )  # fmt: skip
            influence, gradient, counters = found.influence, gradient + found.gradient, counters + found.counters
        last = {name: values[:, -1] for name, values in zip(self.names, states, strict=True)}
        if self.slope:
            last["slope"] = slope
        return self._split(gradient), {**last, "influence": influence}, counters

    def dense_influence(self, state):
        """The influence on the activity, M of the paper, `[batch, units, parameters]`; zeros where none is kept."""
        passes = self.passes(state)
        kept = np.asarray(state["influence"])
        dense = kept if kept.ndim == 3 else self.layout.dense(kept, passes)
        return passes[:, :, None] * dense

    def _tensors(self):
        masks = dict(zip(("kernel", "recurrent_kernel"), self._mask_variables(), strict=True))
        dtype = step_dtype(self.cell)
        return [
            kernel_tensor(variable, masks.get(name), dtype)
            for name, variable in zip(self.weights, self.variables, strict=True)
        ]

    def _mask_variables(self):
        masks = {id(pair.weight): pair.mask for pair in (self.masked.masks if self.masked else ())}
        return [
            masks.get(id(getattr(self.cell, weight)), getattr(self.cell, attribute, None))
            for weight, attribute in MASK_ATTRIBUTES.items()
        ]

    def _keeps_dense(self):
        return not use_fused(self.implementation, step_dtype(self.cell))

    def _split(self, gradient):
        gradients, at = [], 0
        for variable, size in zip(self.variables, self._sizes(), strict=True):
            part = gradient[at : at + size]
            at += size
            if variable is None or not variable.trainable:
                gradients.append(None)
            elif tuple(variable.shape) == (1,):
                gradients.append(ops.sum(part, keepdims=True))  # a threshold that all units share
            else:
                gradients.append(ops.cast(ops.reshape(part, variable.shape), variable.dtype))
        return gradients

    def _sizes(self):
        """How many parameters each of `variables` counts as: of a threshold one a unit, even where units share it."""
        return [
            0 if variable is None else self.cell.units if name == "threshold" else int(np.prod(variable.shape))
            for name, variable in zip(self.weights, self.variables, strict=True)
        ]


class OnlineEGRU(OnlineCell):
    """An EGRU; `states` are `(y, c)`."""

    cell_class = EGRUCell
    names = ("y", "c")
    weights = ("kernel", "recurrent_kernel", "bias", "threshold")

    def forward(self, x, state, mask=None, training=False):
        kernel, recurrent_kernel, bias, threshold = self._tensors()
        implementation = self.layer.implementation if isinstance(self.layer, EGRU) else "auto"
        y, c, _ = egru_sequence(
            x, state["y"], state["c"], kernel, recurrent_kernel, bias, threshold, mask=mask,
            training=training, implementation=implementation, **self._options(),
        )  # fmt: skip
        return y, c

    def instant(self, x, past):
        """The activity of single steps, `[samples, units]`, from given states: differentiable by `x`."""
        kernel, recurrent_kernel, bias, threshold = self._tensors()
        projection, recurrent_bias = ops.matmul(x, kernel), None
        if bias is not None:
            projection = projection + (bias[0] if self.cell.reset_after else bias)
        if self.cell.reset_after:
            recurrent_bias = ops.zeros_like(projection[0]) if bias is None else bias[1]
        return egru_step(projection, *past, recurrent_kernel, recurrent_bias, threshold, **self._options())[0]

    def passes(self, state):
        """`[batch, units]`: how the activity changes with the internal state."""
        y, c, slope = (np.asarray(state[name]) for name in ("y", "c", "slope"))
        return (y != 0) + c * slope

    def _terms(self, x, states, state, mask):
        kernel, recurrent_kernel, bias, threshold = self._tensors()
        return egru_influence_terms(
            x, *states, state["y"], state["c"], state["slope"], kernel, recurrent_kernel, bias,
            ops.broadcast_to(threshold, (self.cell.units,)), mask=mask, **self._options(),
        )  # fmt: skip

    def _options(self):
        cell = self.cell
        return {"reset": cell.reset, "reset_after": cell.reset_after, "surrogate": cell.surrogate}

    def _make_layout(self, features, trained):
        cell = self.cell
        return egru_layout(
            features, cell.units, reset=cell.reset, reset_after=cell.reset_after, use_bias=cell.use_bias,
            order=self.order, trained=trained, masks=self._masks,
        )  # fmt: skip


class OnlineThresholdedRNN(OnlineCell):
    """A thresholded RNN; `states` are `(y,)`."""

    cell_class = ThresholdedRNNCell
    names = ("y",)
    weights = ("kernel", "recurrent_kernel", "threshold")

    def forward(self, x, state, mask=None, training=False):
        return (thresholded_rnn_sequence(x, state["y"], *self._tensors(), surrogate=self.cell.surrogate, mask=mask),)

    def instant(self, x, past):
        """The activity of single steps, `[samples, units]`, from given states: differentiable by `x`."""
        kernel, recurrent_kernel, threshold = self._tensors()
        return thresholded_rnn_step(
            ops.matmul(x, kernel), *past, recurrent_kernel, threshold, surrogate=self.cell.surrogate
        )[0]

    def passes(self, state):
        """`[batch, units]`: how the activity changes with what enters the unit."""
        return np.asarray(state["slope"])

    def _terms(self, x, states, state, mask):
        return thresholded_influence_terms(
            x, *states, state["y"], state["slope"], *self._tensors(), surrogate=self.cell.surrogate, mask=mask
        )

    def _make_layout(self, features, trained):
        return thresholded_layout(features, self.cell.units, order=self.order, trained=trained, masks=self._masks)


class OnlineGRU(OnlineCell):
    """Keras's GRU, dense; `states` are `(y,)`."""

    cell_class = keras.layers.GRUCell
    names = ("y",)
    slope = False
    weights = ("kernel", "recurrent_kernel", "bias")
    activations = (keras.activations.tanh, keras.activations.sigmoid)

    def forward(self, x, state, mask=None, training=False):
        return (gru_sequence(x, state["y"], *self._tensors(), reset_after=self.cell.reset_after, mask=mask),)

    def instant(self, x, past):
        """The state of single steps, `[samples, units]`, from given states: differentiable by `x`."""
        return gru_sequence(x[:, None], *past, *self._tensors(), reset_after=self.cell.reset_after)[:, 0]

    def passes(self, state):
        """`[batch, units]`: ones, as the state is what is sent."""
        return np.ones_like(state["y"])

    def _terms(self, x, states, state, mask):
        return gru_influence_terms(
            x, *states, state["y"], *self._tensors(), reset_after=self.cell.reset_after, mask=mask
        ), None

    def _make_layout(self, features, trained):
        cell = self.cell
        return egru_layout(
            features, cell.units, reset="threshold", reset_after=cell.reset_after, use_bias=cell.use_bias,
            use_threshold=False, order=self.order, trained=trained, masks=self._masks,
        )  # fmt: skip


def _steps(terms, steps):
    """The terms of some steps: a slice that starts anywhere."""
    stop = None if steps.stop is None else steps.stop + 1
    sliced = {
        name: None if term is None else term[:, steps]
        for name, term in terms._asdict().items()
        if name not in ("kernel", "passes")
    }
    return InfluenceTerms(kernel=terms.kernel, passes=terms.passes[:, slice(steps.start, stop)], **sliced)


def is_recurrent(layer) -> bool:
    """Whether a layer carries something from step to step."""
    return isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)) or hasattr(layer, "cell")
