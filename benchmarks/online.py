"""Sequences with a read-out and a loss at every step, learnt online by RTRL or SnAp, or through time.

The set-up of Subramoney 2023 (section 6): one recurrent layer under a random mask that is drawn once, a Dense read-out,
an instantaneous loss. `OnlineProblem` is general in targets and loss; `OnlineClassification` has a label a sequence.
"""

import keras
import numpy as np

from benchmarks import models
from benchmarks.batches import Batches, InOrder
from benchmarks.pruning import Pruning
from benchmarks.sparsities import of_epoch, sparsity, weight_sparsity


class OnlineProblem:
    """The `Problem` of a `Dataset` whose targets are of every step, and an `OnlineConfig` with a `gradient`.

    Subclasses say what the targets are (`with_targets`), how many units read them out (`outputs`), what is minimised
    (`loss`), what is reported beside it (`metrics`, of the names of a record's fields after `test_`) and what is better
    (`score`).
    """

    def __init__(self, config, model, dataset, seed):
        self.config, self.model, self.dataset, self.seed = config, model, dataset, seed
        self.batches = Batches(self.with_targets(dataset.train), config.batch_size, config.steps_per_epoch, seed)
        self.pruning = Pruning(config, config.epochs * len(self.batches))  # none: `config` refuses it
        self.network = self._network()
        self.plain = self._plain()

    def with_targets(self, split):
        """The `Split` with targets `[examples, time, ...]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `with_targets`.")

    def outputs(self) -> int:
        """Units of the read-out."""
        raise NotImplementedError(f"{type(self).__name__} must implement `outputs`.")

    def loss(self):
        """The Keras loss, of every step."""
        raise NotImplementedError(f"{type(self).__name__} must implement `loss`.")

    def metrics(self) -> list:
        """Keras metrics of whole sequences."""
        return []

    def score(self, figures):
        return -figures["val_loss"]

    def fit_options(self):
        return {"validation_data": self._in_order(self.dataset.validation)}

    def figures(self):
        network = self.deployed()
        measured = self._sparsity(network, self.dataset.validation.x[: self.config.sparsity_sample])
        live = 1.0 - weight_sparsity(network)["recurrent_parameter_sparsity"]
        passing = 1.0 - (measured["backward_sparsity"] or 0.0)
        iterations = len(self.batches) * (live * passing) ** 2  # of this epoch; the record adds them up
        return of_epoch(measured) | {"compute_adjusted_iterations": iterations}

    def example(self):
        return self.dataset.validation.x[:1]

    def test(self):
        network, split = self.deployed(), self.dataset.test
        found = network.evaluate(self._in_order(split), verbose=0, return_dict=True)
        figures = {f"test_{name}": float(value) for name, value in found.items()}
        return {"method": self.config.gradient, **figures, **self._sparsity(network, split.x)}

    def deployed(self):
        recurrent, readout = self.network.layers
        self.plain.layers[0].set_weights(getattr(recurrent, "layer", recurrent).get_weights())
        self.plain.layers[1].set_weights(readout.get_weights())
        return self.plain

    def _network(self):
        """What is trained: the recurrent layer masked, if weights are to be missing."""
        from keras_egru.online import Sequential

        recurrent, readout = self._layers()
        network = Sequential([self._input(), self._masked(recurrent), readout], name=self.model)
        network.compile(
            optimizer=models.optimizer(self.config, len(self.batches)),
            loss=self.loss(),
            metrics=self.metrics(),
            gradient=self.config.gradient,
            update_every=self.config.update_every,
            measure=self.config.gradient != "bptt",
            jit_compile=False,
        )
        return network

    def _masked(self, recurrent):
        """The layer with a random share of its recurrent kernel, of each gate, zero from now on.

        The input kernel is left whole: nine tenths of a kernel of two rows away, some networks do not see their input.
        """
        if not self.config.parameter_sparsity:
            return recurrent
        from keras_egru.pruning import RandomMask

        recurrent.get_prunable_weights = lambda: [recurrent.cell.recurrent_kernel]
        return RandomMask(recurrent, self.config.parameter_sparsity, seed=self.seed)

    def _plain(self):
        """The same network without a mask, to be evaluated and saved; of its optimizer nothing is used."""
        network = keras.Sequential([self._input(), *self._layers()], name=self.model)
        network.compile("sgd", loss=self.loss(), metrics=self.metrics(), jit_compile=False)
        return network

    def _input(self):
        return keras.Input(self.dataset.train.x.shape[1:])

    def _layers(self):
        """The recurrent layer and the read-out."""
        keras.utils.set_random_seed(self.seed)
        recurrent = models.recurrent_layer(
            self.config, self.model, self.config.units, self.seed, return_sequences=True, name="recurrent"
        )
        return recurrent, keras.layers.Dense(self.outputs(), name="readout")

    def _in_order(self, split):
        return InOrder(self.with_targets(split), self.config.evaluation_batch_size)

    def _sparsity(self, network, x):
        return sparsity(network, x, self.config.evaluation_batch_size)


class OnlineClassification(OnlineProblem):
    """One label a sequence, the target of its every step; what counts is the answer of the last."""

    def with_targets(self, split):
        return split._replace(y=np.repeat(split.y[:, None], split.x.shape[1], axis=1))

    def outputs(self):
        return self.dataset.classes

    def loss(self):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def metrics(self):
        return [LastStepAccuracy(name="accuracy")]

    def score(self, figures):
        return figures["val_accuracy"]


@keras.saving.register_keras_serializable(package="keras_egru_benchmarks")
class LastStepAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """Share of the sequences whose last step has the largest output at the label."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(y_true[:, -1], y_pred[:, -1], sample_weight)
