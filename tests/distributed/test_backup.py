"""Training that dies and is started again with `keras.callbacks.BackupAndRestore`."""

import keras
import numpy as np
import pytest

from keras_egru import EGRU, pruning

random = np.random.default_rng(0)
X, Y = random.normal(size=(32, 6, 4)).astype("float32"), random.normal(size=(32, 2)).astype("float32")


def model():
    keras.utils.set_random_seed(1)
    # Without dropout: Keras saves no states of seed generators, and draws from the seed again.
    found = keras.Sequential([keras.Input((6, 4)), EGRU(8), keras.layers.Dense(2)])
    found = pruning.prune_low_magnitude(found, pruning.PolynomialDecay(0.0, 0.5, 0, 16, frequency=2))
    found.compile(keras.optimizers.Adam(1e-2), "mse")
    return found


class Dies(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def fit(trained, *callbacks):
    trained.fit(X, Y, epochs=4, batch_size=8, shuffle=False, verbose=0, callbacks=callbacks)
    return trained.get_weights()


def test_training_goes_on_as_if_it_had_not_stopped(tmp_path):
    expected = fit(model(), pruning.UpdatePruningStep())
    with pytest.raises(KeyboardInterrupt):
        fit(model(), keras.callbacks.BackupAndRestore(tmp_path / "backup"), pruning.UpdatePruningStep(), Dies())
    found = fit(model(), keras.callbacks.BackupAndRestore(tmp_path / "backup"), pruning.UpdatePruningStep())
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)
