import json
import math
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import records
from benchmarks.config import resolve
from benchmarks.dropconnect import DropConnectGRU, DropConnectLSTM
from benchmarks.language_model import LanguageModel, perplexity
from benchmarks.streams import cross_entropy, in_order, reset_states
from benchmarks.tasks import TASKS
from benchmarks.training import Run, execute
from benchmarks.word_dropout import WordDropout

SMALL = (
    "verify_data=false",
    "units=12,8",
    "validation_size=200",
    "test_size=200",
    "batch_size=4",
    "steps=9",
    "steps_per_epoch=null",
)


@pytest.mark.parametrize("model", ["egru", "gru", "lstm"])
def test_a_text_read_in_chunks_is_the_text_read_at_once(text_folder, model):
    problem = _problem(text_folder, model)
    twin, words = problem.deployed(), problem.dataset.validation[:100]
    reset_states(twin)
    logits = np.asarray(twin(words[None, :-1]), "float64")[0]
    log_p = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    expected = -np.mean(log_p[np.arange(99), words[1:]])
    for width in (99, 7):
        assert cross_entropy(twin, words, width) == pytest.approx(expected, rel=1e-5)
    # A chunk that began from zero would not see what came before it.
    forgetful = np.mean([cross_entropy(twin, np.append(x, y[:, -1:]), 7) for x, y in in_order(words, 7)])
    assert forgetful != pytest.approx(expected, rel=1e-5)


def test_embedded_words_are_scaled_before_the_layers_read_them(text_folder):
    plain, scaled = (_problem(text_folder, "gru", f"embedding_scale={scale}").deployed() for scale in (1, 3))
    words = plain.get_layer("embedding").embeddings
    plain.get_layer("embedding").embeddings.assign(np.asarray(words) * 3.0)
    inputs = np.asarray(_problem(text_folder, "gru").dataset.validation[None, :12])
    hidden = [keras.Model(m.input, m.get_layer("recurrent_2").output)(inputs) for m in (plain, scaled)]
    assert np.any(np.asarray(hidden[0]))
    np.testing.assert_allclose(*hidden, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("last", "expected"), [("0.5", [0.03, 0.5]), ("0", [0.03, 0.0]), ("none", [0.03, 0.03])])
def test_the_last_layer_may_have_a_rate_of_its_own(text_folder, last, expected):
    problem = _problem(text_folder, "egru", "state_regularizer=silent_units", "state_regularizer_weight=0.1",
                       "target_rate=0.03", f"last_target_rate={last}")  # fmt: skip
    layers = [problem.network.get_layer(f"recurrent_{i}") for i in (1, 2)]
    assert [layer.state_regularizer.target for layer in layers] == expected
    assert all(problem.deployed().get_layer(layer.name).state_regularizer is None for layer in layers)


@pytest.mark.parametrize("options", [(), ("embedding_size=5",), ("prune=0.5", "prune_weights=all")])
def test_a_unigram_bias_predicts_the_frequencies_of_words(text_folder, options):
    config = _config("unigram_bias=true", *options)
    problem = LanguageModel(config, "egru", TASKS["ptb"].load(config, str(text_folder)), seed=0)
    counts = np.bincount(problem.dataset.train, minlength=len(problem.dataset.vocabulary)) + 1.0
    network = problem.network
    for weight in network.weights:  # Without events the bias alone predicts.
        if weight.path.endswith("threshold"):
            weight.assign(np.full(weight.shape, 0.999))
    logits = np.asarray(network(problem.batches[0][0]), "float64")
    predicted = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(predicted, np.broadcast_to(counts / counts.sum(), predicted.shape), rtol=1e-4)


def test_parallel_streams_carry_both_states_as_one_stream_does(text_folder):
    problem = _problem(text_folder, "egru")
    twin, layer = problem.deployed(), problem.network.get_layer("recurrent_1")
    reset_states(problem.network)
    for i in range(3):
        x, _ = problem.batches[i]
        problem.network(x)
    for stream in range(4):
        reset_states(twin)
        twin(problem.batches.inputs[stream : stream + 1, :27])
        for state, alone in zip(layer.states, twin.get_layer("recurrent_1").states, strict=True):
            np.testing.assert_allclose(state[stream], alone[0], rtol=1e-5, atol=1e-6)
            assert np.any(np.asarray(alone))


def test_the_figures_of_validation_leave_out_a_regularizer(text_folder):
    problem = _problem(text_folder, "egru", "state_regularizer=target_rate", "state_regularizer_weight=100")
    assert problem.figures()["val_loss"] < 5.0
    problem.network(problem.batches[0][0])
    assert float(problem.network.losses[0]) > 5.0


@pytest.mark.parametrize("sizes", ["embedding_size=null", "embedding_size=5"])
def test_macs_count_layers_and_a_read_out_tied_or_not(text_folder, sizes):
    words = 8
    problem = _problem(text_folder, "gru", sizes)
    embedding = problem.config.embedding_units
    layers = 3 * 12 * (embedding + 12) + 3 * 8 * (12 + 8)
    figures = problem.test()
    assert figures["dense_macs"] == figures["effective_macs"] == layers + words * 8
    tied = problem.network.count_params() == layers + 6 * 12 + 6 * 8 + words * (8 + 1)
    assert tied == (embedding == 8)

    egru = _problem(text_folder, "egru", sizes).test()
    assert egru["dense_macs"] == figures["dense_macs"]
    first, second = (1.0 - egru["layers"][f"recurrent_{i}"]["activity_sparsity"] for i in (1, 2))
    events = 12 * first * 3 * (12 + 8) + 8 * second * (3 * 8 + words)  # an event meets its own layer and the next
    assert egru["effective_macs"] == pytest.approx(embedding * 3 * 12 + events, rel=1e-6)


def test_a_run_learns_the_text_and_its_model_needs_keras_alone(text_folder, call, tmp_path):
    options = [part for assignment in (*SMALL, "epochs=3") for part in ("--set", assignment)]
    result = call("run", "ptb", "--preset", "smoke", "--data-dir", text_folder, "--out", tmp_path, "--json", *options)
    assert result.exit_code == 0, result.stderr
    assert "validation perplexity" in result.stderr
    record = json.loads(result.stdout)
    assert set(record) == set(records.FIELDS)
    assert record["test_accuracy"] is None
    assert 1.0 < record["test_perplexity"] < 6.0  # 8 words; the rules leave about 1.8
    assert record["test_perplexity"] == pytest.approx(math.exp(record["test_loss"]))
    best = min(epoch["val_perplexity"] for epoch in record["epochs"])
    assert record["validation_perplexity"] == record["epochs"][record["best_epoch"] - 1]["val_perplexity"] == best
    assert all(0.0 < epoch["activity_sparsity"] < 1.0 for epoch in record["epochs"])
    saved = keras.saving.load_model(tmp_path / "model.keras")
    test = TASKS["ptb"].load(_config(), str(text_folder)).test
    assert cross_entropy(saved, test, 50) == pytest.approx(record["test_loss"], rel=1e-5)


def test_a_resumed_run_has_the_same_figures_as_an_uninterrupted_one(text_folder, tmp_path, interrupt_after):
    assignments = [
        "epochs=3",
        "steps_per_epoch=12",
        "variable_steps=true",
        "word_dropout=0.1",
        "input_dropout=0.1",
        "hidden_dropout=0.2",
        "dropout=0.1",
        "dropconnect=0.2",
        "optimizer=adamw",
        "beta_1=0",
        "weight_decay=0.01",
        "schedule=cosine",
        "warmup_epochs=0.5",
        "constant_epochs=1",
        "threshold_trainable=true",
        "threshold_rate=0.5",
        "clipnorm=0.5",
    ]
    whole = execute(_run(text_folder, tmp_path / "whole", assignments))
    with pytest.raises(KeyboardInterrupt):
        execute(_run(text_folder, tmp_path / "parts", assignments, progress=interrupt_after(epoch=1)))
    parts = execute(_run(text_folder, tmp_path / "parts", assignments, resume=True))
    for name in ("epochs", "test_perplexity", "validation_perplexity", "effective_macs"):
        assert _timeless(parts[name]) == _timeless(whole[name]), name
    assert len({epoch["loss"] for epoch in whole["epochs"]}) == 3


def test_the_test_text_decides_nothing(text_folder, tmp_path):
    shutil.copytree(text_folder, tmp_path / "other")
    (tmp_path / "other" / "ptb" / "ptb.test.txt").write_text(" cats hear N N see <unk> birds dogs \n" * 40)
    first, second = (
        execute(_run(folder, tmp_path / f"run{i}", ["epochs=2", "steps_per_epoch=40"]))
        for i, folder in enumerate((text_folder, tmp_path / "other"))
    )
    assert _timeless(first["epochs"]) == _timeless(second["epochs"])
    assert first["best_epoch"] == second["best_epoch"]
    assert second["test_perplexity"] > 1.5 * first["test_perplexity"]


def test_a_dropped_word_is_gone_wherever_it_stands_in_a_chunk_and_the_others_are_larger():
    words = np.random.default_rng(0).permutation(np.arange(240) % 50).reshape(6, 40)
    layer = WordDropout(0.3, vocabulary_size=50, seed=1)
    embedded = np.random.default_rng(1).normal(size=(6, 40, 3)).astype("float32")
    np.testing.assert_array_equal(layer(embedded, words), embedded)
    gone = []
    for _ in range(100):
        factors = np.asarray(layer(embedded, words, training=True)) / embedded
        of_word = [factors[words == word] for word in range(50)]
        assert all(np.ptp(factor) < 1e-6 for factor in of_word)
        kept = np.array([factor[0, 0] for factor in of_word])
        np.testing.assert_allclose(kept[kept > 0.0], 1.0 / 0.7, rtol=1e-6)
        gone.append(kept == 0.0)
    assert np.mean(gone) == pytest.approx(0.3, abs=0.03)  # of 5,000 draws, four standard deviations
    assert np.all(np.any(gone, axis=0) & ~np.all(gone, axis=0))


def test_words_are_dropped_from_the_embedding_and_not_from_a_tied_read_out(text_folder):
    problem = _problem(text_folder, "gru", "word_dropout=0.9")
    plain = _problem(text_folder, "gru")
    assert problem.config.tied
    x, _ = problem.batches[0]
    np.testing.assert_allclose(problem.network(x), plain.network(x), rtol=1e-6)
    hidden = keras.Model(problem.network.inputs, problem.network.get_layer("recurrent_1").input)
    dropped = np.asarray(hidden([x], training=True))
    gone = {word for word in range(8) if not np.any(dropped[x == word])}
    assert 0 < len(gone) < len(np.unique(x))
    assert np.all(np.any(np.asarray(problem.network(x, training=True)), axis=(0, 1)))  # a logit of every word


def test_random_lengths_of_chunks_have_one_trace(text_folder):
    problem = _problem(text_folder, "egru", "variable_steps=true", "epochs=2", "steps_per_epoch=12")
    lengths = {int(length) for epoch in range(2) for length in problem.batches.lengths(epoch)}
    traced, step = [], problem.network.train_step
    problem.network.train_step = lambda data: traced.append(data[0].shape) or step(data)
    problem.network.fit(problem.batches, epochs=2, shuffle=False, verbose=0)
    assert len(lengths) > 3
    assert {tuple(shape) for shape in traced} == {(None, None)}
    assert len(traced) <= 2  # TensorFlow traces a function a second time if it makes variables, here the optimizer's


def test_the_learning_rate_follows_the_length_of_a_chunk(text_folder):
    problem = _problem(text_folder, "egru", "variable_steps=true", "epochs=2", "steps_per_epoch=12")
    lengths = np.concatenate([problem.batches.lengths(0), problem.batches.lengths(1)])
    np.testing.assert_allclose(problem.network.optimizer.update_rates, lengths / 9)
    assert len(_problem(text_folder, "gru").network.optimizer.get_config()) == len(keras.optimizers.Adam().get_config())


def test_dropouts_keep_their_masks_through_a_chunk(text_folder):
    problem = _problem(text_folder, "gru", "input_dropout=0.5", "hidden_dropout=0.5", "dropout=0.5")
    layers = [layer for layer in problem.network.layers if isinstance(layer, keras.layers.SpatialDropout1D)]
    assert len(layers) == 3
    for layer in layers:
        first, second = (np.asarray(layer(np.ones((4, 9, 8), "float32"), training=True)) for _ in range(2))
        np.testing.assert_array_equal(first, np.broadcast_to(first[:, :1], first.shape))
        assert len(np.unique(first[:, 0], axis=0)) > 1  # each stream has a mask of its own
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("kind", [DropConnectGRU, DropConnectLSTM])
def test_dropconnect_drops_recurrent_weights_for_a_whole_batch_in_training_alone(kind):
    layer = kind(6, dropconnect=0.4, seed=0, return_sequences=True)
    plain = kind.__mro__[2](6, return_sequences=True)
    x = np.random.default_rng(0).normal(size=(3, 7, 2)).astype("float32")
    outputs = [np.asarray(layer(x, training=training)) for training in (False, True, True)]
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(outputs[0], plain(x), rtol=1e-6)
    assert np.max(np.abs(outputs[1] - outputs[0])) > 1e-3
    assert np.max(np.abs(outputs[2] - outputs[1])) > 1e-3
    kernel, recurrent_kernel, bias = layer.get_weights()

    # What was drawn, drawn again: the mask leaves steps and samples alike, so a plain layer with it does the same.
    again = kind(6, dropconnect=0.4, seed=0, return_sequences=True)
    again.build(x.shape)
    mask = np.asarray(keras.random.dropout(np.ones_like(recurrent_kernel), 0.4, seed=again.cell.seed_generator))
    assert set(np.unique(np.round(mask, 5))) == {0.0, np.float32(1.66667)}
    assert np.mean(mask == 0.0) == pytest.approx(0.4, abs=0.15)
    plain.set_weights([kernel, recurrent_kernel * mask, bias])
    np.testing.assert_allclose(outputs[1], plain(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [DropConnectGRU, DropConnectLSTM])
def test_dropped_weights_have_no_gradient(kind):
    layer = kind(8, dropconnect=0.5, seed=0)
    x = np.random.default_rng(0).normal(size=(3, 7, 2)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, training=True))
    (gradient,) = tape.gradient(loss, [layer.cell.recurrent_kernel.value])
    assert np.mean(np.asarray(gradient) == 0.0) == pytest.approx(0.5, abs=0.12)
    assert [variable.name for variable in layer.trainable_variables] == ["kernel", "recurrent_kernel", "bias"]


@pytest.mark.parametrize("model", ["egru", "gru", "lstm"])
def test_every_model_is_trained_with_dropconnect_and_evaluated_without(text_folder, model):
    problem = _problem(text_folder, model, "dropconnect=0.5")
    x, _ = problem.batches[0]
    assert problem.network.get_layer("recurrent_1").dropconnect == 0.5
    reset_states(problem.network)
    one, other = np.asarray(problem.network(x)), np.asarray(problem.network(x, training=True))
    assert np.max(np.abs(one - other)) > 1e-3
    layer = problem.deployed().get_layer("recurrent_1")
    assert not getattr(layer, "dropconnect", 0.0)
    assert type(layer).__module__.split(".")[0] in ("keras", "keras_egru")


def test_a_perplexity_beyond_numbers_is_infinite():
    assert perplexity(math.log(50.0)) == pytest.approx(50.0)
    assert perplexity(1e4) == math.inf


def _config(*assignments, model="egru"):
    return resolve(TASKS["ptb"].config_class, "ptb", "smoke", model, [*SMALL, *assignments])


def _problem(folder, model, *assignments):
    """An untrained language model with embeddings so large that what was read shows in what is predicted."""
    config = _config(*assignments, model=model)
    problem = LanguageModel(config, model, TASKS["ptb"].load(config, str(folder)), seed=0)
    embeddings = problem.network.get_layer("embedding").embeddings
    embeddings.assign(20.0 * embeddings)
    return problem


def _run(text_folder, out, assignments, resume=False, progress=None):
    return Run("ptb", "smoke", "egru", _config(*assignments), 0, str(text_folder), out, "a test", resume, progress)


def _timeless(figures):
    if not isinstance(figures, list):
        return figures
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in figures]
