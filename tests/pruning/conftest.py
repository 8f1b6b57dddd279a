"""What the tests of pruning share: a small model on random data, and what must be true of it at all times."""

import keras
import numpy as np
import pytest

from keras_egru import pruning

FEATURES, OUTPUTS, SAMPLES = 6, 8, 32


@pytest.fixture
def schedule():
    """Masks change at steps 1, 3, 5, 7, 9 and 11."""
    return pruning.PolynomialDecay(initial_sparsity=0.2, final_sparsity=0.8, begin_step=1, end_step=11, frequency=2)


@pytest.fixture
def half():
    """Masks of half of the weights, made anew at each step."""
    return pruning.ConstantSparsity(0.5, begin_step=0, frequency=1)


@pytest.fixture
def data():
    """`([32, 6], [32, 8])`: 8 batches of 4."""
    random = np.random.default_rng(5)
    return random.normal(size=(SAMPLES, FEATURES)).astype("float32"), random.normal(size=(SAMPLES, OUTPUTS))


@pytest.fixture
def fit(data):
    """Fits to the data without shuffling it."""

    def fit(model, *callbacks, epochs=1, batch_size=4):
        return model.fit(*data, batch_size, epochs, verbose=0, shuffle=False, callbacks=list(callbacks))

    return fit


@pytest.fixture
def make_dense(schedule):
    """A pruned model of one Dense layer `[6, 8]`, compiled, the same at each call."""

    def make(optimizer="adam", schedule=schedule, compile_options=None, layer_options=None, **options):
        keras.utils.set_random_seed(11)
        model = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(OUTPUTS, **(layer_options or {}))])
        model = pruning.prune_low_magnitude(model, schedule, **options)
        model.compile(optimizer, "mse", **(compile_options or {}))
        return model

    return make


@pytest.fixture
def assert_masked():
    """Asserts that all weights outside of the masks are zero, and returns the share of zeros of each mask."""

    def check(model):
        pairs = [pair for layer in pruning.masked_layers(model) for pair in layer.masks]
        assert pairs
        for pair in pairs:
            outside = pair.weight.numpy()[pair.mask.numpy() == 0]
            np.testing.assert_array_equal(outside, 0, err_msg=pair.weight.path)
        return [1 - float(pair.mask.numpy().mean()) for pair in pairs]

    return check


@pytest.fixture
def pruning_state():
    """`[weight, mask, threshold, step]` of each pruned weight of a model, as arrays."""

    def state(model):
        layers = [layer for layer in pruning.masked_layers(model) if isinstance(layer, pruning.PruneLowMagnitude)]
        return [
            variable.numpy().copy()
            for layer in layers
            for pair in layer.masks
            for variable in (pair.weight, pair.mask, pair.threshold, pair.step)
        ]

    return state
