"""A pruned EGRU from training to inference: the op makes use of the masks by itself, and changes nothing."""

import keras
import numpy as np
import pytest

from keras_egru import EGRU
from keras_egru.ops import fused_egru
from keras_egru.pruning import ConstantSparsity, UpdatePruningStep, masked_layers, prune_low_magnitude, strip_pruning

pytestmark = pytest.mark.skipif(fused_egru.why_not() is not None, reason=str(fused_egru.why_not()))


def trained(implementation, x, y):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), EGRU(64, implementation=implementation), keras.layers.Dense(2, name="classifier")]
    )
    schedule = ConstantSparsity(0.75, begin_step=2, frequency=3)
    model = prune_low_magnitude(model, pruning_schedule=schedule, block_size=(1, 8))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    model.fit(x, y, batch_size=16, epochs=2, shuffle=False, callbacks=[UpdatePruningStep()], verbose=0)
    return model


def test_training_and_inference_equal_the_reference():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 9, 8)).astype("float32"), rng.normal(size=(64, 2)).astype("float32")
    fused, reference = trained("fused", x, y), trained("reference", x, y)
    for actual, expected in zip(fused.get_weights(), reference.get_weights(), strict=True):
        # float32 sums in another order, over eight updates
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-5)

    wrapper = next(iter(masked_layers(fused)))
    cell = wrapper.layer.cell
    assert cell.recurrent_mask is next(pair.mask for pair in wrapper.masks if pair.name == "recurrent_kernel")
    assert np.mean(np.asarray(cell.recurrent_mask) == 0) == pytest.approx(0.75)
    assert np.array_equal(np.asarray(cell.recurrent_kernel) != 0, np.asarray(cell.recurrent_mask) != 0)

    before = {batch: fused.predict(x[:batch], batch_size=batch, verbose=0) for batch in (1, 64)}
    stripped = strip_pruning(fused)
    (egru,) = (layer for layer in stripped.layers if isinstance(layer, EGRU))
    assert egru.cell.recurrent_mask is None
    for batch, outputs in before.items():
        np.testing.assert_array_equal(stripped.predict(x[:batch], batch_size=batch, verbose=0), outputs)
        expected = reference.predict(x[:batch], batch_size=batch, verbose=0)
        np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-5)


def test_masks_are_not_saved_with_the_cell():
    layer = EGRU(4)
    layer.build((None, 3, 2))
    names = [weight.path for weight in layer.weights]
    layer.cell.recurrent_mask = keras.Variable(np.ones((4, 12), "float32"), trainable=False)
    assert [weight.path for weight in layer.weights] == names
