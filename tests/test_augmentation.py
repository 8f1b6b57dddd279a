"""Augmentations of spike trains: where each spike goes, by hand; what is drawn; seeds; datasets."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_egru.augmentation import blend, channel_shift, delay_line, dilation, id_jitter

RNG = np.random.default_rng(2)
RANDOM = {
    "channel_shift": lambda seed=None: channel_shift(5, seed=seed),
    "id_jitter": lambda seed=None: id_jitter(3.0, seed=seed),
    "dilation": lambda seed=None: dilation(0.5, 1.5, seed=seed),
}
SPIKES = (RNG.random((12, 20)) < 0.2).astype("float32")


def spikes(shape, *places, dtype="float32"):
    train = np.zeros(shape, dtype)
    for place in places:
        train[place] = 1
    return train


def places(train):
    return sorted(map(tuple, np.argwhere(np.asarray(train) != 0).tolist()))


def examples(*trains, labels=None):
    if labels is None:
        return tf.data.Dataset.from_tensor_slices(np.stack(trains))
    return tf.data.Dataset.from_tensor_slices((np.stack(trains), np.asarray(labels)))


def test_copy_n_of_a_delay_line_comes_n_delays_later():
    delayed = delay_line(copies=3, delay=2)(spikes((6, 2), (0, 0), (3, 1)))
    assert delayed.shape == (6, 6)
    # (3, 1) at 7 in the third copy would be beyond the last step.
    assert places(delayed) == [(0, 0), (2, 2), (3, 1), (4, 4), (5, 3)]


def test_one_copy_is_the_input():
    np.testing.assert_array_equal(delay_line(1)(SPIKES), SPIKES)


def test_delays_longer_than_the_trial_leave_silence():
    delayed = delay_line(3, 50)(SPIKES).numpy()
    np.testing.assert_array_equal(delayed[:, :20], SPIKES)
    assert not delayed[:, 20:].any()


def test_a_channel_shift_moves_all_spikes_by_one_distance_without_wrapping():
    train = spikes((4, 50), (0, 0), (1, 20), (3, 49))
    shift = channel_shift(10.0, seed=3)
    distances = set()
    for _ in range(200):
        moved = places(shift(train))
        distance = next(channel for step, channel in moved if step == 1) - 20
        assert moved == [(t, c + distance) for t, c in places(train) if 0 <= c + distance < 50]
        distances.add(distance)
    # Every distance of [-10, 10]; the outermost have half the chance of the others, 1 in 40.
    assert distances == set(range(-10, 11))


def test_a_shift_of_all_channels_leaves_silence_or_the_input():
    shift = channel_shift(1000, seed=1)
    assert not any(shift(spikes((2, 3), (0, 1))).numpy().any() for _ in range(5))
    np.testing.assert_array_equal(channel_shift(0)(SPIKES), SPIKES)


def test_jitter_moves_each_spike_on_its_own_within_its_step():
    train = spikes((200, 101), *((step, 50) for step in range(200)))
    moved = places(id_jitter(5.0, seed=1)(train))
    assert [step for step, _ in moved] == list(range(200))  # none is lost, each in its step
    distances = np.array([channel - 50 for _, channel in moved])
    # The rounded normal has the variance 25 + 1/12; four standard errors of 200 draws.
    assert distances.mean() == pytest.approx(0.0, abs=4 * 5 / np.sqrt(200))
    assert distances.std() == pytest.approx(5.0, abs=4 * 5 / np.sqrt(400))


def test_jittered_spikes_that_meet_are_one_and_those_outside_are_dropped():
    full = np.ones((50, 4), "float32")
    moved = id_jitter(2.0, seed=1)(full).numpy()
    assert set(np.unique(moved)) == {0.0, 1.0}
    assert 0 < moved.sum() < full.sum()


def test_no_jitter_leaves_the_input():
    np.testing.assert_array_equal(id_jitter(0.0)(SPIKES), SPIKES)


def test_dilation_multiplies_times_and_drops_what_is_beyond():
    train = spikes((8, 2), (0, 0), (1, 1), (2, 0), (7, 1))
    # (k + 1/2) times 2, floored: 1, 3, 5, 15.
    assert places(dilation(2.0, 2.0)(train)) == [(1, 0), (3, 1), (5, 0)]
    # Times 1/2: 0.25, 0.75, 1.25, 3.75.
    assert places(dilation(0.5, 0.5)(train)) == [(0, 0), (0, 1), (1, 0), (3, 1)]
    np.testing.assert_array_equal(dilation(1.0, 1.0)(train), train)


def test_dilated_spikes_that_meet_are_one():
    assert dilation(0.5, 0.5)(np.ones((8, 3), "float32")).numpy().tolist() == [[1.0] * 3] * 4 + [[0.0] * 3] * 4


def test_dilation_draws_one_factor_for_an_example():
    dilate = dilation(0.5, 1.5, seed=1)
    train = spikes((400, 1), (99, 0), (199, 0))
    factors = []
    for _ in range(100):
        (first, _), (second, _) = places(dilate(train))
        assert first == pytest.approx(second * 99.5 / 199.5, abs=1.0)  # both floored
        factors.append(second / 199.5)
    assert 0.5 <= min(factors) < 0.55
    assert 1.45 < max(factors) <= 1.5
    assert np.mean(factors) == pytest.approx(1.0, abs=4 * np.sqrt(1 / 12) / 10)


@pytest.mark.parametrize("name", RANDOM)
def test_the_largest_of_values_that_meet_stays(name):
    # Real values, all in reach of one another.
    train = RNG.random((30, 6)).astype("float32")
    augmented = RANDOM[name](1)(train).numpy()
    assert augmented.any()
    assert np.isin(augmented[augmented != 0], train).all()


@pytest.mark.parametrize("name", RANDOM)
def test_a_seed_gives_the_same_dataset_in_which_no_two_epochs_are_alike(name):
    def epochs(seed):
        dataset = examples(*[SPIKES] * 10).map(RANDOM[name](seed))
        return [np.stack(list(dataset.as_numpy_iterator())) for _ in range(2)]

    first, second = epochs(1)
    np.testing.assert_array_equal(epochs(1), [first, second])
    assert (first != second).any()
    assert (epochs(2)[0] != first).any()
    assert (first[0] != first[1:]).any(axis=(1, 2)).any()


@pytest.mark.parametrize("name", RANDOM)
def test_without_a_seed_that_of_keras_counts(name):
    def draw():
        augment = RANDOM[name]()
        return np.stack([augment(SPIKES) for _ in range(5)])

    keras.utils.set_random_seed(1)
    first = draw()
    assert (draw() != first).any()
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(draw(), first)


@pytest.mark.parametrize("augment", [delay_line(2, 3), *(make(1) for make in RANDOM.values())])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int32"])
def test_labels_types_and_static_shapes_pass_through(augment, dtype):
    channels = 40 if augment(SPIKES).shape[1] == 40 else 20
    dataset = examples(SPIKES.astype(dtype), SPIKES.astype(dtype), labels=[3, 4]).map(augment)
    assert dataset.element_spec[0] == tf.TensorSpec((12, channels), dtype)
    assert [int(label) for _, label in dataset] == [3, 4]
    weighted = tf.data.Dataset.from_tensors((SPIKES, 1, 0.5)).map(augment, num_parallel_calls=tf.data.AUTOTUNE)
    assert [float(weight) for _, _, weight in weighted] == [0.5]


@pytest.mark.parametrize("augment", [delay_line(2, 3), *(make(1) for make in RANDOM.values())])
def test_steps_need_not_be_static(augment):
    lengths = [4, 9, 1]
    dataset = tf.data.Dataset.from_generator(
        lambda: (SPIKES[:length] for length in lengths), output_signature=tf.TensorSpec((None, 20))
    )
    assert [len(train) for train in dataset.map(augment)] == lengths


@pytest.mark.parametrize("augment", [delay_line(2, 3), *(make(1) for make in RANDOM.values())])
def test_silence_stays_silent(augment):
    assert not augment(np.zeros((5, 6), "float32")).numpy().any()


def test_blended_examples_are_aligned_by_their_centres_in_time():
    # Centres 2 and 6: both go to 4, by +2 and -2. Channels stay.
    first, second = spikes((9, 3), (1, 0), (3, 0)), spikes((9, 3), (5, 1), (7, 2))
    (train, label), *others = blend(examples(first, second, labels=[7, 7]), 1.0)
    assert places(train) == [(3, 0), (3, 1), (5, 0), (5, 2)]
    assert int(label) == 7
    assert len(others) == 1  # as many as there were
    assert places(others[0][0]) == places(train)


def test_spikes_that_alignment_moves_beyond_the_trial_are_dropped():
    # Centres 1 and 5: by +2 and -2, so that (0, 1) is lost.
    first, second = spikes((8, 2), (1, 0)), spikes((8, 2), (0, 1), (7, 0), (7, 1), (6, 1))
    train = next(iter(blend(examples(first, second, labels=[0, 0]), 1.0)))[0]
    assert places(train) == [(3, 0), (4, 1), (5, 0), (5, 1)]


def test_only_examples_of_a_class_are_blended():
    # Each class has a channel and a place in time of its own.
    trains = [spikes((6, 4), (label, label)) for label in (0, 1, 2, 1, 0, 2, 2)]
    blended = list(blend(examples(*trains, labels=[0, 1, 2, 1, 0, 2, 2]), 1.0))
    assert sorted(int(label) for _, label in blended) == [0, 0, 1, 1, 2, 2, 2]
    assert all(places(train) == [(int(label), int(label))] for train, label in blended)


def test_each_spike_stays_with_the_probability():
    # No two spikes share a place, and both examples have the same centre.
    odd, even = np.zeros((2, 100, 100), "float32")
    odd[:, ::2], even[:, 1::2] = 1.0, 1.0
    for probability in (0.25, 0.5):
        train = next(iter(blend(examples(odd, even, labels=[0, 0]), probability, seed=1)))[0].numpy()
        for part in (train[:, ::2], train[:, 1::2]):
            # Four standard errors of 5,000 spikes.
            assert part.mean() == pytest.approx(probability, abs=4 * 0.5 / np.sqrt(5000))


def test_blending_with_a_silent_example_aligns_nothing():
    first, second = spikes((5, 2), (4, 1)), spikes((5, 2))
    assert places(next(iter(blend(examples(first, second, labels=[0, 0]), 1.0)))[0]) == [(4, 1)]


def test_blends_with_a_seed_are_the_same_again_and_differ_among_epochs():
    def epochs(seed):
        dataset = blend(examples(SPIKES, SPIKES[::-1].copy(), labels=[0, 0]), seed=seed)
        return [np.stack([train for train, _ in dataset]) for _ in range(2)]

    first, second = epochs(1)
    np.testing.assert_array_equal(epochs(1), [first, second])
    assert (first != second).any()
    assert (epochs(2)[0] != first).any()


def test_a_pipeline_feeds_a_model():
    dataset = examples(*[SPIKES] * 6, labels=[0, 1, 0, 1, 0, 1])
    batches = dataset.concatenate(blend(dataset)).map(channel_shift(4)).map(delay_line(3, 2)).batch(4)
    model = keras.Sequential([keras.Input((12, 60)), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert len(batches) == 3
    assert np.isfinite(model.fit(batches, epochs=2, shuffle=False, verbose=0).history["loss"]).all()


def test_a_dataset_of_unknown_length_is_blended_too():
    dataset = examples(SPIKES, SPIKES, SPIKES, labels=[0, 0, 1]).filter(lambda spikes, label: label == 0)
    assert len(list(blend(dataset))) == 2
    assert len(list(blend(dataset.repeat()).take(5))) == 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: delay_line(copies=0), "`copies` must be an integer of at least 1, received 0"),
        (lambda: delay_line(delay=1.5), "`delay` must be an integer of at least 1, received 1.5"),
        (lambda: channel_shift(-1), "`maximum` must be a finite number of at least 0, received -1"),
        (lambda: id_jitter(float("nan")), "`sigma` must be a finite number of at least 0, received nan"),
        (
            lambda: dilation(0.0, 1.0),
            "`minimum` and `maximum` must be finite with 0 < minimum <= maximum, received 0.0",
        ),
        (lambda: dilation(1.5, 1.0), "`minimum` and `maximum` must be .*, received 1.5 and 1.0"),
        (lambda: blend(examples(SPIKES, labels=[0]), 0.0), r"`probability` must be in \(0, 1\], received 0.0"),
        (lambda: blend(examples(SPIKES)), r"`dataset` must have elements \(spikes, integer label\), received"),
        (lambda: blend(examples(SPIKES, labels=[0.5])), r"`dataset` must have elements \(spikes, integer label\)"),
        (
            lambda: blend(examples(SPIKES, labels=[0]).batch(1)),
            r"`dataset` must have elements \(spikes, integer label\)",
        ),
        (
            lambda: blend(examples(SPIKES[0], labels=[0])),
            r"`spikes` must be one example, .* received float32 of the shape",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("augment", [delay_line(2, 3), *(make(1) for make in RANDOM.values())])
@pytest.mark.parametrize("bad", [SPIKES[None], SPIKES[0], SPIKES != 0], ids=["batch", "vector", "boolean"])
def test_what_is_no_example_is_refused(augment, bad):
    with pytest.raises(ValueError, match=r"`spikes` must be one example, floats or integers \[time, channels\]"):
        augment(bad)
