"""A Keras callback that reports sparsity while a model trains."""

import keras

from keras_egru.sparsity.measuring import measure

MEASURES = ("activity_sparsity", "backward_sparsity", "surrogate_sparsity")


class SparsityMonitor(keras.callbacks.Callback):
    """Measures sparsity on a probe batch and puts it into `logs`, beside the loss.

    The progress bar and `History` show the figures; so do `CSVLogger` and `TensorBoard` when they stand **after** the
    monitor in the list of callbacks. The figures are `activity_sparsity`, `backward_sparsity` and `surrogate_sparsity`
    over all event-based layers and, when there are several, `<layer>/activity_sparsity` and so on for each. Epochs and
    batches in between measurements have no entry: a figure is never repeated as if it were new. Nor has what there is
    not, such as the surrogate sparsity of Eventprop.

    The cost is a forward pass of the probe a measurement, outside the compiled training step; a few dozen samples are
    enough to follow a share.

    ```python
    monitor = SparsityMonitor(x_validation[:64])
    model.fit(x, y, epochs=10, callbacks=[monitor, keras.callbacks.CSVLogger("log.csv")])
    ```

    Args:
        x: The probe, what the model takes; samples along axis 0.
        every: Epochs between measurements, counted from the first epoch, which is measured. Default 1.
        every_batches: Batches between further measurements, or None (default) for none. Not used in epochs that are
            skipped.
        batch_size: Samples a batch of the probe. Default 256.
        prefix: String put before each name. Default "".

    Raises:
        ValueError: `every` or `every_batches` is not positive.
    """

    def __init__(self, x, every: int = 1, every_batches: int | None = None, batch_size: int = 256, prefix: str = ""):
        super().__init__()
        if every < 1:
            raise ValueError(f"`every` must be a positive number of epochs, received {every}.")
        if every_batches is not None and every_batches < 1:
            raise ValueError(f"`every_batches` must be a positive number of batches or None, received {every_batches}.")
        self.x = x
        self.every = every
        self.every_batches = every_batches
        self.batch_size = batch_size
        self.prefix = prefix
        self._skips_epoch = False
        self._measured_at = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._skips_epoch = epoch % self.every != 0
        self._measured_at = 0

    def on_train_batch_end(self, batch, logs=None):
        # With `steps_per_execution` batch numbers jump, so the distance is what counts.
        if self.every_batches and not self._skips_epoch and batch + 1 - self._measured_at >= self.every_batches:
            self._measured_at = batch + 1
            self._report(logs)

    def on_epoch_end(self, epoch, logs=None):
        if not self._skips_epoch:
            self._report(logs)

    def _report(self, logs):
        if logs is None:
            return
        if keras.backend.backend() == "jax":
            # Between batches JAX keeps the weights outside the model.
            self.model.jax_state_sync()
        figures = measure(self.model, self.x, self.batch_size)
        logs.update(_measured(figures, self.prefix))
        layers = {name: layer for name, layer in figures["layers"].items() if layer["activity_sparsity"] is not None}
        if len(layers) > 1:
            for layer, own in layers.items():
                logs.update(_measured(own, f"{self.prefix}{layer}/"))


def _measured(figures, prefix):
    """The measures that there are, by name: progress bars and writers of logs take numbers alone."""
    return {prefix + name: figures[name] for name in MEASURES if figures[name] is not None}
