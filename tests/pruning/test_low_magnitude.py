import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_egru import EGRU
from keras_egru.pruning import PruneLowMagnitude, UpdatePruningStep, prune_low_magnitude


def test_ways_to_run_give_the_same_masks(make_dense, fit, assert_masked, pruning_state):
    expected = make_dense("sgd")
    fit(expected, UpdatePruningStep())
    for compile_options in ({"steps_per_execution": 4}, {"run_eagerly": True}, {"jit_compile": True}):
        model = make_dense("sgd", compile_options=compile_options)
        fit(model, UpdatePruningStep())
        assert_masked(model)
        for value, wanted in zip(pruning_state(model), pruning_state(expected), strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-6, err_msg=str(compile_options))
        assert model.layers[0].pruning_step.numpy() == 8


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda: keras.optimizers.AdamW(0.05, weight_decay=0.5),
        lambda: keras.optimizers.SGD(0.05, momentum=0.9, gradient_accumulation_steps=2),
        lambda: keras.optimizers.Adam(0.05, use_ema=True, ema_overwrite_frequency=3),
    ],
    ids=["weight decay", "momentum and accumulation", "moving average"],
)
def test_no_optimizer_moves_masked_weights(make_optimizer, make_dense, fit, assert_masked):
    shares = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            shares.append(assert_masked(self.model))

    model = make_dense(make_optimizer())
    fit(model, UpdatePruningStep(), Watch())
    assert_masked(model)
    # After batch k there is the mask of step k + 1, made at the last odd step.
    sparsities = [0.8 - 0.6 * (1 - (step - 1) / 10) ** 3 for step in (1, 3, 3, 5, 5, 7, 7, 9)]
    for [share], sparsity in zip(shares, sparsities, strict=True):
        assert share == pytest.approx(sparsity, abs=0.5 / 48)


def test_moving_average_is_masked_before_the_model_gets_it(make_dense, fit, assert_masked):
    """The weights become their averages when training ends, before any callback can do something about it."""
    seen = []

    class First(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            [average, _] = self.model.optimizer._model_variables_moving_average
            [pair] = self.model.layers[0].masks
            np.testing.assert_array_equal(average.numpy() != 0, pair.mask.numpy() != 0)

        def on_train_end(self, logs=None):
            seen.append(assert_masked(self.model))

    model = make_dense(keras.optimizers.Adam(0.05, use_ema=True))
    fit(model, First(), UpdatePruningStep())
    fit(model, UpdatePruningStep(), keras.callbacks.SwapEMAWeights())
    assert_masked(model)
    assert len(seen) == 1


def test_mixed_precision_prunes_the_float32_weights(make_dense, fit, assert_masked):
    model = make_dense(layer_options={"dtype": "mixed_float16"})
    fit(model, UpdatePruningStep())
    assert isinstance(model.optimizer, keras.optimizers.Adam | keras.optimizers.LossScaleOptimizer)
    assert min(assert_masked(model)) > 0.7
    assert model.layers[0].masks[0].mask.dtype == "float32"
    assert model(np.ones((1, 6))).dtype == "float16"


@pytest.mark.parametrize(
    ("make_layer", "time"),
    [
        (lambda: layers.LSTM(6, stateful=True), 3),
        (lambda: EGRU(6, stateful=True), 1),
        (lambda: layers.Bidirectional(EGRU(6)), 2),
    ],
    ids=["stateful LSTM", "stateful EGRU of one step", "bidirectional EGRU"],
)
def test_gates_of_recurrent_layers_are_pruned_alike(make_layer, time, half, assert_masked):
    layer = prune_low_magnitude(make_layer(), half)
    model = keras.Sequential([keras.Input((time, 4), 4), layer])
    model.compile("adam", "mse")
    inputs = np.random.default_rng(1).normal(size=(8, time, 4))
    model.fit(inputs, np.ones((8, model.output_shape[-1])), batch_size=4, verbose=0, callbacks=[UpdatePruningStep()])
    assert_masked(model)
    assert layer.pruning_step.numpy() == 2
    for pair in layer.masks:
        gates = np.split(pair.mask.numpy(), pair.gates, axis=1)
        assert [gate.mean() for gate in gates] == [0.5] * pair.gates
        assert tuple(pair.threshold.shape) == ((pair.gates,) if pair.gates > 1 else ())


def test_frozen_weights_are_pruned_too(make_dense, fit, assert_masked, pruning_state):
    frozen = make_dense("sgd", compile_options={"steps_per_execution": 2})
    frozen.layers[0].layer.kernel.trainable = False
    weights = frozen.layers[0].layer.kernel.numpy()
    fit(frozen, UpdatePruningStep())
    assert_masked(frozen)
    weight, mask, _, step = pruning_state(frozen)[:4]
    np.testing.assert_array_equal(weight, weights * mask)
    assert step == 8
    assert 1 - mask.mean() == pytest.approx(0.8 - 0.6 * 0.2**3, abs=1 / 48)


@pytest.mark.parametrize("compile_options", [{}, {"run_eagerly": True}, {"jit_compile": True}])
def test_training_without_the_callback_is_refused(make_dense, fit, compile_options):
    model = make_dense(compile_options=compile_options)
    with pytest.raises(RuntimeError, match=r"must not be trained without the callback keras_egru.pruning.UpdateP"):
        fit(model)
    assert model.optimizer.iterations.numpy() == 0


def test_training_goes_on_once_the_callback_is_given(make_dense, fit):
    model = make_dense()
    model.predict_on_batch(np.ones((4, 6)))
    with pytest.raises(RuntimeError):
        fit(model)
    fit(model, UpdatePruningStep())
    assert model.layers[0].pruning_step.numpy() == 8


def test_training_that_was_traced_before_is_refused_too(make_dense, fit):
    model = make_dense()
    fit(model, UpdatePruningStep())
    for layer in model.layers:
        layer.pruning_step.assign(-1)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"without the callback keras_egru.pruning.UpdateP"):
        fit(model)


def test_shared_layer_makes_one_step_an_update(half, fit, assert_masked):
    shared = prune_low_magnitude(layers.Dense(6), half)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(8)(shared(shared(inputs))))
    model.compile("sgd", "mse")
    fit(model, UpdatePruningStep())
    assert shared.pruning_step.numpy() == 8
    assert assert_masked(model) == [0.5]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pruning_schedule": 0.5}, TypeError, "`pruning_schedule` must be a tfmot PruningSchedule"),
        ({"block_size": (0, 4)}, ValueError, r"`block_size` must be positive, received \(0, 4\)"),
        ({"block_size": 4}, TypeError, "`block_size` must be a pair of integers, received 4"),
        ({"block_size": (2, 1.5)}, TypeError, "`block_size` must be a pair of integers"),
        ({"block_pooling_type": "MEAN"}, ValueError, '`block_pooling_type` must be "AVG" or "MAX", received \'MEAN\''),
        ({"sparsity_m_by_n": (4, 4)}, ValueError, r"\(m, n\) with 0 < m < n, received \(4, 4\)"),
        ({"sparsity_m_by_n": (2, 4, 8)}, TypeError, "`sparsity_m_by_n` must be a pair of integers"),
        ({"sparsity_m_by_n": (2, 4), "block_size": (1, 2)}, ValueError, r"`block_size` must be \(1, 1\) with"),
    ],
)
def test_wrong_arguments_are_refused(half, options, error, message):
    with pytest.raises(error, match=message):
        PruneLowMagnitude(layers.Dense(3), **{"pruning_schedule": half, **options})


@pytest.mark.parametrize(
    ("layer", "shape", "options", "message"),
    [
        (
            layers.Conv1D(3, 2),
            (None, 5, 4),
            {"block_size": (2, 2)},
            "is for weights of rank 2; `kernel` of layer '.*' has",
        ),
        (layers.Dense(4), (None, 4), {"block_size": (4, 8)}, "leaves a single block, which is never pruned"),
        (layers.Dense(4), (None, 6), {"sparsity_m_by_n": (2, 4)}, r"next to last axis that n divides.*\[6, 4\]"),
        (layers.Conv1D(3, 2), (None, 5, 4), {"sparsity_m_by_n": (2, 4)}, "is for weights of rank 2 or 4"),
        (layers.GRU(8), (None, 5, 4), {"block_size": (8, 8)}, r"single block.*pruned as \d of \[4, 24\]|3 of \[8, 8\]"),
        (layers.ReLU(), (None, 5), {}, "has no weight that can be pruned"),
    ],
)
def test_weights_that_do_not_fit_are_refused(half, layer, shape, options, message):
    with pytest.raises(ValueError, match=message):
        prune_low_magnitude(layer, half, **options).build(shape)


def test_configuration_is_complete(schedule):
    layer = PruneLowMagnitude(layers.Dense(8, name="dense"), schedule, (2, 3), "MAX")
    assert layer.name == "prune_low_magnitude_dense"
    again = PruneLowMagnitude.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.block_size, again.block_pooling_type, again.sparsity_m_by_n) == ((2, 3), "MAX", None)
    assert vars(again.pruning_schedule) == vars(schedule)
    by_n = PruneLowMagnitude(layers.Dense(8), schedule, sparsity_m_by_n=(2, 4))
    assert PruneLowMagnitude.from_config(by_n.get_config()).sparsity_m_by_n == (2, 4)


def test_begin_needs_a_built_layer(schedule):
    with pytest.raises(ValueError, match="must be built before it is pruned"):
        prune_low_magnitude(layers.Dense(8), schedule).begin()
