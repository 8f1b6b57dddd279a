"""An int8 recurrent kernel gives what the floats that it stands for give."""

import numpy as np
import pytest
import tensorflow as tf

from keras_egru.ops import egru_sequence, int8_kernel, library
from tests.ops.cases import arguments, largest_error

# The integers are multiplied by their scale after the sum over the events instead of before it.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}

op = pytest.mark.skipif(library.why_not() is not None, reason=str(library.why_not()))
implementations = pytest.mark.parametrize(
    "implementation", ["reference", pytest.param("fused", marks=op), pytest.param("dense", marks=op)]
)


def quantized(given):
    """The arguments with an int8 kernel, and those with the floats that it stands for."""
    integers, scale = int8_kernel.quantize(given["recurrent_kernel"], given["inputs"].dtype.name)
    floats = integers.astype(scale.dtype) * scale
    return {**given, "recurrent_kernel": tf.constant(integers), "recurrent_scale": scale}, {
        **given,
        "recurrent_kernel": tf.constant(floats),
    }


@implementations
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 6, 3, 65), (3, 6, 5, 130), (40, 4, 3, 33)])
def test_equals_the_floats_it_stands_for(implementation, shape, reset_after, dtype):
    given, floats = quantized(arguments(shape, reset_after=reset_after, dtype=dtype))
    out = egru_sequence(**given, reset_after=reset_after, implementation=implementation)
    expected = egru_sequence(**floats, reset_after=reset_after, implementation="reference")
    for ours, theirs in zip(out[:2], expected[:2], strict=True):
        assert largest_error(ours, theirs) < TOLERANCE[dtype]
    assert [int(count) for count in out.counters] == [int(count) for count in expected.counters]


@implementations
@pytest.mark.parametrize("reset", ["threshold", "subtract", "zero"])
def test_masks_and_zoneout_act_as_with_floats(implementation, reset):
    given, floats = quantized(arguments((5, 7, 3, 20)))
    mask = tf.constant(np.random.default_rng(2).random((5, 7)) < 0.7)
    options = {"mask": mask, "zoneout": 0.2, "reset": reset}
    out = egru_sequence(**given, **options, implementation=implementation)
    assert largest_error(out.y, egru_sequence(**floats, **options, implementation="reference").y) < 1e-12


def test_integers_are_the_nearest_ones_and_the_largest_is_127():
    kernel = np.array([[1.27, 0.0, 3e-46], [-0.014, 0.0, 0.0], [0.016, 0.0, -3e-46]])
    integers, scale = int8_kernel.quantize(kernel, "float32")
    assert integers.dtype == np.int8
    np.testing.assert_array_equal(integers, [[127, 0, 0], [-1, 0, 0], [2, 0, 0]])
    np.testing.assert_allclose(scale, [0.01, 1.0, 1.0], rtol=1e-6)  # float32
    drawn = np.random.default_rng(0).normal(size=(30, 12))
    integers, scale = int8_kernel.quantize(drawn, "float64")
    assert np.all(np.abs(integers).max(axis=0) == 127)
    assert np.all(np.abs(integers * scale - drawn) <= scale / 2 * (1 + 1e-12))
    with pytest.raises(ValueError, match="holds NaN or Inf"):
        int8_kernel.quantize(np.array([[np.nan]]), "float32")


@implementations
def test_training_and_gradients_are_refused(implementation):
    given, _ = quantized(arguments((2, 3, 2, 4)))
    with pytest.raises(RuntimeError, match="`recurrent_kernel` is int8: it runs with training=False"):
        egru_sequence(**given, implementation=implementation, training=True)
    with tf.GradientTape() as tape:
        tape.watch(given["kernel"])
        y = egru_sequence(**given, implementation=implementation).y
    with pytest.raises(RuntimeError, match="A gradient was asked for through an int8 recurrent kernel"):
        tape.gradient(y, given["kernel"])


def test_a_scale_belongs_to_an_int8_kernel():
    floats = arguments((2, 3, 2, 4))
    given, _ = quantized(floats)
    with pytest.raises(TypeError, match="`recurrent_scale` must be given with an int8 `recurrent_kernel`"):
        egru_sequence(**{**given, "recurrent_scale": None})
    with pytest.raises(TypeError, match="`recurrent_scale` must be given with an int8 `recurrent_kernel`"):
        egru_sequence(**floats, recurrent_scale=np.ones(12))
    with pytest.raises(ValueError, match=r"`recurrent_scale` must have the shape \(12,\), received \(4,\)"):
        egru_sequence(**{**given, "recurrent_scale": np.ones(4)})
