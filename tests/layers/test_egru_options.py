"""Options of the layer that act in training: masks, thresholds, regularisers, validation."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EGRU, EGRUCell
from keras_egru.layers.input_checks import VALIDATE_VARIABLE
from keras_egru.surrogates import Triangular

TIGHT = {"rtol": 1e-10, "atol": 1e-12}


def _in_training(layer, x, **call):
    return np.asarray(layer(x, training=True, **call))


@pytest.mark.parametrize("rate", ["dropout", "recurrent_dropout", "output_dropout", "dropconnect", "zoneout"])
def test_masks_act_in_training_only(make_egru, sequences, rate):
    layer = make_egru(return_sequences=True, **{rate: 0.5})
    plain = make_egru(return_sequences=True)
    plain.set_weights([weight.numpy() for weight in layer.cell.weights])
    if rate != "zoneout":  # In inference zoneout has its expected value, which is not without effect.
        assert_allclose(layer(sequences), plain(sequences), **TIGHT)
    assert_array_equal(layer(sequences), layer(sequences))
    assert not np.allclose(_in_training(layer, sequences), plain(sequences))
    assert not np.array_equal(_in_training(layer, sequences), _in_training(layer, sequences))


@pytest.mark.parametrize(
    "rates", [{"dropout": 0.4}, {"recurrent_dropout": 0.4}, {"output_dropout": 0.4}, {"dropconnect": 0.4}]
)
def test_the_same_seed_draws_the_same_masks_as_rnn_over_the_cell(make_egru, sequences, mask, rates):
    layer = make_egru(return_sequences=True, seed=5, **rates)
    twin = keras.layers.RNN(EGRUCell.from_config(layer.cell.get_config()), return_sequences=True, dtype="float64")
    twin.build(sequences.shape)
    twin.set_weights(layer.get_weights())
    outputs = _in_training(layer, sequences, mask=mask)
    assert np.any(outputs != 0)
    assert_allclose(outputs, _in_training(twin, sequences, mask=mask), **TIGHT)


def test_input_dropout_is_one_mask_a_sequence(implementation, make_egru):
    """Constant inputs through one mask a sequence are constant still: each sample sees a fixed choice of features."""
    layer = make_egru(dropout=0.5, seed=1, return_sequences=True, implementation=implementation)
    x = np.ones((4, 7, 3))
    outputs = _in_training(layer, x)
    plain = make_egru(return_sequences=True, implementation=implementation)
    plain.set_weights([weight.numpy() for weight in layer.cell.weights])
    choices = np.array(np.meshgrid(*[[0.0, 2.0]] * 3)).reshape(3, -1).T
    candidates = np.asarray(plain(np.repeat(choices[:, None], 7, axis=1)))
    for sample in outputs:
        assert np.min(np.abs(candidates - sample).max(axis=(1, 2))) < 1e-12


def test_output_dropout_silences_units_for_a_sequence_but_not_what_recurs(implementation, make_egru, sequences):
    layer = make_egru(
        units=40, output_dropout=0.5, return_sequences=True, return_state=True, implementation=implementation
    )
    plain, *state = layer(sequences)
    dropped, *dropped_state = layer(sequences, training=True)
    plain, dropped = np.asarray(plain), np.asarray(dropped)
    for ours, theirs in zip(dropped_state, state, strict=True):
        assert_allclose(ours, theirs, **TIGHT)
    spoke = np.any(plain != 0, axis=1)
    silenced = spoke & np.all(dropped == 0, axis=1)
    assert 0 < silenced.sum() < spoke.sum()
    assert_allclose(dropped, np.where(silenced[:, None], 0.0, 2.0 * plain), **TIGHT)


def test_dropconnect_is_one_mask_of_recurrent_weights_a_batch(implementation, make_egru, sequences):
    layer = make_egru(dropconnect=0.5, seed=4, return_sequences=True, implementation=implementation)
    outputs = _in_training(layer, sequences)
    twin = make_egru(return_sequences=True, implementation=implementation)
    drawing = EGRUCell(5, dropconnect=0.5, seed=4, dtype="float64")
    drawing.build((None, 3))
    kernel, recurrent, bias, threshold = [weight.numpy() for weight in layer.cell.weights]
    twin.set_weights([kernel, recurrent * np.asarray(drawing.get_dropconnect_mask()), bias, threshold])
    assert_allclose(outputs, twin(sequences), **TIGHT)


def test_zoneout_close_to_one_freezes_the_state_in_training_and_in_inference(implementation, make_egru, sequences):
    layer = make_egru(zoneout=1.0 - 1e-9, return_state=True, implementation=implementation)
    _, y, c = layer(sequences, training=True)
    assert_array_equal(c, np.zeros_like(c))
    _, y, c = layer(sequences)
    assert np.abs(c).max() < 1e-7
    assert_array_equal(y, np.zeros_like(y))


def test_seeded_layers_repeat_themselves(implementation, sequences):
    def run():
        keras.utils.set_random_seed(0)
        options = {"dropout": 0.3, "dropconnect": 0.3, "zoneout": 0.3, "output_dropout": 0.3}
        layer = EGRU(6, seed=9, return_sequences=True, implementation=implementation, **options)
        return _in_training(layer, sequences.astype("float32"))

    assert_array_equal(run(), run())


def _gradients(layer, x):
    tf = pytest.importorskip("tensorflow")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, training=True) ** 2)
    return dict(
        zip(
            (weight.name for weight in layer.trainable_weights),
            tape.gradient(loss, [weight.value for weight in layer.trainable_weights]),
            strict=True,
        )
    )


@pytest.mark.parametrize("shared", [False, True])
def test_thresholds_are_trained_or_frozen_as_asked(implementation, make_egru, sequences, shared):
    trained = make_egru(shared_threshold=shared, return_sequences=True, implementation=implementation)
    gradients = _gradients(trained, sequences)
    assert set(gradients) == {"kernel", "recurrent_kernel", "bias", "threshold"}
    assert all(np.any(np.asarray(gradient) != 0) for gradient in gradients.values())
    frozen = make_egru(shared_threshold=shared, threshold_trainable=False, implementation=implementation)
    assert [weight.name for weight in frozen.non_trainable_weights] == ["threshold"]
    assert "threshold" not in _gradients(frozen, sequences)


def test_the_constraint_keeps_thresholds_inside_the_unit_interval(implementation, sequences):
    model = keras.Sequential([EGRU(4, threshold_trainable=True, implementation=implementation)])
    model.compile(optimizer=keras.optimizers.SGD(1e3), loss=lambda target, output: keras.ops.sum(output, axis=-1))
    x = sequences.astype("float32")
    model.fit(x, np.zeros((4, 1)), epochs=3, verbose=0)
    thresholds = model.get_weights()[-1]
    assert np.all((thresholds >= 1e-4) & (thresholds <= 1 - 1e-4))


def test_thresholds_take_a_learning_rate_of_their_own(implementation, sequences):
    """The pattern of the docstring, `keras.optimizers.MultiOptimizer`."""
    egru = EGRU(16, threshold_trainable=True, surrogate=Triangular(), implementation=implementation)
    model = keras.Sequential([keras.Input((7, 3)), egru, keras.layers.Dense(1)])
    weights, thresholds = keras.optimizers.SGD(1e-1), keras.optimizers.SGD(0.0)
    rates = keras.optimizers.OptimizerMap(weights, {".*/threshold": thresholds})
    model.compile(optimizer=keras.optimizers.MultiOptimizer(rates), loss="mse")
    x, target = sequences.astype("float32"), np.ones((4, 1), "float32")
    before = model.get_weights()
    model.fit(x, target, epochs=2, verbose=0)
    after = model.get_weights()
    assert_array_equal(after[3], before[3])
    assert not np.array_equal(after[0], before[0])
    thresholds.learning_rate = 1e-1
    model.fit(x, target, epochs=2, verbose=0)
    assert not np.array_equal(model.get_weights()[3], after[3])


@keras.saving.register_keras_serializable(package="keras_egru_tests")
class MeanOfSquares:
    """A state regulariser that counts valid steps only."""

    def __call__(self, c, threshold, surrogate, mask):
        self.seen = (tuple(c.shape), tuple(threshold.shape), surrogate, None if mask is None else tuple(mask.shape))
        weight = keras.ops.ones_like(c[:, :, 0]) if mask is None else keras.ops.cast(mask, c.dtype)
        return keras.ops.sum(keras.ops.square(c) * weight[:, :, None])

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def test_state_regularizer_adds_its_loss_and_is_saved(implementation, make_egru, sequences, mask):
    regularizer = MeanOfSquares()
    layer = make_egru(state_regularizer=regularizer, return_sequences=True, implementation=implementation)
    assert layer.losses == []
    layer(sequences, mask=mask)
    assert regularizer.seen == ((4, 7, 5), (5,), layer.surrogate, (4, 7))
    (loss,) = layer.losses

    total = 0.0
    stepped = make_egru(return_state=True, implementation=implementation)
    stepped.set_weights(layer.get_weights())
    for t in range(7):
        c = np.asarray(stepped(sequences[:, : t + 1], mask=mask[:, : t + 1])[2])
        total += np.sum(c[mask[:, t]] ** 2)
    assert_allclose(loss, total, rtol=1e-10)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert isinstance(copy.state_regularizer, MeanOfSquares)


def test_state_regularizer_enters_the_training_loss(implementation, sequences):
    def loss(**options):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([EGRU(4, implementation=implementation, **options)])
        model.compile(loss="mse")
        return model.evaluate(sequences.astype("float32"), np.zeros((4, 4)), verbose=0)

    assert loss(state_regularizer=MeanOfSquares()) > loss() + 0.1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_validation_names_nan_and_inf_in_inputs_and_states(implementation, sequences, initial_state, bad):
    layer = EGRU(5, name="watched", validate_inputs=True, dtype="float64", implementation=implementation)
    assert np.all(np.isfinite(layer(sequences, initial_state=initial_state)))
    poisoned = sequences.copy()
    poisoned[2, 3, 1] = bad
    with pytest.raises(ValueError, match="`sequences` of layer 'watched' holds NaN or Inf in 1 of 84 entries"):
        layer(poisoned)
    initial_state[1][0, 0] = bad
    with pytest.raises(ValueError, match="`initial_state` of layer 'watched' holds NaN or Inf in 1 of 20 entries"):
        layer(sequences, initial_state=initial_state)


def test_validation_in_a_graph_raises_when_the_graph_runs(implementation, sequences):
    tf = pytest.importorskip("tensorflow")
    layer = EGRU(5, name="watched", validate_inputs=True, dtype="float64", implementation=implementation)
    call = tf.function(layer)
    assert np.all(np.isfinite(call(tf.constant(sequences))))
    sequences[0, 0, 0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="`sequences` of layer 'watched' holds NaN or Inf"):
        call(tf.constant(sequences))


def test_validation_works_within_fit(implementation, sequences):
    tf = pytest.importorskip("tensorflow")
    model = keras.Sequential([EGRU(5, name="watched", validate_inputs=True, implementation=implementation)])
    model.compile(loss="mse")
    x = sequences.astype("float32")
    model.fit(x, np.zeros((4, 5)), verbose=0)
    x[0, 0, 0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="holds NaN or Inf"):
        model.fit(x, np.zeros((4, 5)), verbose=0)


def test_the_environment_turns_validation_on(monkeypatch, sequences):
    layer = EGRU(5, dtype="float64")
    sequences[0, 0, 0] = np.nan
    monkeypatch.setenv(VALIDATE_VARIABLE, "0")
    layer(sequences)
    monkeypatch.setenv(VALIDATE_VARIABLE, "1")
    with pytest.raises(ValueError, match="NaN or Inf"):
        layer(sequences)


def test_without_validation_nan_passes_through_without_a_crash(implementation, sequences):
    sequences[0, 2, 0] = np.nan
    outputs = np.asarray(EGRU(5, return_sequences=True, dtype="float64", implementation=implementation)(sequences))
    assert np.all(np.isfinite(outputs[1:]))
