import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EGRUCell, ops, surrogates

FEATURES, UNITS, BATCH = 3, 5, 4


def _states(seed=0):
    c = np.random.default_rng(seed).uniform(-1, 1, size=(BATCH, UNITS))
    return [np.where(c > 0.3, c, 0.0), c]


@pytest.mark.parametrize("reset", ["threshold", "subtract", "zero"])
@pytest.mark.parametrize("reset_after", [True, False])
def test_one_step_follows_the_equations(reset, reset_after):
    cell = EGRUCell(UNITS, reset=reset, reset_after=reset_after, bias_initializer="random_normal", dtype="float64")
    cell.build((BATCH, FEATURES))
    x, (y, c) = np.random.default_rng(1).normal(size=(BATCH, FEATURES)), _states()
    kernel, recurrent, bias, theta = cell.get_weights()

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    input_bias, recurrent_bias = (bias[0], bias[1]) if reset_after else (bias, np.zeros_like(bias))
    x_u, x_r, x_z = np.split(x @ kernel + input_bias, 3, axis=-1)
    h_u, h_r, h_z = np.split(y @ recurrent + recurrent_bias, 3, axis=-1)
    u, r = sigmoid(x_u + h_u), sigmoid(x_r + h_r)
    z = np.tanh(x_z + r * h_z) if reset_after else np.tanh(x_z + (r * y) @ recurrent[:, 2 * UNITS :])
    expected_c = {
        "threshold": u * z + (1 - u) * c - theta * (c > theta),
        "subtract": u * z + (1 - u) * c - y,
        "zero": u * z + (1 - u) * (c - y),
    }[reset]
    expected_y = np.where(expected_c > theta, expected_c, 0.0)

    output, (next_y, next_c) = cell(x, [y, c])
    assert_allclose(next_c, expected_c, rtol=1e-12, atol=1e-12)
    assert_allclose(next_y, expected_y, rtol=1e-12, atol=1e-12)
    assert_array_equal(output, next_y)


def test_weights_come_in_the_documented_order_and_shapes():
    def shapes(**options):
        cell = EGRUCell(UNITS, **options)
        cell.build((None, FEATURES))
        return [(weight.name, tuple(weight.shape)) for weight in cell.weights]

    kernels = [("kernel", (3, 15)), ("recurrent_kernel", (5, 15))]
    assert shapes() == [*kernels, ("bias", (2, 15)), ("threshold", (5,))]
    assert shapes(reset_after=False) == [*kernels, ("bias", (15,)), ("threshold", (5,))]
    assert shapes(use_bias=False) == [*kernels, ("threshold", (5,))]
    assert shapes(shared_threshold=True)[-1] == ("threshold", (1,))
    assert shapes(threshold_trainable=False) == shapes()


def test_cell_runs_in_rnn_and_in_stacked_cells():
    x = np.random.default_rng(1).normal(size=(BATCH, 6, FEATURES)).astype("float32")
    rnn = keras.layers.RNN(
        [EGRUCell(4, dropout=0.2, dropconnect=0.2), EGRUCell(UNITS, output_dropout=0.3)], return_state=True
    )
    output, first, second = rnn(x, training=True)
    assert output.shape == (BATCH, UNITS)
    assert [state.shape for state in first] == [(BATCH, 4)] * 2
    assert [state.shape for state in second] == [(BATCH, UNITS)] * 2


def test_zoneout_keeps_c_at_about_its_share_in_training_and_mixes_in_inference():
    cell = EGRUCell(200, zoneout=0.3, dtype="float64", seed=3)
    plain = EGRUCell(200, dtype="float64")
    for layer in (cell, plain):
        layer.build((None, FEATURES))
    plain.set_weights(cell.get_weights())
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=(50, FEATURES)), rng.uniform(-1, 1, size=(50, 200))
    y = np.zeros_like(c)
    without = np.asarray(plain(x, [y, c])[1][1])

    kept = np.asarray(cell(x, [y, c], training=True)[1][1]) == c
    drawn = np.asarray(cell(x, [y, c], training=True)[1][1])
    # 10,000 draws: the standard deviation of the share is 0.0046.
    assert abs(kept.mean() - 0.3) < 0.02
    assert np.all((drawn == c) | np.isclose(drawn, without, rtol=1e-12))
    assert not np.array_equal(kept, drawn == c)
    assert_allclose(cell(x, [y, c])[1][1], 0.3 * c + 0.7 * without, rtol=1e-12)


def test_zoneout_acts_before_the_event_function():
    cell = EGRUCell(UNITS, zoneout=0.5, dtype="float64")
    cell.build((None, FEATURES))
    theta = cell.get_weights()[-1]
    y, c = _states()
    _, (next_y, next_c) = cell(np.ones((BATCH, FEATURES)), [y, c])
    assert_array_equal(next_y, np.where(np.asarray(next_c) > theta, next_c, 0.0))


def test_masks_stay_for_a_sequence_and_are_drawn_anew_after_a_reset():
    cell = EGRUCell(50, dropconnect=0.5, dropout=0.5, output_dropout=0.5, recurrent_dropout=0.5)
    cell.build((None, FEATURES))
    x, y = np.ones((2, FEATURES), "float32"), np.ones((2, 50), "float32")

    def masks():
        return [
            np.asarray(mask)
            for mask in (
                cell.get_dropout_mask(keras.ops.convert_to_tensor(x)),
                cell.get_recurrent_dropout_mask(keras.ops.convert_to_tensor(y)),
                cell.get_output_dropout_mask(keras.ops.convert_to_tensor(y)),
                cell.get_dropconnect_mask(),
            )
        ]

    first, second = masks(), masks()
    cell.reset_dropout_mask()
    cell.reset_recurrent_dropout_mask()
    third = masks()
    for before, same in zip(first, second, strict=True):
        assert_array_equal(before, same)
    for before, after in zip(first[1:], third[1:], strict=True):
        assert not np.array_equal(before, after)
    assert set(np.unique(first[3])) == {0.0, 2.0}


def test_config_round_trip_keeps_every_option():
    cell = EGRUCell(
        UNITS,
        use_bias=False,
        threshold_initializer=keras.initializers.Constant(0.2),
        threshold_trainable=False,
        shared_threshold=True,
        reset="zero",
        reset_after=False,
        surrogate=surrogates.Triangular(height=0.5, width=0.4),
        dropout=0.1,
        recurrent_dropout=0.2,
        output_dropout=0.3,
        dropconnect=0.4,
        zoneout=0.5,
        seed=11,
    )
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell))
    assert isinstance(copy, EGRUCell)
    assert copy.get_config() == cell.get_config()
    assert copy.surrogate == cell.surrogate


def test_gradient_of_a_step_is_that_of_the_functional_step():
    """The cell adds nothing of its own: the same numbers go through `ops.egru_sequence` with one step."""
    tf = pytest.importorskip("tensorflow")
    cell = EGRUCell(UNITS, threshold_trainable=True, surrogate=surrogates.Triangular(), dtype="float64")
    cell.build((None, FEATURES))
    x, (y, c) = np.random.default_rng(1).normal(size=(BATCH, FEATURES)), _states()
    with tf.GradientTape(persistent=True) as tape:
        by_cell = tf.reduce_sum(cell(x, [y, c])[0] ** 2)
        sequence = ops.egru_sequence(
            x[:, None],
            y,
            c,
            *(keras.ops.convert_to_tensor(weight) for weight in cell.weights),
            implementation="reference",
        )
        by_op = tf.reduce_sum(sequence.y**2)
    variables = [weight.value for weight in cell.weights]
    for ours, theirs in zip(tape.gradient(by_cell, variables), tape.gradient(by_op, variables), strict=True):
        assert np.any(np.asarray(theirs) != 0)
        assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
