"""A Sequential model whose `fit` learns by real-time recurrent learning."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_egru.online.memory import check_memory, most_samples
from keras_egru.online.network import Gradients, Network
from keras_egru.online.options import check_backend, check_loss_of_every_step, checked_update_every

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
                the last. Each update takes the loss of its K steps alone. With `"bptt"` that is truncated
                back-propagation: the state is carried on, the gradient goes K steps back.
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
        update_every = checked_update_every(update_every)
        if gradient != "bptt" or update_every is not None:
            check_backend()
            if kwargs.get("jit_compile") is True:
                raise ValueError(f'jit_compile=True does not go with gradient="{gradient}" or `update_every`.')
            kwargs["jit_compile"] = False
            check_loss_of_every_step(Network(self.layers), update_every)
        self._gradient, self._update_every, self._memory_limit = gradient, update_every, memory_limit
        self._network, self._measure = None, bool(measure) and gradient != "bptt"
        super().compile(*args, **kwargs)
        # Not among `metrics`, as nothing is counted in validation.
        names = COUNTED if self._measure else ()
        self._counted = _Untracked([keras.metrics.Sum(name, dtype="float64") for name in names])

    def train_step(self, data):
        """One batch: Keras's own with `"bptt"` through whole sequences, else update by update."""
        if self._gradient == "bptt" and self._update_every is None:
            return super().train_step(data)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        network, time = self._checked_network(x), x.shape[1]
        if time is None:
            raise ValueError("`fit` by online learning needs sequences of a known number of steps.")
        chunk = min(self._update_every or time, time)

        def learn(start, steps, states):
            """One update by the steps from `start` on."""
            part = slice(start, start + steps)
            targets, weight = y, sample_weight
            if network.every_step:
                targets = y[:, part]
                weight = weight if weight is None or len(weight.shape) == 1 else weight[:, part]

            def loss_of(outputs):
                return self.compute_loss(x=x, y=targets, y_pred=outputs, sample_weight=weight, training=True)

            if self._gradient == "bptt":
                found = network.through_time(x[:, part], states, loss_of)
            else:
                found = network.gradients(x[:, part], states, loss_of, count_nonzero=self._measure)
            pairs = [(g, v) for g, v in zip(found.gradients, network.variables, strict=True) if g is not None]
            self.optimizer.apply_gradients(pairs)
            return found._replace(loss=steps * tf.cast(found.loss, "float32"))

        chunks = _in_a_loop(learn, network.initial_states(ops.shape(x)[0]), time // chunk, chunk, self.layers[-1])
        if time % chunk:
            chunks.append(learn(time - time % chunk, time % chunk, chunks[-1].states))
        self._count(network, sum(part.counters for part in chunks))
        self._loss_tracker.update_state(sum(part.loss for part in chunks) / time, sample_weight=tf.shape(x)[0])
        outputs = chunks[0].outputs if len(chunks) == 1 else tf.concat([part.outputs for part in chunks], axis=1)
        return {**self.compute_metrics(x, y, outputs, sample_weight=sample_weight), **self._counted_logs()}

    def _checked_network(self, x):
        """The `Network`; in a graph it stops where the masks have changed, or where the batch does not fit."""
        if not self.built:
            self(x)
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        if self._network is None:
            self._network = _Untracked(Network(self.layers, ORDERS.get(self._gradient)))
        network = self._network.held
        if self._gradient == "bptt":
            return network
        check_memory(network, x.shape[0] or 1, self._memory_limit)
        most = most_samples(network, self._memory_limit)
        tf.debugging.assert_less_equal(
            tf.shape(x)[0], most,
            f"The influence of more than {most} samples does not fit in memory: take smaller batches.",
        )  # fmt: skip
        for cell in network.recurrent:
            tf.debugging.assert_equal(
                cell.changed_masks(), False,
                "A mask has changed since `compile`, and the influence has no column for what is new: compile again.",
            )  # fmt: skip
        return network

    def _count(self, network, counters):
        if not self._measure:
            return
        layouts = [cell.layout for cell in network.recurrent]
        shares = np.array([layout.parameters / max(1, layout.columns) for layout in layouts])
        operations, nonzero, entries = tf.unstack(tf.cast(counters, "float64"), axis=1)
        for metric, values in zip(self._counted.held, (operations, nonzero, entries, entries * shares), strict=True):
            metric.update_state(values)

    def reset_metrics(self):
        super().reset_metrics()
        for metric in self._counted.held if self.compiled else ():
            metric.reset_state()

    def _counted_logs(self):
        if not self._measure:
            return {}
        operations, nonzero, entries, entries_all = (metric.result() for metric in self._counted.held)
        return {
            "multiply_adds": operations,
            "influence_sparsity": 1.0 - nonzero / ops.maximum(entries, 1.0),
            "influence_sparsity_all": 1.0 - nonzero / ops.maximum(entries_all, 1.0),
        }

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

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)


def _in_a_loop(learn, states, chunks, steps, last_layer):
    """`Gradients` of `chunks` updates of `steps` each, as a list of one: losses and counters added, outputs joined."""
    if chunks == 1:
        return [learn(0, steps, states)]
    flat = tf.nest.flatten(states)

    def body(number, loss, counters, outputs, flat):
        found = learn(number * steps, steps, tf.nest.pack_sequence_as(states, flat))
        outputs = outputs.write(number, found.outputs)
        return number + 1, loss + found.loss, counters + found.counters, outputs, tf.nest.flatten(found.states)

    counters, scalar = tf.zeros([len(states), 3], "int64"), tf.TensorShape([])
    # The size of an influence changes with what is live.
    shapes = [tensor.shape if len(tensor.shape) == 2 else tf.TensorShape([None]) for tensor in flat]
    _, loss, counters, outputs, flat = tf.while_loop(
        lambda number, *_: number < chunks,
        body,
        (tf.constant(0), tf.constant(0.0), counters, tf.TensorArray(last_layer.compute_dtype, chunks), flat),
        shape_invariants=(scalar, scalar, counters.shape, tf.TensorShape(None), shapes),
    )
    outputs = tf.concat(tf.unstack(outputs.stack(), chunks), axis=1)
    return [Gradients(loss, outputs, [], tf.nest.pack_sequence_as(states, flat), counters)]


class _Untracked:
    """Holds what Keras shall not track: layers that are the model's own, and what `fit` alone counts."""

    def __init__(self, held):
        self.held = held
