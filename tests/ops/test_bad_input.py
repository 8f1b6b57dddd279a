"""Wrong arguments: a clear exception from `egru_sequence`, `InvalidArgument` from the op called directly."""

import numpy as np
import pytest
import tensorflow as tf

from keras_egru.ops import egru_sequence, library
from tests.ops.cases import arguments, weights_of_loss

SHAPE = (2, 3, 4, 5)


def changed(name, value, **options):
    given = arguments(SHAPE, **options)
    given[name] = value(given[name])
    return given


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("inputs", lambda x: x[0], r"`inputs` must have the shape \[batch, time, features\]"),
        ("inputs", lambda x: x[:0], "empty batch"),
        ("inputs", lambda x: x[:, :0], "length zero"),
        ("initial_y", lambda x: x[:1], "`initial_y`"),
        ("initial_c", lambda x: x[:, :-1], "`initial_c`"),
        ("kernel", lambda x: x[:-1], "`kernel`"),
        ("recurrent_kernel", lambda x: x[:, :-1], "`recurrent_kernel`"),
        ("bias", lambda x: x[0], "`bias`"),
        ("threshold", lambda x: x[:2], "`threshold`"),
    ],
)
def test_wrong_shapes_are_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        egru_sequence(**changed(name, value))


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_non_float_input_is_refused(dtype):
    with pytest.raises(TypeError, match="floating-point"):
        egru_sequence(**changed("inputs", lambda x: tf.cast(x, dtype)))


def test_unknown_options_are_refused():
    given = arguments(SHAPE)
    with pytest.raises(ValueError, match="`reset` must be one of"):
        egru_sequence(**given, reset="soft")
    with pytest.raises(ValueError, match="`implementation` must be one of"):
        egru_sequence(**given, implementation="fast")
    with pytest.raises(ValueError, match="`surrogate` must be"):
        egru_sequence(**given, surrogate="sigmoid")
    with pytest.raises(ValueError, match="`mask`"):
        egru_sequence(**given, mask=np.ones((3, 2), bool))


@pytest.mark.parametrize("implementation", ["fused", "dense"])
def test_fused_with_recurrent_dropout_says_why_not(implementation):
    mask = tf.ones([2, 5], tf.float64)
    with pytest.raises(RuntimeError, match=f'implementation="{implementation}" cannot run: .* recurrent dropout'):
        egru_sequence(**arguments(SHAPE), recurrent_dropout_mask=mask, implementation=implementation)


op = pytest.mark.skipif(library.why_not() is not None, reason=str(library.why_not()))


def raw_inputs():
    empty = tf.zeros([0, 0], tf.float64)
    return [*arguments(SHAPE).values(), tf.zeros([0, 0], tf.bool), tf.zeros([0], tf.float64), empty, empty]


@op
@pytest.mark.parametrize("position", range(11))
@pytest.mark.parametrize("shape", [[7], [3, 2], [2, 0, 4], [1, 1, 1, 1]])
def test_op_refuses_wrong_shapes(position, shape):
    inputs = raw_inputs()
    if position >= 7 and 0 in shape:
        pytest.skip("an empty mask, of steps or of weights, or zoneout means none")
    inputs[position] = tf.zeros(shape, inputs[position].dtype)
    if position == 8 and inputs[8].shape.num_elements() == 1:
        pytest.skip("one number is a zoneout rate")
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
        library.load().keras_egru_egru_sequence(*inputs)


@op
def test_op_refuses_mixed_and_integer_types():
    inputs = raw_inputs()
    with pytest.raises((tf.errors.InvalidArgumentError, TypeError)):
        library.load().keras_egru_egru_sequence(*[tf.cast(x, tf.int32) for x in inputs[:7]], *inputs[7:])
    inputs[3] = tf.cast(inputs[3], tf.float32)
    with pytest.raises((tf.errors.InvalidArgumentError, TypeError)):
        library.load().keras_egru_egru_sequence(*inputs)


@op
@pytest.mark.parametrize("position", range(17))
def test_gradient_op_refuses_wrong_shapes(position):
    module, inputs = library.load(), raw_inputs()
    y, c, gates, candidate, _ = module.keras_egru_egru_sequence(*inputs)
    tensors = [*inputs, y, c, gates, candidate, *weights_of_loss(SHAPE)]
    tensors[position] = tf.zeros([3, 1, 2], tensors[position].dtype)
    with pytest.raises(tf.errors.InvalidArgumentError):
        module.keras_egru_egru_sequence_grad(*tensors)


@op
def test_input_gradient_op_refuses_wrong_shapes():
    x, kernel = arguments(SHAPE)["inputs"], arguments(SHAPE)["kernel"]
    with pytest.raises(tf.errors.InvalidArgumentError):
        library.load().keras_egru_egru_input_grad(x, kernel, tf.zeros([5], tf.float64), tf.zeros([5], tf.float64))
    with pytest.raises(tf.errors.InvalidArgumentError):
        library.load().keras_egru_egru_input_grad(x[0], kernel, tf.zeros([5], tf.float64), tf.zeros([5], tf.float64))
