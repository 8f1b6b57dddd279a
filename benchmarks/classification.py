"""One label a sequence: a recurrent layer, a read-out over its outputs, a classifier."""

import keras

from benchmarks import models
from benchmarks.batches import Batches
from benchmarks.sparsities import SPARSITIES, sparsity


class Classification:
    """The `Problem` of a `Dataset` of labelled sequences."""

    def __init__(self, config, model, dataset, seed):
        self.config, self.dataset = config, dataset
        self.batches = Batches(dataset.train, config.batch_size, config.steps_per_epoch, seed)
        self.network = build(config, model, dataset, seed)
        self.network.compile(
            optimizer=models.optimizer(config, len(self.batches)),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=False,
        )

    def fit_options(self):
        return {
            "validation_data": tuple(self.dataset.validation),
            "validation_batch_size": self.config.evaluation_batch_size,
        }

    def figures(self):
        sample = self.dataset.validation.x[: self.config.sparsity_sample]
        measured = sparsity(self.network, sample, self.config.evaluation_batch_size)
        return {name: measured[name] for name in SPARSITIES}

    def score(self, figures):
        return figures["val_accuracy"]

    def test(self):
        x, y = self.dataset.test
        batch_size = self.config.evaluation_batch_size
        loss, accuracy = self.network.evaluate(x, y, batch_size=batch_size, verbose=0)
        measured = sparsity(self.network, x, batch_size)
        return {"test_accuracy": float(accuracy), "test_loss": float(loss), **measured}

    def deployed(self):
        return self.network


def build(config, model, dataset, seed) -> keras.Model:
    """A network, not compiled yet, for sequences like `dataset`'s.

    Args:
        config: `ClassifierConfig`.
        model: "egru", "gru" or "lstm".
        dataset: `Dataset`; only its shapes are used.
        seed: Integer; decides the initial weights and every dropout mask.
    """
    keras.utils.set_random_seed(seed)
    steps, features = dataset.train.x.shape[1:]
    inputs = keras.Input((steps, features))
    hidden = recurrent_layer(config, model, seed)(inputs)
    if config.readout == "trace":
        from keras_egru.layers import ExponentialTrace

        hidden = ExponentialTrace(time_constant=config.time_constant, name="readout")(hidden)
    elif config.readout == "mean":
        hidden = keras.layers.GlobalAveragePooling1D(name="readout")(hidden)
    if config.dropout:
        hidden = keras.layers.Dropout(config.dropout, seed=seed + 1)(hidden)
    outputs = keras.layers.Dense(dataset.classes, name="classifier")(hidden)
    network = keras.Model(inputs, outputs, name=model)
    if model == "egru" and config.update_gate_bias:
        models.set_update_gate_bias(network.get_layer("recurrent"), config.update_gate_bias)
    return network


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
