import keras
import numpy as np
import pytest
from keras import optimizers
from numpy.testing import assert_allclose, assert_array_equal

from keras_egru.pruning.optimizer_slots import Slots


@pytest.fixture
def variables():
    return [keras.Variable(np.ones(5, "float32"), name="bias"), keras.Variable(np.ones((4, 5), "float32"), name="a")]


def make_map():
    return optimizers.OptimizerMap(optimizers.Adam(), {"b.*": optimizers.SGD()})


def trained(optimizer, variables):
    optimizer.build(variables)
    for _ in range(3):
        optimizer.apply([np.full(variable.shape, 0.5, "float32") for variable in variables], variables)
    return optimizer


def slots_like(optimizer, weight):
    return [variable for variable in optimizer.variables if tuple(variable.shape) == tuple(weight.shape)]


@pytest.mark.parametrize(
    ("make", "initial"),
    [
        (lambda: optimizers.SGD(0.1), []),
        (lambda: optimizers.SGD(0.1, momentum=0.9), [0.0]),
        (lambda: optimizers.Adam(amsgrad=True), [0.0, 0.0, 0.0]),
        (lambda: optimizers.AdamW(use_ema=True), [0.0, 0.0, 0.0]),
        (lambda: optimizers.RMSprop(momentum=0.5, centered=True), [0.0, 0.0, 0.0]),
        (lambda: optimizers.Adagrad(initial_accumulator_value=0.25), [0.25]),
        (lambda: optimizers.Ftrl(initial_accumulator_value=0.25), [0.25, 0.0]),
        (lambda: optimizers.Lion(), [0.0]),
        (lambda: optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2), [0.0, 0.0]),
        (lambda: optimizers.LossScaleOptimizer(optimizers.Adam()), [0.0, 0.0]),
        (lambda: optimizers.MultiOptimizer(make_map()), [0.0, 0.0]),
    ],
    ids=["sgd", "momentum", "amsgrad", "ema", "rmsprop", "adagrad", "ftrl", "lion", "accumulated", "scaled", "multi"],
)
def test_slots_become_those_of_a_new_weight_where_they_shall(variables, make, initial):
    weight = variables[1]
    optimizer = trained(make(), variables)
    before = [variable.numpy() for variable in optimizer.variables]
    where = np.zeros((4, 5), "bool")
    where[1, 2] = where[3, 0] = True
    Slots(optimizer, weight).reset(where)
    slots = slots_like(optimizer, weight)
    assert_allclose([slot.numpy()[1, 2] for slot in slots], initial)
    assert_allclose([slot.numpy()[3, 0] for slot in slots], initial)
    for variable, value in zip(optimizer.variables, before, strict=True):
        elsewhere = ~where if tuple(variable.shape) == (4, 5) else ...
        assert_array_equal(variable.numpy()[elsewhere], value[elsewhere])


def test_a_weight_that_is_not_trained_has_none(variables):
    frozen = keras.Variable(np.ones((4, 5), "float32"))
    optimizer = trained(optimizers.Adam(), variables)
    before = [variable.numpy() for variable in optimizer.variables]
    Slots(optimizer, frozen).reset(np.ones((4, 5), "bool"))
    for variable, value in zip(optimizer.variables, before, strict=True):
        assert_array_equal(variable.numpy(), value)


def test_two_weights_of_one_shape_are_told_apart():
    first, second = (keras.Variable(np.ones((2, 2), "float32"), name="w") for _ in range(2))
    optimizer = trained(optimizers.SGD(0.1, momentum=0.9), [first, second])
    Slots(optimizer, second).reset(np.ones((2, 2), "bool"))
    assert np.all(optimizer.momentums[0].numpy() != 0)
    assert_array_equal(optimizer.momentums[1].numpy(), 0.0)
