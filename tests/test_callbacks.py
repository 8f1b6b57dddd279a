"""Silent units are raised and no others; the learning rate falls when the averages cross."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_egru.callbacks import HalveOnDecline, RescueSilentUnits
from keras_egru.pruning.masked import Masked

X = np.ones((6, 3, 2), "float32")
# With inputs of 1, unit 0 gets 3 and fires, unit 1 gets 1 and does not (threshold 1), unit 2 gets -2.
KERNEL = np.array([[1.0, 0.25, -2.0], [2.0, 0.75, 0.0]], "float32")


@keras.saving.register_keras_serializable(package="tests")
class Threshold(keras.layers.Layer):
    """Fires where the input current is above 1: what a spiking layer is to the callback."""

    gradient = "surrogate"

    def __init__(self, units=3, return_sequences=True, stateful=False, returns_potential=False, **kwargs):
        super().__init__(**kwargs)
        self.units, self.return_sequences, self.stateful = units, return_sequences, stateful
        self.returns_potential = returns_potential

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.recurrent_kernel = self.add_weight(shape=(self.units, self.units), name="recurrent_kernel")

    def call(self, inputs):
        currents = inputs @ self.kernel
        # The recurrent kernel takes part in nothing but in having a gradient.
        spikes = ops.cast(currents > 1.0, "float32") + 0.0 * ops.sum(self.recurrent_kernel)
        return (spikes, currents) if self.returns_potential else spikes


def network(layer):
    """A model of `layer` with `kernel`."""
    inputs = keras.Input((None, 2))
    outputs = keras.tree.flatten(layer(inputs))[0]
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(outputs))
    inner = layer.layer if isinstance(layer, Masked) else layer
    inner.kernel.assign(KERNEL)
    inner.recurrent_kernel.assign(np.zeros_like(inner.recurrent_kernel))
    return model


def train(model, callback, epochs=1):
    """What `fit` calls, without the training: the numbers of silent units that are logged."""
    callback.set_model(model)
    callback.on_train_begin()
    counts = []
    for epoch in range(epochs):
        logs = {}
        callback.on_epoch_end(epoch, logs)
        counts.append(logs["silent_units"])
    return counts


def test_input_weights_of_silent_units_are_raised_and_no_others():
    layer = Threshold()
    assert train(network(layer), RescueSilentUnits(X, increment=0.1)) == [2]
    np.testing.assert_allclose(layer.kernel, KERNEL + [[0.0, 0.1, 0.1]], rtol=1e-6)
    np.testing.assert_array_equal(layer.recurrent_kernel, 0.0)


def test_each_epoch_raises_until_a_unit_fires():
    layer = Threshold()
    # Unit 1 fires once its current, 1 + 2 * 0.1, is above 1, unit 2 not yet after 3 epochs.
    assert train(network(layer), RescueSilentUnits(X, increment=0.1), epochs=3) == [2, 1, 1]
    np.testing.assert_allclose(layer.kernel, KERNEL + [[0.0, 0.1, 0.3]], rtol=1e-6)


def test_a_single_spike_of_any_sample_is_enough():
    layer = Threshold()
    x = X.copy()
    x[4, 2] = 1.1  # in the last of three batches, which is smaller than the others
    train(network(layer), RescueSilentUnits(np.concatenate([x, X[:1]]), increment=0.1, batch_size=3))
    np.testing.assert_allclose(layer.kernel, KERNEL + [[0.0, 0.0, 0.1]], rtol=1e-6)


@pytest.mark.parametrize(
    "dataset",
    [
        lambda x: tf.data.Dataset.from_tensor_slices(x),
        lambda x: tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x)))),
        lambda x: tf.data.Dataset.from_tensor_slices((x, np.zeros(len(x)), np.ones(len(x)))),
    ],
    ids=["inputs", "labels", "weights"],
)
def test_spikes_may_be_counted_on_a_dataset(dataset):
    layer = Threshold()
    x = X.copy()
    x[4, 2] = 1.1
    train(network(layer), RescueSilentUnits(dataset(x).batch(4), increment=0.1))
    np.testing.assert_allclose(layer.kernel, KERNEL + [[0.0, 0.0, 0.1]], rtol=1e-6)


def test_only_the_spikes_of_several_outputs_count():
    # The potential of unit 1 is positive, its spikes are not.
    layer = Threshold(returns_potential=True)
    assert train(network(layer), RescueSilentUnits(X, increment=0.1)) == [2]


def test_weights_pruned_by_a_wrapper_stay_at_zero():
    layer = Masked(Threshold())
    model = network(layer)
    layer.set_mask("kernel", [[1, 0, 1], [1, 1, 0]])
    train(model, RescueSilentUnits(X, increment=0.1))
    np.testing.assert_allclose(layer.layer.kernel, [[1.0, 0.0, -1.9], [2.0, 0.85, 0.0]], rtol=1e-6)


def test_weights_that_the_cell_masks_itself_are_not_raised():
    layer = Threshold()
    model = network(layer)
    layer.cell = SimpleNamespace(kernel_mask=np.array([[1, 0, 1], [1, 1, 0]]))
    train(model, RescueSilentUnits(X, increment=0.1))
    np.testing.assert_allclose(layer.kernel, KERNEL + [[0.0, 0.0, 0.1], [0.0, 0.1, 0.0]], rtol=1e-6)


def test_frozen_weights_stay():
    layer = Threshold()
    model = network(layer)
    layer.trainable = False
    assert train(model, RescueSilentUnits(X, increment=0.1)) == [2]
    np.testing.assert_array_equal(layer.kernel, KERNEL)


@pytest.mark.parametrize("choose", [lambda layer: layer.name, lambda layer: layer], ids=["name", "layer"])
def test_layers_may_be_chosen(choose):
    first, second = Threshold(name="first"), Threshold(2, name="second")
    model = keras.Sequential([keras.Input((3, 2)), first, second])
    for layer in (first, second):
        layer.kernel.assign(np.zeros_like(layer.kernel))
    assert train(model, RescueSilentUnits(X, 0.1, layers=[choose(second)])) == [2]
    np.testing.assert_array_equal(first.kernel, 0.0)
    np.testing.assert_allclose(second.kernel, 0.1)


def test_all_spiking_layers_are_watched_unless_told():
    first, second = Threshold(name="first"), Threshold(2, name="second")
    model = keras.Sequential([keras.Input((3, 2)), first, second, keras.layers.GlobalAveragePooling1D()])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    for layer in (first, second):
        layer.kernel.assign(np.zeros_like(layer.kernel))
    history = model.fit(X, np.zeros((6, 2)), callbacks=[RescueSilentUnits(X)], verbose=0).history
    assert history["silent_units"] == [5]
    np.testing.assert_allclose(first.kernel, 0.002)  # the paper's
    np.testing.assert_allclose(second.kernel, 0.002)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"increment": 0.0}, "`increment` must be a positive finite number, received 0.0"),
        ({"batch_size": 0}, "`batch_size` must be a positive number of samples, received 0"),
        ({"x": X[:0]}, "`x` must have at least one sample, received none"),
        ({"x": tf.data.Dataset.from_tensors(X).repeat()}, "`x` must be a dataset with an end"),
    ],
)
def test_a_rescue_with_bad_arguments_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        RescueSilentUnits(**{"x": X, **arguments})


@pytest.mark.parametrize(
    ("layer", "arguments", "message"),
    [
        (Threshold, {"layers": ["hidden"]}, r"`layers` must name layers of the model \(.*\), received hidden"),
        (Threshold, {"layers": []}, r"`layers` must name layers of the model \(.*\), received \[\]"),
        (Threshold, {"x": tf.data.Dataset.from_tensor_slices(X[:0]).batch(2)}, "received a dataset without any"),
        (lambda: Threshold(stateful=True), {}, "would change the states of 'threshold.*', which is stateful"),
        (lambda: Threshold(return_sequences=False), {}, "'threshold.*' needs return_sequences=True"),
    ],
)
def test_a_rescue_that_does_not_fit_the_model_is_refused(layer, arguments, message):
    with pytest.raises(ValueError, match=message):
        train(network(layer()), RescueSilentUnits(**{"x": X, **arguments}))


def test_a_model_without_spiking_layers_is_refused():
    model = keras.Sequential([keras.Input((3, 2)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="found no spiking layer in the model 'sequential"):
        train(model, RescueSilentUnits(X))


def decline(callback, values, learning_rate=1.0):
    """The learning rates after epochs with those values."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, value in enumerate(values):
        logs = {"loss": 0.0, "accuracy": value}
        callback.on_epoch_end(epoch, logs)
        rates.append(logs["learning_rate"])
        assert logs["learning_rate"] == float(model.optimizer.learning_rate.numpy())
    return rates


def crossings(values, fast=0.8, slow=0.85):
    """The epochs after which the fast average is below the slow one, by Eq. 8-9 as they are printed."""
    low, found = (0.0, 0.0), []
    for epoch, value in enumerate(values):
        low = (fast * low[0] + (1 - fast) * value, slow * low[1] + (1 - slow) * value)
        if low[0] < low[1]:
            found.append(epoch)
    return found


def test_the_rate_is_halved_when_the_fast_average_falls_below_the_slow_one():
    # Fast averages 0.8, 0.4, 0.1, 0.5 and slow ones 0.4, 0.4, 0.25, 0.375.
    assert decline(HalveOnDecline(fast=0.0, slow=0.5, patience=1), [0.8, 0.4, 0.1, 0.5]) == [1.0, 1.0, 0.5, 0.5]


def test_averages_move_as_the_paper_prints():
    values = [0.1, 0.5, 0.8, 0.9, 0.9, 0.3, 0.2, 0.1, 0.1, 0.1, 0.5, 0.9, 0.2]
    expected = [0.5 ** sum(crossing <= epoch for crossing in crossings(values)) for epoch in range(len(values))]
    assert expected[0] == 1.0
    assert 1 < len(set(expected)) < len(values)
    assert decline(HalveOnDecline(patience=1), values) == expected


def test_the_rate_is_left_alone_while_accuracy_rises_or_stays():
    assert decline(HalveOnDecline(patience=1), [*np.linspace(0.0, 0.9, 20), *[0.9] * 20])[-1] == 1.0


def test_changes_are_at_least_the_patience_apart():
    values = [1.0] * 5 + [0.0] * 15
    first = crossings(values)[0]
    assert crossings(values) == list(range(first, 20))
    assert first < 10
    rates = decline(HalveOnDecline(patience=4, factor=0.1), values)
    changes = [epoch for epoch in range(1, 20) if rates[epoch] < rates[epoch - 1]]
    assert changes == list(range(first, 20, 4))
    assert rates[-1] == pytest.approx(0.1 ** len(changes))


def test_no_change_comes_before_the_patience_is_over():
    values = [1.0] * 5 + [0.0] * 15
    # After epoch 11, the twelfth.
    rates = decline(HalveOnDecline(patience=12), values)
    assert rates == [1.0] * 11 + [0.5] * 9


def test_replayed_epochs_bring_a_new_callback_to_where_another_was():
    values = [1.0] * 5 + [0.0] * 15
    whole = decline(HalveOnDecline(patience=3), values)
    for done in (4, 9, 12):
        callback = HalveOnDecline(patience=3)
        callback.replay(values[:done])
        # The optimizer is restored with its learning rate.
        assert decline(callback, values[done:], learning_rate=whole[done - 1]) == whole[done:]


def test_fit_trains_on_with_the_halved_rate():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.01), "mse")

    class Falling(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["score"] = 1.0 if epoch == 0 else 0.0

    callbacks = [Falling(), HalveOnDecline("score", fast=0.0, slow=0.5, patience=1)]
    history = model.fit(np.ones((1, 1)), np.zeros((1, 1)), epochs=4, callbacks=callbacks, verbose=0).history
    # The value falls after the second epoch.
    assert history["learning_rate"] == pytest.approx([0.01, 0.005, 0.0025, 0.00125])
    # The prediction w + b is 1 at first, and each update multiplies it by 1 - 4 * rate.
    assert history["loss"] == pytest.approx([1.0, 0.96**2, 0.96**4, (0.96**2 * 0.98) ** 2], rel=1e-5)


def test_a_value_that_is_not_logged_is_refused():
    with pytest.raises(ValueError, match=r"`monitor` must be in the logs \(loss, accuracy\), received 'val_accuracy'"):
        decline(HalveOnDecline("val_accuracy"), [0.5])


def test_an_optimizer_with_a_schedule_is_refused():
    with pytest.raises(ValueError, match="HalveOnDecline changes the learning rate, so the optimizer must be given"):
        decline(HalveOnDecline(), [0.5], keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fast": 0.9}, "`fast` and `slow` must be 0 <= fast < slow < 1, received 0.9 and 0.85"),
        ({"slow": 1.0}, "`fast` and `slow` must be 0 <= fast < slow < 1, received 0.8 and 1.0"),
        ({"patience": 0}, "`patience` must be a positive number of epochs, received 0"),
        ({"factor": 1.0}, r"`factor` must be in \(0, 1\), received 1.0"),
    ],
)
def test_bad_averages_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        HalveOnDecline(**arguments)
