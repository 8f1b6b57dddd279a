from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_egru import EGRU
from keras_egru.pruning import Masked, masked_layers

TIME, FEATURES, BATCH = 4, 3, 6


@keras.saving.register_keras_serializable(package="test_masked")
class CellWithMasks(layers.GRUCell):
    """Has the two properties that cells may have, as plain ones that Keras does not track."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._shown = SimpleNamespace(kernel=None, recurrent=None)

    kernel_mask = property(lambda cell: cell._shown.kernel, lambda cell, mask: setattr(cell._shown, "kernel", mask))
    recurrent_mask = property(
        lambda cell: cell._shown.recurrent, lambda cell, mask: setattr(cell._shown, "recurrent", mask)
    )


LAYERS = {
    "dense": lambda: layers.Dense(5),
    "conv": lambda: layers.Conv1D(5, 2),
    "gru": lambda: layers.GRU(5),
    "egru": lambda: EGRU(5),
    "bidirectional": lambda: layers.Bidirectional(EGRU(5)),
}


@pytest.fixture
def sequences():
    return np.random.default_rng(1).normal(size=(BATCH, TIME, FEATURES)).astype("float32")


def random_masks(layer, seed=2):
    random = np.random.default_rng(seed)
    for pair in layer.masks:
        layer.set_mask(pair.name, random.integers(0, 2, pair.mask.shape))


def model_of(layer, inputs, **compile_options):
    outputs = keras.Sequential([keras.Input(inputs.shape[1:], len(inputs)), layer, layers.Flatten(), layers.Dense(1)])
    outputs.compile(keras.optimizers.Adam(0.1), "mse", **compile_options)
    return outputs


class Watch(keras.callbacks.Callback):
    """Calls a function after each batch."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def on_train_batch_end(self, batch, logs=None):
        self.function(self.model)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_weights_train_inside_of_their_masks_alone_and_are_loaded_with_them(make, sequences, tmp_path, assert_masked):
    layer = Masked(make())
    model = model_of(layer, sequences)
    random_masks(layer)
    masks = [pair.mask.numpy() for pair in layer.masks]
    before = [pair.weight.numpy() for pair in layer.masks]
    shares = []
    watch = Watch(lambda watched: shares.append(assert_masked(watched)))
    model.fit(sequences, np.ones((BATCH, 1)), batch_size=BATCH, epochs=2, verbose=0, callbacks=[watch])
    assert len(shares) == 2
    assert all(0 < share < 1 for share in sum(shares, []))
    for pair, weight, mask in zip(layer.masks, before, masks, strict=True):
        np.testing.assert_array_equal(pair.mask.numpy(), mask)
        assert np.abs(pair.weight.numpy() - weight).max() > 0.01, f"{pair.name} does not learn"

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict_on_batch(sequences), model.predict_on_batch(sequences))
    for pair, mask in zip(loaded.layers[0].masks, masks, strict=True):
        np.testing.assert_array_equal(pair.mask.numpy(), mask)
        np.testing.assert_array_equal(pair.weight.constraint(np.ones_like(mask)), mask)


def test_call_arguments_reach_the_layer(sequences):
    gru = layers.GRU(5, return_state=True, return_sequences=True, dropout=0.5, seed=3)
    wrapper = Masked(gru)
    mask = np.arange(TIME) < np.array([[1], [2], [3], [4], [4], [4]])
    state = np.full((BATCH, 5), 0.3, "float32")
    results = wrapper(sequences, initial_state=ops.convert_to_tensor(state), mask=ops.convert_to_tensor(mask))
    expected = gru(sequences, initial_state=ops.convert_to_tensor(state), mask=ops.convert_to_tensor(mask))
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)
    assert not np.allclose(results[0], gru(sequences)[0])
    # Dropout is drawn in training only.
    assert not np.allclose(wrapper(sequences, training=True)[0], wrapper(sequences, training=True)[0])
    np.testing.assert_array_equal(wrapper(sequences)[0], wrapper(sequences)[0])


def test_masks_of_sequences_pass_through_a_functional_model():
    embedding, gru, egru = layers.Embedding(7, 4, mask_zero=True), layers.GRU(5, return_sequences=True), EGRU(2)
    tokens = keras.Input((TIME,), dtype="int32")
    bare = keras.Model(tokens, egru(gru(embedding(tokens))))
    model = keras.Model(tokens, Masked(egru)(Masked(gru)(Masked(embedding)(tokens))))
    batch = np.array([[1, 2, 3, 0], [4, 0, 0, 0]])
    outputs = model.predict_on_batch(batch)
    np.testing.assert_array_equal(outputs, bare.predict_on_batch(batch))
    # What stands at masked steps is not seen by either.
    embedding.embeddings.assign(np.concatenate([np.full((1, 4), 9.0), embedding.embeddings.numpy()[1:]]))
    np.testing.assert_array_equal(model.predict_on_batch(batch), outputs)


def test_masks_of_sequences_pass_through_time_distributed(sequences):
    class Gated(layers.Dense):
        def call(self, inputs, mask=None):
            return super().call(inputs) * ops.cast(mask, inputs.dtype)[:, None]

    gated = Gated(5)
    mask = ops.convert_to_tensor(np.arange(TIME) < np.arange(BATCH)[:, None])
    outputs = layers.TimeDistributed(Masked(gated))(sequences, mask=mask)
    np.testing.assert_array_equal(outputs, layers.TimeDistributed(gated)(sequences, mask=mask))


def test_stateful_layer_keeps_and_resets_its_state(sequences):
    wrapper = Masked(layers.GRU(5, stateful=True))
    assert wrapper.stateful
    first, second = wrapper(sequences), wrapper(sequences)
    assert not np.allclose(first, second)
    wrapper.reset_state()
    np.testing.assert_array_equal(wrapper(sequences), first)
    wrapper.reset_states()
    np.testing.assert_array_equal(wrapper(sequences), first)
    assert not Masked(layers.GRU(5)).stateful


def test_layer_keeps_its_own_types(sequences):
    double = Masked(layers.Dense(5, dtype="float64"))
    assert double(sequences.astype("float64")).dtype == "float64"
    assert double.masks[0].mask.dtype == "float64"
    mixed = Masked(layers.Dense(5, dtype="mixed_float16"))
    assert mixed(sequences).dtype == "float16"
    assert mixed.masks[0].mask.dtype == "float32"


def test_constraint_of_the_weight_comes_before_the_mask():
    layer = Masked(layers.Dense(2, kernel_constraint="unit_norm"))
    layer.build((None, 2))
    layer.set_mask("kernel", [[1, 1], [0, 1]])
    # The norm is that of the whole column: masking afterwards leaves 0.6 of it.
    projected = layer.layer.kernel.constraint(np.array([[3.0, 6.0], [4.0, 8.0]], "float32"))
    np.testing.assert_allclose(projected, [[0.6, 0.6], [0.0, 0.8]], rtol=1e-6)


def test_weights_that_are_not_finite_are_masked_too():
    layer = Masked(layers.Dense(2))
    layer.build((None, 2))
    layer.layer.kernel.assign([[np.nan, 2.0], [np.inf, 4.0]])
    layer.set_mask("kernel", [[0, 1], [0, 1]])
    np.testing.assert_array_equal(layer.layer.kernel.numpy(), [[0, 2], [0, 4]])


@pytest.mark.parametrize("options", [{"steps_per_execution": 2}, {"jit_compile": True}])
def test_mask_after_update_is_asked_once_an_update(options, sequences):
    class Counting(Masked):
        def build(self, *args, **kwargs):
            super().build(*args, **kwargs)
            self.count = self.add_state("count", (), "zeros", "int32")

        def mask_after_update(self, masked_weight, weight):
            self.count.assign(self.count + 1)
            return ops.ones_like(weight)

    layer = Counting(layers.Dense(5))
    model_of(layer, sequences[:1], **options).fit(sequences, np.ones((BATCH, 1)), batch_size=1, verbose=0)
    assert layer.count.numpy() == BATCH


def test_cells_that_ask_for_masks_get_them(sequences):
    cells = [CellWithMasks(5), CellWithMasks(5)]
    layer = Masked(layers.Bidirectional(layers.RNN(cells[0]), backward_layer=layers.RNN(cells[1], go_backwards=True)))
    layer(sequences)
    sides = layer.layer.forward_layer.cell, layer.layer.backward_layer.cell
    masks = {pair.name: pair.mask for pair in layer.masks}
    for name, cell in zip(("forward", "backward"), sides, strict=True):
        assert cell.kernel_mask is masks[f"{name}_kernel"]
        assert cell.recurrent_mask is masks[f"{name}_recurrent_kernel"]
    assert len(layer.variables) == len(layer.layer.variables) + 4, "a mask is tracked twice"
    layer.unmask()
    for cell in sides:
        assert cell.kernel_mask is None
        assert cell.recurrent_mask is None


def test_unmasked_layer_is_free_again():
    dense = layers.Dense(2, kernel_constraint="non_neg")
    layer = Masked(dense)
    layer.build((None, 2))
    layer.set_mask("kernel", [[0, 1], [1, 1]])
    dense.kernel.assign([[5.0, 5.0], [5.0, 5.0]])
    assert layer.unmask() is dense
    np.testing.assert_array_equal(dense.kernel.numpy(), [[0, 5], [5, 5]])
    assert isinstance(dense.kernel.constraint, keras.constraints.NonNeg)
    assert Masked(dense)(np.ones((1, 2))).shape == (1, 2), "it can be masked again"


def test_masked_layers_are_found_once_wherever_they_are():
    shared, deep = Masked(layers.Dense(3)), Masked(layers.Dense(3))
    inner = keras.Sequential([keras.Input((3,)), deep, shared])
    inputs = keras.Input((3,))
    model = keras.Model(inputs, shared(layers.TimeDistributed(layers.Dense(3))(inner(shared(inputs))[:, None])[:, 0]))
    found = list(masked_layers(model))
    assert len(found) == 2
    assert {id(layer) for layer in found} == {id(shared), id(deep)}


def test_set_mask_refuses_what_is_no_mask():
    layer = Masked(layers.Dense(2))
    with pytest.raises(ValueError, match=r"`name` must be one of \[\]"):
        layer.set_mask("kernel", [[1, 1]])
    layer.build((None, 3))
    with pytest.raises(ValueError, match=r"`name` must be one of \['kernel'\].*received 'bias'"):
        layer.set_mask("bias", [1, 1])
    with pytest.raises(ValueError, match=r"must be of shape \(3, 2\), received shape \(2, 3\)"):
        layer.set_mask("kernel", np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"must consist of zeros and ones, received \[1. +1.2"):
        layer.set_mask("kernel", np.linspace(1, 2, 6).reshape(3, 2))


def test_layers_that_cannot_be_masked_are_refused():
    with pytest.raises(TypeError, match="must be a Keras layer and not a model"):
        Masked(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(TypeError, match="received 'dense'"):
        Masked("dense")
    with pytest.raises(ValueError, match="'masked_inner' is masked already"):
        Masked(Masked(layers.Dense(2, name="inner")))
    with pytest.raises(ValueError, match=r"Layer 'plain' \(LayerNormalization\) has no weight that can be pruned"):
        Masked(layers.LayerNormalization(name="plain")).build((None, 3))
    dense = layers.Dense(2, name="dense")
    Masked(dense, name="first").build((None, 3))
    with pytest.raises(ValueError, match="`kernel` of layer 'dense' is masked by 'first' already"):
        Masked(dense, name="second").build((None, 3))
