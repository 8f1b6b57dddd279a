"""Callbacks that help silent units, and lower the learning rate when accuracy falls.

Sections 4.5 and 4.7 of Nowotny, Turner & Knight 2022, "Loss shaping enhances exact gradient learning with Eventprop in
spiking neural networks".
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_egru.pruning.masked import Masked
from keras_egru.schedules import settable_rate


class RescueSilentUnits(keras.callbacks.Callback):
    """Raises all input weights of units that fire no spike, after every epoch in which they do not.

    The exact gradient knows nothing of spikes that might appear, so a unit that has fallen silent stays so. The paper
    watches the epoch's own spikes; layers do not count theirs, so here they are counted on `x` with the weights that
    the epoch ends with: the forward pass of one more epoch, or of a sample of it. `logs` gets `silent_units`, their
    number over all layers before the rescue, for the callbacks behind.

    Only the input kernel is raised, not recurrent weights, and of a pruned layer only live weights. Frozen kernels are
    left alone. There is nothing to save: the weights are all its state.

    ```python
    model.fit(x, y, epochs=100, callbacks=[RescueSilentUnits(x[:512])])
    ```

    Args:
        x: What to count on: the training inputs or a sample of them, an array or a structure of arrays with samples
            along axis 0, or a finite, batched `tf.data.Dataset` of inputs or of `(inputs, ...)`.
        increment: Float > 0, what is added to each weight. Default 0.002.
        layers: Names of layers, or layers, of the model. Default `None`: every `EventLIF`.
        batch_size: Samples a batch of the count, of arrays. Default 256.

    Raises:
        ValueError: `increment` is not a positive finite number, `batch_size` is not positive, or `x` has no sample or
            no end; when training begins, the model is not a functional or sequential one, it has no layer of that name
            or no spiking layer (those within another model are not looked for), or a layer does not return sequences
            or is stateful.
    """

    def __init__(self, x, increment: float = 0.002, layers=None, batch_size: int = 256):
        super().__init__()
        if not 0.0 < increment < math.inf:
            raise ValueError(f"`increment` must be a positive finite number, received {increment!r}.")
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be a positive number of samples, received {batch_size!r}.")
        if isinstance(x, tf.data.Dataset):
            if x.cardinality() == tf.data.INFINITE_CARDINALITY:
                raise ValueError("`x` must be a dataset with an end, received one that repeats without end.")
        elif len(keras.tree.flatten(x)[0]) == 0:
            raise ValueError("`x` must have at least one sample, received none.")
        self.x = x
        self.increment = float(increment)
        self.layers = layers
        self.batch_size = batch_size
        self._watched: list = []

    def on_train_begin(self, logs=None):
        self._watched = self._choose_layers()
        for layer in self._watched:
            _check_countable(_unwrapped(layer))
        spikes = [keras.tree.flatten(layer.output)[0] for layer in self._watched]
        self._counts = keras.Model(self.model.inputs, [ops.sum(train, axis=1) for train in spikes])

    def on_epoch_end(self, epoch, logs=None):
        silent = self._silent_units()
        for layer, units in zip(self._watched, silent, strict=True):
            if units.any():
                self._raise_weights(layer, units)
        if logs is not None:
            logs["silent_units"] = int(sum(units.sum() for units in silent))

    def _choose_layers(self):
        if not getattr(self.model, "inputs", None):
            raise ValueError(f"RescueSilentUnits needs a functional or sequential model, received {self.model!r}.")
        if self.layers is None:
            chosen = [layer for layer in self.model.layers if _is_spiking(_unwrapped(layer))]
            if not chosen:
                raise ValueError(f"RescueSilentUnits found no spiking layer in the model '{self.model.name}'.")
            return chosen
        by_name = {layer.name: layer for layer in self.model.layers}
        names = [layer if isinstance(layer, str) else layer.name for layer in self.layers]
        missing = [name for name in names if name not in by_name]
        if missing or not names:
            raise ValueError(
                f"`layers` must name layers of the model ({', '.join(by_name)}), received {', '.join(missing) or '[]'}."
            )
        return [by_name[name] for name in names]

    def _silent_units(self):
        """For each watched layer a boolean array `[units]`."""
        fired = []
        for batch in self._batches():
            counts = keras.tree.flatten(self._counts.predict_on_batch(batch))
            seen = [(np.asarray(count) > 0).any(axis=0) for count in counts]
            fired = [a | b for a, b in zip(fired, seen, strict=True)] if fired else seen
            if all(units.all() for units in fired):
                break
        if not fired:
            raise ValueError("`x` must have at least one sample, received a dataset without any.")
        return [~units for units in fired]

    def _batches(self):
        if isinstance(self.x, tf.data.Dataset):
            for element in self.x:
                yield keras.utils.unpack_x_y_sample_weight(element)[0]
            return
        for start in range(0, len(keras.tree.flatten(self.x)[0]), self.batch_size):
            yield keras.tree.map_structure(lambda array, at=start: array[at : at + self.batch_size], self.x)

    def _raise_weights(self, layer, units):
        kernel = _attribute(_unwrapped(layer), "kernel")
        if not kernel.trainable:
            return
        rise = np.where(units, self.increment, 0.0)[None, :]
        mask = _mask(layer, kernel)
        if mask is not None:
            rise = rise * ops.convert_to_numpy(mask)
        kernel.assign_add(np.broadcast_to(rise, kernel.shape).astype(kernel.dtype))


class HalveOnDecline(keras.callbacks.Callback):
    """Halves the learning rate when accuracy begins to fall (section 4.7, Eq. 8-9).

    Two moving averages follow the monitored value x of each epoch,

        m_fast <- fast m_fast + (1 - fast) x        m_slow <- slow m_slow + (1 - slow) x

    and after an epoch with `m_fast < m_slow` the rate is multiplied by `factor`, if at least `patience` epochs have
    passed since it last was, or since training began. The paper does not say where the averages start; its authors'
    program lets them start at 0, and so do we: for accuracies, which rise from 0, `m_fast` is then ahead at first.

    The paper monitors the training accuracy, or the validation accuracy where there is a validation set
    (`monitor="val_accuracy"`). `logs` gets `learning_rate`.

    Optimizers save the learning rate, but the averages are kept by the callback alone. Given to another `fit` it goes
    on where it was; a new one is brought there by the values of the epochs that are done:

    ```python
    halve = HalveOnDecline()
    halve.replay(epoch["accuracy"] for epoch in journal)
    model.fit(x, y, initial_epoch=len(journal), epochs=300, callbacks=[halve])
    ```

    Args:
        monitor: Name in `logs`, of a value that is better when larger. Default `"accuracy"`.
        fast: Float in [0, slow), share that the fast average keeps. Default 0.8.
        slow: Float in (fast, 1), share that the slow average keeps. Default 0.85.
        patience: Integer >= 1, epochs between changes. Default 50.
        factor: Float in (0, 1). Default 0.5.

    Raises:
        ValueError: an argument is out of range; when training begins, the optimizer's learning rate is a schedule; at
            the end of an epoch, `monitor` is not in `logs`.
    """

    def __init__(
        self,
        monitor: str = "accuracy",
        fast: float = 0.8,
        slow: float = 0.85,
        patience: int = 50,
        factor: float = 0.5,
    ):
        super().__init__()
        if not 0.0 <= fast < slow < 1.0:
            raise ValueError(f"`fast` and `slow` must be 0 <= fast < slow < 1, received {fast!r} and {slow!r}.")
        if patience < 1:
            raise ValueError(f"`patience` must be a positive number of epochs, received {patience!r}.")
        if not 0.0 < factor < 1.0:
            raise ValueError(f"`factor` must be in (0, 1), received {factor!r}.")
        self.monitor = monitor
        self.fast, self.slow = float(fast), float(slow)
        self.patience = int(patience)
        self.factor = float(factor)
        self._fast_average = self._slow_average = 0.0
        self._epochs_since_change = 0

    def replay(self, values):
        """Takes in the monitored values of epochs that are done, the oldest first, and leaves the rate alone."""
        for value in values:
            self._declines(float(value))

    def on_train_begin(self, logs=None):
        settable_rate(self.model, type(self).__name__)

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        if self.monitor not in logs:
            raise ValueError(f"`monitor` must be in the logs ({', '.join(logs)}), received {self.monitor!r}.")
        rate = settable_rate(self.model, type(self).__name__)
        if self._declines(float(logs[self.monitor])):
            rate.assign(rate * self.factor)
        logs["learning_rate"] = float(ops.convert_to_numpy(rate))

    def _declines(self, value):
        """Takes in the value of an epoch; whether the rate is to change."""
        self._fast_average = self.fast * self._fast_average + (1.0 - self.fast) * value
        self._slow_average = self.slow * self._slow_average + (1.0 - self.slow) * value
        self._epochs_since_change += 1
        if self._fast_average >= self._slow_average or self._epochs_since_change < self.patience:
            return False
        self._epochs_since_change = 0
        return True


def _unwrapped(layer):
    while isinstance(layer, Masked):
        layer = layer.layer
    return layer


def _is_spiking(layer):
    return getattr(layer, "gradient", None) in ("surrogate", "eventprop") and hasattr(layer, "units")


def _check_countable(layer):
    if not getattr(layer, "return_sequences", False):
        raise ValueError(
            f"RescueSilentUnits counts the spikes that a layer returns, so '{layer.name}' needs return_sequences=True."
        )
    if getattr(layer, "stateful", False):
        raise ValueError(f"RescueSilentUnits would change the states of '{layer.name}', which is stateful.")


def _mask(layer, kernel):
    """What masks the kernel of the layer: a wrapper's variable, or one that the layer keeps itself; or None."""
    while isinstance(layer, Masked):
        for pair in layer.masks:
            if pair.weight is kernel:
                return pair.mask
        layer = layer.layer
    return _attribute(layer, "kernel_mask")


def _attribute(layer, name):
    """That attribute of the layer or, where it has none, of its cell; None where neither has it."""
    value = getattr(layer, name, None)
    return getattr(getattr(layer, "cell", None), name, None) if value is None else value
