"""`SparsityMonitor` is seen by everything that reads a Keras log."""

import csv

import keras
import numpy as np
import pytest

from keras_egru import EGRU
from keras_egru.sparsity import SparsityMonitor, measure

MEASURES = ["activity_sparsity", "backward_sparsity", "surrogate_sparsity"]


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(7)


@pytest.fixture
def data():
    rng = np.random.default_rng(7)
    return rng.normal(size=(16, 5, 3)).astype("float32"), rng.integers(0, 2, 16)


def make_model(layers=1):
    recurrent = [EGRU(4, return_sequences=i < layers - 1, name=f"events_{i}") for i in range(layers)]
    model = keras.Sequential([keras.Input((5, 3)), *recurrent, keras.layers.Dense(2)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_history_holds_what_the_trained_model_measures(data):
    model = make_model()
    history = model.fit(*data, epochs=3, verbose=0, callbacks=[SparsityMonitor(data[0][:8])]).history
    figures = measure(model, data[0][:8])
    for name in MEASURES:
        assert len(history[name]) == 3
        # The last epoch was measured on the weights that the model still has.
        assert history[name][-1] == figures[name]


@pytest.mark.parametrize("verbose", [1, 2])
def test_the_progress_bar_shows_the_measures(data, capsys, verbose):
    make_model().fit(*data, epochs=1, verbose=verbose, callbacks=[SparsityMonitor(data[0][:8])])
    printed = capsys.readouterr().out
    for name in MEASURES:
        assert f"{name}: " in printed


def test_csv_logger_writes_the_measures(data, tmp_path):
    path = tmp_path / "log.csv"
    callbacks = [SparsityMonitor(data[0][:8]), keras.callbacks.CSVLogger(path)]
    history = make_model().fit(*data, epochs=2, verbose=0, callbacks=callbacks).history
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for name in MEASURES:
        assert [float(row[name]) for row in rows] == pytest.approx(history[name])


def test_tensorboard_writes_the_measures(data, tmp_path):
    pytest.importorskip("tensorboard")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("Keras writes TensorBoard summaries through TensorFlow.")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    callbacks = [SparsityMonitor(data[0][:8]), keras.callbacks.TensorBoard(tmp_path)]
    history = make_model().fit(*data, epochs=2, verbose=0, callbacks=callbacks).history
    events = EventAccumulator(str(tmp_path / "train")).Reload()
    from tensorflow import make_ndarray

    for name in MEASURES:
        written = [float(make_ndarray(event.tensor_proto)) for event in events.Tensors(f"epoch_{name}")]
        assert written == pytest.approx(history[name])


def test_layers_have_figures_of_their_own_when_there_are_several(data):
    model = make_model(layers=2)
    history = model.fit(*data, epochs=1, verbose=0, callbacks=[SparsityMonitor(data[0][:8])]).history
    figures = measure(model, data[0][:8])
    for layer in ("events_0", "events_1"):
        for name in MEASURES:
            assert history[f"{layer}/{name}"] == [figures["layers"][layer][name]]


def test_a_single_layer_adds_no_figures_of_its_own(data):
    history = make_model().fit(*data, epochs=1, verbose=0, callbacks=[SparsityMonitor(data[0][:8])]).history
    assert sorted(history) == sorted([*MEASURES, "loss"])


def test_a_prefix_keeps_two_probes_apart(data):
    callbacks = [SparsityMonitor(data[0][:8]), SparsityMonitor(0 * data[0][:8], prefix="quiet_")]
    history = make_model().fit(*data, epochs=1, verbose=0, callbacks=callbacks).history
    assert history["quiet_activity_sparsity"] == [1.0]  # No input and no bias: nobody fires.
    assert history["activity_sparsity"][0] < 1.0


def test_epochs_in_between_have_no_entry(data):
    history = make_model().fit(*data, epochs=5, verbose=0, callbacks=[SparsityMonitor(data[0][:8], every=2)]).history
    assert len(history["loss"]) == 5
    assert len(history["activity_sparsity"]) == 3


def test_batches_can_be_measured_too(data):
    measured = []

    class Batches(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if "activity_sparsity" in logs:
                measured.append(batch)

    make_model().fit(
        *data, batch_size=2, epochs=1, verbose=0, callbacks=[SparsityMonitor(data[0][:8], every_batches=3), Batches()]
    )
    assert measured == [2, 5]


def test_measuring_does_not_change_training(data):
    def train(callbacks):
        keras.utils.set_random_seed(3)
        model = make_model()
        model.fit(*data, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
        return model.get_weights()

    for with_monitor, without in zip(train([SparsityMonitor(data[0], every_batches=1)]), train([]), strict=True):
        np.testing.assert_array_equal(with_monitor, without)


@pytest.mark.parametrize("argument", ["every", "every_batches"])
def test_intervals_must_be_positive(argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be a positive number of .*, received 0"):
        SparsityMonitor(np.zeros((1, 2, 3)), **{argument: 0})
