"""`measure` on whole models: counts over batches and layers against numpy on the layers' own outputs."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_egru import EGRU
from keras_egru.layers.recording import record_states
from keras_egru.sparsity import backward_sparsity, measure, surrogate_sparsity
from keras_egru.surrogates import Triangular


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(5)


@pytest.fixture
def x():
    rng = np.random.default_rng(5)
    return (rng.normal(size=(10, 6, 3)) * (rng.random((10, 6, 3)) < 0.6)).astype("float32")


def numpy_of(tensor):
    return ops.convert_to_numpy(tensor)


def test_a_single_layer_is_counted_like_its_own_output(x):
    layer = EGRU(4, return_sequences=True, surrogate=Triangular(width=0.3), name="events")
    model = keras.Sequential([keras.Input((6, 3)), layer])
    with record_states() as records:
        y = numpy_of(layer(x))
    c, threshold, surrogate = records[0].c, records[0].threshold, records[0].surrogate
    figures = measure(model, x)
    assert 0 < figures["activity_sparsity"] < 1
    assert figures["activity_sparsity"] == np.mean(y == 0)
    assert figures["backward_sparsity"] == backward_sparsity(c, threshold, surrogate)
    assert figures["surrogate_sparsity"] == surrogate_sparsity(c, threshold, surrogate)
    assert figures["effective_macs"] == pytest.approx((np.count_nonzero(x) + np.count_nonzero(y)) * 12 / 60)
    assert figures["dense_macs"] == (3 + 4) * 12
    assert figures["layers"] == {"events": {name: value for name, value in figures.items() if name != "layers"}}


def test_figures_do_not_depend_on_the_batch_size(x):
    model = keras.Sequential([keras.Input((6, 3)), EGRU(4), keras.layers.Dense(2)])
    whole = measure(model, x)
    # 10 samples in batches of 4, 4 and 2: an average of averages would differ.
    assert measure(model, x, batch_size=4) == whole


def test_layers_weigh_as_much_as_they_have_units(x):
    first, second = EGRU(2, return_sequences=True, name="first"), EGRU(6, return_sequences=True, name="second")
    model = keras.Sequential([keras.Input((6, 3)), first, second])
    y1 = numpy_of(first(x))
    y2 = numpy_of(second(y1))
    figures = measure(model, x)
    silent = np.sum(y1 == 0) + np.sum(y2 == 0)
    assert figures["activity_sparsity"] == silent / (y1.size + y2.size)
    assert figures["layers"]["first"]["activity_sparsity"] == np.mean(y1 == 0)
    assert figures["layers"]["second"]["activity_sparsity"] == np.mean(y2 == 0)
    # Events of the first layer are charged in its own recurrence and as input of the second.
    assert figures["layers"]["second"]["effective_macs"] == pytest.approx(
        (np.count_nonzero(y1) + np.count_nonzero(y2)) * 18 / 60
    )
    assert figures["effective_macs"] == pytest.approx(
        sum(layer["effective_macs"] for layer in figures["layers"].values())
    )


def test_a_read_out_at_every_step_is_charged_for_the_events_that_enter_it(x):
    layer = EGRU(4, return_sequences=True, name="events")
    model = keras.Sequential([keras.Input((6, 3)), layer, keras.layers.Dense(5)])
    y = numpy_of(layer(x))
    figures = measure(model, x)
    readout = figures["effective_macs"] - figures["layers"]["events"]["effective_macs"]
    assert readout == pytest.approx(np.count_nonzero(y) * 5 / 60)
    assert figures["dense_macs"] - figures["layers"]["events"]["dense_macs"] == 4 * 5


def test_a_read_out_of_the_last_step_is_spread_over_the_sequence(x):
    model = keras.Sequential([keras.Input((6, 3)), EGRU(4, name="events"), keras.layers.Dense(5)])
    figures = measure(model, x)
    assert figures["dense_macs"] - figures["layers"]["events"]["dense_macs"] == pytest.approx(4 * 5 / 6)


def test_dense_layers_before_the_recurrent_one_are_no_read_out(x):
    model = keras.Sequential([keras.Input((6, 3)), keras.layers.Dense(7), EGRU(4)])
    assert measure(model, x)["dense_macs"] == (7 + 4) * 12


def test_a_time_distributed_read_out_counts_like_a_dense_one(x):
    x[:, 4:] = 0.0
    plain, distributed = (
        keras.Sequential([keras.Input((6, 3)), keras.layers.Masking(), EGRU(4, return_sequences=True), readout])
        for readout in (keras.layers.Dense(5), keras.layers.TimeDistributed(keras.layers.Dense(5)))
    )
    distributed.set_weights(plain.get_weights())
    expected, found = measure(plain, x), measure(distributed, x)
    assert found["effective_macs"] == expected["effective_macs"]
    assert found["dense_macs"] == expected["dense_macs"]


def test_masked_steps_are_left_out(x):
    x[:, 4:] = 0.0
    layer = EGRU(4, return_sequences=True, name="events")
    model = keras.Sequential([keras.Input((6, 3)), keras.layers.Masking(), layer, keras.layers.Dense(2)])
    mask = np.any(x != 0, axis=-1)
    y = numpy_of(layer(x, mask=ops.convert_to_tensor(mask)))
    figures = measure(model, x)
    assert mask.sum() < 40
    assert figures["activity_sparsity"] == np.mean(y[mask] == 0)
    assert figures["dense_macs"] == pytest.approx((3 + 4) * 12 + 4 * 2)
    assert figures["effective_macs"] == pytest.approx(
        ((np.count_nonzero(x) + np.count_nonzero(y[mask])) * 12 + np.count_nonzero(y[mask]) * 2) / mask.sum()
    )


def test_pruned_weights_lower_effective_macs_by_their_share(x):
    layer = EGRU(4, name="events")
    model = keras.Sequential([keras.Input((6, 3)), layer])
    before = measure(model, x)
    kernel = numpy_of(layer.cell.kernel)
    kernel[0] = 0.0
    layer.cell.kernel.assign(kernel)
    x[..., 0] = 0.0  # Then the pruned row changes no activity.
    with_kernel = measure(model, x)
    layer.cell.kernel.assign(np.where(kernel == 0, 1.0, kernel))
    without = measure(model, x)
    inputs = np.count_nonzero(x) * 12 / 60
    assert with_kernel["dense_macs"] == before["dense_macs"]
    assert without["effective_macs"] - with_kernel["effective_macs"] == pytest.approx(inputs / 3)


def test_both_directions_are_layers_of_their_own(x):
    model = keras.Sequential([keras.Input((6, 3)), keras.layers.Bidirectional(EGRU(4, name="events"))])
    figures = measure(model, x)
    assert list(figures["layers"]) == ["forward_events", "backward_events"]
    assert figures["dense_macs"] == 2 * (3 + 4) * 12


def test_a_dense_twin_has_macs_but_no_sparsity(x):
    model = keras.Sequential([keras.Input((6, 3)), keras.layers.GRU(4, name="twin"), keras.layers.Dense(5)])
    figures = measure(model, x)
    assert figures["activity_sparsity"] is None
    assert figures["backward_sparsity"] is None
    assert figures["layers"]["twin"]["effective_macs"] == figures["layers"]["twin"]["dense_macs"] == (3 + 4) * 12
    assert figures["dense_macs"] == pytest.approx((3 + 4) * 12 + 4 * 5 / 6)


def test_inputs_may_be_a_dictionary(x):
    inputs = {"events": keras.Input((6, 3), name="events"), "scale": keras.Input((1,), name="scale")}
    y = EGRU(4, name="layer")(inputs["events"])
    model = keras.Model(inputs, y * inputs["scale"])
    figures = measure(model, {"events": x, "scale": np.ones((10, 1), "float32")}, batch_size=4)
    assert figures["layers"]["layer"]["dense_macs"] == (3 + 4) * 12


def test_states_of_a_stateful_layer_are_put_back(x):
    layer = EGRU(4, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(5, 6, 3)), layer])
    model(x[:5])
    before = [numpy_of(state).copy() for state in layer.states]
    measure(model, x, batch_size=5)
    assert any(np.any(state != 0) for state in before)
    for state, value in zip(layer.states, before, strict=True):
        np.testing.assert_array_equal(numpy_of(state), value)


def test_layers_are_as_before_after_a_measurement(x):
    readout = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((6, 3)), EGRU(4), readout])
    measure(model, x)
    assert "call" not in vars(readout)


def test_layers_are_as_before_after_a_measurement_that_failed(x):
    readout = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((6, 3)), EGRU(4), readout])
    with pytest.raises(ValueError, match="incompatible"):
        measure(model, x[..., :2])
    assert "call" not in vars(readout)


def test_what_cannot_be_measured_is_refused_in_a_sentence(x):
    model = keras.Sequential([keras.Input((6, 3)), EGRU(4)])
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer, received 0"):
        measure(model, x, batch_size=0)
    with pytest.raises(ValueError, match="`x` must hold samples along axis 0"):
        measure(model, x[:0])
    with pytest.raises(ValueError, match="`x` must hold samples along axis 0, equally many in all its parts"):
        measure(model, [x, x[:3]])
    flat = keras.Sequential([keras.Input((6, 3)), keras.layers.Dense(4)], name="flat")
    with pytest.raises(ValueError, match="`flat` has no recurrent layer to measure"):
        measure(flat, x)
