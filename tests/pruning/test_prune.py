import keras
import numpy as np
import pytest
from keras import layers

from keras_egru import EGRU
from keras_egru.pruning import (
    Masked,
    PruneLowMagnitude,
    UpdatePruningStep,
    masked_layers,
    prune_low_magnitude,
    strip_pruning,
)


@pytest.fixture
def nested():
    """A Functional model of the layers that must be covered, nested and shared, and a batch for it."""
    tokens, images = keras.Input((4,), name="tokens"), keras.Input((6, 2), name="images")
    shared = layers.Dense(6, name="shared")
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6, name="deep"), layers.Dropout(0.5)], name="inner")
    both = layers.Bidirectional(EGRU(3), name="both")(layers.Embedding(9, 4, name="embedding")(tokens))
    filters = layers.Conv1D(3, 5, name="conv")(layers.Normalization(mean=0.5, variance=2.0)(images))
    seen = layers.Dense(6, name="dense")(layers.Flatten()(layers.BatchNormalization()(filters)))
    merged = shared(inner(shared(both))) + keras.ops.tanh(seen)
    model = keras.Model(
        {"tokens": tokens, "images": images}, {"out": layers.Dense(2, name="head")(merged)}, name="whole"
    )
    random = np.random.default_rng(8)
    batch = {"tokens": random.integers(0, 9, (8, 4)), "images": random.normal(size=(8, 6, 2)).astype("float32")}
    return model, batch


def names(model):
    return [layer.name for layer in model._flatten_layers()]


def test_nested_model_is_pruned_trained_saved_and_stripped(nested, half, tmp_path, assert_masked):
    model, batch = nested
    before = [weight.copy() for weight in model.get_weights()]
    outputs = model.predict_on_batch(batch)["out"]
    pruned = prune_low_magnitude(model, half)
    assert pruned.name == "whole"
    np.testing.assert_array_equal(pruned.predict_on_batch(batch)["out"], outputs)
    wrapped = {layer.layer.name for layer in masked_layers(pruned)}
    assert wrapped == {"shared", "deep", "both", "embedding", "conv", "dense", "head"}
    assert all(type(layer) is PruneLowMagnitude for layer in masked_layers(pruned))

    pruned.compile("adam", "mse")
    pruned.fit(batch, {"out": np.ones((8, 2))}, batch_size=4, verbose=0, callbacks=[UpdatePruningStep()])
    assert assert_masked(pruned) == pytest.approx([0.5] * 10, abs=0.1)
    for weight, value in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value, err_msg="the model that was pruned has changed")

    pruned.save(tmp_path / "model.keras")
    stripped = strip_pruning(keras.saving.load_model(tmp_path / "model.keras"))
    assert names(stripped) == names(model)
    assert not list(masked_layers(stripped))
    np.testing.assert_array_equal(stripped.predict_on_batch(batch)["out"], pruned.predict_on_batch(batch)["out"])
    kernel = stripped.get_layer("shared").kernel
    assert np.mean(kernel.numpy() == 0) == 0.5
    assert kernel.constraint is None


def test_layer_that_is_shared_with_a_nested_model_stays_shared(half):
    shared, inputs = layers.Dense(5), keras.Input((5,))
    model = keras.Model(inputs, keras.Sequential([keras.Input((5,)), shared])(shared(inputs)))
    pruned = prune_low_magnitude(model, half)
    assert len(list(masked_layers(pruned))) == 1
    assert len(pruned.trainable_variables) == 2
    assert len(strip_pruning(pruned).variables) == 2


def test_options_reach_the_layers(schedule):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(6)])
    [layer] = masked_layers(prune_low_magnitude(model, schedule, (2, 3), "MAX"))
    assert (layer.pruning_schedule, layer.block_size, layer.block_pooling_type) == (schedule, (2, 3), "MAX")
    [layer] = masked_layers(prune_low_magnitude(model, schedule, sparsity_m_by_n=(2, 4)))
    assert layer.sparsity_m_by_n == (2, 4)
    [layer] = masked_layers(prune_low_magnitude(model))
    assert layer.pruning_schedule.get_config()["config"]["target_sparsity"] == 0.5
    assert prune_low_magnitude(layers.Dense(6), name="mine").name == "mine"


def test_own_choice_of_weights_is_honoured(half):
    class Two(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")
            self.other = self.add_weight(shape=(4, 4), name="other")

        def get_prunable_weights(self):
            return [self.other]

        def call(self, inputs):
            return inputs @ self.kernel @ self.other

    layer = prune_low_magnitude(Two(), half)
    layer.build((None, 3))
    layer.begin()
    assert [pair.name for pair in layer.masks] == ["other"]
    assert np.mean(layer.layer.other.numpy() == 0) == 0.5
    assert np.all(layer.layer.kernel.numpy() != 0)


def test_lists_and_layers_that_are_pruned_already(half):
    done, start, plain = prune_low_magnitude(layers.Dense(2), half), layers.InputLayer((3,)), layers.ReLU()
    wrapped = prune_low_magnitude([start, done, layers.Dense(2), plain], half)
    assert wrapped[:2] == [start, done]
    assert isinstance(wrapped[2], PruneLowMagnitude)
    assert wrapped[3] is plain

    # A model keeps what is pruned in another way.
    by_hand = prune_low_magnitude(layers.Dense(4), half, block_size=(1, 2))
    model = prune_low_magnitude(keras.Sequential([keras.Input((4,)), by_hand, layers.Dense(4)]), half)
    assert [layer.block_size for layer in masked_layers(model)] == [(1, 2), (1, 1)]
    with pytest.raises(ValueError, match="Model 'sequential.*' is pruned already"):
        prune_low_magnitude(model, half)
    with pytest.raises(ValueError, match="'prune_low_magnitude_dense.*' is masked already"):
        prune_low_magnitude(done, half)


def test_compiled_model_with_a_loss_of_its_own_can_be_pruned(half):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    model.compile("sgd", lambda target, output: keras.ops.mean((target - output) ** 2))
    assert not prune_low_magnitude(model, half).compiled
    assert model.compiled


def test_stripped_layer_is_the_layer_itself(half):
    dense = layers.Dense(4)
    wrapper = prune_low_magnitude(dense, half)
    wrapper.build((None, 4))
    wrapper.begin()
    assert strip_pruning(wrapper) is dense
    assert np.mean(dense.kernel.numpy() == 0) == 0.5


def test_models_that_cannot_be_pruned_are_refused(half):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, inputs):
            return self.dense(inputs)

    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.dense = layers.Dense(2, name="within")

        def build(self, shape):
            self.dense.build(shape)

        def call(self, inputs):
            return self.dense(inputs)

    subclassed = Subclassed()
    for model in (subclassed, keras.Sequential([keras.Input((3,)), subclassed])):
        for function in (lambda model: prune_low_magnitude(model, half), strip_pruning):
            with pytest.raises(ValueError, match="of the subclass Subclassed.*wrap its layers"):
                function(model)
    with pytest.raises(ValueError, match="must be built to be pruned: give it an Input"):
        prune_low_magnitude(keras.Sequential([layers.Dense(2)]), half)
    with pytest.raises(ValueError, match="has nothing to prune: none of its layers has"):
        prune_low_magnitude(keras.Sequential([keras.Input((3,)), layers.ReLU()]), half)
    with pytest.raises(ValueError, match=r"Layer 'block' \(Block\) has prunable weights in its inner layer 'within'"):
        prune_low_magnitude(keras.Sequential([keras.Input((3,)), Block()]), half)
    with pytest.raises(TypeError, match="`prune_low_magnitude` takes a Keras layer or model, received 'model'"):
        prune_low_magnitude("model", half)
    with pytest.raises(TypeError, match="`strip_pruning` takes a Keras layer or model, received None"):
        strip_pruning(None)
    with pytest.raises(TypeError, match="`name` is for a single layer"):
        prune_low_magnitude(keras.Sequential([keras.Input((3,)), layers.Dense(2)]), half, name="mine")


def test_any_masked_layer_is_stripped_and_what_was_assigned_to_it_is_masked():
    model = keras.Sequential([keras.Input((3,)), Masked(layers.Dense(2, name="dense"))])
    model.layers[0].set_mask("kernel", np.eye(3, 2))
    model.layers[0].layer.kernel.assign(np.ones((3, 2)))
    stripped = strip_pruning(model)
    assert [layer.name for layer in stripped.layers] == ["dense"]
    np.testing.assert_array_equal(stripped.layers[0].kernel.numpy(), np.eye(3, 2))
