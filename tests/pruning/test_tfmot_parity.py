"""The same training by tfmot's wrapper on Keras 2 and by ours on Keras 3: masks, thresholds, steps and weights.

tfmot renews masks at the beginning of step k, ours are renewed when update k - 1 has been made. So what tfmot has after
step k is compared with what our layers use in step k.
"""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_egru import pruning
from keras_egru.pruning.engine import TFMOT, Magnitudes, load_tfmot

STEPS, BATCH = 12, 4

# Name: class, arguments, options of pruning. The first two read an input each, the others the layer before them.
LAYERS = {
    "convolution": ("Conv2D", (4, 2), {}),
    "embedding": ("Embedding", (9, 5), {}),
    "plain": ("Dense", (12,), {}),
    "2 of 4": ("Dense", (10,), {"sparsity_m_by_n": (2, 4)}),
    "blocks": ("Dense", (11,), {"block_size": (3, 2)}),
    "maxima": ("Dense", (6,), {"block_size": (2, 1), "block_pooling_type": "MAX"}),
    "last": ("Dense", (3,), {}),
}


@pytest.fixture(scope="module")
def tf_keras():
    load_tfmot()  # first, so that `tf.keras` stays Keras 3
    return pytest.importorskip("tf_keras")


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(6)
    images = random.normal(size=(STEPS * BATCH, 4, 4, 2)).astype("float32")
    tokens = random.integers(0, 9, (STEPS * BATCH, 2)).astype("int32")
    return images, tokens, random.normal(size=(STEPS * BATCH, 3)).astype("float32")


def tfmots(name):
    return importlib.import_module(f"{TFMOT}.{name}")


def model_of(names, version, wrap, schedule):
    """A model in one version of Keras, and its pruned layers by their names."""
    wrapped = {}

    def pruned(name, inputs):
        kind, arguments, options = LAYERS[name]
        layer = getattr(version.layers, kind)(*arguments)
        wrapped[name] = wrap(layer, pruning_schedule=schedule, **options)
        return wrapped[name](inputs)

    inputs = [version.Input((4, 4, 2))]
    if "embedding" in names:
        inputs.append(version.Input((2,), dtype="int32"))
    first = [pruned(name, start) if name in names else start for name, start in zip(LAYERS, inputs, strict=False)]
    flat = [version.layers.Flatten()(output) for output in first]
    outputs = version.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    for name in [name for name in list(LAYERS)[2:] if name in names]:
        outputs = pruned(name, outputs)
    return version.Model(inputs, outputs), wrapped


def trained(version, callback, model, layers, state_of, data, epochs):
    """`[step][name] -> (weight, mask, threshold, step)`, with what there is before the first step."""

    class Record(version.callbacks.Callback):
        def on_train_begin(self, logs=None):
            log.append({name: [np.array(value) for value in state_of(layer)] for name, layer in layers.items()})

        def on_train_batch_end(self, batch, logs=None):
            self.on_train_begin()

    log = []
    random = np.random.default_rng(4)
    for name in sorted(layers):
        for variable in layers[name].layer.trainable_variables:
            variable.assign(random.normal(size=variable.shape, scale=0.3))
    *inputs, targets = data
    model.compile(version.optimizers.SGD(0.05), "mse")
    model.fit(
        inputs, targets, BATCH, epochs, verbose=0, shuffle=False, callbacks=[callback.UpdatePruningStep(), Record()]
    )
    return log


def train_tfmot(tf_keras, names, schedule, data, epochs=1):
    model, layers = model_of(names, tf_keras, tfmots("prune").prune_low_magnitude, schedule)
    callbacks = tfmots("pruning_callbacks")
    return trained(
        tf_keras, callbacks, model, layers, lambda layer: (*layer.pruning_vars[0], layer.pruning_step), data, epochs
    )


def train_ours(names, schedule, data, epochs=1):
    def state_of(layer):
        [pair] = layer.masks
        return pair.weight, pair.mask, pair.threshold, layer.pruning_step

    model, layers = model_of(names, keras, pruning.prune_low_magnitude, schedule)
    return trained(keras, pruning, model, layers, state_of, data, epochs)


def test_whole_training_is_tfmots(tf_keras, data):
    schedule = pruning.PolynomialDecay(0.1, 0.8, begin_step=1, end_step=11, frequency=2)
    theirs, ours = train_tfmot(tf_keras, list(LAYERS), schedule, data), train_ours(list(LAYERS), schedule, data)
    assert len(theirs) == len(ours) == STEPS + 1
    for name, (_, _, options) in LAYERS.items():
        changes = 0
        for step in range(1, STEPS + 1):
            weight, mask, threshold, count = theirs[step][name]
            _, used_mask, used_threshold, _ = ours[step - 1][name]
            our_weight, our_mask, _, our_count = ours[step][name]
            place = f"{name}, step {step}"
            np.testing.assert_array_equal(used_mask, mask, err_msg=place)
            # Two versions of Keras may round the sums of a gradient in two ways.
            np.testing.assert_allclose(used_threshold, threshold, rtol=1e-4, err_msg=place)
            np.testing.assert_allclose(our_weight, weight * our_mask, rtol=1e-3, atol=1e-5, err_msg=place)
            np.testing.assert_array_equal(our_weight[our_mask == 0], 0, err_msg=place)
            assert count == our_count == step
            changes += np.any(our_mask != mask)
        assert changes >= (0 if "sparsity_m_by_n" in options else 3), f"{name} is hardly tested"
        assert 0.3 < 1 - np.mean(ours[-1][name][1]) < 0.9, name


def test_weights_come_back_as_in_tfmot_save_at_the_first_step_of_an_epoch(tf_keras, data):
    """tfmot masks at the end of an epoch: what the last update moved outside of the mask cannot come back there."""
    names = ["plain", "last"]
    images, _, targets = data
    schedule = pruning.ConstantSparsity(0.5, begin_step=0, frequency=1)
    theirs = train_tfmot(tf_keras, names, schedule, (images, targets), epochs=2)
    ours = train_ours(names, schedule, (images, targets), epochs=2)

    def came_back(log, step):
        return sum(np.sum(log[step][name][1] > log[step - 1][name][1]) for name in names)

    for step in range(1, STEPS + 1):
        for name in names:
            np.testing.assert_array_equal(ours[step - 1][name][1], theirs[step][name][1])
    assert sum(came_back(theirs, step) for step in range(2, STEPS + 1)) > 3
    assert came_back(theirs, STEPS + 1) == 0
    for name in names:
        unmasked = tf.constant(theirs[STEPS][name][0])
        _, mask = Magnitudes(schedule).mask(unmasked, 1, tf.constant(STEPS + 1, "int64"))
        np.testing.assert_array_equal(ours[STEPS][name][1], mask)
