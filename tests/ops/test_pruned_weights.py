"""Pruned kernels: products from the live weights alone, masked gradients, and what is kept from call to call."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from keras_egru.ops import egru_sequence, library
from keras_egru.surrogates import Triangular
from tests.ops.cases import arguments, largest_error, values_and_gradients, weights_of_loss

op = pytest.mark.skipif(library.why_not() is not None, reason=str(library.why_not()))

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}  # the bounds that the project promises
# A few samples and many; a size that fills vectors and one that does not; small and large enough to be worth lists. Of
# the first two the backward pass is long enough for them as well.
SHAPES = [(1, 45, 3, 128), (3, 15, 40, 65), (70, 3, 37, 150), (9, 1, 2, 4), (1, 5, 3, 128)]


def pruned(given, live, block, seed=3):
    """`given` with the share `live` of the blocks of `block` weights in the rows of its kernels; the two masks."""
    rng = np.random.default_rng(seed)
    masks = {}
    for name in ("kernel", "recurrent_kernel"):
        rows, columns = given[name].shape
        blocks = rng.random((rows, -(-columns // block))) < live
        mask = tf.constant(np.repeat(blocks, block, axis=1)[:, :columns], given[name].dtype.name)
        given = {**given, name: given[name] * mask}
        masks["kernel_mask" if name == "kernel" else "recurrent_mask"] = mask
    return given, masks


@op
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(("live", "block"), [(0.2, 16), (0.1, 1), (0.0, 1), (0.4, 5)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pruned_kernels_equal_the_reference(shape, reset_after, live, block, dtype):
    given, masks = pruned(arguments(shape, reset_after=reset_after, dtype=dtype), live, block)
    options = {"reset_after": reset_after, "surrogate": Triangular(0.7, 0.4), "training": True, **masks}
    expected = values_and_gradients(given, weights_of_loss(shape, dtype), implementation="reference", **options)
    for implementation in ("fused", "dense"):
        actual = values_and_gradients(given, weights_of_loss(shape, dtype), implementation=implementation, **options)
        assert actual["counters"] == expected["counters"]
        for name in expected.keys() - {"counters"}:
            assert largest_error(actual[name], expected[name]) < TOLERANCE[dtype], name
        for name, mask in (("kernel", "kernel_mask"), ("recurrent_kernel", "recurrent_mask")):
            assert not np.any(np.asarray(actual[f"gradient of {name}"])[np.asarray(masks[mask]) == 0])


@op
def test_without_masks_weights_that_are_zero_get_their_gradient():
    shape = (70, 3, 5, 64)
    given, _ = pruned(arguments(shape), 0.1, 1)
    expected = values_and_gradients(given, weights_of_loss(shape), implementation="reference", training=True)
    actual = values_and_gradients(given, weights_of_loss(shape), implementation="fused", training=True)
    name = "gradient of recurrent_kernel"
    assert np.any(np.asarray(expected[name])[np.asarray(given["recurrent_kernel"]) == 0])
    assert largest_error(actual[name], expected[name]) < TOLERANCE["float64"]


@op
@pytest.mark.parametrize("batch", [1, 70])
@pytest.mark.parametrize("compiled", [False, True])
def test_inference_sees_every_change_of_the_weights(batch, compiled):
    """What was found in a variable is kept until the variable is written to, in whatever way."""
    shape = (batch, 3, 5, 128)
    given, masks = pruned(arguments(shape), 0.1, 1)
    kernel = tf.Variable(given.pop("recurrent_kernel"))

    def run():
        return egru_sequence(recurrent_kernel=kernel, **given, implementation="fused").c

    call = tf.function(run) if compiled else run

    def expected():
        return egru_sequence(recurrent_kernel=tf.identity(kernel), **given, implementation="reference").c

    optimizer_step = tf.random.stateless_normal(kernel.shape, [1, 2], dtype=kernel.dtype) * masks["recurrent_mask"]
    writes = [
        lambda: None,
        lambda: None,
        lambda: kernel.assign(kernel * 0.5),
        lambda: kernel.assign_sub(0.1 * optimizer_step),
        lambda: kernel.scatter_nd_update([[row, 0] for row in range(128)], tf.ones([128], kernel.dtype)),
        lambda: kernel[:, 5].assign(tf.ones([128], kernel.dtype)),
        lambda: kernel.assign(optimizer_step + 1.0),  # nothing is pruned any more
        lambda: kernel.assign(optimizer_step),
    ]
    before = None
    for i, write in enumerate(writes):
        write()
        actual = call()
        assert largest_error(actual, expected()) < TOLERANCE["float64"], i
        assert before is None or i == 1 or not np.array_equal(actual, before)
        before = actual


@op
@pytest.mark.parametrize("compiled", [False, True])
def test_the_gradient_sees_every_change_of_the_masks(compiled):
    """What was found in a mask is kept as well."""
    shape = (3, 4, 5, 128)
    given, masks = pruned(arguments(shape), 0.3, 1)
    kernel = tf.Variable(given.pop("recurrent_kernel"))
    mask = tf.Variable(masks["recurrent_mask"])

    def run():
        with tf.GradientTape() as tape:
            outputs = egru_sequence(
                recurrent_kernel=kernel, **given, recurrent_mask=mask, training=True, implementation="fused"
            )
            loss = tf.reduce_sum(outputs.c)
        return tape.gradient(loss, kernel)

    call = tf.function(run) if compiled else run
    writes = [
        lambda: None,
        lambda: None,
        lambda: mask.assign(tf.reverse(mask, [0])),
        lambda: mask.assign_sub(mask * tf.cast(tf.range(mask.shape[0])[:, None] % 2, mask.dtype)),
        lambda: mask.scatter_nd_update([[row, 3] for row in range(128)], tf.zeros([128], mask.dtype)),
        lambda: mask[:, 5].assign(tf.zeros([128], mask.dtype)),
        lambda: mask.assign(tf.zeros_like(mask)),
    ]
    before = None
    for i, write in enumerate(writes):
        write()
        kernel.assign(kernel * mask)
        gradient = np.asarray(call())
        assert not np.any(gradient[np.asarray(mask) == 0]), i
        if i < len(writes) - 1:
            assert np.any(gradient), i
        assert before is None or i == 1 or not np.array_equal(gradient != 0, before), i
        before = gradient != 0


@op
def test_several_threads_may_share_a_pruned_layer():
    shape = (1, 4, 5, 128)
    given, _ = pruned(arguments(shape), 0.1, 16)
    kernel = tf.Variable(given.pop("recurrent_kernel"))
    given = {name: tf.constant(tensor) for name, tensor in given.items()}
    call = tf.function(lambda: egru_sequence(recurrent_kernel=kernel, **given, implementation="fused").c)
    expected, found = call(), []
    threads = [threading.Thread(target=lambda: found.extend(call() for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert all(np.array_equal(result, expected) for result in found)


@pytest.mark.parametrize("name", ["kernel_mask", "recurrent_mask"])
@pytest.mark.parametrize("implementation", ["auto", "reference"])
def test_a_mask_of_the_wrong_shape_is_refused(name, implementation):
    given = arguments((2, 3, 4, 5))
    with pytest.raises(ValueError, match=rf"`{name}` must have the shape .*received \(2, 2\)"):
        egru_sequence(**given, **{name: tf.ones([2, 2], "float64")}, implementation=implementation)
