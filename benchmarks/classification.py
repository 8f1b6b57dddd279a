"""One label a sequence: a recurrent layer, a read-out over its outputs, a classifier."""

import keras

from benchmarks import models
from benchmarks.batches import Batches, InOrder
from benchmarks.pruning import Pruning
from benchmarks.sparsities import of_epoch, sparsity


class Classification:
    """The `Problem` of a `Dataset` of labelled sequences."""

    def __init__(self, config, model, dataset, seed):
        self.config, self.dataset = config, dataset
        self.batches = Batches(dataset.train, config.batch_size, config.steps_per_epoch, seed, dataset.augment)
        self.pruning = Pruning(config, config.epochs * len(self.batches))
        self.network = self._compiled(model, seed, models.optimizer(config, len(self.batches)), self.pruning.wrap)
        self.plain = self._compiled(model, seed, "sgd")  # a saved model has some optimizer, and this one no slots

    def fit_options(self):
        return {"validation_data": InOrder(self.dataset.validation, self.config.evaluation_batch_size)}

    def figures(self):
        network, sample = self.deployed(), self.dataset.validation.x[: self.config.sparsity_sample]
        return of_epoch(self._sparsity(network, sample)) | self.pruning.figures(network)

    def example(self):
        return self.dataset.validation.x[:1]

    def score(self, figures):
        return figures["val_accuracy"]

    def test(self):
        network, split = self.deployed(), self.dataset.test
        loss, accuracy = network.evaluate(InOrder(split, self.config.evaluation_batch_size), verbose=0)
        return {"test_accuracy": float(accuracy), "test_loss": float(loss), **self._sparsity(network, split.x)}

    def deployed(self):
        self.plain.set_weights(self.pruning.stripped(self.network).get_weights())
        return self.plain

    def _compiled(self, model, seed, optimizer, wrap=lambda layer: layer):
        network = self._built(model, seed, wrap)
        network.compile(
            optimizer=optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,
        )
        return network

    def _built(self, model, seed, wrap):
        return build(self.config, model, self.dataset, seed, wrap)

    def _sparsity(self, network, x):
        return sparsity(network, x, self.config.evaluation_batch_size)


def build(config, model, dataset, seed, wrap=lambda layer: layer) -> keras.Model:
    """A network, not compiled yet, for sequences like `dataset`'s.

    Args:
        config: `ClassifierConfig`.
        model: "egru", "gru" or "lstm".
        dataset: `Dataset`; only its shapes are used.
        seed: Integer; decides the initial weights and every dropout mask.
        wrap: Takes every layer with weights and returns what takes its place, such as `Pruning.wrap`.
    """
    keras.utils.set_random_seed(seed)
    steps, features = dataset.train.x.shape[1:]
    inputs = keras.Input((steps, features))
    hidden = wrap(recurrent_layer(config, model, seed))(inputs)
    outputs = read_out(config, dataset.classes, hidden, seed, wrap)
    return keras.Model(inputs, outputs, name=model)


def read_out(config, classes, hidden, seed, wrap):
    """The logits of what the recurrent layers return: of all steps as `config.readout` weighs them, or of the last."""
    if config.readout == "trace":
        from keras_egru.layers import ExponentialTrace

        hidden = ExponentialTrace(time_constant=config.time_constant, name="readout")(hidden)
    elif config.readout == "mean":
        hidden = keras.layers.GlobalAveragePooling1D(name="readout")(hidden)
    if config.dropout:
        hidden = keras.layers.Dropout(config.dropout, seed=seed + 1)(hidden)
    return wrap(keras.layers.Dense(classes, name="classifier"))(hidden)


def recurrent_layer(config, model, seed):
    """The recurrent layer; it returns sequences unless the read-out is `last`."""
    return models.recurrent_layer(
        config,
        model,
        config.units,
        seed,
        dropout=config.input_dropout,
        return_sequences=config.readout != "last",
        name="recurrent",
    )
