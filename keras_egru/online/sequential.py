"""A Sequential model whose `fit` learns by real-time recurrent learning."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_egru.online.learner import check_memory
from keras_egru.online.network import Network

ORDERS = {"rtrl": None, "snap-1": 1, "snap-2": 2}
GRADIENTS = ("bptt", *ORDERS)
COUNTED = ("multiply_adds", "influence_nonzero", "influence_entries", "influence_entries_all")


@keras.saving.register_keras_serializable(package="keras_egru")
class Sequential(keras.Sequential):
    """`keras.Sequential` whose `compile` takes `gradient` and `update_every`.

    ```python
    model = keras_egru.online.Sequential([
        keras.Input((17, 2)),
        keras_egru.EGRU(16, return_sequences=True),
        keras.layers.Dense(2),
    ])
    model.compile("adam", loss, gradient="rtrl", update_every=1)
    model.fit(x, y)                          # y of every step: [batch, time, ...]
    ```

    Every batch holds whole sequences, which begin with a state of zero. Everything else is Keras's: metrics, callbacks,
    validation, saving. What is exact in a stack of recurrent layers: see `RTRL`.
    """

    def compile(
        self,
        *args,
        gradient: str = "bptt",
        update_every: int | None = None,
        measure: bool = False,
        memory_limit: int | None = None,
        **kwargs,
    ):
        """Compiles as `keras.Model.compile` does, with these arguments more:

        Args:
            *args: As of `keras.Model.compile`.
            gradient: `"bptt"` (default, back-propagation through time), `"rtrl"`, `"snap-1"` or `"snap-2"`.
            update_every: K >= 1, after how many steps of a batch the weights change, or None (default) for once, after
                the last. Each update takes the loss of its K steps alone. Not with `"bptt"`.
            measure: Whether the logs of an epoch tell `influence_sparsity`, the share of zeros in the influence on the
                activity over the columns of trained parameters, `influence_sparsity_all`, over those of all parameters,
                and `multiply_adds`, those on the influence, counted by the op. A pass more over the influence.
                Default `False`.
            memory_limit: Bytes that the influence may take, or None (default) for what is free on this machine.
            **kwargs: As of `keras.Model.compile`.

        Raises:
            ValueError: an argument is wrong, or the model has a layer that the gradient does not know.
            RuntimeError: Keras does not use TensorFlow.
        """
        if gradient not in GRADIENTS:
            raise ValueError(f"`gradient` must be one of {GRADIENTS}, received {gradient!r}.")
        if update_every is not None and (
            isinstance(update_every, bool) or not isinstance(update_every, int) or update_every < 1
        ):
            raise ValueError(f"`update_every` must be a positive integer or None, received {update_every!r}.")
        if gradient == "bptt" and update_every is not None:
            raise ValueError('`update_every` does not go with gradient="bptt", which needs the whole sequence.')
        if gradient != "bptt":
            if keras.backend.backend() != "tensorflow":
                raise RuntimeError(
                    f"Online learning needs Keras's TensorFlow backend, received {keras.backend.backend()}."
                )
            if kwargs.get("jit_compile") is True:
                raise ValueError(f'jit_compile=True does not go with gradient="{gradient}".')
            kwargs["jit_compile"] = False
            network = Network(self.layers)
            if update_every is not None and not network.every_step:
                raise ValueError(
                    f"update_every={update_every} needs a loss at every step, and "
                    f"'{network.recurrent[-1].layer.name}' returns its last step alone: set return_sequences=True."
                )
        self._gradient, self._update_every, self._memory_limit = gradient, update_every, memory_limit
        self._network, self._measure = None, bool(measure) and gradient != "bptt"
        super().compile(*args, **kwargs)
        self._counted = [keras.metrics.Sum(name, dtype="float64") for name in COUNTED] if self._measure else []

    def train_step(self, data):
        """One batch: of Keras's own with `"bptt"`, else by the influence."""
        if self._gradient == "bptt":
            return super().train_step(data)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        time = x.shape[1]
        if self._network is None:
            self._network = _Untracked(Network(self.layers, ORDERS[self._gradient]))
            if x.shape[0] is not None:
                check_memory(self._network.network, int(x.shape[0]), self._memory_limit)
        network = self._network.network
        chunk = self._update_every or time
        if chunk is None or (self._update_every is not None and time is None):
            raise ValueError("`fit` by online learning needs sequences of a known number of steps.")
        unchanged = [tf.logical_not(cell.changed_masks()) for cell in network.recurrent]
        check = tf.debugging.Assert(
            tf.reduce_all(unchanged),
            ["A mask has changed since `compile`, and the influence has no column for what is new: compile again."],
        )
        with tf.control_dependencies([] if check is None else [check]):
            states = network.initial_states(ops.shape(x)[0])
        whole = time // chunk
        losses, outputs = [], []

        def learn(start, size, states):
            steps = slice(start, start + size)
            targets = y[:, steps] if network.every_step else y
            weight = sample_weight
            if weight is not None and network.every_step and len(weight.shape) > 1:
                weight = weight[:, steps]
            found = network.gradients(
                x[:, steps], states, lambda out: self._loss_of(x, targets, out, weight),
                count_nonzero=self._measure,
            )  # fmt: skip
            pairs = [(g, v) for g, v in zip(found.gradients, network.variables, strict=True) if g is not None]
            self.optimizer.apply_gradients(pairs)
            return found

        if whole > 1:
            loss, output, states, counters = self._learn_in_a_loop(learn, whole, chunk, states)
            losses.append(loss)
            outputs.append(output)
        else:
            found = learn(0, chunk, states)
            losses.append(found.loss * chunk)
            outputs.append(found.outputs)
            states, counters = found.states, found.counters
        if time % chunk:
            found = learn(whole * chunk, time % chunk, states)
            losses.append(found.loss * (time % chunk))
            outputs.append(found.outputs)
            counters = counters + found.counters
        self._count(network, counters)
        loss = sum(losses) / time
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(x)[0])
        predictions = outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, axis=1)
        return self.compute_metrics(x, y, predictions, sample_weight=sample_weight)

    def _learn_in_a_loop(self, learn, whole, chunk, states):
        """`(loss summed over steps, outputs, states, counters)` of `whole` chunks, in one loop of the graph."""
        flat = tf.nest.flatten(states)
        shapes = [tensor.shape if len(tensor.shape) == 2 else tf.TensorShape([None]) for tensor in flat]

        def body(number, loss, collected, counters, flat):
            found = learn(number * chunk, chunk, tf.nest.pack_sequence_as(states, flat))
            collected = collected.write(number, found.outputs)
            counters = counters + found.counters
            return number + 1, loss + found.loss * chunk, collected, counters, tf.nest.flatten(found.states)

        collected = tf.TensorArray(self.compute_dtype, whole, element_shape=None)
        counters = tf.zeros([len(states), 3], "int64")
        scalar = tf.TensorShape([])
        _, loss, collected, counters, flat = tf.while_loop(
            lambda number, *_: number < whole,
            body,
            (tf.constant(0), tf.constant(0.0, self.compute_dtype), collected, counters, flat),
            shape_invariants=(scalar, scalar, tf.TensorShape(None), counters.shape, shapes),
        )
        outputs = tf.concat(tf.unstack(collected.stack(), whole), axis=1)
        return loss, outputs, tf.nest.pack_sequence_as(states, flat), counters

    def _count(self, network, counters):
        if not self._measure:
            return
        layouts = [cell.layout for cell in network.recurrent]
        shares = np.array([layout.parameters / max(1, layout.columns) for layout in layouts])
        operations, nonzero, entries = tf.unstack(tf.cast(counters, "float64"), axis=1)
        for metric, values in zip(self._counted, (operations, nonzero, entries, entries * shares), strict=True):
            metric.update_state(values)

    @property
    def metrics(self):
        return super().metrics + getattr(self, "_counted", [])

    def get_metrics_result(self):
        if not self._measure:
            return super().get_metrics_result()
        own = {metric.name: metric.result() for metric in self._counted}
        others = super().get_metrics_result()
        logs = {name: value for name, value in others.items() if name not in own}
        nonzero = own["influence_nonzero"]
        for name, entries in (("", "influence_entries"), ("_all", "influence_entries_all")):
            logs[f"influence_sparsity{name}"] = 1.0 - nonzero / ops.maximum(own[entries], 1.0)
        return {**logs, "multiply_adds": own["multiply_adds"]}

    def _loss_of(self, x, y, outputs, sample_weight):
        return self.compute_loss(x=x, y=y, y_pred=outputs, sample_weight=sample_weight, training=True)

    def get_compile_config(self):
        config = super().get_compile_config()
        if config is not None and self.compiled:
            config |= {
                "gradient": self._gradient,
                "update_every": self._update_every,
                "measure": self._measure,
                "memory_limit": self._memory_limit,
            }
        return config


class _Untracked:
    """Holds what Keras shall not track: the layers are the model's own."""

    def __init__(self, network):
        self.network = network
