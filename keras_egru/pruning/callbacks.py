"""The callbacks of training with pruning, named as tfmot's: one begins and guards it, one writes it to TensorBoard."""

import keras
import numpy as np
import tensorflow as tf

from keras_egru.pruning.low_magnitude import PrunedWeight, PruneLowMagnitude
from keras_egru.pruning.masked import masked_layers


class UpdatePruningStep(keras.callbacks.Callback):
    """Begins pruning with the training, and goes on with it where a model was saved in the middle of its schedule.

    Training a model made by `prune_low_magnitude` needs it; elsewhere it does nothing. Masks are renewed in the graph
    of the training step, so its place among the callbacks and `steps_per_execution` do not matter.

    In a training loop of one's own:

    ```python
    callback = keras_egru.pruning.UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in range(epochs):
        ...  # updates by a Keras optimizer
        callback.on_epoch_end()
    callback.on_train_end()
    ```
    """

    def __init__(self):
        super().__init__()
        self._layers: list[PruneLowMagnitude] = []
        self._frozen: list[tuple[PruneLowMagnitude, PrunedWeight]] = []
        self._iterations = 0

    def on_train_begin(self, logs=None):
        self._layers = pruned_layers(self.model)
        begun = [layer for layer in self._layers if layer.begin()]
        if begun and hasattr(self.model, "make_train_function"):
            # TensorFlow cannot trace a step again that was refused for want of this callback.
            self.model.make_train_function(force=True)
        for layer in self._layers:
            layer.apply_masks()
        self._frozen = [(layer, pair) for layer in self._layers for pair in layer.masks if not pair.weight.trainable]
        self._iterations = self._count_iterations()
        self._mask_running_averages()

    def on_train_batch_end(self, batch=None, logs=None):
        # An optimizer does not see frozen weights.
        if not self._frozen:
            return
        iterations = self._count_iterations()
        for layer, pair in self._frozen:
            for _ in range(iterations - self._iterations):
                layer.advance(pair)
        self._iterations = iterations

    def on_epoch_end(self, batch=None, logs=None):
        for layer in self._layers:
            layer.apply_masks()

    def on_train_end(self, logs=None):
        self.on_epoch_end()

    def _count_iterations(self):
        optimizer = getattr(self.model, "optimizer", None)
        return 0 if optimizer is None else int(optimizer.iterations.numpy())

    def _mask_running_averages(self):
        """`use_ema=True`: the averages are what the weights become when training ends."""
        averages = {}
        for optimizer in _single_optimizers(getattr(self.model, "optimizer", None)):
            if optimizer.use_ema:
                if not optimizer.built:
                    with self.model.distribute_strategy.scope():
                        optimizer.build(self.model.trainable_variables)
                variables = zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True)
                averages.update({id(weight): average for weight, average in variables})
        for layer in self._layers:
            for pair in layer.masks:
                average = averages.get(id(pair.weight))
                pair.followers[:] = [] if average is None else [average]


class PruningSummaries(keras.callbacks.TensorBoard):
    """Writes the sparsity of each mask and the thresholds to TensorBoard, at the beginning of each epoch.

    The scalars are `<path of the layer>/<weight>_mask/sparsity` and `<path of the layer>/<weight>_threshold/threshold`,
    the latter with the number of the gate behind it where a recurrent kernel has several, in `log_dir + "/metrics"`;
    the step is the optimizer's.

    Args:
        log_dir: Directory, a string that is not empty.
        update_freq: As of `keras.callbacks.TensorBoard`. Default `"epoch"`.
        **kwargs: Others of `keras.callbacks.TensorBoard`.

    Raises:
        ValueError: `log_dir` is not a string, or empty.
    """

    def __init__(self, log_dir: str, update_freq="epoch", **kwargs):
        if not isinstance(log_dir, str) or not log_dir:
            raise ValueError(f"`log_dir` must be a non-empty string, received {log_dir!r}.")
        super().__init__(log_dir=log_dir, update_freq=update_freq, **kwargs)
        self._file_writer = tf.summary.create_file_writer(f"{log_dir}/metrics")

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        step = int(self.model.optimizer.iterations.numpy())
        with self._file_writer.as_default():
            for layer in pruned_layers(self.model):
                for pair in layer.masks:
                    tf.summary.scalar(f"{pair.mask.path}/sparsity", 1.0 - np.mean(pair.mask.numpy()), step=step)
                    for gate, threshold in enumerate(np.atleast_1d(pair.threshold.numpy())):
                        name = f"{pair.threshold.path}/threshold" + (f"_{gate}" if pair.gates > 1 else "")
                        tf.summary.scalar(name, threshold, step=step)
        self._file_writer.flush()


def pruned_layers(model) -> list[PruneLowMagnitude]:
    """The layers that `prune_low_magnitude` has wrapped, however deeply nested."""
    return [layer for layer in masked_layers(model) if isinstance(layer, PruneLowMagnitude)]


def _single_optimizers(optimizer):
    """The optimizers that keep averages: those inside of a `LossScaleOptimizer` or a `MultiOptimizer`."""
    if optimizer is None:
        return []
    if hasattr(optimizer, "inner_optimizer"):
        return _single_optimizers(optimizer.inner_optimizer)
    if hasattr(optimizer, "optimizers"):
        return [single for inner in optimizer.optimizers for single in _single_optimizers(inner)]
    return [optimizer]
