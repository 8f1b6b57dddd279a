"""The rate of every batch, resumed training, and other callbacks that change the rate meanwhile."""

import keras
import numpy as np
import pytest

from keras_egru.schedules import EaseIn

X, Y = np.ones((8, 2), "float32"), np.ones((8, 1), "float32")


class Rates(keras.callbacks.Callback):
    """The learning rate that each batch is trained with."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate.numpy()))


class HalveAfter(keras.callbacks.Callback):
    """Halves the learning rate at the end of one epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            rate = self.model.optimizer.learning_rate
            rate.assign(rate / 2)


def compiled(learning_rate=0.5, **options):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(learning_rate), "mse", **options)
    return model


def fit(model, *callbacks, epochs=1, batch_size=1):
    """The learning rates of all batches."""
    rates = Rates()
    model.fit(X, Y, batch_size=batch_size, epochs=epochs, callbacks=[*callbacks, rates], verbose=0)
    return rates.rates


def test_the_rate_grows_by_a_factor_a_batch_up_to_the_full_rate():
    # 0.1 * 2^4 is the first above 1.
    assert fit(compiled(), EaseIn(0.5, start=0.1, growth=2.0), epochs=2) == pytest.approx(
        0.5 * np.minimum(1.0, 0.1 * 2.0 ** np.arange(16)), rel=1e-6
    )


def test_the_rate_is_that_of_the_update():
    model = compiled(learning_rate=7.0)
    before = model.get_weights()[0]
    # One update on the error 2 * 1 + 0 - 1 = 1, whose gradient is 2: the optimizer's own rate plays no part.
    model.fit(X[:1], Y[:1], callbacks=[EaseIn(0.5, start=0.1)], verbose=0)
    np.testing.assert_allclose(before - model.get_weights()[0], 0.5 * 0.1 * 2.0, rtol=1e-6)


def test_the_papers_rates_are_full_after_142_batches():
    ease_in = EaseIn(1e-3)
    assert ease_in.batches == 142  # ln 1000 / ln 1.05 = 141.6
    assert ease_in.rate(0) == pytest.approx(1e-6)
    assert ease_in.rate(141) == pytest.approx(1e-6 * 1.05**141)
    assert ease_in.rate(141) < 1e-3
    assert ease_in.rate(142) == ease_in.rate(10**9) == 1e-3


def test_the_full_rate_is_exact():
    assert fit(compiled(), EaseIn(0.1, 0.5, 1.5))[-1] == float(np.float32(0.1))


def test_resumed_training_goes_on_where_it_was(tmp_path):
    whole = fit(compiled(), EaseIn(0.5, 0.01, 1.5), epochs=2)
    model = compiled()
    first = fit(model, EaseIn(0.5, 0.01, 1.5))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert float(again.optimizer.learning_rate.numpy()) == pytest.approx(whole[8], rel=1e-6)
    assert first + fit(again, EaseIn(0.5, 0.01, 1.5)) == pytest.approx(whole, rel=1e-6)


def test_a_rate_that_is_full_is_left_alone():
    model = compiled()
    fit(model, EaseIn(0.5, 0.5, 2.0))
    model.optimizer.learning_rate = 0.125
    assert fit(model, EaseIn(0.5, 0.5, 2.0)) == [0.125] * 8


@pytest.mark.parametrize("halving", [0, 1])
def test_a_change_by_another_callback_is_kept(halving):
    # Full after 11 batches, so that the first change comes amid them and the second after.
    rates = fit(compiled(), EaseIn(0.5, 0.01, 1.55), HalveAfter(halving), epochs=3)
    expected = 0.5 * np.minimum(1.0, 0.01 * 1.55 ** np.arange(24))
    # The rate of the next batch is set before an epoch ends, so the change acts from it on.
    expected[8 * (halving + 1) :] /= 2
    assert rates == pytest.approx(expected, rel=1e-5)


def test_several_steps_an_execution_have_one_rate():
    model = compiled(steps_per_execution=4)
    assert fit(model, EaseIn(0.5, 0.1, 1.2), epochs=2) == pytest.approx(0.5 * 0.1 * 1.2 ** np.array([0, 4, 8, 12]))
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(0.5)


def test_an_optimizer_with_a_schedule_is_refused():
    model = compiled(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5))
    with pytest.raises(ValueError, match="EaseIn changes the learning rate, so the optimizer must be given a number"):
        fit(model, EaseIn(0.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, "`learning_rate` must be a positive finite number, received 0.0"),
        ({"learning_rate": 1.0, "start": 0.0}, r"`start` must be a share in \(0, 1\], received 0.0"),
        ({"learning_rate": 1.0, "start": 1.5}, r"`start` must be a share in \(0, 1\], received 1.5"),
        ({"learning_rate": 1.0, "growth": 1.0}, "`growth` must be a finite factor above 1, received 1.0"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        EaseIn(**arguments)
