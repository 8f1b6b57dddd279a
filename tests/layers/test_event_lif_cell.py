import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EventLIF, EventLIFCell, surrogates
from keras_egru.initializers import GammaTimeConstants

FEATURES, UNITS, BATCH = 3, 5, 4
TIGHT = {"rtol": 1e-10, "atol": 1e-12}  # Float64, at most a few hundred roundings.


def _states(synapse, refractory, seed=0):
    """`[y, v, i, wait]`, without those that there are not; some units fired, some wait."""
    rng = np.random.default_rng(seed)
    v = rng.uniform(-0.5, 1.5, size=(BATCH, UNITS))
    wait = rng.integers(0, 3, size=(BATCH, UNITS)).astype("float64")
    y = np.where((v > 1.0) & ((wait == 2) if refractory else True), 1.0, 0.0)
    return [y, v, *([rng.normal(0.5, 0.5, size=v.shape)] if synapse else []), *([wait] if refractory else [])]


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("refractory", [0.0, 2.0])
@pytest.mark.parametrize("tau_syn", [None, 3.0])
def test_one_step_follows_the_equations(reset, refractory, tau_syn):
    """The equations of `keras_egru.ops.lif_step`, in NumPy."""
    constants = {"threshold": 0.9, "v_reset": -0.1, "v_rest": 0.2}
    cell = EventLIFCell(
        UNITS, tau_mem=7.0, tau_syn=tau_syn, reset=reset, refractory=refractory, recurrent=True, dtype="float64",
        kernel_initializer=keras.initializers.RandomUniform(0.0, 1.0), **constants,
    )  # fmt: skip
    cell.build((BATCH, FEATURES))
    x, state = np.random.default_rng(1).normal(size=(BATCH, FEATURES)), _states(tau_syn, refractory)
    y, v, *rest = state
    kernel, recurrent = cell.get_weights()

    alpha = np.exp(-1.0 / 7.0)
    u = v - (0.9 + 0.1) * y if reset == "subtract" else np.where(y > 0, -0.1, v)
    expected_v = 0.2 + alpha * (u - 0.2)
    expected_i = []
    if tau_syn is None:
        expected_v = expected_v + x @ kernel + y @ recurrent
    else:
        beta = np.exp(-1.0 / tau_syn)
        expected_v = expected_v + tau_syn / (7.0 - tau_syn) * (alpha - beta) * rest[0]
    free = rest[-1] <= 0 if refractory else np.ones_like(v, bool)
    expected_v = np.where(free, expected_v, -0.1)
    expected_y = np.where(free & (expected_v > 0.9), 1.0, 0.0)
    if tau_syn is not None:
        expected_i = [beta * rest[0] + x @ kernel + expected_y @ recurrent]
    expected_wait = [np.where(expected_y > 0, 2.0, np.maximum(rest[-1] - 1.0, 0.0))] if refractory else []

    output, states = cell(x, state)
    assert 0 < expected_y.sum() < expected_y.size
    assert_array_equal(output, states[0])
    for ours, theirs in zip(states, [expected_y, expected_v, *expected_i, *expected_wait], strict=True):
        assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_state_is_as_long_as_its_parts_ask_for():
    def sizes(**options):
        cell = EventLIFCell(UNITS, **options)
        assert len(cell.get_initial_state(2)) == len(cell.state_size)
        return cell.state_size

    assert sizes() == [UNITS] * 2
    assert sizes(tau_syn=5.0) == sizes(refractory=1.0) == [UNITS] * 3
    assert sizes(tau_syn=5.0, refractory=2.0) == [UNITS] * 4
    assert sizes(refractory=0.4) == [UNITS] * 2  # less than half a step


def test_it_begins_at_rest():
    state = EventLIFCell(UNITS, tau_syn=5.0, refractory=2.0, v_rest=0.3).get_initial_state(BATCH)
    for part, value in zip(state, (0.0, 0.3, 0.0, 0.0), strict=True):
        assert_array_equal(part, np.full((BATCH, UNITS), value, "float32"))


def test_weights_come_in_the_documented_order_and_shapes():
    def shapes(**options):
        cell = EventLIFCell(UNITS, **options)
        cell.build((None, FEATURES))
        return [(weight.name, tuple(weight.shape)) for weight in cell.weights]

    assert shapes() == [("kernel", (3, 5))]
    assert shapes(tau_syn=5.0, recurrent=True, train_time_constants=True) == [
        ("kernel", (3, 5)),
        ("recurrent_kernel", (5, 5)),
        ("tau_mem", (5,)),
        ("tau_syn", (5,)),
    ]


def test_config_round_trip_keeps_every_option():
    for own in ({"surrogate": surrogates.Triangular(0.5, 0.4)}, {"gradient": "eventprop"}):
        options = dict(
            tau_mem=GammaTimeConstants(20.0, 3.0, seed=1),
            tau_syn=5.0,
            dt=0.5,
            threshold=0.8,
            v_reset=-0.2,
            v_rest=0.1,
            reset="zero",
            refractory=1.5,
            recurrent=True,
            train_time_constants=True,
            kernel_constraint="non_neg",
            dtype="float64",
            **own,
        )
        cell = EventLIFCell(UNITS, **options)
        assert set(options) <= set(cell.get_config())
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell))
        assert isinstance(copy, EventLIFCell)
        assert copy.get_config() == cell.get_config()
        assert copy.surrogate == cell.surrogate
        assert copy.constants == cell.constants


@pytest.mark.parametrize("gradient", ["surrogate", "eventprop"])
def test_stepping_by_hand_equals_the_layer(implementation, make_lif, spikes, gradient):
    layer = make_lif(
        tau_syn=5.0, gradient=gradient, recurrent=True, refractory=2.0, return_sequences=True, return_state=True,
        implementation=implementation,
    )  # fmt: skip
    cell = EventLIFCell.from_config(layer.cell.get_config())
    cell.build((4, 6))
    cell.set_weights(layer.get_weights())
    states, outputs = cell.get_initial_state(4), []
    for t in range(12):
        y, states = cell(spikes[:, t], states)
        outputs.append(y)
    whole, *last = layer(spikes)
    assert np.any(np.asarray(whole) != 0)
    assert_array_equal(np.stack(outputs, axis=1), whole)
    for ours, theirs in zip(states, last, strict=True):
        assert_allclose(ours, theirs, **TIGHT)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"recurrent": True, "reset": "zero", "refractory": 2.0, "surrogate": surrogates.Triangular(0.6, 0.7)},
        {"recurrent": True, "tau_syn": 5.0, "train_time_constants": True, "surrogate": surrogates.Boxcar(0.4, 0.5)},
    ],
    ids=["plain", "refractory", "synapse"],
)
def test_surrogate_gradients_in_rnn_equal_those_of_the_layer(implementation, make_lif, spikes, options):
    tf = pytest.importorskip("tensorflow")
    layer = make_lif(return_sequences=True, return_state=True, implementation=implementation, **options)
    rnn = keras.layers.RNN(
        EventLIFCell.from_config(layer.cell.get_config()), return_sequences=True, return_state=True, dtype="float64"
    )
    rnn.build(spikes.shape)
    rnn.set_weights(layer.get_weights())
    found = []
    rng = np.random.default_rng(4)
    shapes = [(4, 12, 5), *[(4, 5)] * (2 + ("tau_syn" in options))]
    weights = [rng.normal(size=shape) for shape in shapes]
    x = tf.constant(spikes)
    for network in (layer, rnn):
        with tf.GradientTape() as tape:
            tape.watch(x)
            # Of the spikes at every step, and of the last spikes, membrane and current.
            results = network(x, training=True)
            loss = sum(tf.reduce_sum(w * result) for w, result in zip(weights, results, strict=False))
        variables = [weight.value for weight in network.trainable_weights]
        found.append(tape.gradient(loss, [x, *variables]))
    assert len(found[0]) == 2 + ("recurrent" in options) + 2 * ("train_time_constants" in options)
    for ours, theirs in zip(*found, strict=True):
        assert np.any(np.asarray(theirs) != 0)
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10 * np.abs(theirs).max())


def test_it_runs_in_stacked_cells():
    x = (np.random.default_rng(1).random((BATCH, 6, FEATURES)) < 0.4).astype("float32")
    rnn = keras.layers.RNN([EventLIFCell(4), EventLIFCell(UNITS, tau_syn=5.0, refractory=2.0)], return_state=True)
    output, first, second = rnn(x, training=True)
    assert output.shape == (BATCH, UNITS)
    assert [state.shape for state in first] == [(BATCH, 4)] * 2
    assert [state.shape for state in second] == [(BATCH, UNITS)] * 4


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_steps_in_float32(dtype):
    cell, single = EventLIFCell(UNITS, tau_syn=5.0, dtype=dtype), EventLIFCell(UNITS, tau_syn=5.0)
    for layer in (cell, single):
        layer.build((None, FEATURES))
    single.set_weights(cell.get_weights())
    half = dtype.removeprefix("mixed_")
    x, *state = (keras.ops.cast(value, half) for value in (np.eye(BATCH, FEATURES), *_states(True, False)))
    expected = single(keras.ops.cast(x, "float32"), [keras.ops.cast(part, "float32") for part in state])[1]
    for ours, theirs in zip(cell(x, state)[1], expected, strict=True):
        assert keras.backend.standardize_dtype(ours.dtype) == half
        assert_array_equal(keras.ops.cast(ours, "float32"), keras.ops.cast(keras.ops.cast(theirs, half), "float32"))


def test_eventprop_steps_in_inference_alone():
    cell = EventLIFCell(UNITS, tau_syn=5.0, gradient="eventprop", name="stepped")
    x = np.ones((BATCH, 6, FEATURES), "float32")
    assert keras.layers.RNN(cell)(x).shape == (BATCH, UNITS)
    with pytest.raises(
        RuntimeError, match="'stepped' steps in inference alone: Eventprop goes backwards through whole"
    ):
        keras.layers.RNN(cell)(x, training=True)


def test_the_layer_holds_the_cell_s_weights_once():
    layer = EventLIF(UNITS, recurrent=True)
    layer.build((None, None, FEATURES))
    assert [id(weight) for weight in layer.weights] == [id(weight) for weight in layer.cell.weights]
    assert layer.kernel is layer.cell.kernel
    assert layer.recurrent_kernel is layer.cell.recurrent_kernel


def test_masks_are_not_saved_with_the_cell():
    layer = EventLIF(UNITS, recurrent=True)
    layer.build((None, None, FEATURES))
    names = [weight.path for weight in layer.weights]
    layer.cell.recurrent_mask = keras.Variable(np.ones((5, 5), "float32"), trainable=False)
    layer.cell.kernel_mask = keras.Variable(np.ones((3, 5), "float32"), trainable=False)
    assert [weight.path for weight in layer.weights] == names
