"""Sparsities and multiply-accumulates of a spiking network, in the fields in which records keep those of others.

`activity_sparsity` is the share of (example, step, hidden unit) without a spike. `surrogate_sparsity` is the share of
them in which the surrogate derivative is zero, so that no gradient passes; exact gradients have no such share.
Multiply-accumulates are those of a spike with a weight that is not zero, a step.
"""

from typing import NamedTuple

import keras
import numpy as np

from keras_egru.sparsity.macs import Macs, product_macs
from keras_egru.sparsity.measures import Count


class Probe:
    """A network of the same weights that returns what its hidden layers do, built once and used after every epoch."""

    def __init__(self, config, dataset):
        from benchmarks.spiking import hidden_layer, readout_layer, surrogate

        self.config, self.surrogate = config, surrogate(config)
        exact = self.surrogate is None
        options = {} if exact else {"return_membrane": True}
        hidden = inputs = keras.Input(dataset.train.x.shape[1:])
        self.layers, outputs = [], []
        for number in range(len(config.units)):
            layer = hidden_layer(config, number, seed=0, **options)
            hidden, *membrane = [layer(hidden)] if exact else layer(hidden)
            self.layers.append(layer)
            outputs.append((hidden, *membrane))
        self.readout = readout_layer(config, dataset.classes, seed=0)
        self.network = keras.Model(inputs, (outputs, self.readout(hidden)))

    def sparsity(self, network, x) -> dict:
        """The figures of `network`, unwrapped, over the spike trains `x`."""
        self.network.set_weights(network.get_weights())
        tallies, readout, steps = [_Tally()] * len(self.layers), Macs(), 0
        for start in range(0, len(x), self.config.evaluation_batch_size):
            inputs = np.asarray(x[start : start + self.config.evaluation_batch_size])
            steps += inputs.shape[0] * inputs.shape[1]
            outputs, _ = self.network.predict_on_batch(inputs)
            for number, (spikes, *membrane) in enumerate(outputs):
                tallies[number] += self._tally(self.layers[number], inputs, spikes, membrane)
                inputs = spikes
            readout += product_macs(inputs, weights_of(self.readout).kernel)
        return {
            **sum(tallies, _Tally(macs=readout)).figures(steps),
            "layers": {layer.name: tally.figures(steps) for layer, tally in zip(self.layers, tallies, strict=True)},
        }

    def _tally(self, layer, inputs, spikes, membrane):
        weights = weights_of(layer)
        macs = product_macs(inputs, weights.kernel)
        if self.config.recurrent:
            macs += product_macs(spikes, weights.recurrent_kernel)
        return _Tally(_zeros(spikes), sum((self._flat(v) for v in membrane), Count()), macs)

    def _flat(self, membrane):
        return _zeros(np.asarray(self.surrogate.derivative(membrane - self.config.threshold)))


class _Tally(NamedTuple):
    """Counts of one layer, or of all."""

    silent: Count = Count()
    flat: Count = Count()
    macs: Macs = Macs()

    def __add__(self, other):
        return _Tally(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def figures(self, steps):
        return {
            "activity_sparsity": self.silent.share,
            "backward_sparsity": None,
            "surrogate_sparsity": self.flat.share if self.flat.total else None,
            "effective_macs": float(self.macs.effective) / steps,
            "dense_macs": self.macs.dense / steps,
        }


def weights_of(layer):
    """What holds the kernels of a layer: its cell, or itself where it has none."""
    return getattr(layer, "cell", None) or layer


def _zeros(array):
    return Count(int(np.sum(array == 0)), array.size)
