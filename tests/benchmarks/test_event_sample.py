import json

import keras
import numpy as np
import pytest

from benchmarks.event_sample import MOST_STEPS, MOST_UNITS, event_sample
from keras_egru import EGRU, EventLIF


def test_a_sample_holds_the_events_of_every_event_based_layer_in_the_order_of_time():
    inputs = keras.Input((6, 3))
    first = EGRU(4, return_sequences=True, name="first", seed=0)(inputs)
    second = EventLIF(
        5, tau_mem=5.0, tau_syn=5.0, threshold=0.1, return_sequences=True, name="second", kernel_initializer="ones"
    )(first)
    network = keras.Model(inputs, [first, second, keras.layers.GRU(2)(second)])
    sequence = 5.0 * np.random.default_rng(0).normal(size=(1, 6, 3)).astype("float32")
    sample = event_sample(network, sequence)
    assert list(sample) == ["first", "second"]
    for events, y in zip(sample.values(), network(sequence)[:2], strict=True):
        fired = np.zeros(y.shape[1:], bool)
        fired[events["step"], events["unit"]] = True
        np.testing.assert_array_equal(fired, np.asarray(y)[0] != 0)
        assert fired.any()
        assert (events["steps"], events["units"]) == fired.shape
        assert events["step"] == sorted(events["step"])


def test_a_sample_ends_with_the_first_steps_and_units():
    layer = EGRU(
        MOST_UNITS + 2, return_sequences=True, name="large", threshold_initializer=keras.initializers.Constant(1e-3)
    )
    network = keras.Sequential([keras.Input((None, 1)), layer])
    (events,) = event_sample(network, np.ones((1, MOST_STEPS + 3, 1), "float32")).values()
    assert (events["steps"], events["units"]) == (MOST_STEPS, MOST_UNITS)
    assert max(events["step"]) == MOST_STEPS - 1
    assert max(events["unit"]) < MOST_UNITS


def test_a_stateful_network_begins_from_zero_states_and_masked_steps_have_no_events():
    inputs = keras.Input(batch_shape=(1, 5, 2))
    masked = keras.layers.Masking()(inputs)
    network = keras.Model(inputs, EGRU(6, return_sequences=True, stateful=True, name="layer", seed=1)(masked))
    sequence = np.random.default_rng(1).normal(size=(1, 5, 2)).astype("float32") * 4.0
    sequence[:, 3:] = 0.0
    once, again = event_sample(network, sequence), event_sample(network, sequence)
    assert once == again
    assert once["layer"]["step"], "nothing is tested without an event"
    assert max(once["layer"]["step"]) < 3


def test_dense_layers_have_no_events():
    network = keras.Sequential([keras.Input((4, 2)), keras.layers.LSTM(3)])
    assert event_sample(network, np.ones((1, 4, 2), "float32")) == {}


@pytest.mark.parametrize("task", ["ptb", "delayed_recall"])
def test_runs_of_other_problems_keep_events_and_figures_of_their_layers(task, call, text_folder, tmp_path):
    small = {
        "ptb": ["units=6,4", "steps=5", "train_size=none", "validation_size=none", "test_size=none", "verify_data=no"],
        "delayed_recall": ["units=5", "gradient=bptt"],
    }[task]
    options = [word for value in [*small, "epochs=1"] for word in ("--set", value)]
    out = tmp_path / "run"
    result = call("run", task, "--preset", "smoke", "--data-dir", text_folder, "--out", out, *options, "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    layers = {"ptb": ["recurrent_1", "recurrent_2"], "delayed_recall": ["recurrent"]}[task]
    assert list(record["events"]) == list(record["epochs"][0]["layers"]) == layers
    assert all(events["steps"] > 1 for events in record["events"].values())
