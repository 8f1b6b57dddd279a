import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EGRU
from keras_egru.pruning import Masked, RigL, masked_layers, random_mask, strip_pruning

FIT = {"batch_size": 8, "shuffle": False, "verbose": 0}


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(3)


@pytest.fixture
def data():
    """32 sequences `[3, 4]`; the target is a sum over two of the features, so that some weights matter more."""
    x = np.random.default_rng(1).normal(size=(32, 3, 4)).astype("float32")
    return x, x[:, :, :2].sum(axis=1)


def make_model(sparsity=0.7, recurrent=False, run_eagerly=False, optimizer=None, **options):
    keras.utils.set_random_seed(3)
    first = [EGRU(8)] if recurrent else [layers.Flatten(), layers.Dense(8, activation="tanh")]
    model = keras.Sequential([keras.Input((3, 4)), *first, layers.Dense(2)])
    sparse = random_mask(model, sparsity, seed=1, **options)
    # XLA takes longer to compile than these models to train.
    optimizer = optimizer or keras.optimizers.SGD(0.05, momentum=0.9)
    sparse.compile(optimizer, "mse", run_eagerly=run_eagerly, jit_compile=False)
    return sparse


def pairs_of(model):
    return [pair for wrapper in masked_layers(model) for pair in wrapper.masks]


class Recorder(keras.callbacks.Callback):
    """Keeps masks, weights and optimizer slots at each batch end."""

    def __init__(self):
        super().__init__()
        self.masks, self.weights = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.masks.append([pair.mask.numpy() for pair in pairs_of(self.model)])
        self.weights.append([pair.weight.numpy() for pair in pairs_of(self.model)])


def linear(weights, mask, learning_rate=0.0, optimizer=None):
    """`y = x w` under a plain `Masked` wrapper; on n unit vectors the gradient of w_i is 2/n times `w_i - y_i`."""
    layer = Masked(layers.Dense(1, use_bias=False))
    model = keras.Sequential([keras.Input((len(weights),)), layer])
    layer.layer.kernel.assign(np.reshape(weights, (-1, 1)))
    layer.set_mask("kernel", np.reshape(mask, (-1, 1)))
    model.compile(optimizer or keras.optimizers.SGD(learning_rate), "mse", jit_compile=False)
    return model


def test_the_smallest_go_and_the_largest_gradients_come():
    weights = [0.1, -0.9, 0.2, 0.8, 0.0, 0.0, 0.0, 0.0]
    model = linear(weights, [1, 1, 1, 1, 0, 0, 0, 0])
    # Without error at the live weights, the gradient is largest at 5, then at 7, then at 4.
    x, y = np.eye(8), np.array([0.1, -0.9, 0.2, 0.8, 0.3, -0.7, 0.0, 0.5]).reshape(8, 1)
    rigl = RigL((x, y), end_step=2, interval=1, drop_fraction=1.0)
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[rigl])
    # The share after update 1 of 2 is 1/2 (1 + cos(pi/2)) = 1/2: two of four.
    (pair,) = pairs_of(model)
    assert_array_equal(pair.mask.numpy()[:, 0], [0, 1, 0, 1, 0, 1, 0, 1])
    assert_allclose(pair.weight.numpy()[:, 0], [0, -0.9, 0, 0.8, 0, 0, 0, 0])


def test_a_dropped_weight_that_grows_again_stays_as_it_was():
    model = linear([0.1, 0.9, 0.0, 0.0], [1, 1, 0, 0], optimizer=keras.optimizers.SGD(0.0, momentum=0.9))
    x, y = np.eye(4), np.array([[5.0], [0.9], [0.0], [0.1]])
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[RigL((x, y), end_step=2, interval=1, drop_fraction=1.0)])
    (pair,) = pairs_of(model)
    assert_array_equal(pair.mask.numpy()[:, 0], [1, 1, 0, 0])
    assert_allclose(pair.weight.numpy()[:, 0], [0.1, 0.9, 0, 0])


def test_shares_follow_the_cosine():
    rigl = RigL((np.ones((1, 1)), np.ones((1, 1))), end_step=1000)
    assert_allclose([rigl.share_at(step) for step in (0, 250, 500, 750)], [0.3, 0.256066, 0.15, 0.043934], rtol=1e-4)
    assert rigl.share_at(1000) == rigl.share_at(5000) == 0.0


@pytest.mark.parametrize(("block_size", "live"), [((1, 1), [10, 19, 5]), ((2, 2), [8, 20, 4])])
def test_counts_are_constant_in_each_gate_at_every_batch(data, block_size, live):
    model = make_model(recurrent=True, block_size=block_size)
    recorder, before = Recorder(), [pair.mask.numpy() for pair in pairs_of(model)]
    rigl = RigL(data, end_step=100, interval=3, drop_fraction=0.8, seed=1)
    model.fit(*data, epochs=4, callbacks=[recorder, rigl], **FIT)
    assert len(recorder.masks) == 16
    for masks, weights in zip(recorder.masks, recorder.weights, strict=True):
        kernel, recurrent_kernel, dense = masks
        assert_array_equal(kernel.reshape(4, 3, 8).sum(axis=(0, 2)), live[0])
        assert_array_equal(recurrent_kernel.reshape(8, 3, 8).sum(axis=(0, 2)), live[1])
        assert dense.sum() == live[2]
        for mask, weight in zip(masks, weights, strict=True):
            assert_array_equal(weight[mask == 0], 0.0)
    for index in range(2):
        assert np.any(recorder.masks[-1][index] != before[index])
    if block_size == (2, 2):
        blocks = recorder.masks[-1][1].reshape(4, 2, 12, 2).transpose(0, 2, 1, 3).reshape(48, 4)
        assert_array_equal(np.ptp(blocks, axis=1), 0)


def test_masks_move_at_multiples_of_the_interval_below_the_end(data):
    model = make_model(run_eagerly=True)
    recorder = Recorder()
    # The recorder sees a move at the batch after it.
    model.fit(
        *data, epochs=4, callbacks=[recorder, RigL(data, end_step=12, interval=4, drop_fraction=0.9, seed=1)], **FIT
    )
    moved = [
        batch + 1
        for batch in range(1, 16)
        if any(np.any(new != old) for new, old in zip(recorder.masks[batch], recorder.masks[batch - 1], strict=True))
    ]
    assert moved == [5, 9]


def test_what_grows_is_zero_first_forgets_its_past_and_then_learns(data):
    model = make_model()
    before, after = Recorder(), Recorder()
    born, slots = [], []

    def look(batch, logs):
        if batch == 2:
            for index, pair in enumerate(pairs_of(model)):
                born.append((pair.mask.numpy() == 1) & (before.masks[2][index] == 0))
                slots.append(model.optimizer.momentums[model.optimizer._get_variable_index(pair.weight)].numpy())

    watch = keras.callbacks.LambdaCallback(on_train_batch_end=look)
    rigl = RigL(data, end_step=100, interval=3, seed=1)
    model.fit(*data, epochs=1, callbacks=[before, rigl, after, watch], **FIT)
    assert sum(mask.sum() for mask in born) > 5
    for index, mask in enumerate(born):
        assert_array_equal(after.weights[2][index][mask], 0.0)
        assert_array_equal(slots[index][mask], 0.0)
    assert np.count_nonzero(slots[0][before.masks[2][0] == 1]) > 10
    learned = np.concatenate([after.weights[3][index][mask] for index, mask in enumerate(born)])
    assert np.count_nonzero(learned) > len(learned) // 2


def test_the_gradient_is_dense_where_a_layer_spares_masked_weights_theirs():
    class Sparing(layers.Dense):
        kernel_mask = None

        def call(self, inputs):
            if self.kernel_mask is None:
                return ops.matmul(inputs, self.kernel)
            return ops.matmul(inputs, self.kernel * ops.convert_to_tensor(self.kernel_mask))

    layer = Masked(Sparing(1, use_bias=False))
    model = keras.Sequential([keras.Input((4,)), layer])
    layer.layer.kernel.assign([[0.1], [0.9], [0.0], [0.0]])
    layer.set_mask("kernel", [[1], [1], [0], [0]])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x, y = np.eye(4), np.array([[0.1], [0.9], [0.2], [0.5]])
    model.fit(x, y, epochs=2, verbose=0, callbacks=[RigL((x, y), end_step=2, interval=1, drop_fraction=1.0, seed=2)])
    assert_array_equal(layer.masks[0].mask.numpy()[:, 0], [0, 1, 0, 1])
    assert layer.layer.kernel_mask is layer.masks[0].mask


def test_an_egru_grows_where_it_computes_no_gradient_in_training(data):
    model = make_model(sparsity=0.9, recurrent=True)
    cell = model.layers[0].layer.cell
    recurrent = model.layers[0].masks[1]
    assert cell.recurrent_mask is recurrent.mask
    before = recurrent.mask.numpy()
    x, y = data
    dense = keras.models.clone_model(strip_pruning(model))
    dense.set_weights(strip_pruning(model).get_weights())
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(dense(x, training=True) - y))
    gradient = np.abs(tape.gradient(loss, dense.layers[0].recurrent_kernel.value).numpy())
    model.optimizer.learning_rate = 0.0
    model.fit(x, y, batch_size=32, verbose=0, callbacks=[RigL(data, end_step=2, interval=1, drop_fraction=1.0)])
    grown = (recurrent.mask.numpy() == 1) & (before == 0)
    assert grown.sum() > 3
    for gate in range(3):
        part = np.s_[:, 8 * gate : 8 * (gate + 1)]
        left = (recurrent.mask.numpy() == 0)[part] & (before == 0)[part]
        assert gradient[part][grown[part]].min() >= gradient[part][left].max()
    assert cell.recurrent_mask is recurrent.mask


def test_an_egru_computes_with_the_masks_as_they_are(data):
    model = make_model(sparsity=0.8, recurrent=True)
    model(data[0])
    model.fit(*data, epochs=2, callbacks=[RigL(data, end_step=100, interval=1, drop_fraction=0.9, seed=1)], **FIT)
    stripped = strip_pruning(model)
    config = {**stripped.layers[0].get_config(), "implementation": "reference"}
    reference = keras.Sequential([keras.Input((3, 4)), EGRU.from_config(config), layers.Dense(2)])
    reference.set_weights(stripped.get_weights())
    # Float32, sums of a few terms.
    for training in (False, True):
        assert_allclose(model(data[0], training=training), reference(data[0], training=training), rtol=1e-5, atol=1e-6)
    for sparse, dense in zip(gradients(model, data), gradients(reference, data), strict=True):
        live = sparse != 0
        assert_allclose(sparse[live], dense[live], rtol=1e-4, atol=1e-6)


def gradients(model, data):
    x, y = data
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
    return [gradient.numpy() for gradient in tape.gradient(loss, [weight.value for weight in model.trainable_weights])]


def test_looking_for_a_gradient_leaves_no_trace(data):
    def train(*callbacks):
        keras.utils.set_random_seed(3)
        inputs = keras.Input(batch_shape=(8, 3, 4))
        features = layers.BatchNormalization()(layers.Dropout(0.3, seed=1)(inputs))
        outputs = layers.Dense(2)(layers.SimpleRNN(3, stateful=True, dropout=0.2, seed=4, unroll=True)(features))
        model = random_mask(keras.Model(inputs, outputs), 0.5, seed=1)
        model.compile("sgd", "mse", metrics=["mae"], jit_compile=False)
        history = model.fit(*data, epochs=2, callbacks=list(callbacks), **FIT).history
        return history, [variable.numpy() for variable in model.variables]

    calls = []

    def batch(step):
        calls.append(step)
        return data[0][:8], data[1][:8]

    class NoMove(RigL):
        def share_at(self, step):
            return 1e-9

    history, variables = train()
    with_gradient, after = train(NoMove(batch, end_step=100, interval=2))
    assert calls == [2, 4, 6, 8]
    assert history == with_gradient
    for value, again in zip(variables, after, strict=True):
        assert_array_equal(again, value)


def test_training_that_is_resumed_goes_on_as_if_it_had_not_stopped(data, tmp_path):
    def rigl():
        return RigL(data, end_step=20, interval=3, drop_fraction=0.9, batch_size=8, seed=4)

    whole, half = make_model(), make_model()
    whole.fit(*data, epochs=4, callbacks=[rigl()], **FIT)
    half.fit(*data, epochs=2, callbacks=[rigl()], **FIT)
    half.save(tmp_path / "half.keras")
    resumed = keras.models.load_model(tmp_path / "half.keras")
    resumed.fit(*data, epochs=4, initial_epoch=2, callbacks=[rigl()], **FIT)
    for value, again in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        assert_array_equal(again, value)


def test_checkpoints_within_an_epoch_hold_masked_weights(data, tmp_path):
    model = make_model()
    save = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}_{batch}.keras"), save_freq=3)
    model.fit(*data, epochs=3, callbacks=[save, RigL(data, end_step=100, interval=1, seed=1)], **FIT)
    paths = list(tmp_path.iterdir())
    assert len(paths) == 4
    for path in paths:
        loaded = pairs_of(keras.models.load_model(path))
        assert [pair.mask.numpy().sum() for pair in loaded] == [29, 5]
        for pair in loaded:
            assert_array_equal(pair.weight.numpy()[pair.mask.numpy() == 0], 0.0)


def test_the_seed_decides(data):
    def masks(seed):
        model = make_model()
        model.fit(*data, epochs=2, callbacks=[RigL(data, end_step=100, interval=2, batch_size=4, seed=seed)], **FIT)
        return np.concatenate([pair.mask.numpy().ravel() for pair in pairs_of(model)])

    first = masks(1)
    assert_array_equal(masks(1), first)
    assert np.any(masks(2) != first)


def test_it_finds_the_inputs_that_matter():
    # 2 of 40 inputs carry the target; masks that stay see them by chance only.
    x = np.random.default_rng(0).normal(size=(256, 40)).astype("float32")
    y = x[:, [7, 31]] @ np.array([[2.0], [-3.0]], "float32")

    def loss(*callbacks):
        model = linear(np.full(40, 0.01), np.arange(40) < 4, optimizer=keras.optimizers.SGD(0.1))
        return model.fit(x, y, batch_size=32, epochs=10, verbose=0, callbacks=list(callbacks)).history["loss"][-1]

    assert loss() > 5.0
    assert loss(RigL((x, y), end_step=60, interval=5, drop_fraction=0.5, seed=1)) < 0.1


def test_training_goes_on_with_accumulated_gradients(data):
    model = make_model(optimizer=keras.optimizers.SGD(0.01, gradient_accumulation_steps=2))
    recorder = Recorder()
    model.fit(
        *data, epochs=3, callbacks=[recorder, RigL(data, end_step=100, interval=2, drop_fraction=0.9, seed=1)], **FIT
    )
    changes = [
        any(np.any(new != old) for new, old in zip(recorder.masks[batch], recorder.masks[batch - 1], strict=True))
        for batch in range(1, 12)
    ]
    # Updates 2 and 4 of the optimizer are batches 4 and 8; they are seen at the next.
    assert np.flatnonzero(changes).tolist() == [3, 7]


@pytest.mark.parametrize(
    ("options", "error", "pattern"),
    [
        ({"end_step": 0}, ValueError, "`end_step` must be a positive integer"),
        ({"end_step": 1.5}, TypeError, "`end_step` must be an integer"),
        ({"interval": 0}, ValueError, "`interval` must be a positive integer"),
        ({"interval": -1}, ValueError, "`interval` must not be negative"),
        ({"drop_fraction": 0.0}, ValueError, r"`drop_fraction` must lie in \(0, 1\]"),
        ({"drop_fraction": 1.1}, ValueError, r"`drop_fraction` must lie in \(0, 1\]"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be a positive integer"),
        ({"seed": "one"}, TypeError, "`seed` must be an integer"),
        ({"data": np.ones(3)}, TypeError, "`data` must be"),
        ({"data": (np.ones(3), np.ones(2))}, ValueError, r"`data` must hold samples .* received \[2, 3\]"),
    ],
)
def test_wrong_arguments_are_named(options, error, pattern):
    with pytest.raises(error, match=pattern):
        RigL(**{"data": (np.ones(3), np.ones(3)), "end_step": 10, **options})


def test_models_that_it_cannot_train_are_refused(data):
    dense = keras.Sequential([keras.Input((3, 4)), EGRU(8), layers.Dense(2)])
    dense.compile("sgd", "mse")
    with pytest.raises(ValueError, match="`RigL` found no masked layer"):
        dense.fit(*data, callbacks=[RigL(data, end_step=10)], **FIT)
    sparse = make_model()
    sparse.compile("sgd", "mse", steps_per_execution=2)
    with pytest.raises(ValueError, match="needs `steps_per_execution=1`.*received 2"):
        sparse.fit(*data, callbacks=[RigL(data, end_step=10)], **FIT)

    averaging = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(use_ema=True))
    for optimizer in (averaging, averaging.inner_optimizer):
        sparse.compile(optimizer, "mse")
        with pytest.raises(ValueError, match="`RigL` needs an optimizer with `use_ema=False`"):
            sparse.fit(*data, callbacks=[RigL(data, end_step=10)], **FIT)

    class Moving(Masked):
        def mask_after_update(self, masked_weight, weight):
            return super().mask_after_update(masked_weight, weight)

    moving = keras.Sequential([keras.Input((4,)), Moving(layers.Dense(2))])
    moving.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"\(Moving\) changes its masks by itself"):
        moving.fit(data[0][:, 0], data[1], callbacks=[RigL(data, end_step=10)], **FIT)
    frozen = random_mask(dense, 0.5)
    for layer in frozen.layers:
        layer.trainable = False
    frozen.add(layers.Dense(2))
    frozen.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no masked weight .* that is trained"):
        frozen.fit(*data, callbacks=[RigL(data, end_step=10, interval=1)], **FIT)
