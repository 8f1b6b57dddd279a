"""Online trainers: exact real-time recurrent learning, and SnAp, which keeps a part of the influence."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from keras.src.backend.common.masking import set_keras_mask

from keras_egru.online.memory import check_memory
from keras_egru.online.network import Network
from keras_egru.online.options import check_backend, check_loss_of_every_step, checked_order, checked_update_every
from keras_egru.online.state_files import read_arrays, write_arrays


class Step(NamedTuple):
    """What a step, or a batch of sequences, gave, before the update that it led to.

    loss: Float, or None where there was no target.
    outputs: Numpy array: of a step `[batch, ...]`, of sequences `[batch, time, ...]`.
    """

    loss: float | None
    outputs: np.ndarray


class RTRL:
    """Trains a recurrent network online by exact real-time recurrent learning (Williams & Zipser 1989).

    The gradient goes forward in time with the state: no step is kept, memory does not grow with the sequence, and the
    weights may change at every step. It equals that of back-propagation through time while they do not. Both
    sparsities are used exactly (Subramoney 2023, "Efficient real time recurrent learning through combined activity and
    parameter sparsity"): rows whose derivative is zero are not multiplied, pruned parameters have no column.

    ```python
    learner = keras_egru.online.RTRL(keras_egru.EGRU(64, return_sequences=True), keras.layers.Dense(10),
                                     optimizer="adam", loss="mse")
    for x, y in stream:                      # [batch, features], [batch, 10]
        loss, outputs = learner.step(x, y)
    ```

    It is exact for the last recurrent layer and all that is above. In a stack, gradients of the recurrent layers below,
    and of trained layers that feed a recurrent one, leave out what goes through the past of a recurrent layer above.

    Args:
        model: A Sequential model, a recurrent layer (`EGRU`, `keras.layers.GRU`, or `keras.layers.RNN` with one of
            their cells or a `ThresholdedRNNCell`) or such a cell. Weights outside of the masks of `keras_egru.pruning`
            stay zero. Layers other than recurrent ones must know one step alone, or be within `TimeDistributed`.
        readout: None, or a layer, model or function of `[samples, units]`, called on every step after `model`.
        optimizer: A Keras optimizer or its name. Default `"adam"`.
        loss: A Keras loss, its name, or a function of `(y_true, y_pred)`; taken of every step. It is averaged over the
            steps of an update.
        update_every: K >= 1, after how many steps with a target the weights change. Default 1. None leaves it to
            `update()`, and updates once at the end of `train_on_batch`.
        memory_limit: Bytes that the influence may take, or None (default) for what is free on this machine.
        measure: Whether nonzero entries of the influence are counted, for `influence_sparsity`; a pass more over it.
            Default `False`.
        implementation: `"auto"` (default) takes the custom op where it can run, `"fused"` insists, `"reference"` is
            dense.

    Raises:
        ValueError: an argument is wrong; the sentence names it.
        RuntimeError: Keras does not use TensorFlow, or `implementation="fused"` cannot run.
    """

    _order: int | None = None

    def __init__(
        self,
        model,
        readout=None,
        *,
        loss,
        optimizer="adam",
        update_every: int | None = 1,
        memory_limit: int | None = None,
        measure: bool = False,
        implementation: str = "auto",
    ):
        check_backend()
        if memory_limit is not None and memory_limit <= 0:
            raise ValueError(f"`memory_limit` must be a positive number of bytes or None, received {memory_limit!r}.")
        self.model, self.readout = model, readout
        self.optimizer = keras.optimizers.get(optimizer)
        self.loss = keras.losses.get(loss)
        if self.loss is None:
            raise ValueError("`loss` must be a Keras loss, its name or a function, received None.")
        self.update_every = checked_update_every(update_every)
        self.memory_limit, self.measure = memory_limit, bool(measure)
        self.network = Network(
            model.layers if isinstance(model, keras.Sequential) else [_layer(model)],
            self._order, implementation, readout,
        )  # fmt: skip
        self._compile()
        self._apply = tf.function(self._update_weights, autograph=False)
        self.reset_state()

    def reset_state(self):
        """Begins a new stream: state and influence are zero, gradients that wait for an update are dropped."""
        self.states = None
        self.batch_size = None
        self.steps = 0
        self._pending, self._pending_steps = None, 0
        self._counters = np.zeros((len(self.network.recurrent), 3), "int64")

    def step(self, x, y=None, sample_weight=None) -> Step:
        """Takes the stream one step further, learns from it where there is a target, and updates when it is time.

        Args:
            x: `[batch, features]`; the same batch at every step of a stream.
            y: The target, as the loss takes it with outputs `[batch, ...]`; None moves on without learning.
            sample_weight: `[batch]`, or None.

        Returns:
            `Step(loss, outputs)`, before the update.

        Raises:
            ValueError: the loss is of whole sequences; or `x` is not finite, or of another batch size or width than at
                the step before; or a mask has changed since; or the influence would not fit in memory.
        """
        if not self.network.every_step:
            raise ValueError(
                f"`step` needs an output at every step, and '{self.network.recurrent[-1].layer.name}' returns its last "
                "one alone: set return_sequences=True."
            )
        x = self._checked(x, "x")
        if self.states is None:
            self._begin(x)
        self._check_stream(x)
        loss, outputs, gradients, self.states, counters = self._compiled(
            x[:, None], self.states, *_steps_of_one(y, sample_weight)
        )
        self.steps += 1
        self._counters += np.asarray(counters)
        if y is not None:
            self._keep(gradients)
            if self.update_every is not None and self._pending_steps >= self.update_every:
                self.update()
        return Step(None if y is None else float(loss), np.asarray(outputs)[:, 0])

    def update(self):
        """Changes the weights by the mean gradient of the steps since the last update; nothing if there were none."""
        if self._pending_steps:
            self._apply([None if g is None else g / self._pending_steps for g in self._pending])
        self._pending, self._pending_steps = None, 0

    def train_on_batch(self, x, y, sample_weight=None, mask=None) -> Step:
        """Learns from whole sequences, each from a state of zero, with an update every `update_every` steps.

        A stream that `step` is in the middle of is not touched.

        Args:
            x: `[batch, time, features]`.
            y: Targets of every step, `[batch, time, ...]`, or of sequences where the last recurrent layer returns its
                last step alone.
            sample_weight: `[batch]` or `[batch, time]`, or None.
            mask: Bool `[batch, time]`, False at steps to leave out; or None.

        Returns:
            `Step(loss, outputs)`, before the updates that they led to; the loss is the mean over steps.
        """
        x, time = self._checked_sequences(x)
        check_loss_of_every_step(self.network, self.update_every)
        states, losses, outputs = self.network.initial_states(len(x)), [], []
        chunk = self.update_every or time
        for start in range(0, time, chunk):
            steps = slice(start, min(start + chunk, time))
            loss, output, gradients, states, counters = self._compiled(
                x[:, steps], states, *self._targets(y, sample_weight, mask, steps)
            )
            self._apply(gradients)
            self._counters += np.asarray(counters)
            losses.append(float(loss) * (steps.stop - steps.start) / time)
            outputs.append(np.asarray(output))
        return Step(sum(losses), outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=1))

    def gradients(self, x, y, sample_weight=None, mask=None) -> list[np.ndarray | None]:
        """The gradient of the loss of whole sequences, for each of `variables`; arguments as of `train_on_batch`."""
        x, _ = self._checked_sequences(x)
        found = self._compiled(x, self.network.initial_states(len(x)), *self._targets(y, sample_weight, mask))
        return [None if gradient is None else np.asarray(gradient) for gradient in found[2]]

    @property
    def variables(self) -> list:
        """The variables that are trained."""
        return self.network.variables

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds on the influence, counted by the op since the stream began; 0 of the reference."""
        return int(self._counters[:, 0].sum())

    @property
    def influence_sparsity(self) -> float | None:
        """Share of zeros in the influence on the activity, over all steps since the stream began and trained columns.

        None without `measure=True`, without the op, or before the first step.
        """
        return self._influence_sparsity(lambda layout: layout.columns)

    @property
    def influence_sparsity_all(self) -> float | None:
        """The same over the columns of all parameters; those of pruned and frozen ones are zero."""
        return self._influence_sparsity(lambda layout: layout.parameters)

    @property
    def influence_bytes(self) -> int:
        """Memory that the influence takes now."""
        return sum(state["influence"].numpy().nbytes for state in self.states or ())

    def influence(self) -> list[np.ndarray]:
        """Of each recurrent layer the influence on the activity, M of the paper, `[batch, units, parameters]`.

        Parameters are counted through kernel, recurrent kernel, bias and threshold.
        """
        return [
            cell.dense_influence(state) for cell, state in zip(self.network.recurrent, self.states or (), strict=False)
        ]

    def get_state(self) -> dict[str, np.ndarray]:
        """All that a stream needs to go on: states, influence, gradients that wait, weights, optimizer."""
        arrays = {"steps": np.asarray(self.steps), "pending_steps": np.asarray(self._pending_steps)}
        arrays["counters"] = self._counters
        for number, state in enumerate(self.states or ()):
            arrays |= {f"state/{number}/{name}": np.asarray(value) for name, value in state.items()}
        for number, gradient in enumerate(self._pending or ()):
            if gradient is not None:
                arrays[f"pending/{number}"] = np.asarray(gradient)
        arrays |= {f"weight/{i}": np.asarray(v) for i, v in enumerate(self._all_variables())}
        arrays |= {f"optimizer/{i}": np.asarray(v) for i, v in enumerate(self.optimizer.variables)}
        return arrays

    def set_state(self, arrays: dict[str, np.ndarray]):
        """Goes on where `get_state` was called, on a learner of the same network.

        Raises:
            ValueError: the arrays belong to another network, or to another optimizer, or the network is not built.
        """
        if not all(cell.cell.built for cell in self.network.recurrent):
            raise ValueError("The network must be built to take a state: give it an Input, or call it once.")
        self.optimizer.build(self.variables)
        variables = {f"weight/{i}": v for i, v in enumerate(self._all_variables())}
        variables |= {f"optimizer/{i}": v for i, v in enumerate(self.optimizer.variables)}
        given = {name for name in arrays if name.startswith(("weight/", "optimizer/"))}
        if given != variables.keys():
            name = sorted(given ^ variables.keys())[0]
            raise ValueError(f"The state belongs to another network or optimizer: they differ in {name}.")
        for name, variable in variables.items():
            if tuple(variable.shape) != arrays[name].shape:
                raise ValueError(
                    f"The state belongs to another network: {name} must have the shape {tuple(variable.shape)}, "
                    f"received {arrays[name].shape}."
                )
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self.reset_state()
        self.steps, self._pending_steps = int(arrays["steps"]), int(arrays["pending_steps"])
        self._counters = np.array(arrays["counters"])
        if "state/0/y" in arrays:
            self.states = [
                {name: tf.constant(arrays[f"state/{i}/{name}"]) for name in (*cell.state_names, "influence")}
                for i, cell in enumerate(self.network.recurrent)
            ]
            self.batch_size = int(self.states[0]["y"].shape[0])
            self._take_masks()
        if self._pending_steps:
            self._pending = [
                tf.constant(arrays[f"pending/{i}"]) if f"pending/{i}" in arrays else None
                for i in range(len(self.variables))
            ]

    def save(self, path):
        """Writes `get_state()` to a file, which is whole at every moment, old or new.

        Raises:
            OSError: the folder is not writable or the disk is full; the file is as it was.
        """
        write_arrays(path, self.get_state())

    def load(self, path):
        """Goes on where `save` was called.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not of `save`, or belongs to another network.
        """
        self.set_state(read_arrays(path))

    def _influence_sparsity(self, columns_of):
        if not self.measure or not self._counters[:, 2].any():
            return None
        layouts = [cell.layout for cell in self.network.recurrent]
        shares = [columns_of(layout) / max(1, layout.columns) for layout in layouts]
        return 1.0 - self._counters[:, 1].sum() / (self._counters[:, 2] @ shares)

    def _advance(self, x, states, y, sample_weight, mask):
        def loss_of(outputs):
            if mask is not None and self.network.every_step:
                set_keras_mask(outputs, mask)  # by which Keras's losses leave out steps
            value = self.loss(y, outputs, sample_weight) if sample_weight is not None else self.loss(y, outputs)
            value = ops.mean(value)  # of a function that returns one a sample
            penalties = [v.regularizer(v) for v in self.variables if getattr(v, "regularizer", None) is not None]
            return sum((ops.cast(penalty, value.dtype) for penalty in penalties), value)

        found = self.network.gradients(x, states, None if y is None else loss_of, mask=mask, count_nonzero=self.measure)
        return found.loss, found.outputs, found.gradients, found.states, found.counters

    def _compile(self):
        self._compiled = tf.function(self._advance, reduce_retracing=True, autograph=False)

    def _take_masks(self):
        """Makes the influence that of the masks as they are now; what was compiled has the layout of others in it."""
        for cell in self.network.recurrent:
            if bool(cell.changed_masks()):
                cell.forget_layout()
                self._compile()

    def _update_weights(self, gradients):
        pairs = [(g, v) for g, v in zip(gradients, self.variables, strict=True) if g is not None]
        self.optimizer.apply_gradients(pairs)

    def _keep(self, gradients):
        if self._pending is None:
            self._pending = list(gradients)
        else:
            self._pending = [
                new if old is None else old if new is None else old + new
                for old, new in zip(self._pending, gradients, strict=True)
            ]
        self._pending_steps += 1

    def _begin(self, x):
        self._build(tuple(x.shape))
        self._take_masks()
        check_memory(self.network, len(x), self.memory_limit)
        self.batch_size = len(x)
        self.states = self.network.initial_states(len(x))

    def _build(self, shape):
        """Builds what is not: of one step, `shape` is `[batch, features]`."""
        for layers, cell in zip(self.network.below, self.network.recurrent, strict=True):
            for layer in layers:
                shape = _built(layer, shape)
            layer = cell.layer if cell.masked is None else cell.masked  # the masks are built with their wrapper
            if not (layer.built and cell.cell.built):
                layer.build((*shape[:1], None, *shape[1:]) if layer is not cell.cell else shape)
                layer.built = cell.layer.built = cell.cell.built = True
            shape = (shape[0], cell.cell.units)
        for layer in self.network.above:
            shape = _built(layer, shape)
        self.optimizer.build(self.variables)

    def _check_stream(self, x):
        if len(x) != self.batch_size:
            raise ValueError(
                f"`x` must have the batch size {self.batch_size} of the stream, received {len(x)}: call "
                "reset_state() to begin another."
            )
        self._check_masks()

    def _check_masks(self):
        for cell in self.network.recurrent:
            if bool(cell.changed_masks()):
                raise ValueError(
                    f"A mask of '{cell.layer.name}' has changed in the middle of a stream, and the influence has no "
                    "column for what is new: call reset_state() after a change of masks."
                )

    def _checked(self, x, name):
        x = np.asarray(x)
        if x.ndim < 1 or x.shape[0] == 0:
            raise ValueError(f"`{name}` must hold a sample at least, received the shape {x.shape}.")
        if x.dtype == np.float64 and keras.config.floatx() != "float64" and not self._computes_in_float64():
            x = x.astype("float32")
        if np.issubdtype(x.dtype, np.floating) and not np.all(np.isfinite(x)):
            raise ValueError(f"`{name}` must be finite, and has NaN or infinite entries.")
        return tf.constant(x)

    def _computes_in_float64(self):
        return any(cell.cell.compute_dtype == "float64" for cell in self.network.recurrent)

    def _checked_sequences(self, x):
        x = self._checked(x, "x")
        if len(x.shape) < 2 or x.shape[1] == 0:
            raise ValueError(f"`x` must have the shape [batch, time, ...], received {tuple(x.shape)}.")
        self._build((x.shape[0], *x.shape[2:]))
        if self.states is None:
            self._take_masks()
        else:
            self._check_masks()
        check_memory(self.network, len(x), self.memory_limit)
        return x, int(x.shape[1])

    def _targets(self, y, sample_weight, mask, steps=slice(None)):
        per_step = self.network.every_step
        y = tf.convert_to_tensor(y)
        if sample_weight is not None:
            sample_weight = tf.convert_to_tensor(sample_weight)
            if per_step and len(sample_weight.shape) == 1:
                sample_weight = tf.repeat(sample_weight[:, None], y.shape[1], axis=1)
        mask = None if mask is None else tf.cast(mask, tf.bool)[:, steps]
        if per_step:
            y, sample_weight = y[:, steps], None if sample_weight is None else sample_weight[:, steps]
        return y, sample_weight, mask

    def _all_variables(self):
        found: list = []
        for part in (self.model, self.readout):
            found += [v for v in getattr(part, "variables", ()) if all(v is not other for other in found)]
        return found


class SnAp(RTRL):
    """Trains online with a sparse approximation of the influence (Menick et al. 2020, "Practical real time recurrent
    learning with a sparse approximation").

    SnAp-1 keeps the influence of a parameter on the units that it acts upon at once, SnAp-2 also that on units one step
    further. It takes less memory and time than `RTRL`, and its gradient is biased.

    Args:
        model: As of `RTRL`.
        readout: As of `RTRL`.
        order: 1 (default) or 2.
        **options: As of `RTRL`.

    Raises:
        ValueError: `order` is neither 1 nor 2, or another argument is wrong.
    """

    def __init__(self, model, readout=None, order: int = 1, **options):
        self._order = checked_order(order)
        super().__init__(model, readout, **options)


def _layer(model):
    if isinstance(model, keras.Model):
        raise ValueError(
            f"`model` must be a Sequential model, a recurrent layer or a cell, received '{model.name}' "
            f"({type(model).__name__})."
        )
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(f"`model` must be a Sequential model, a recurrent layer or a cell, received {model!r}.")
    return model


def _built(layer, shape):
    if not isinstance(layer, keras.layers.Layer):
        return shape
    if not layer.built:
        layer.build(shape)
    return tuple(layer.compute_output_shape(shape))


def _steps_of_one(y, sample_weight) -> tuple[Any, Any, None]:
    """Targets and weights `[batch, ...]` as those of sequences of one step."""
    y = None if y is None else tf.convert_to_tensor(np.asarray(y))[:, None]
    weight = None if sample_weight is None else tf.convert_to_tensor(np.asarray(sample_weight))[:, None]
    return y, weight, None
