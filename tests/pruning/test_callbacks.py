import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_egru.pruning import PruningSummaries, UpdatePruningStep, masked_layers


class Stop(Exception):
    pass


class StopAt(keras.callbacks.Callback):
    """Ends training by an exception after so many batches."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.batches:
            raise Stop


@pytest.mark.parametrize("place", [0, 1])
def test_checkpoints_in_the_middle_of_an_epoch_are_masked(place, make_dense, fit, tmp_path, assert_masked):
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{batch}.keras", save_freq=3)
    callbacks = [checkpoint]
    callbacks.insert(place, UpdatePruningStep())
    fit(make_dense(), *callbacks)
    saved = sorted(tmp_path.iterdir())
    assert len(saved) == 2
    for path, share in zip(saved, (0.4928, 0.7616), strict=True):
        assert assert_masked(keras.saving.load_model(path)) == [pytest.approx(share, abs=0.5 / 48)]


def test_resumed_training_is_bit_equal_to_one_that_was_not_interrupted(data, make_dense, fit, tmp_path, pruning_state):
    inputs, targets = data
    whole = make_dense()
    fit(whole, keras.callbacks.ModelCheckpoint(tmp_path / "{batch}.keras", save_freq=1), UpdatePruningStep())
    # One is saved just after a mask was made anew, one just before.
    for batches in (2, 3):
        model = keras.saving.load_model(tmp_path / f"{batches}.keras")
        assert pruning_state(model)[3] == batches
        rest = inputs[4 * batches :], targets[4 * batches :]
        model.fit(*rest, batch_size=4, verbose=0, shuffle=False, callbacks=[UpdatePruningStep()])
        for value, expected in zip(pruning_state(model), pruning_state(whole), strict=True):
            np.testing.assert_array_equal(value, expected)


def test_weights_files_carry_masks_and_steps(make_dense, fit, tmp_path, pruning_state):
    model = make_dense()
    fit(model, UpdatePruningStep())
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = make_dense()
    fresh.load_weights(tmp_path / "model.weights.h5")
    for value, expected in zip(pruning_state(fresh), pruning_state(model), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_crash_in_the_middle_of_an_epoch_loses_no_mask(make_dense, fit, assert_masked, pruning_state):
    model = make_dense()
    with pytest.raises(Stop):
        fit(model, StopAt(5), UpdatePruningStep())
    [share] = assert_masked(model)
    assert share == pytest.approx(0.6704, abs=0.5 / 48)
    assert pruning_state(model)[3] == 5
    # It goes on from there.
    fit(model, UpdatePruningStep())
    assert pruning_state(model)[3] == 13


def test_backup_is_restored_with_its_masks(make_dense, fit, tmp_path, assert_masked, pruning_state):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=3)

    def record(model, states):
        def look(*_, **__):
            states.append(pruning_state(model))

        return keras.callbacks.LambdaCallback(on_train_begin=look, on_train_batch_end=look)

    crashed, states = make_dense(), []
    with pytest.raises(Stop):
        fit(crashed, backup(), UpdatePruningStep(), record(crashed, states), StopAt(5))
    model, resumed = make_dense(), []
    with pytest.raises(Stop):
        fit(model, UpdatePruningStep(), backup(), record(model, resumed), StopAt(1))
    assert assert_masked(model) == [pytest.approx(0.6704, abs=0.5 / 48)]
    for value, expected in zip(resumed[0], states[3], strict=True):
        np.testing.assert_array_equal(value, expected)


def test_training_loop_of_ones_own(data, make_dense, fit, pruning_state):
    model, expected = make_dense(), make_dense()
    optimizer = keras.optimizers.Adam()
    callback = UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    inputs, targets = (np.split(array, 8) for array in data)
    for batch, (x, y) in enumerate(zip(inputs, targets, strict=True)):
        callback.on_train_batch_begin(batch=batch)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.mean_squared_error(y, model(x, training=True)))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    callback.on_epoch_end(batch=0)
    fit(expected, UpdatePruningStep())
    for value, wanted in zip(pruning_state(model), pruning_state(expected), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-6)


def test_weights_that_were_assigned_to_are_masked_when_training_begins_and_when_an_epoch_ends(half, make_dense):
    model = make_dense(schedule=half)
    [layer] = masked_layers(model)
    layer.begin()
    callback = UpdatePruningStep()
    callback.set_model(model)
    for event in (callback.on_train_begin, callback.on_epoch_end, callback.on_train_end):
        layer.layer.kernel.assign(np.ones((6, 8)))
        event()
        np.testing.assert_array_equal(layer.layer.kernel.numpy(), layer.masks[0].mask.numpy())
        assert layer.layer.kernel.numpy().mean() == 0.5


def test_callback_does_nothing_to_other_models(data):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8)])
    model.compile("sgd", "mse")
    model.fit(*data, verbose=0, callbacks=[UpdatePruningStep()])
    assert np.all(model.layers[0].kernel.numpy() != 0)


def test_model_that_is_not_built_is_refused(schedule, data):
    from keras_egru.pruning import prune_low_magnitude

    model = keras.Sequential([prune_low_magnitude(keras.layers.Dense(8), schedule)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="'prune_low_magnitude_.*' must be built before it is pruned"):
        model.fit(*data, verbose=0, callbacks=[UpdatePruningStep()])


def test_summaries_hold_sparsities_and_thresholds(schedule, tmp_path):
    from keras_egru.pruning import prune_low_magnitude

    model = keras.Sequential([keras.Input((3, 4)), keras.layers.GRU(5)])
    model = prune_low_magnitude(model, schedule)
    model.compile("sgd", "mse")
    inputs, targets = np.random.default_rng(2).normal(size=(16, 3, 4)), np.ones((16, 5))
    callbacks = [UpdatePruningStep(), PruningSummaries(str(tmp_path))]
    model.fit(inputs, targets, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)

    [layer] = masked_layers(model)
    scalars = read_scalars(tmp_path / "metrics")
    path = layer.path
    steps, sparsities = zip(*scalars[f"{path}/recurrent_kernel_mask/sparsity"], strict=True)
    assert steps == (0, 4)
    np.testing.assert_allclose(sparsities, (0.2, 0.8 - 0.6 * 0.6**3), atol=0.5 / 25)
    assert set(scalars) == {
        f"{path}/kernel_mask/sparsity",
        f"{path}/kernel_threshold/threshold",
        f"{path}/recurrent_kernel_mask/sparsity",
        *(f"{path}/recurrent_kernel_threshold/threshold_{gate}" for gate in range(3)),
    }
    assert scalars[f"{path}/kernel_threshold/threshold"][1][1] > scalars[f"{path}/kernel_threshold/threshold"][0][1] > 0


def read_scalars(directory):
    """`{tag: [(step, value)]}` of the event files in a directory."""
    scalars: dict = {}
    for path in directory.iterdir():
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                scalars.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
    return scalars


@pytest.mark.parametrize("log_dir", ["", None, 3])
def test_summaries_need_a_directory(log_dir):
    with pytest.raises(ValueError, match="`log_dir` must be a non-empty string"):
        PruningSummaries(log_dir)
