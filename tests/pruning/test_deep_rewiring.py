import keras
import numpy as np
import pytest
from keras import layers
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru import EGRU
from keras_egru.pruning import DeepRewiring, Masked, RandomMask, masked_layers, random_mask

FIT = {"batch_size": 8, "shuffle": False, "verbose": 0}


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(3)


@pytest.fixture
def data():
    """32 sequences `[3, 4]`; the target is a sum over two of the features."""
    x = np.random.default_rng(1).normal(size=(32, 3, 4)).astype("float32")
    return x, x[:, :, :2].sum(axis=1)


def make_model(recurrent=False, optimizer=None):
    keras.utils.set_random_seed(3)
    first = [EGRU(8)] if recurrent else [layers.Flatten(), layers.Dense(8, activation="tanh")]
    sparse = random_mask(keras.Sequential([keras.Input((3, 4)), *first, layers.Dense(2)]), 0.7, seed=1, signed=True)
    # XLA takes longer to compile than these models to train.
    sparse.compile(optimizer or keras.optimizers.SGD(0.05, momentum=0.9), "mse", jit_compile=False)
    return sparse


def linear(weights, latent, live, learning_rate=0.1):
    """`y = x w`, with the signs of `latent`; `live` are the weights that the mask keeps."""
    layer = RandomMask(layers.Dense(1, use_bias=False), 0.5, signed=True)
    model = keras.Sequential([keras.Input((len(weights),)), layer])
    layer.layer.kernel.assign(np.reshape(weights, (-1, 1)))
    layer.masks[0].latent.assign(np.reshape(latent, (-1, 1)))
    layer.set_mask("kernel", np.reshape(live, (-1, 1)))
    model.compile(keras.optimizers.SGD(learning_rate), "mse", jit_compile=False)
    return model


def pairs_of(model):
    return [pair for wrapper in masked_layers(model) for pair in wrapper.masks]


def values_of(model):
    """`(weights, mask, latent)` of a model with one masked weight, flat."""
    (pair,) = pairs_of(model)
    return tuple(variable.numpy().ravel() for variable in (pair.weight, pair.mask, pair.latent))


class Recorder(keras.callbacks.Callback):
    """Keeps `[(mask, weight, latent)]` of all masked weights at each batch end."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(
            [[getattr(pair, name).numpy() for name in ("mask", "weight", "latent")] for pair in pairs_of(self.model)]
        )


def updates_without_gradient(model, rewiring, number):
    """Counts updates and calls the callback, as training would; yields after each."""
    model.optimizer.build(model.trainable_variables)
    rewiring.set_model(model)
    rewiring.on_train_begin()
    for batch in range(number):
        model.optimizer.iterations.assign_add(1)
        rewiring.on_train_batch_end(batch)
        yield batch


def test_the_drift_shrinks_magnitudes_by_rate_times_l1():
    weights = [0.3, -0.3, 0.02, 0.0]
    for interval, updates, drift in ((1, 2, 0.02), (2, 2, 0.02), (2, 3, 0.02)):
        model = linear(weights, np.sign([1, -1, 1, 1]), [1, 1, 0, 0])
        rewiring = DeepRewiring(l1=0.1, temperature=0.0, interval=interval)
        assert len(list(updates_without_gradient(model, rewiring, updates))) == updates
        assert_allclose(values_of(model)[0], [0.3 - drift, -0.3 + drift, 0, 0], rtol=1e-5)


def test_the_noise_has_the_variance_of_the_paper():
    model = linear(np.full(4000, 5.0), np.ones(4000), np.arange(4000) < 3000)
    list(updates_without_gradient(model, DeepRewiring(l1=0.0, temperature=0.02, seed=1), 2))
    noise = values_of(model)[0][:3000] - 5.0
    # Two updates of variance 2 * 0.1 * 0.02 each; 3,000 draws know a deviation to 1.3 %.
    assert_allclose(noise.std(), np.sqrt(2 * 2 * 0.1 * 0.02), rtol=0.05)
    assert abs(noise.mean()) < 4 * noise.std() / np.sqrt(3000)
    assert_array_equal(values_of(model)[0][3000:], 0.0)


def test_a_weight_that_would_change_its_sign_dies_and_another_is_born_at_zero():
    model = linear([0.1, 0.5, -0.1, -0.5, 0, 0, 0, 0], [1, 1, -1, -1, 1, 1, -1, -1], [1, 1, 1, 1, 0, 0, 0, 0], 1.0)
    # The gradient is 2/8 (w - y): weights 0 and 2 go to the other side of zero.
    x, y = np.eye(8), np.array([-3.0, 0.5, 3.0, -0.5, 0, 0, 0, 0]).reshape(8, 1)
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[DeepRewiring(l1=0.0, temperature=0.0, seed=4)])
    weights, mask, latent = values_of(model)
    assert_allclose(weights, [0, 0.5, 0, -0.5, 0, 0, 0, 0])
    assert_array_equal(mask[[1, 3]], 1)
    assert mask.sum() == 4
    assert_array_equal(latent, [1, 1, -1, -1, 1, 1, -1, -1])


def test_growth_is_uniform_among_the_dormant():
    grown = np.zeros(8)
    model = linear(np.zeros(8), np.ones(8), np.zeros(8))
    for _ in updates_without_gradient(model, DeepRewiring(l1=1.0, temperature=0.0, seed=1), 300):
        grown += values_of(model)[1]
        # One live connection, which dies at once: any may be born, the dead one too.
        model.layers[0].set_mask("kernel", np.eye(8)[:, :1])
    # Of the first update there is nothing to see: no connection was live.
    assert grown.sum() == 299
    # 300 / 8 = 37.5 each, with a deviation of 5.7.
    assert grown.min() > 15
    assert grown.max() < 60


def test_counts_are_constant_in_each_gate_at_every_batch_and_signs_stay(data):
    model = make_model(recurrent=True)
    signs = [np.sign(pair.latent.numpy()) for pair in pairs_of(model)]
    before = [pair.mask.numpy() for pair in pairs_of(model)]
    recorder = Recorder()
    rewiring = DeepRewiring(l1=0.05, temperature=1e-4, seed=1)
    model.fit(*data, epochs=5, callbacks=[rewiring, recorder], **FIT)
    assert len(recorder.seen) == 20
    for (kernel, _, _), (recurrent_kernel, _, _), (dense, _, _) in recorder.seen:
        assert_array_equal(kernel.reshape(4, 3, 8).sum(axis=(0, 2)), 10)
        assert_array_equal(recurrent_kernel.reshape(8, 3, 8).sum(axis=(0, 2)), 19)
        assert dense.sum() == 5
    for step in recorder.seen:
        for (mask, weight, latent), sign in zip(step, signs, strict=True):
            assert_array_equal(weight[mask == 0], 0.0)
            assert np.all(weight * sign >= 0.0)
            assert_array_equal(np.sign(latent), sign)
    for (mask, _, _), old in zip(recorder.seen[-1][:2], before, strict=False):
        assert np.any(mask != old)


def test_what_is_born_is_zero_first_forgets_its_past_and_then_learns(data):
    model = make_model()
    before, after, slots = Recorder(), Recorder(), []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: slots.append([slot.numpy() for slot in model.optimizer.momentums])
    )
    rewiring = DeepRewiring(l1=0.0, temperature=1.0, interval=3, seed=1)
    model.fit(*data, epochs=1, callbacks=[before, rewiring, after, watch], **FIT)
    old, new, later = before.seen[2][0], after.seen[2][0], after.seen[3][0]
    born = (new[0] == 1) & (old[0] == 0)
    stayed = (new[0] == 1) & (new[1] != 0)
    assert born.sum() > 3
    assert_array_equal(new[1][born], 0.0)
    momentum = slots[2][model.optimizer._get_variable_index(pairs_of(model)[0].weight)]
    assert_array_equal(momentum[born], 0.0)
    assert np.count_nonzero(momentum[stayed]) > 10
    # Not all: some lead to units that nothing reads.
    assert np.count_nonzero(later[1][born]) > 2


def test_masks_move_at_multiples_of_the_interval(data):
    model = make_model()
    recorder = Recorder()
    rewiring = DeepRewiring(l1=0.05, temperature=0.1, interval=3, seed=1)
    model.fit(*data, epochs=3, callbacks=[rewiring, recorder], **FIT)
    masks = [np.concatenate([mask.ravel() for mask, _, _ in step]) for step in recorder.seen]
    moved = [batch + 1 for batch in range(1, 12) if np.any(masks[batch] != masks[batch - 1])]
    assert moved == [3, 6, 9, 12]


def test_soft_rewiring_wanders_between_life_and_its_floor():
    live = np.arange(400) < 40
    model = linear(np.where(live, 0.01, 0.0), np.ones(400), live)
    rewiring = DeepRewiring(l1=0.0, temperature=1e-4, variant="soft", min_theta=-0.05, seed=1)
    counts, seen = [], [values_of(model) for _ in updates_without_gradient(model, rewiring, 30)]
    for weight, mask, latent in seen:
        counts.append(int(mask.sum()))
        assert_array_equal(weight[mask == 0], 0.0)
        assert np.all(weight[mask == 1] >= 0)
        dormant = latent[mask == 0]
        assert dormant.min() > 0.0
        assert dormant.max() <= np.float32(0.05)
    assert len(set(counts)) > 5
    first, second, last = seen[0], seen[1], seen[-1]
    assert np.any((first[1] == 0) & (last[1] == 1))
    assert np.any((first[1] == 1) & (last[1] == 0))
    # Dormant connections do not jump: sqrt(2 * 0.1 * 1e-4) = 0.0045 a step.
    both = (first[1] == 0) & (second[1] == 0)
    assert np.abs(first[2] - second[2])[both].max() < 6 * 0.0045


def test_soft_rewiring_keeps_its_share_by_the_floor_of_the_authors():
    # Dormant thetas are even down to the floor, -(1 - p) / p T / l1, live ones fall off with T / l1: p of all live.
    live = np.arange(2000) < 500
    model = linear(np.where(live, 0.1, 0.0), np.ones(2000), live)
    model.layers[0].sparsity = 0.75
    rewiring = DeepRewiring(l1=0.1, temperature=1e-2, variant="soft", seed=1)
    counts = [values_of(model)[1].mean() for _ in updates_without_gradient(model, rewiring, 400)]
    _, mask, latent = values_of(model)
    assert np.abs(latent[mask == 0]).max() <= np.float32(0.3)
    assert_allclose(np.mean(counts[200:]), 0.25, atol=0.05)


@pytest.mark.parametrize(
    "options", [{"variant": "hard", "l1": 0.02}, {"variant": "soft", "l1": 0.5, "temperature": 1e-3}]
)
def test_training_that_is_resumed_goes_on_as_if_it_had_not_stopped(data, tmp_path, options):
    def rewiring():
        return DeepRewiring(seed=4, **options)

    whole, half = make_model(), make_model()
    whole.fit(*data, epochs=4, callbacks=[rewiring()], **FIT)
    half.fit(*data, epochs=2, callbacks=[rewiring()], **FIT)
    half.save(tmp_path / "half.keras")
    resumed = keras.models.load_model(tmp_path / "half.keras")
    resumed.fit(*data, epochs=4, initial_epoch=2, callbacks=[rewiring()], **FIT)
    assert any(np.any(new != old) for new, old in zip(whole.get_weights(), half.get_weights(), strict=True))
    for value, again in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        assert_array_equal(again, value)


def test_the_seed_decides():
    def mask(seed):
        model = linear(np.full(100, 0.01), np.ones(100), np.arange(100) < 30)
        rewiring = DeepRewiring(l1=0.1, temperature=1e-3, seed=seed)
        list(updates_without_gradient(model, rewiring, 3))
        return values_of(model)[1]

    first = mask(1)
    assert_array_equal(mask(1), first)
    assert np.any(mask(2) != first)


def test_it_finds_the_inputs_that_matter():
    # 2 of 40 inputs carry the target; masks that stay see them by chance only.
    x = np.random.default_rng(0).normal(size=(256, 40)).astype("float32")
    y = x[:, [7, 31]] @ np.array([[2.0], [-3.0]], "float32")
    signs = np.ones(40)
    signs[31] = -1

    def loss(*callbacks):
        model = linear(np.full(40, 0.01) * signs, signs, np.arange(40) < 4, learning_rate=0.05)
        return model.fit(x, y, batch_size=64, epochs=15, verbose=0, callbacks=list(callbacks)).history["loss"][-1]

    assert loss() > 5.0
    assert loss(DeepRewiring(l1=0.1, temperature=1e-6, seed=1)) < 0.3


@pytest.mark.parametrize(
    ("options", "error", "pattern"),
    [
        ({"l1": -1.0}, ValueError, "`l1` must be a finite number of at least 0"),
        ({"temperature": float("inf")}, ValueError, "`temperature` must be a finite number"),
        ({"variant": "medium"}, ValueError, "`variant` must be one of"),
        ({"min_theta": -0.1}, ValueError, "`min_theta` must be negative or None"),
        ({"variant": "soft", "min_theta": 0.1}, ValueError, "`min_theta` must be negative or None"),
        ({"variant": "soft", "temperature": 0.0}, ValueError, "needs a `temperature` above 0"),
        ({"variant": "soft", "l1": 0.0}, ValueError, "and an `l1` above 0 or a `min_theta`"),
        ({"interval": 0}, ValueError, "`interval` must be a positive integer"),
        ({"seed": 1.5}, TypeError, "`seed` must be an integer"),
    ],
)
def test_wrong_arguments_are_named(options, error, pattern):
    with pytest.raises(error, match=pattern):
        DeepRewiring(**options)


def test_models_that_it_cannot_train_are_refused(data):
    def refused(model, pattern, **options):
        model.compile("sgd", "mse", **options)
        with pytest.raises(ValueError, match=pattern):
            model.fit(*data, callbacks=[DeepRewiring()], **FIT)

    def wrapped(wrap):
        return keras.Sequential([keras.Input((3, 4)), layers.Flatten(), wrap(layers.Dense(2, name="dense"))])

    refused(wrapped(lambda layer: layer), "`DeepRewiring` found no masked layer")
    refused(wrapped(Masked), r"'masked_dense' keeps no signs.*random_mask\(..., signed=True\)")
    refused(wrapped(lambda layer: RandomMask(layer, 0.5)), "'random_mask_dense' keeps no signs")
    refused(wrapped(lambda layer: RandomMask(layer, 0.5, (1, 2), signed=True)), r"blocks of \(1, 2\)")
    refused(wrapped(lambda layer: RandomMask(layer, 0.5, signed=True)), "steps_per_execution=1", steps_per_execution=4)
