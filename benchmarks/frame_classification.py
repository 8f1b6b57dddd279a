"""One label a sequence of frames: a front end of convolutions, recurrent layers one upon the other, a read-out."""

import keras

from benchmarks import models
from benchmarks.classification import Classification, read_out
from benchmarks.front_ends import NAME, front_end, front_end_macs
from benchmarks.tasks.event_windows import POLARITIES


class FrameClassification(Classification):
    """The `Problem` of a `Dataset` of frames and a configuration with `layers` and `front_end`."""

    def _built(self, model, seed, wrap):
        return build(self.config, model, self.dataset, seed, wrap)

    def _sparsity(self, network, x):
        """With the front end among the layers: it has no sparsity, and all its products are counted as done."""
        figures = super()._sparsity(network, x)
        macs = front_end_macs(network)
        if not macs:
            return figures
        counted = {"effective_macs": float(macs), "dense_macs": float(macs)}
        layer = dict.fromkeys(next(iter(figures["layers"].values()))) | counted
        total = {name: figures[name] + value for name, value in counted.items()}
        return {**figures, **total, "layers": {NAME: layer, **figures["layers"]}}


def build(config, model, dataset, seed, wrap=lambda layer: layer) -> keras.Model:
    """A network, not compiled yet, for frames like `dataset`'s; arguments as those of `classification.build`."""
    keras.utils.set_random_seed(seed)
    hidden = inputs = keras.Input(dataset.train.x.shape[1:])
    if config.front_end != "none":
        hidden = front_end(config.front_end, config.image_size, POLARITIES, seed)(hidden)
    stack = [
        models.recurrent_layer(
            config,
            model,
            config.units,
            seed + number,
            dropout=config.input_dropout,
            return_sequences=number + 1 < config.layers or config.readout != "last",
            name=f"recurrent_{number + 1}",
        )
        for number in range(config.layers)
    ]
    for layer in stack:
        hidden = wrap(layer)(hidden)
    outputs = read_out(config, dataset.classes, hidden, seed, wrap)
    return keras.Model(inputs, outputs, name=model)
