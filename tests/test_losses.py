"""Losses of spiking classifiers: values by hand, gradients by finite differences, stability and serialisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_egru.losses import AverageCrossentropy, FirstSpikeLoss, MembraneCrossentropy

RNG = np.random.default_rng(1)
V = RNG.normal(size=(5, 6, 3))
LABELS = np.array([0, 2, 1, 1, 2])
TIMES = RNG.uniform(1.0, 9.0, (5, 3))
LOSSES = [
    *(MembraneCrossentropy(readout, dt=0.5, time_constant=2.0) for readout in ("sum", "sum_exp", "max", "last")),
    AverageCrossentropy(),
    FirstSpikeLoss(2.0, 5.0, 0.1),
]


def name(loss):
    return getattr(loss, "readout", type(loss).__name__)


def crossentropy(logits, labels=LABELS):
    """By the definition, `[batch]`."""
    return np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(labels)), labels]


def value(loss, predictions, labels=LABELS):
    return float(type(loss).from_config({**loss.get_config(), "dtype": "float64"})(labels, predictions))


@pytest.mark.parametrize(
    ("readout", "logits"),
    [
        ("sum", 0.5 * V.sum(axis=1)),
        ("sum_exp", 0.5 * np.einsum("t,btc->bc", np.exp(-np.arange(6) * 0.5 / 2.0), V)),
        ("max", V.max(axis=1)),
        ("last", V[:, -1]),
    ],
)
def test_membrane_crossentropy_is_that_of_the_reduction(readout, logits):
    loss = MembraneCrossentropy(readout, dt=0.5, time_constant=2.0)
    assert value(loss, V) == pytest.approx(crossentropy(logits).mean(), rel=1e-12)


def test_the_weights_of_sum_exp_decay_over_the_trial_unless_told():
    assert value(MembraneCrossentropy("sum_exp", dt=0.5), V) == pytest.approx(
        value(MembraneCrossentropy("sum_exp", dt=0.5, time_constant=3.0), V), rel=1e-12
    )


def test_average_crossentropy_is_the_mean_over_steps():
    expected = np.mean([crossentropy(V[:, step]).mean() for step in range(6)])
    assert value(AverageCrossentropy(), V) == pytest.approx(expected, rel=1e-12)


def test_first_spike_loss_is_equation_3():
    expected = crossentropy(-TIMES / 2.0) + 0.1 * (np.exp(TIMES[np.arange(5), LABELS] / 5.0) - 1.0)
    assert value(FirstSpikeLoss(2.0, 5.0, 0.1), TIMES) == pytest.approx(expected.mean(), rel=1e-12)


def test_without_alpha_only_the_order_of_spikes_counts():
    assert value(FirstSpikeLoss(2.0, 5.0, 0.0), TIMES) == pytest.approx(crossentropy(-TIMES / 2.0).mean(), rel=1e-12)


def test_first_spike_loss_pulls_the_label_forward_and_pushes_the_others_back():
    times = tf.constant([[3.0, 2.0, 4.0]])
    with tf.GradientTape() as tape:
        tape.watch(times)
        loss = FirstSpikeLoss(alpha=0.0)(np.array([0]), times)
    gradient = tape.gradient(loss, times).numpy()[0]
    assert gradient[0] > 0
    assert gradient[1] < 0
    assert gradient[2] < 0


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_gradients_are_those_of_finite_differences(loss):
    predictions = TIMES if isinstance(loss, FirstSpikeLoss) else V
    exact = type(loss).from_config({**loss.get_config(), "dtype": "float64"})
    tensor = tf.constant(predictions)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        result = exact(LABELS, tensor)
    gradient = tape.gradient(result, tensor).numpy()
    step = 1e-6
    for place in [(0, 0, 0), (1, 3, 2), (2, 5, 1), (4, 4, 2)]:
        place = place[: predictions.ndim] if predictions.ndim == 3 else (place[0], place[2])
        up, down = predictions.copy(), predictions.copy()
        up[place] += step
        down[place] -= step
        # Rounding of a difference of order-one values over 2e-6.
        assert gradient[place] == pytest.approx((value(loss, up) - value(loss, down)) / (2 * step), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_labels_may_have_an_axis_more_and_any_type(loss):
    predictions = TIMES if isinstance(loss, FirstSpikeLoss) else V
    expected = float(loss(LABELS, predictions))
    for labels in (LABELS[:, None], LABELS.astype("uint8"), LABELS.astype("float32")):
        assert float(loss(labels, predictions)) == expected


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_a_loss_a_sample_and_sample_weights(loss):
    predictions = TIMES if isinstance(loss, FirstSpikeLoss) else V
    single = type(loss).from_config({**loss.get_config(), "reduction": "none"})(LABELS, predictions)
    assert single.shape == (5,)
    weights = np.array([1.0, 0.0, 2.0, 0.0, 0.5])
    weighted = float(loss(LABELS, predictions, sample_weight=weights))
    assert weighted == pytest.approx(float(np.sum(single * weights) / 5), rel=1e-6)


@pytest.mark.parametrize("readout", ["sum", "sum_exp", "max", "last"])
def test_large_potentials_do_not_overflow(readout):
    v = tf.constant(1000.0 * V, "float32")
    loss = MembraneCrossentropy(readout)
    with tf.GradientTape() as tape:
        tape.watch(v)
        result = loss(LABELS, v)
    assert np.isfinite(float(result))
    assert np.isfinite(tape.gradient(result, v).numpy()).all()


def test_late_spikes_do_not_overflow():
    # Spikes at 0 and at 1400 ms, as far apart as a trial of spoken digits allows, and all units silent.
    times = tf.constant([[0.0, 1400.0], [1400.0, 1400.0]])
    with tf.GradientTape() as tape:
        tape.watch(times)
        result = FirstSpikeLoss()(np.array([1, 0]), times)
    # 1400 for the order of the first sample, log 2 for that of the second, and 5e-5 (e^14 - 1) for both.
    late = 5e-5 * (np.exp(14.0) - 1.0)
    assert float(result) == pytest.approx((1400.0 + np.log(2.0)) / 2 + late, rel=1e-6)
    assert np.isfinite(tape.gradient(result, times).numpy()).all()


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_configuration_makes_the_same_loss_again(loss):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_a_model_compiled_with_a_loss_learns_and_comes_back_with_it(tmp_path):
    keras.utils.set_random_seed(0)
    x = RNG.normal(size=(32, 4, 2)).astype("float32")
    labels = (x.sum(axis=(1, 2)) > 0).astype(int)
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.05), MembraneCrossentropy("sum_exp", dt=0.25))
    losses = model.fit(x, labels, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").loss
    assert again.get_config() == model.loss.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MembraneCrossentropy("mean"),
            "`readout` must be one of 'sum', 'sum_exp', 'max', 'last', received 'mean'",
        ),
        (lambda: MembraneCrossentropy("first_spike"), "`readout` must be one of .*, received 'first_spike'"),
        (lambda: MembraneCrossentropy(dt=0), "`dt` must be a positive finite number, received 0"),
        (lambda: MembraneCrossentropy(time_constant=-1.0), "`time_constant` must be a positive finite number"),
        (lambda: FirstSpikeLoss(tau_0=0.0), "`tau_0` must be a positive finite number, received 0.0"),
        (lambda: FirstSpikeLoss(tau_1=-2.0), "`tau_1` must be a positive finite number, received -2.0"),
        (lambda: FirstSpikeLoss(alpha=-1e-5), "`alpha` must be a finite number of at least 0, received -1e-05"),
    ],
)
def test_bad_arguments_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("loss", [MembraneCrossentropy(), AverageCrossentropy()], ids=name)
def test_masked_potentials_are_refused(loss):
    # As many steps as samples: the weights that Keras makes of a mask would fit, and mean something else.
    masked = keras.layers.Masking()(np.ones((4, 4, 2), "float32"))
    with pytest.raises(ValueError, match="must have no mask of steps, received one; reduce masked sequences by"):
        loss(np.zeros(4, int), masked)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_other_shapes_are_refused(loss):
    for shape in ((5,), (5, 0, 3), (5, 2, 3, 1)):
        with pytest.raises(ValueError, match=r"`y_pred` must be .*, received the shape"):
            loss(LABELS, np.zeros(shape))
    predictions = TIMES if isinstance(loss, FirstSpikeLoss) else V
    with pytest.raises(ValueError, match=r"`y_true` must be class numbers \[batch\] or \[batch, 1\], received"):
        loss(np.eye(3)[LABELS], predictions)
