"""`checkpoint_steps` changes what a layer remembers in training, and nothing else."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EGRU
from keras_egru.layers import egru
from keras_egru.layers.recording import record_states

tf = pytest.importorskip("tensorflow")

EXACT = {"rtol": 1e-12, "atol": 1e-14}  # float64; the sums over segments are rounded otherwise
INPUTS = 2.0 * np.random.default_rng(1).normal(size=(4, 7, 3)).astype("float32")
RATES = {"dropout": 0.2, "output_dropout": 0.2, "dropconnect": 0.2, "zoneout": 0.2, "seed": 3}


def _mean_square(c, threshold, surrogate, mask):
    return keras.ops.mean(keras.ops.square(c))


def _results_and_gradients(layer, sequences, initial_state, mask):
    """What the layer returns in training, its losses, and their gradients by the inputs, states and weights."""
    inputs = [tf.constant(tensor) for tensor in (sequences, *initial_state)]
    weights = [weight.value for weight in layer.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        results = layer(inputs[0], initial_state=inputs[1:], mask=mask, training=True)
        results = keras.tree.flatten(results)
        loss = sum(layer.losses)
        for i, result in enumerate(results):  # weighed so that no two numbers can be exchanged
            numbers = tf.range(tf.size(result), dtype=result.dtype) + i
            loss += tf.reduce_sum(result * tf.reshape(tf.cos(numbers), result.shape))
    return [*results, *layer.losses, *tape.gradient(loss, inputs + weights)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True},
        {"return_state": True},
        {"return_sequences": True, "return_state": True, "go_backwards": True},
        {"zero_output_for_mask": True},
        {"return_sequences": True, "state_regularizer": _mean_square, "activity_regularizer": "l2"},
        {"state_regularizer": _mean_square, "reset": "zero"},
        {**RATES, "return_sequences": True},
        {**RATES, "reset_after": False, "use_bias": False, "shared_threshold": True},
    ],
)
@pytest.mark.parametrize("with_mask", [False, True])
def test_results_and_gradients_are_the_same(
    implementation, make_egru, sequences, initial_state, mask, options, with_mask
):
    plain = make_egru(implementation=implementation, **options)
    checkpointed = make_egru(implementation=implementation, checkpoint_steps=3, **options)
    checkpointed.set_weights(plain.get_weights())
    given = (sequences, initial_state, mask if with_mask else None)
    expected = _results_and_gradients(plain, *given)
    for ours, theirs in zip(_results_and_gradients(checkpointed, *given), expected, strict=True):
        assert_allclose(ours, theirs, **EXACT)


def test_stateful_layers_go_on_from_where_they_were(implementation, sequences):
    options = {"stateful": True, "dtype": "float64", "implementation": implementation}
    layers = [EGRU(5, **options), EGRU(5, checkpoint_steps=3, **options)]
    for layer in layers:
        layer.build(sequences.shape)
        layer.cell.set_weights(layers[0].cell.get_weights())
    for _ in range(2):
        plain, checkpointed = (np.asarray(layer(sequences, training=True)) for layer in layers)
        assert_allclose(checkpointed, plain, **EXACT)
    for ours, theirs in zip(layers[1].states, layers[0].states, strict=True):
        assert np.any(np.asarray(theirs) != 0)
        assert_allclose(ours, theirs, **EXACT)


def _model(**options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            keras.layers.Masking(),
            keras.layers.Bidirectional(EGRU(4, return_sequences=True, **options, **RATES)),
            EGRU(8, **options, **RATES),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    return model


@pytest.fixture(scope="module")
def plain():
    """Losses and predictions of a network that keeps all steps, on whichever implementation runs here."""
    model = _model()
    losses = model.fit(INPUTS, np.ones((4, 1), "float32"), epochs=3, verbose=0).history["loss"]
    return losses, model.predict(INPUTS, verbose=0)


def test_fit_is_the_same_and_the_option_is_saved(implementation, plain, tmp_path):
    model = _model(checkpoint_steps=3, implementation=implementation)
    losses = model.fit(INPUTS, np.ones((4, 1), "float32"), epochs=3, verbose=0).history["loss"]
    predictions = model.predict(INPUTS, verbose=0)
    for ours, theirs in zip((losses, predictions), plain, strict=True):
        assert_allclose(ours, theirs, rtol=1e-5)  # float32
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[2].checkpoint_steps == 3
    assert_array_equal(loaded.predict(INPUTS, verbose=0), predictions)


def test_no_sequence_of_states_is_asked_for_but_what_is_needed(make_egru, sequences, monkeypatch):
    kept, sequence = [], egru.egru_sequence

    def spy(*tensors, keep, **options):
        kept.append(keep)
        return sequence(*tensors, keep=keep, **options)

    monkeypatch.setattr(egru, "egru_sequence", spy)
    make_egru(return_state=True)(sequences)
    make_egru(return_sequences=True)(sequences)
    make_egru(state_regularizer=_mean_square)(sequences)
    with record_states() as records:
        make_egru(checkpoint_steps=3)(sequences, training=True)
    assert kept == [(), ("y",), ("c",), ("y", "c")]
    assert records[0].y.shape == records[0].c.shape == (4, 7, 5)
