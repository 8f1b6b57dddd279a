import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from numpy.testing import assert_allclose, assert_array_equal

import keras_egru
from keras_egru import EGRU, ExponentialTrace
from keras_egru.pruning import random_mask, remove_units
from keras_egru.sparsity import measure

TIGHT = {"rtol": 1e-12, "atol": 1e-13}  # Float64, sums of a few dozen terms in another order.
BATCH, TIME, FEATURES, UNITS = 6, 9, 4, 16


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(5)


@pytest.fixture
def sequences():
    return np.random.default_rng(1).normal(size=(BATCH, TIME, FEATURES))


def egru(units=UNITS, **options):
    """A float64 EGRU some of whose units never fire, while others are busy."""
    return EGRU(
        units,
        **{
            "name": "egru",
            "dtype": "float64",
            "threshold_initializer": keras_egru.initializers.Beta(0.6, seed=1),
            "bias_initializer": keras.initializers.RandomNormal(stddev=0.6, seed=2),
            "return_sequences": True,
            **options,
        },
    )


def dense(units=3, **options):
    return layers.Dense(units, dtype="float64", bias_initializer="normal", **options)


def sequential(*stack, shape=(TIME, FEATURES)):
    return keras.Sequential([keras.Input(shape), *stack])


def outputs(model, x):
    return keras.ops.convert_to_numpy(model(x))


def check_same_function(model, x, **options):
    """Removes units; some must go and some stay, and the outputs on `x` must be the same."""
    before = outputs(model, x)
    removal = remove_units(model, x, **options)
    assert removal.kept
    for name, kept in removal.kept.items():
        channels = model.get_layer(name).output.shape[-1]
        assert 0 < len(kept) < channels
        assert removal.model.get_layer(name).output.shape[-1] == len(kept)
    assert_allclose(outputs(removal.model, x), before, **TIGHT)
    assert removal.model.count_params() < model.count_params()
    return removal


@pytest.mark.parametrize("implementation", ["auto", "reference"])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("reset", ["threshold", "subtract", "zero"])
def test_dropping_silent_units_leaves_the_function_alone(sequences, reset, reset_after, implementation):
    model = sequential(
        egru(reset=reset, reset_after=reset_after, implementation=implementation), layers.Flatten(), dense()
    )
    removal = check_same_function(model, sequences)
    (kept,), (activity,) = removal.kept.values(), removal.activity.values()
    assert_array_equal(kept, np.flatnonzero(activity))


@pytest.mark.parametrize(
    "options",
    [
        {"return_sequences": False},
        {"use_bias": False, "threshold_initializer": keras_egru.initializers.Beta(0.3, seed=4)},
        {"shared_threshold": True, "threshold_initializer": keras.initializers.Constant(0.75)},
        {"go_backwards": True},
        {"zoneout": 0.2, "dropout": 0.1, "output_dropout": 0.1, "dropconnect": 0.3},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_the_layer(sequences, options):
    check_same_function(sequential(egru(**options), dense()), sequences)


def test_what_reads_the_events_may_be_of_many_kinds(sequences):
    reading = {"dtype": "float64"}
    inputs = keras.Input((TIME, FEATURES))
    events = egru(name="first")(inputs)
    second = egru(name="second")(layers.Dropout(0.1, **reading)(events))
    both = layers.Concatenate(**reading)([events, inputs, second])
    readers = [
        layers.GRU(3, **reading),
        layers.LSTM(3, **reading),
        layers.SimpleRNN(3, **reading),
        layers.Bidirectional(layers.GRU(2, **reading), **reading),
    ]
    outputs = [reader(both) for reader in readers]
    outputs += [
        layers.Flatten(**reading)(layers.Conv1D(2, 3, **reading)(both)),
        layers.Flatten(**reading)(layers.TimeDistributed(dense(), **reading)(both)),
        dense()(ExponentialTrace(**reading)(both)),
        dense()(layers.GlobalAveragePooling1D(**reading)(both)),
        dense()(layers.GlobalMaxPooling1D(**reading)(second)),
        dense()(layers.Flatten(**reading)(layers.AveragePooling1D(3, **reading)(events))),
    ]
    model = keras.Model(inputs, layers.Concatenate(**reading)(outputs))
    assert set(check_same_function(model, sequences).kept) == {"first", "second"}


def test_masked_steps_do_not_count(sequences):
    padded = sequences.copy()
    padded[:, 5:] = 0.0
    trace = ExponentialTrace(dtype="float64")
    model = sequential(layers.Masking(dtype="float64"), egru(), trace, dense(), shape=(None, FEATURES))
    activity = check_same_function(model, padded).activity["egru"]
    assert_allclose(activity, remove_units(model, sequences[:, :5]).activity["egru"])
    assert np.any(activity != remove_units(model, sequences).activity["egru"])


def test_activity_is_the_share_of_valid_steps():
    model = sequential(EGRU(2, name="egru", return_sequences=True, use_bias=False), layers.Dense(1), shape=(4, 1))
    kernel = np.zeros((1, 6))
    kernel[0, 0], kernel[0, 4] = 9.0, 9.0  # Unit 0 follows the input at once; unit 1 stays at tanh(0) = 0.
    model.layers[0].set_weights([kernel, np.zeros((2, 6)), np.array([0.5, 0.5])])
    x = np.array([1.0, 0.0, 1.0, 0.0]).reshape(1, 4, 1)
    removal = remove_units(model, np.concatenate([x, 0 * x]))
    assert_array_equal(removal.activity["egru"], [0.25, 0.0])
    assert_array_equal(removal.kept["egru"], [0])
    assert measure(model, x)["activity_sparsity"] == 0.75


def test_weights_are_cut_gate_by_gate():
    model = sequential(EGRU(3, return_sequences=True), layers.Dense(2, kernel_initializer="normal"), shape=(4, 1))
    layer = model.layers[0]
    layer.set_weights(
        [
            np.arange(9.0).reshape(1, 9) - 100.0,
            np.arange(27.0).reshape(3, 9),
            np.arange(18.0).reshape(2, 9),
            np.array([0.1, 0.2, 0.3]),
        ]
    )
    weights = remove_units(model, np.ones((1, 4, 1)), units=2).model.get_weights()
    # Nothing fires: of equally active units the first stay.
    assert_array_equal(weights[0], [[-100, -99, -97, -96, -94, -93]])
    assert_array_equal(weights[1], [[0, 1, 3, 4, 6, 7], [9, 10, 12, 13, 15, 16]])
    assert_array_equal(weights[2], [[0, 1, 3, 4, 6, 7], [9, 10, 12, 13, 15, 16]])
    assert_allclose(weights[3], [0.1, 0.2])
    assert_array_equal(weights[4], model.get_weights()[4][:2])


def test_stateful_layers_are_measured_from_zero_and_left_as_they_were(sequences):
    inputs = keras.Input(batch_shape=(3, TIME, FEATURES))
    model = keras.Model(inputs, dense()(egru(stateful=True)(inputs)))
    model.predict(3.0 * sequences, batch_size=3, verbose=0)
    states = [state.numpy() for state in model.layers[1].states]
    assert np.any(states[0])
    smaller, kept, activity = remove_units(model, sequences, batch_size=3)
    assert 0 < len(kept["egru"]) < UNITS
    for state, value in zip(model.layers[1].states, states, strict=True):
        assert_array_equal(state, value)
    model.layers[1].reset_state()
    before = [outputs(model, part) for part in (sequences[:3], sequences[3:])]
    after = [outputs(smaller, part) for part in (sequences[:3], sequences[3:])]
    assert_allclose(after, before, **TIGHT)
    assert_array_equal(remove_units(smaller, sequences, batch_size=3).activity["egru"], activity["egru"][kept["egru"]])


def test_bidirectional_layers_keep_as_many_units_in_both_directions(sequences):
    forward, backward = egru(), egru(go_backwards=True, name="other")
    model = sequential(layers.Bidirectional(forward, backward_layer=backward, dtype="float64", name="both"), dense())
    removal = check_same_function(model, sequences)
    needed = [np.count_nonzero(part) for part in np.split(removal.activity["both"], 2)]
    assert needed[0] != needed[1]
    first, second = np.split(removal.kept["both"], 2)
    assert len(first) == len(second) == max(needed)
    assert np.all(first < UNITS)
    assert np.all(second >= UNITS)


def test_units_keeps_the_most_active_ones(sequences):
    model = sequential(egru(name="first"), egru(name="second"), dense())
    removal = remove_units(model, sequences, units=3)
    for name in ("first", "second"):
        activity, kept = removal.activity[name], removal.kept[name]
        assert len(kept) == removal.model.get_layer(name).units == 3
        assert activity[kept].min() >= np.delete(activity, kept).max()
        assert_array_equal(kept, np.sort(kept))
    assert set(remove_units(model, sequences, units={"second": 4}).kept) == {"second"}
    assert set(remove_units(model, sequences, units=4, layers=["first"]).kept) == {"first"}


def test_min_activity_is_a_share(sequences):
    model = sequential(egru(), dense())
    activity = remove_units(model, sequences).activity["egru"]
    middle = np.sort(activity)[-3]
    assert middle > 0
    kept = remove_units(model, sequences, min_activity=middle).kept["egru"]
    assert_array_equal(kept, np.flatnonzero(activity >= middle))


def test_one_unit_always_stays():
    silent = sequential(egru(name="rnn", use_bias=False), dense())
    removal = check_same_function(silent, np.zeros((2, TIME, FEATURES)))
    assert_array_equal(removal.kept["rnn"], [0])
    busy = sequential(egru(name="rnn"), dense())
    removal = remove_units(busy, np.zeros((2, TIME, FEATURES)), min_activity=1.0)
    assert_array_equal(removal.kept["rnn"], [np.argmax(removal.activity["rnn"])])


def test_a_model_in_which_every_unit_fires_is_copied(sequences):
    model = sequential(egru(threshold_initializer=keras.initializers.Constant(0.01)), dense())
    removal = remove_units(model, 10 * sequences)
    assert removal.kept == {}
    assert removal.model is not model
    assert_array_equal(outputs(removal.model, sequences), outputs(model, sequences))


def test_the_data_may_be_batches_of_a_dataset(sequences):
    model = sequential(egru(), dense())
    expected = remove_units(model, sequences).activity["egru"]
    batches = tf.data.Dataset.from_tensor_slices(sequences).batch(4)
    assert_allclose(remove_units(model, batches).activity["egru"], expected)
    pairs = tf.data.Dataset.zip(batches, tf.data.Dataset.range(2))
    assert_allclose(remove_units(model, pairs).activity["egru"], expected)
    assert_allclose(remove_units(model, sequences, batch_size=1).activity["egru"], expected)


def test_the_smaller_model_trains_and_survives_saving(sequences, tmp_path):
    model = sequential(egru(), ExponentialTrace(dtype="float64"), dense(1))
    model.compile("adam", "mse")
    smaller = remove_units(model, sequences).model
    assert smaller.name == model.name
    path = tmp_path / "smaller.keras"
    smaller.save(path)
    loaded = keras.models.load_model(path)
    assert_allclose(outputs(loaded, sequences), outputs(model, sequences), **TIGHT)
    losses = smaller.fit(sequences, np.ones((BATCH, 1)), epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_what_cannot_be_followed_is_refused_by_name(sequences):
    def refused(model, pattern, **options):
        with pytest.raises(ValueError, match=pattern):
            remove_units(model, sequences, **options)

    refused(sequential(egru(name="rnn")), "output would shrink: leave 'rnn' out with `layers`")
    normalized = sequential(egru(name="rnn"), layers.LayerNormalization(name="norm", dtype="float64"), dense())
    refused(normalized, r"'rnn' to layer 'norm' \(LayerNormalization\)")
    refused(sequential(egru(), layers.Activation("sigmoid", dtype="float64"), dense()), "Activation")
    nested = sequential(egru(name="rnn"), keras.Sequential([layers.Dense(2)], name="inner"))
    refused(nested, r"layer 'inner' \(Sequential\)")
    inputs = keras.Input((TIME, FEATURES))
    events = egru(name="rnn")(inputs)
    refused(keras.Model(inputs, dense()(events[:, -1])), "GetItem")
    refused(keras.Model(inputs, dense()(egru(return_state=True)(inputs)[0])), "returns its state")
    state = [keras.Input((UNITS,)), keras.Input((UNITS,))]
    started = keras.Model([inputs, *state], dense()(egru()(inputs, initial_state=state)))
    with pytest.raises(ValueError, match="`initial_state`"):
        remove_units(started, [sequences, *np.zeros((2, BATCH, UNITS))])
    summed = layers.Bidirectional(egru(name="b"), merge_mode="sum", dtype="float64")
    refused(sequential(summed, dense()), "'sum'")
    quantized = sequential(egru(), dense())
    quantized.layers[0].quantize("int8")
    refused(quantized, "quantized")
    shared = dense(name="shared")
    other = keras.Input((TIME, UNITS))
    twice = keras.Model([inputs, other], [shared(events), shared(other)])
    with pytest.raises(ValueError, match="'shared' on several inputs"):
        remove_units(twice, [sequences, np.zeros((BATCH, TIME, UNITS))])


def test_layers_leaves_out_what_could_not_be_followed(sequences):
    model = sequential(egru(name="first"), egru(name="last"))
    assert set(check_same_function(model, sequences, layers=["first"]).kept) == {"first"}


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({"units": 0}, "`units` must be positive integers"),
        ({"units": 1.5}, "`units` must be positive integers"),
        ({"units": {"egru": True}}, "`units` must be positive integers"),
        ({"units": 17}, "`units` must be at most 16"),
        ({"units": 3, "min_activity": 0.1}, "cannot be given together"),
        ({"min_activity": 1.5}, "`min_activity` must lie in"),
        ({"layers": ["dense"]}, r"`layers` must name EGRU layers of the model, \['egru'\], received \['dense'\]"),
        ({"layers": []}, "leave no layer"),
        ({"units": {"gru": 2}}, "`units` must name EGRU layers"),
        ({"batch_size": 0}, "`batch_size`"),
    ],
)
def test_wrong_arguments_are_named(sequences, options, pattern):
    with pytest.raises(ValueError, match=pattern):
        remove_units(sequential(egru(), dense()), sequences, **options)


def test_wrong_models_and_data_are_named(sequences):
    with pytest.raises(ValueError, match="no EGRU layer"):
        remove_units(sequential(layers.GRU(3)), sequences)
    with pytest.raises(ValueError, match="Functional model, or a Sequential one that is built"):
        remove_units(keras.Sequential([egru()]), sequences)
    with pytest.raises(ValueError, match="'random_mask_egru'.*`strip_pruning`"):
        remove_units(random_mask(sequential(egru(), dense()), 0.5), sequences)
    model = sequential(layers.Masking(dtype="float64"), egru(), dense())
    with pytest.raises(ValueError, match="valid step"):
        remove_units(model, 0.0 * sequences)
    with pytest.raises(ValueError, match="valid step"):
        remove_units(model, sequences[:0])
