"""The next word of a text: embedding, stateful recurrent layers, read-out over the whole vocabulary.

Training is truncated back-propagation over parallel streams, with all state (an EGRU's c as well as its y) carried from
chunk to chunk; evaluation reads a text as one stream, in order. Figures are perplexities, exp of the mean -ln p.
"""

import math
import sys

import keras
import numpy as np

from benchmarks import models
from benchmarks.event_sample import MOST_STEPS
from benchmarks.pruning import Pruning
from benchmarks.sparsities import of_epoch, sparsity
from benchmarks.streams import RandomTextStreams, StateReset, TextStreams, cross_entropy, in_order, reset_states
from benchmarks.word_dropout import WordDropout

EVALUATION_WIDTH = 256  # words a step of evaluation: logits of 10 MB with 10,000 words


class LanguageModel:
    """The `Problem` of a `Corpus`.

    A stateful network has a fixed number of streams, so a twin of one stream, to which weights are copied, evaluates
    and is saved.
    """

    def __init__(self, config, model, dataset, seed):
        self.config, self.dataset, self.model = config, dataset, model
        self.batches, rates = _batches(config, dataset.train, seed)
        self.pruning = Pruning(config, config.epochs * len(self.batches))
        self.network = build(config, model, len(dataset.vocabulary), config.batch_size, seed, self.pruning.wrap)
        if config.unigram_bias:
            _assign_bias(self.network, log_frequencies(dataset.train, len(dataset.vocabulary)), config.tied)
        optimizer = models.optimizer(config, len(self.batches), rates)
        self.network.compile(optimizer=optimizer, loss=_loss(), jit_compile=False)
        # A regulariser would add to the cross-entropy of an evaluation, and a saved model needs no layer of this suite.
        self.twin = build(config.without_regularization(), model, len(dataset.vocabulary), 1, seed)
        self.twin.compile("sgd", _loss(), jit_compile=False)  # a saved model has some optimizer, and this one no slots

    def fit_options(self):
        return {"callbacks": [StateReset()]}

    def figures(self):
        twin, words = self.deployed(), self.dataset.validation
        loss = cross_entropy(twin, words, EVALUATION_WIDTH)
        measured = self._sparsity(words[: self.config.sparsity_sample + 1])
        figures = of_epoch(measured) | self.pruning.figures(twin)
        return {"val_loss": loss, "val_perplexity": perplexity(loss), **figures}

    def example(self):
        return self.dataset.validation[None, :MOST_STEPS]

    def score(self, figures):
        return -figures["val_perplexity"]

    def test(self):
        twin, words = self.deployed(), self.dataset.test
        loss = cross_entropy(twin, words, EVALUATION_WIDTH)
        return {"test_perplexity": perplexity(loss), "test_loss": loss, **self._sparsity(words)}

    def deployed(self):
        self.twin.set_weights(self.pruning.stripped(self.network).get_weights())
        return self.twin

    def _sparsity(self, words):
        """Of a text read in order, but for the words after its last whole chunk."""
        chunks = [x for x, _ in in_order(words, EVALUATION_WIDTH)]
        whole = [x for x in chunks if x.shape == chunks[0].shape]
        if self.model != "egru":
            whole = whole[:1]  # a dense layer does the same work on any text
        reset_states(self.twin)
        measured = sparsity(self.twin, np.concatenate(whole), batch_size=1)
        if self.config.tied:
            # `measure` counts Dense layers as read-outs, and this one is an embedding.
            silent = measured["layers"][f"recurrent_{len(self.config.units)}"]["activity_sparsity"] or 0.0
            kernel = np.asarray(self.twin.get_layer("embedding").embeddings)[:, :-1]  # without the bias
            measured["effective_macs"] += (1.0 - silent) * float(np.count_nonzero(kernel))
            measured["dense_macs"] += kernel.size
        return measured


def perplexity(cross_entropy) -> float:
    """exp of the mean -ln p; infinite where that is beyond floating point."""
    return math.exp(cross_entropy) if cross_entropy < math.log(sys.float_info.max) else math.inf


def build(config, model, vocabulary_size, streams, seed, wrap=lambda layer: layer) -> keras.Model:
    """A network, not compiled yet, from int32 `[streams, time]` to logits `[streams, time, vocabulary_size]`.

    Args:
        config: `LanguageModelConfig`.
        model: "egru", "gru" or "lstm".
        vocabulary_size: Number of words.
        streams: Texts read at a time, each with its own state.
        seed: Integer; decides the initial weights and every dropout mask.
        wrap: Takes every layer with weights and returns what takes its place, such as `Pruning.wrap`.
    """
    keras.utils.set_random_seed(seed)
    words = keras.Input(batch_shape=(streams, None), dtype="int32")
    embedding = wrap(
        keras.layers.ReversibleEmbedding(
            vocabulary_size,
            # Of a tied read-out the last column is the bias. Without one the last layer's units take its place, and a
            # GRU's may saturate at signs that depend on how a text begins.
            config.embedding_units + config.tied,
            embeddings_initializer=keras.initializers.RandomUniform(-0.1, 0.1),  # as AWD-LSTM has it
            name="embedding",
        )
    )
    hidden = embedding(words)[:, :, : config.embedding_units]
    if config.embedding_scale != 1.0:
        hidden = hidden * config.embedding_scale
    if config.word_dropout:
        hidden = WordDropout(config.word_dropout, vocabulary_size, seed + len(config.units) + 1)(hidden, words)
    hidden = _dropped(hidden, config.input_dropout, seed)
    for i, units in enumerate(config.units):
        hidden = _dropped(hidden, config.hidden_dropout, seed + i) if i else hidden
        own = config.of_last_layer() if i == len(config.units) - 1 else config
        layer = models.recurrent_layer(
            own, model, units, seed + i, return_sequences=True, stateful=True, name=f"recurrent_{i + 1}"
        )
        hidden = wrap(layer)(hidden)
    hidden = _dropped(hidden, config.dropout, seed + len(config.units))
    if config.tied:
        logits = embedding(keras.ops.pad(hidden, ((0, 0), (0, 0), (0, 1)), constant_values=1.0), reverse=True)
    else:
        logits = wrap(keras.layers.Dense(vocabulary_size, name="readout"))(hidden)
    return keras.Model(words, logits, name=model)


def log_frequencies(words, vocabulary_size):
    """`[vocabulary_size]`: the logarithm of how often each word occurs, one more than it does, less their mean."""
    logarithms = np.log(np.bincount(words, minlength=vocabulary_size) + 1.0)
    return logarithms - logarithms.mean()


def _assign_bias(network, bias, tied):
    """Sets the bias of the read-out; `build` says where it is in a tied one."""
    if not tied:
        next(weight for weight in network.weights if weight.path.endswith("readout/bias")).assign(bias)
        return
    embeddings = next(weight for weight in network.weights if weight.path.endswith("embedding/embeddings"))
    embeddings.assign(np.concatenate([np.asarray(embeddings)[:, :-1], bias[:, None]], axis=1))


def _batches(config, words, seed):
    """The training batches, and the factors of the learning rate of a run's updates: None, or long chunks' larger."""
    sizes = (words, config.batch_size, config.steps, config.steps_per_epoch)
    if not config.variable_steps:
        return TextStreams(*sizes), None
    batches = RandomTextStreams(*sizes, seed)
    return batches, np.concatenate([batches.lengths(epoch) for epoch in range(config.epochs)]) / config.steps


def _dropped(hidden, rate, seed):
    """Variational dropout: one mask a stream and chunk."""
    return keras.layers.SpatialDropout1D(rate, seed=seed)(hidden) if rate else hidden


def _loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
