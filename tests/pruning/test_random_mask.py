import keras
import numpy as np
import pytest
from keras import layers
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EGRU
from keras_egru.pruning import RandomMask, masked_layers, random_mask, strip_pruning
from keras_egru.pruning.blocks import Blocks


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(3)


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((6, 4)), EGRU(10, name="egru"), layers.Dense(5, name="dense")])


def masks_of(layer_or_model):
    """`{weight's name or path: mask}`."""
    return {pair.mask.path: pair.mask.numpy() for wrapper in masked_layers(layer_or_model) for pair in wrapper.masks}


def check_masked(layer_or_model):
    pairs = [pair for wrapper in masked_layers(layer_or_model) for pair in wrapper.masks]
    assert pairs
    for pair in pairs:
        assert_array_equal(pair.weight.numpy()[pair.mask.numpy() == 0], 0.0)


def built(layer, shape=(None, 6, 4)):
    layer.build(shape)
    return layer


def test_as_many_weights_are_live_in_each_gate_as_the_sparsity_says(model):
    egru, dense = masked_layers(random_mask(model, 0.8))
    kernel, recurrent_kernel = egru.masks
    # 3 gates of 4 x 10 and of 10 x 10.
    assert_array_equal(kernel.mask.numpy().reshape(4, 3, 10).sum(axis=(0, 2)), [8, 8, 8])
    assert_array_equal(recurrent_kernel.mask.numpy().reshape(10, 3, 10).sum(axis=(0, 2)), [20, 20, 20])
    assert dense.masks[0].mask.numpy().sum() == 10
    assert [pair.name for pair in egru.masks] == ["kernel", "recurrent_kernel"]


@pytest.mark.parametrize(("sparsity", "live"), [(0.0, 12), (0.3, 8), (0.5, 6), (0.96, 1), (0.999, 1)])
def test_one_block_always_stays(sparsity, live):
    layer = built(RandomMask(layers.Dense(3), sparsity), (None, 4))
    assert layer.masks[0].mask.numpy().sum() == live


def test_live_weights_are_those_of_the_model_and_biases_stay(model):
    sparse = random_mask(model, 0.5)
    for old, wrapper in zip(model.layers, sparse.layers, strict=True):
        weights = {pair.name: pair for pair in wrapper.masks}
        for name, pair in weights.items():
            mask = pair.mask.numpy() == 1
            assert_array_equal(pair.weight.numpy(), np.where(mask, getattr(old, name).numpy(), 0.0))
        assert_array_equal(wrapper.layer.bias, old.bias)
    assert_array_equal(sparse.layers[0].layer.threshold, model.layers[0].threshold)
    assert np.count_nonzero(model.layers[0].recurrent_kernel) == 300


def test_blocks_are_kept_whole():
    layer = built(RandomMask(EGRU(8), 0.75, block_size=(2, 4)))
    kernel, recurrent_kernel = (pair.mask.numpy() for pair in layer.masks)
    for mask, rows in ((kernel, 2), (recurrent_kernel, 4)):
        blocks = mask.reshape(rows, 2, 3, 2, 4).transpose(2, 0, 3, 1, 4).reshape(3, rows * 2, 8)
        assert_array_equal(np.ptp(blocks, axis=2), 0)
        assert_array_equal(blocks[:, :, 0].sum(axis=1), [rows * 2 // 4] * 3)


def test_the_seed_decides(model):
    first, again, other = (masks_of(random_mask(model, 0.7, seed=seed)) for seed in (5, 5, 6))
    for path, mask in first.items():
        assert_array_equal(again[path], mask)
        assert np.any(other[path] != mask)
    keras.utils.set_random_seed(1)
    drawn = masks_of(random_mask(model, 0.7))
    keras.utils.set_random_seed(1)
    same = masks_of(random_mask(model, 0.7))
    for path, mask in drawn.items():
        assert_array_equal(same[path], mask)


def test_equal_layers_get_masks_of_their_own():
    inputs = keras.Input((9,))
    model = keras.Model(inputs, layers.Dense(9)(layers.Dense(9)(inputs)))
    first, second = masks_of(random_mask(model, 0.5, seed=1)).values()
    assert np.any(first != second)
    forward, backward = built(RandomMask(layers.Bidirectional(EGRU(6)), 0.5, seed=1)).masks[::2]
    assert np.any(forward.mask.numpy() != backward.mask.numpy())


@pytest.mark.parametrize(
    ("layer", "shape", "live"),
    [
        (layers.Conv1D(8, 3), (None, 7, 5), [30]),
        (layers.Embedding(20, 6), (None, 7), [30]),
        (layers.LSTM(4), (None, 7, 5), [4 * 5, 4 * 4]),
        (layers.Bidirectional(layers.GRU(4)), (None, 7, 5), [15, 12, 15, 12]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_layers_of_keras(layer, shape, live):
    wrapper = built(RandomMask(layer, 0.75), shape)
    assert [pair.mask.numpy().sum() for pair in wrapper.masks] == live


def test_masks_stay_while_weights_train(model, tmp_path):
    sparse = random_mask(model, 0.6, seed=1)
    sparse.compile(keras.optimizers.Adam(0.02), "mse")
    before, weights = masks_of(sparse), sparse.layers[0].layer.recurrent_kernel.numpy()
    checked = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: check_masked(sparse))
    saved = keras.callbacks.ModelCheckpoint(str(tmp_path / "{batch}.keras"), save_freq=1)
    x, y = np.random.default_rng(0).normal(size=(16, 6, 4)), np.ones((16, 5))
    losses = sparse.fit(x, y, batch_size=8, epochs=8, verbose=0, callbacks=[saved, checked]).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    assert np.any(sparse.layers[0].layer.recurrent_kernel.numpy() != weights)
    loaded = [keras.models.load_model(path) for path in tmp_path.iterdir()]
    assert len(loaded) == 2
    for each in [sparse, *loaded]:
        check_masked(each)
        for mask, drawn in zip(masks_of(each).values(), before.values(), strict=True):
            assert_array_equal(mask, drawn)


def test_a_model_must_be_built_before_it_is_trained():
    sparse = keras.Sequential([RandomMask(EGRU(10, name="rnn"), 0.8), layers.Dense(1)])
    sparse.compile("sgd", "mse")
    with pytest.raises(RuntimeError, match="'random_mask_rnn' cannot draw its masks while a graph is traced"):
        sparse.fit(np.ones((4, 6, 4)), np.ones((4, 1)), verbose=0)
    sparse = keras.Sequential([RandomMask(EGRU(10), 0.8), layers.Dense(1)])
    sparse(np.ones((4, 6, 4)))
    sparse.compile("sgd", "mse")
    sparse.fit(np.ones((4, 6, 4)), np.ones((4, 1)), verbose=0)
    check_masked(sparse)
    assert [mask.sum() for mask in masks_of(sparse).values()] == [24, 60]


def test_loading_brings_masks_and_signs_back(model, tmp_path):
    sparse = random_mask(model, 0.8, block_size=(1, 5), signed=True)
    sparse.layers[0].set_mask("kernel", 1 - sparse.layers[0].masks[0].mask.numpy())
    sparse.save(tmp_path / "sparse.keras")
    loaded = keras.models.load_model(tmp_path / "sparse.keras")
    for wrapper, copy in zip(sparse.layers, loaded.layers, strict=True):
        assert copy.get_config()["seed"] == wrapper.seed
        assert (copy.block_size, copy.sparsity, copy.signed) == ((1, 5), 0.8, True)
        for value, again in zip(wrapper.get_weights(), copy.get_weights(), strict=True):
            assert_array_equal(again, value)


def test_signs_are_those_of_the_weights_at_the_start(model):
    signs = np.sign(model.layers[0].recurrent_kernel.numpy())
    sparse = random_mask(model, 0.8, signed=True)
    assert_array_equal(sparse.layers[0].masks[1].latent, signs)
    zeros = built(RandomMask(layers.Dense(8, kernel_initializer="zeros"), 0.5, signed=True), (None, 8))
    assert set(np.unique(zeros.masks[0].latent)) == {-1.0, 1.0}
    assert not any("latent" in weight.path for weight in random_mask(model, 0.8).weights)


def test_stripping_leaves_the_function_alone(model):
    sparse = random_mask(model, 0.8)
    stripped = strip_pruning(sparse)
    x = np.random.default_rng(0).normal(size=(3, 6, 4))
    assert_allclose(stripped(x), sparse(x))
    assert [type(layer) for layer in stripped.layers] == [EGRU, layers.Dense]
    assert np.count_nonzero(stripped.layers[0].recurrent_kernel) == 60


def test_averages_of_weights_are_masked_by_hand(model):
    sparse = random_mask(model, 0.8)
    sparse.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse", jit_compile=False)
    sparse.fit(np.ones((4, 6, 4)), np.ones((4, 5)), verbose=0)
    for wrapper in sparse.layers:
        wrapper.apply_masks()
    check_masked(sparse)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan"), "half", True])
def test_sparsity_lies_in_its_interval(sparsity):
    with pytest.raises(ValueError, match=r"`sparsity` must lie in \[0, 1\)"):
        random_mask(layers.Dense(2), sparsity)


@pytest.mark.parametrize("block_size", [4, (1,), (0, 2), (1, 2.5), (1, 2, 3)])
def test_block_sizes_are_two_positive_integers(block_size):
    with pytest.raises(ValueError, match="`block_size` must be two positive integers"):
        random_mask(layers.Dense(2), 0.5, block_size=block_size)


def test_blocks_must_fit(model):
    with pytest.raises(ValueError, match=r"`kernel` .* has the shape \[10, 5\], in 1 of \[10, 5\]"):
        random_mask(model, 0.5, block_size=(1, 2))
    with pytest.raises(ValueError, match="must divide"):
        built(RandomMask(layers.Conv1D(4, 2), 0.5, block_size=(1, 2)), (None, 4, 4))


def test_wrong_arguments_are_named(model):
    with pytest.raises(TypeError, match="`seed` must be an integer"):
        random_mask(model, 0.5, seed=0.5)
    with pytest.raises(ValueError, match="`seed` must not be negative"):
        random_mask(model, 0.5, seed=-1)
    with pytest.raises(TypeError, match="layer or model"):
        random_mask("model", 0.5)
    with pytest.raises(ValueError, match="must be built"):
        random_mask(keras.Sequential([layers.Dense(2)]), 0.5)
    with pytest.raises(ValueError, match="masked already"):
        random_mask(random_mask(model, 0.5), 0.5)
    with pytest.raises(ValueError, match="no weight that can be masked"):
        random_mask(keras.Sequential([keras.Input((3,)), layers.Dropout(0.1)]), 0.5)


def test_a_mask_that_cuts_a_block_is_refused():
    layer = built(RandomMask(layers.Dense(4), 0.5, block_size=(1, 2)), (None, 2))
    blocks = Blocks(layer.masks[0], 1, (1, 2))
    assert_array_equal(blocks.live([[1, 1, 0, 0], [0, 0, 0, 0]]), [[True, False, False, False]])
    with pytest.raises(ValueError, match="whole blocks"):
        blocks.live([[1, 0, 0, 0], [0, 0, 0, 0]])
