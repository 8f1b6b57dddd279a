"""Values by hand, signs of gradients, serialisation and use inside EGRU."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_egru.sparsity import EventRate, InternalState, SilentUnits, Sum, TargetRate
from keras_egru.surrogates import Triangular

SURROGATE = Triangular()
# Two samples, two steps, two units; threshold 0.5: unit 0 has events in 3 of 4 steps, unit 1 in none.
C = np.array([[[0.6, 0.1], [0.7, 0.2]], [[0.9, -0.3], [0.4, 0.0]]], "float32")
THRESHOLD = np.array([0.5, 0.5], "float32")
MASK = np.array([[True, False], [True, True]])
REGULARIZERS = [EventRate(), InternalState(), TargetRate(), Sum(EventRate(0.01), InternalState(0.05))]


def gradients(regularizer, c=C, threshold=THRESHOLD, mask=None):
    """Gradients of the penalty for c and threshold."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        c, threshold = tf.constant(c), tf.constant(threshold)
        with tf.GradientTape() as tape:
            tape.watch([c, threshold])
            penalty = regularizer(c, threshold, SURROGATE, mask)
        found = tape.gradient(penalty, [c, threshold], unconnected_gradients="zero")
    else:
        import jax

        found = jax.grad(lambda c, threshold: regularizer(c, threshold, SURROGATE, mask), (0, 1))(c, threshold)
    return tuple(ops.convert_to_numpy(gradient) for gradient in found)


def penalty(regularizer, mask=None):
    return float(regularizer(ops.convert_to_tensor(C), ops.convert_to_tensor(THRESHOLD), SURROGATE, mask))


def test_event_rate_is_linear_in_the_mean_rate():
    assert penalty(EventRate(weight=2.0)) == pytest.approx(2.0 * (3 / 8 - 0.05))


def test_event_rate_leaves_masked_steps_out():
    # Unmasked: (0.6, 0.1), (0.9, -0.3), (0.4, 0.0), so 2 events in 6 entries.
    assert penalty(EventRate(weight=1.0), MASK) == pytest.approx(2 / 6 - 0.05)


def test_internal_state_is_linear_in_the_distance_to_the_margin():
    assert penalty(InternalState(weight=2.0)) == pytest.approx(2.0 * (C.mean() - 0.45))


def test_internal_state_leaves_masked_steps_out():
    assert penalty(InternalState(weight=1.0), MASK) == pytest.approx(C[MASK].mean() - 0.45)


def test_target_rate_is_the_squared_deviation_of_each_unit():
    expected = ((3 / 4 - 0.1) ** 2 + (0 - 0.1) ** 2) / 2
    assert penalty(TargetRate(0.1, weight=3.0)) == pytest.approx(3.0 * expected)


def test_target_rate_leaves_masked_steps_out():
    assert penalty(TargetRate(0.1), MASK) == pytest.approx(((2 / 3 - 0.1) ** 2 + 0.1**2) / 2)


def test_a_sum_is_the_sum_of_its_penalties_and_of_their_gradients():
    parts = EventRate(0.3, 0.2), InternalState(0.5), TargetRate(0.1)
    assert penalty(Sum(*parts), MASK) == pytest.approx(sum(penalty(part, MASK) for part in parts), rel=1e-6)
    each = [gradients(part) for part in parts]
    for whole, of_parts in zip(gradients(Sum(*parts)), zip(*each, strict=True), strict=True):
        np.testing.assert_allclose(whole, sum(of_parts), rtol=1e-5, atol=1e-7)


def test_a_sum_wants_callables():
    with pytest.raises(ValueError, match="must be one at least"):
        Sum()
    with pytest.raises(TypeError, match=r"must be callables, received 0.1"):
        Sum(EventRate(), 0.1)


def test_event_rate_pushes_states_down_and_thresholds_up_within_the_support():
    to_c, to_threshold = gradients(EventRate(weight=1.0))
    slope = 0.7 * np.maximum(0.0, 1.0 - np.abs(C - 0.5))
    np.testing.assert_allclose(to_c, slope / C.size, rtol=1e-5)
    np.testing.assert_allclose(to_threshold, -slope.sum((0, 1)) / C.size, rtol=1e-5)


def test_internal_state_moves_states_alone():
    to_c, to_threshold = gradients(InternalState(weight=1.0))
    np.testing.assert_allclose(to_c, np.full(C.shape, 1 / C.size), rtol=1e-5)
    np.testing.assert_array_equal(to_threshold, 0.0)


def test_target_rate_quietens_busy_units_and_wakes_silent_ones():
    to_c, _ = gradients(TargetRate(0.1))
    assert (to_c[..., 0] > 0).all()
    assert (to_c[..., 1] < 0).all()


def test_silent_units_counts_the_depth_of_units_below_the_target_alone():
    depth = np.maximum(0.0, 0.5 - C).mean((0, 1))  # unit 0 fires in 3 of 4 steps, unit 1 in none
    assert penalty(SilentUnits(0.1, weight=3.0)) == pytest.approx(3.0 * depth[1] / 2)
    assert penalty(SilentUnits(0.9, weight=3.0)) == pytest.approx(3.0 * depth.sum() / 2)
    assert penalty(SilentUnits(0.0)) == 0.0


def test_silent_units_lifts_the_states_of_silent_units_and_moves_no_threshold():
    to_c, to_threshold = gradients(SilentUnits(0.1, weight=1.0), mask=MASK)
    np.testing.assert_array_equal(to_c[..., 0], 0.0)
    np.testing.assert_allclose(to_c[..., 1], np.where(MASK, -1 / 6, 0.0), rtol=1e-6)
    np.testing.assert_array_equal(to_threshold, 0.0)


def test_silent_units_wakes_a_unit_that_its_surrogate_does_not_reach():
    from keras_egru import EGRU
    from keras_egru.sparsity import activity_sparsity

    x = np.random.default_rng(1).normal(size=(16, 10, 3)).astype("float32")

    def silence_after_training(regularizer):
        keras.utils.set_random_seed(1)
        layer = EGRU(8, bias_initializer=_downwards, state_regularizer=regularizer, return_sequences=True)
        model = keras.Sequential([keras.Input((10, 3)), layer, keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.05), "mse")
        model.fit(x, np.ones((16, 10, 1)), epochs=20, verbose=0)
        return float(activity_sparsity(layer(x)))

    assert silence_after_training(None) == 1.0
    assert silence_after_training(SilentUnits()) < 0.98


def _downwards(shape, dtype=None):
    """A bias that drives the candidate state to about -1."""
    return ops.convert_to_tensor(np.concatenate([np.zeros((2, 16)), np.full((2, 8), -2.0)], axis=1), dtype)


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda r: type(r).__name__)
def test_masked_steps_get_no_gradient(regularizer):
    to_c, _ = gradients(regularizer, mask=MASK)
    np.testing.assert_array_equal(to_c[~MASK], 0.0)
    assert (to_c[MASK] != 0).all()


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda r: type(r).__name__)
def test_a_batch_without_a_valid_step_gives_a_finite_penalty(regularizer):
    assert np.isfinite(penalty(regularizer, np.zeros((2, 2), bool)))


def test_half_precision_counts_beyond_its_own_range():
    # 100,000 events a unit: float16 ends at 65,504.
    c = ops.ones((100, 1000, 1), "float16")
    assert float(EventRate(weight=1.0, target=0.0)(c, ops.full((1,), 0.5), SURROGATE, None)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "regularizer",
    [
        EventRate(0.3, 0.2),
        InternalState(0.3, 0.2),
        TargetRate(0.2, 0.3),
        SilentUnits(0.2),
        Sum(EventRate(0.3, 0.2), TargetRate(0.1)),
    ],
    ids=lambda r: type(r).__name__,
)
def test_configuration_makes_the_same_regularizer_again(regularizer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(regularizer))
    assert type(again) is type(regularizer)
    assert again.get_config() == regularizer.get_config()


def test_bad_arguments_are_refused_by_name():
    with pytest.raises(ValueError, match="`weight` must be a finite number of at least 0, received -1"):
        InternalState(weight=-1)
    with pytest.raises(ValueError, match=r"`target` must be a rate in \[0, 1\], received 1.5"):
        TargetRate(1.5)


def test_egru_adds_its_penalty_to_the_losses_and_learns_from_it():
    from keras_egru import EGRU

    keras.utils.set_random_seed(1)
    x = np.random.default_rng(1).normal(size=(16, 10, 3)).astype("float32")
    model = keras.Sequential([keras.Input((10, 3)), EGRU(8, state_regularizer=EventRate(weight=1.0), name="events")])
    model(x)
    before = float(model.losses[0])
    assert before > -0.05  # There are events to take away.
    # The loss on the output is zero whatever the output, so only the penalty trains.
    model.compile(keras.optimizers.Adam(0.05), lambda y_true, y_pred: 0.0 * ops.sum(y_pred, axis=-1))
    model.fit(x, np.zeros((16, 8)), epochs=10, verbose=0)
    model(x)
    assert float(model.losses[0]) < before


def test_a_saved_layer_comes_back_with_its_regularizer(tmp_path):
    from keras_egru import EGRU

    model = keras.Sequential([keras.Input((4, 2)), EGRU(3, state_regularizer=TargetRate(0.2, 0.3))])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").layers[0].state_regularizer
    assert isinstance(again, TargetRate)
    assert again.get_config() == {"weight": 0.3, "target": 0.2}
