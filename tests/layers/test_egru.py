import itertools

import keras
import numpy as np
import pytest
from keras.src.testing import TestCase
from numpy.testing import assert_allclose, assert_array_equal

import keras_egru
from keras_egru import EGRU, EGRUCell

TIGHT = {"rtol": 1e-10, "atol": 1e-12}  # Float64, at most a few hundred roundings.


def _rnn_twin(layer, **options):
    """`keras.layers.RNN(EGRUCell)` with the weights of `layer`."""
    config = layer.cell.get_config()
    twin = keras.layers.RNN(
        EGRUCell.from_config(config),
        return_sequences=layer.return_sequences,
        return_state=layer.return_state,
        go_backwards=layer.go_backwards,
        zero_output_for_mask=layer.zero_output_for_mask,
        dtype="float64",
        **options,
    )
    twin.build((4, 7, 3))
    twin.set_weights(layer.get_weights())
    return twin


class TestKerasLayerChecks(TestCase):
    """Keras's own check of a layer: shapes, weights, serialisation, training, dtype policies, masking."""

    def check(self, init_kwargs, **expected):
        expected = {
            "expected_num_trainable_weights": 3,
            "expected_num_non_trainable_weights": 1,
            "expected_num_seed_generators": 1,
            "supports_masking": True,
            **expected,
        }
        self.run_layer_test(EGRU, init_kwargs, input_shape=(3, 2, 4), **expected)

    def test_defaults(self):
        self.check({"units": 3}, expected_output_shape=(3, 3))

    def test_reference_with_dropout(self):
        self.check(
            {"units": 3, "dropout": 0.2, "recurrent_dropout": 0.2, "implementation": "reference"},
            call_kwargs={"training": True},
            expected_output_shape=(3, 3),
        )

    def test_sequences_with_losses(self):
        self.check(
            {
                "units": 3,
                "return_sequences": True,
                "bias_regularizer": "l1",
                "kernel_regularizer": "l2",
                "recurrent_regularizer": "l2",
                "activity_regularizer": "l2",
            },
            expected_output_shape=(3, 2, 3),
            expected_num_losses=4,
        )

    def test_trained_shared_threshold_without_bias(self):
        self.check(
            {"units": 3, "use_bias": False, "threshold_trainable": True, "shared_threshold": True, "zoneout": 0.1},
            expected_num_trainable_weights=3,
            expected_num_non_trainable_weights=0,
            expected_output_shape=(3, 3),
        )


@pytest.mark.parametrize(
    ("reset", "reset_after", "go_backwards", "with_mask"),
    list(itertools.product(["threshold", "subtract", "zero"], [True, False], [False, True], [False, True])),
)
def test_equals_rnn_over_the_cell(
    implementation, make_egru, sequences, mask, reset, reset_after, go_backwards, with_mask
):
    layer = make_egru(
        reset=reset,
        reset_after=reset_after,
        go_backwards=go_backwards,
        zoneout=0.2,
        return_sequences=True,
        return_state=True,
        implementation=implementation,
    )
    call = {"mask": mask} if with_mask else {}
    results = layer(sequences, **call)
    activity = np.mean(np.asarray(results[0]) != 0)
    assert 0.02 < activity < 0.95
    for ours, theirs in zip(results, _rnn_twin(layer)(sequences, **call), strict=True):
        assert_allclose(ours, theirs, **TIGHT)


@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_masked_outputs_are_those_of_rnn_whatever_the_initial_state(
    implementation, make_egru, sequences, mask, initial_state, zero_output_for_mask, return_sequences, go_backwards
):
    layer = make_egru(
        zero_output_for_mask=zero_output_for_mask,
        return_sequences=return_sequences,
        return_state=True,
        go_backwards=go_backwards,
        implementation=implementation,
    )
    results = layer(sequences, initial_state=initial_state, mask=mask)
    for ours, theirs in zip(results, _rnn_twin(layer)(sequences, initial_state=initial_state, mask=mask), strict=True):
        assert_allclose(ours, theirs, **TIGHT)
    # The last sequence has no valid step: no output, and the state as it was.
    assert_array_equal(results[0][3], np.zeros_like(results[0][3]))
    assert_array_equal(results[1][3], initial_state[0][3])
    assert_array_equal(results[2][3], initial_state[1][3])


def test_masked_steps_hold_what_came_before(implementation, make_egru, sequences, mask):
    layer = make_egru(return_sequences=True, implementation=implementation)
    outputs = np.asarray(layer(sequences, mask=mask))
    assert_array_equal(outputs[0, :2], 0.0)
    assert_array_equal(outputs[0, 4], outputs[0, 3])
    shortened = np.delete(sequences[:1], [0, 1, 4], axis=1)
    assert_allclose(outputs[:1, [2, 3, 5, 6]], layer(shortened), **TIGHT)


def test_the_mask_of_an_embedding_is_used_with_and_without_an_initial_state(implementation, initial_state):
    spread = keras.initializers.RandomNormal(stddev=2.0)
    tokens = np.array([[3, 1, 0, 0], [2, 4, 1, 0], [1, 0, 0, 0], [4, 3, 2, 1]])
    embedded = keras.layers.Embedding(5, 3, spread, mask_zero=True, dtype="float64")(tokens)
    layer = EGRU(5, dtype="float64", return_sequences=True, implementation=implementation)
    for call in ({}, {"initial_state": initial_state}):
        outputs = np.asarray(layer(embedded, **call))
        assert_array_equal(outputs, np.asarray(layer(np.asarray(embedded), mask=tokens != 0, **call)))
        assert_array_equal(outputs[2, 1:], np.broadcast_to(outputs[2, :1], (3, 5)))
        assert np.any(outputs != 0)


def test_return_state_gives_the_last_y_and_c(implementation, make_egru, sequences):
    layer = make_egru(return_sequences=True, return_state=True, implementation=implementation)
    outputs, y, c = layer(sequences)
    theta = layer.get_weights()[-1]
    assert_array_equal(outputs[:, -1], y)
    assert_array_equal(np.where(np.asarray(c) > theta, c, 0.0), y)
    assert np.any(np.asarray(c)[np.asarray(y) == 0] != 0)


def test_a_sequence_in_two_halves_equals_the_whole(implementation, make_egru, sequences):
    layer = make_egru(return_sequences=True, return_state=True, implementation=implementation)
    whole, *last = layer(sequences)
    first, *state = layer(sequences[:, :3])
    second, *final = layer(sequences[:, 3:], initial_state=state)
    assert_allclose(np.concatenate([first, second], axis=1), whole, **TIGHT)
    for ours, theirs in zip(final, last, strict=True):
        assert_allclose(ours, theirs, **TIGHT)


def test_stateful_carries_y_and_c_over_batches(implementation, sequences):
    stateful = EGRU(5, stateful=True, dtype="float64", implementation=implementation)
    plain = EGRU(5, return_state=True, dtype="float64", implementation=implementation)
    stateful(sequences)
    plain.build(sequences.shape)
    plain.set_weights([weight.numpy() for weight in stateful.cell.weights])
    first, *state = plain(sequences)
    second, *_ = plain(sequences, initial_state=state)

    stateful.reset_state()
    assert_allclose(stateful(sequences), first, **TIGHT)
    assert_allclose(stateful(sequences), second, **TIGHT)
    assert not np.allclose(first, second)
    stateful.reset_state()
    assert_allclose(stateful(sequences), first, **TIGHT)


def test_go_backwards_is_the_reversed_sequence_in_processing_order(implementation, make_egru, sequences):
    forward = make_egru(return_sequences=True, implementation=implementation)
    backward = make_egru(return_sequences=True, go_backwards=True, implementation=implementation)
    backward.set_weights(forward.get_weights())
    assert_allclose(backward(sequences), forward(sequences[:, ::-1]), **TIGHT)


@pytest.mark.parametrize("merge_mode", ["concat", "sum", None])
def test_bidirectional(implementation, sequences, mask, merge_mode):
    layer = keras.layers.Bidirectional(
        EGRU(5, return_sequences=True, dtype="float64", implementation=implementation),
        merge_mode=merge_mode,
        dtype="float64",
    )
    merged = layer(sequences, mask=mask)
    forward = np.asarray(layer.forward_layer(sequences, mask=mask))
    backward = np.asarray(layer.backward_layer(sequences, mask=mask))[:, ::-1]
    expected = {"concat": np.concatenate([forward, backward], axis=-1), "sum": forward + backward, None: None}[
        merge_mode
    ]
    if merge_mode is None:
        assert_allclose(merged[0], forward, **TIGHT)
        assert_allclose(merged[1], backward, **TIGHT)
    else:
        assert_allclose(merged, expected, **TIGHT)


def test_unrolled_reference_equals_the_loop(make_egru, sequences, mask):
    loop = make_egru(return_sequences=True, implementation="reference")
    unrolled = make_egru(return_sequences=True, implementation="reference", unroll=True)
    unrolled.set_weights(loop.get_weights())
    assert_allclose(unrolled(sequences, mask=mask), loop(sequences, mask=mask), **TIGHT)


def test_unroll_needs_a_known_number_of_steps():
    tf = pytest.importorskip("tensorflow")
    call = tf.function(EGRU(3, unroll=True), input_signature=[tf.TensorSpec((None, None, 2), tf.float32)])
    with pytest.raises(ValueError, match="Cannot unroll"):
        call(np.zeros((1, 2, 2), "float32"))


def test_functional_and_sequential_models_train_and_survive_saving(implementation, tmp_path):
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(32, 6, 3)).astype("float32"), rng.normal(size=(32, 1)).astype("float32")
    options = {
        "implementation": implementation,
        "surrogate": keras_egru.surrogates.Triangular(0.6, 0.8),
        "dropout": 0.1,
        "dropconnect": 0.1,
        "output_dropout": 0.1,
        "zoneout": 0.1,
    }
    sequential = keras.Sequential(
        [
            keras.Input((None, 3)),
            keras.layers.Bidirectional(EGRU(4, return_sequences=True, **options)),
            keras_egru.ExponentialTrace(),
            keras.layers.Dense(1),
        ]
    )
    inputs = keras.Input((6, 3))
    sequence, *state = EGRU(8, return_sequences=True, return_state=True, **options)(inputs)
    outputs = keras.layers.Dense(1)(EGRU(8, **options)(sequence, initial_state=state))
    functional = keras.Model(inputs, outputs)
    for name, model in {"sequential": sequential, "functional": functional}.items():
        model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
        losses = model.fit(x, target, epochs=6, batch_size=16, verbose=0).history["loss"]
        assert losses[-1] < losses[0]
        model.save(tmp_path / f"{name}.keras")
        loaded = keras.models.load_model(tmp_path / f"{name}.keras")
        assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
        for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
            assert_array_equal(ours, theirs)


def test_config_round_trip_keeps_every_option():
    layer = EGRU(
        4,
        use_bias=False,
        kernel_initializer="he_normal",
        recurrent_initializer="glorot_normal",
        bias_initializer="ones",
        threshold_initializer=keras.initializers.Constant(0.25),
        kernel_regularizer="l1",
        recurrent_regularizer="l2",
        bias_regularizer="l1",
        activity_regularizer="l2",
        kernel_constraint="max_norm",
        recurrent_constraint="unit_norm",
        bias_constraint="non_neg",
        threshold_constraint=keras_egru.constraints.OpenUnitInterval(0.01),
        threshold_trainable=True,
        shared_threshold=True,
        reset="subtract",
        reset_after=False,
        surrogate=keras_egru.surrogates.Triangular(0.3, 0.4),
        dropout=0.1,
        recurrent_dropout=0.2,
        output_dropout=0.3,
        dropconnect=0.4,
        zoneout=0.5,
        seed=3,
        validate_inputs=True,
        implementation="reference",
        return_sequences=True,
        return_state=True,
        go_backwards=True,
        stateful=True,
        unroll=True,
        checkpoint_steps=6,
        zero_output_for_mask=True,
        name="named",
        dtype="mixed_float16",
        trainable=False,
    )
    config = layer.get_config()
    defaults = EGRU(4).get_config()
    assert set(config) == set(defaults)
    changed = {name for name in config if config[name] != defaults[name]}
    assert changed == set(config) - {"units", "state_regularizer"}
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == config
    assert copy.cell.trainable is False


def test_mixed_precision_keeps_weights_and_the_recursion_in_float32(implementation, sequences):
    x = sequences.astype("float16")
    half = EGRU(5, return_sequences=True, dtype="mixed_float16", implementation=implementation)
    outputs = half(x)
    single = EGRU(5, return_sequences=True, dtype="float32", implementation=implementation)
    single.build(x.shape)
    single.set_weights(half.get_weights())
    assert outputs.dtype == "float16"
    assert {str(weight.dtype) for weight in half.weights} == {"float32"}
    # Only the outputs are rounded to half precision.
    assert_array_equal(outputs, np.asarray(single(x.astype("float32"))).astype("float16"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_bfloat16", "float64"])
def test_every_float_policy_gives_its_compute_type(implementation, sequences, dtype):
    # TensorFlow has no QR decomposition, which orthogonal weights are drawn by, in bfloat16.
    layer = EGRU(
        5, return_state=True, recurrent_initializer="glorot_uniform", dtype=dtype, implementation=implementation
    )
    compute_dtype = dtype.removeprefix("mixed_")
    for output in layer(sequences):
        assert keras.backend.standardize_dtype(output.dtype) == compute_dtype
        assert np.all(np.isfinite(np.asarray(keras.ops.cast(output, "float64"))))


def test_the_reference_may_be_compiled_by_xla_and_the_fused_op_may_not(implementation):
    assert EGRU(3, implementation=implementation).supports_jit is (implementation == "reference")
    assert not EGRU(3, checkpoint_steps=4, implementation=implementation).supports_jit


def test_docstring_example_runs():
    inputs = np.random.default_rng(0).random((32, 10, 8), "float32")
    assert keras_egru.EGRU(4)(inputs).shape == (32, 4)
    events, _, last_c = keras_egru.EGRU(4, return_sequences=True, return_state=True)(inputs)
    assert events.shape == (32, 10, 4)
    assert last_c.shape == (32, 4)
