"""The op against its reference: values, gradients and counters."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_egru.ops import egru_sequence, library
from keras_egru.surrogates import Surrogate, Triangular
from tests.ops.cases import arguments, largest_error, values_and_gradients, weights_of_loss

pytestmark = pytest.mark.skipif(library.why_not() is not None, reason=str(library.why_not()))

# Both implementations add the same numbers in different orders; these are the bounds that the project promises.
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}

# Around the tile of every instruction set: one unit, one short of a vector, a tile and a bit, several batch blocks.
SHAPES = [(1, 1, 1, 1), (3, 5, 2, 4), (1, 9, 3, 64), (2, 4, 40, 65), (70, 3, 37, 150)]


def assert_equal_to_reference(given, upstream, dtype, **options):
    expected = values_and_gradients(given, upstream, implementation="reference", **options)
    actual = values_and_gradients(given, upstream, implementation="fused", **options)
    assert actual.pop("counters") == expected.pop("counters")
    for name, value in expected.items():
        assert np.isfinite(value).all()
        assert largest_error(actual[name], value) < TOLERANCE[dtype], name
    return expected


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("reset", ["threshold", "subtract", "zero"])
@pytest.mark.parametrize("extra", ["plain", "mask", "zoneout", "zoneout rate", "mask and zoneout"])
def test_fused_equals_reference(shape, reset, reset_after, extra):
    batch, time, _, units = shape
    rng = np.random.default_rng(2)
    options = {"reset": reset, "reset_after": reset_after, "surrogate": Triangular(0.7, 0.4), "training": True}
    if "mask" in extra:
        options["mask"] = tf.constant(rng.random((batch, time)) < 0.7)
    if extra == "zoneout rate":
        options["zoneout"] = 0.3
    elif "zoneout" in extra:
        options["zoneout"] = tf.constant((rng.random((batch, time, units)) < 0.3).astype("float64"))
    given = arguments(shape, reset_after=reset_after)
    assert_equal_to_reference(given, weights_of_loss(shape), "float64", **options)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("reset", ["threshold", "subtract", "zero"])
def test_fused_equals_reference_in_float32(reset, reset_after):
    shape = (5, 12, 7, 100)
    given = arguments(shape, reset_after=reset_after, dtype="float32")
    assert_equal_to_reference(
        given, weights_of_loss(shape, "float32"), "float32", reset=reset, reset_after=reset_after, training=True
    )


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reset_after", [True, False])
def test_every_instruction_set_equals_the_reference(isa, dtype, reset_after, monkeypatch):
    monkeypatch.setenv("KERAS_EGRU_ISA", isa)
    for shape in [(3, 5, 2, 4), (66, 4, 37, 77)]:
        given = arguments(shape, reset_after=reset_after, dtype=dtype)
        assert_equal_to_reference(given, weights_of_loss(shape, dtype), dtype, reset_after=reset_after, training=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])  # sums in another order
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("batch", [3, 40])
def test_dense_products_equal_sparse_ones(batch, reset_after, dtype, tolerance):
    shape = (batch, 6, 5, 130)
    given, upstream = arguments(shape, reset_after=reset_after, dtype=dtype), weights_of_loss(shape, dtype)
    options = {"reset_after": reset_after, "training": True}
    expected = values_and_gradients(given, upstream, implementation="fused", **options)
    actual = values_and_gradients(given, upstream, implementation="dense", **options)
    assert actual.pop("counters") == expected.pop("counters")
    for name, value in expected.items():
        assert largest_error(actual[name], value) < tolerance, name


@pytest.mark.parametrize(("implementation", "products"), [("auto", b"auto"), ("fused", b"auto"), ("dense", b"dense")])
def test_dense_products_are_asked_for_forward_and_backward(implementation, products):
    given = arguments((2, 4, 3, 9))

    @tf.function
    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(given["inputs"])
            loss = tf.reduce_sum(egru_sequence(**given, implementation=implementation, training=True).y)
        return tape.gradient(loss, given["inputs"])

    operations = gradient.get_concrete_function().graph.get_operations()
    ours = {operation.type: operation.get_attr("products") for operation in operations if "Egru" in operation.type}
    assert ours == {f"KerasEgru>Egru{name}": products for name in ("Sequence", "SequenceGrad", "InputGrad")}


def test_shared_threshold_gradient_is_the_sum_over_units():
    shape = (3, 6, 2, 20)
    given = arguments(shape, shared_threshold=True)
    assert given["threshold"].shape == (1,)
    expected = assert_equal_to_reference(given, weights_of_loss(shape), "float64", training=True)
    per_unit = dict(given, threshold=tf.repeat(given["threshold"], 20))
    spread = values_and_gradients(per_unit, weights_of_loss(shape), implementation="fused", training=True)
    assert largest_error(tf.reduce_sum(spread["gradient of threshold"]), expected["gradient of threshold"]) < 1e-10


def test_no_bias_equals_a_bias_of_zero():
    given = arguments((2, 4, 3, 9))
    given["bias"] = tf.zeros_like(given["bias"])
    zero = egru_sequence(**given, implementation="fused")
    none = egru_sequence(**{**given, "bias": None}, implementation="fused")
    assert np.array_equal(zero.y, none.y)


def test_long_sequences_stay_exact():
    shape = (2, 700, 3, 33)
    assert_equal_to_reference(arguments(shape), weights_of_loss(shape), "float64", training=True)


def test_all_silent_units_leave_only_the_input_projection():
    shape = (4, 6, 3, 50)
    given = arguments(shape)
    given.update(initial_y=given["initial_y"] * 0, initial_c=given["initial_c"] * 0, kernel=given["kernel"] * 1e-3)
    given.update(bias=given["bias"] * 0, threshold=given["threshold"] * 0 + 0.9)
    expected = assert_equal_to_reference(given, weights_of_loss(shape), "float64", training=True)
    assert not np.asarray(expected["y"]).any()
    assert not np.asarray(expected["gradient of recurrent_kernel"]).any()


@pytest.mark.parametrize("reset", ["threshold", "zero"])
def test_all_active_units_equal_the_reference(reset):
    shape = (4, 6, 3, 50)
    given = arguments(shape)
    given["bias"] = given["bias"] * 0 + 3.0  # u and z near one
    given["threshold"] = given["threshold"] * 0 + 1e-3
    given.update(kernel=given["kernel"] * 0.01, recurrent_kernel=given["recurrent_kernel"] * 0.01)
    expected = assert_equal_to_reference(given, weights_of_loss(shape), "float64", reset=reset, training=True)
    assert np.asarray(expected["y"]).all()


def test_steps_that_are_all_masked_carry_the_initial_state():
    shape = (3, 4, 2, 10)
    given = arguments(shape)
    mask = tf.constant([[False] * 4, [False, False, True, True], [True] * 4])
    expected = assert_equal_to_reference(given, weights_of_loss(shape), "float64", mask=mask, training=True)
    assert np.array_equal(expected["y"][0], np.repeat(given["initial_y"][:1], 4, 0))


def test_only_y_or_only_c_may_be_used():
    shape = (3, 4, 2, 10)
    y, c = weights_of_loss(shape)
    for upstream in ((y, tf.zeros_like(c)), (tf.zeros_like(y), c)):
        assert_equal_to_reference(arguments(shape), upstream, "float64", training=True)
    given = arguments(shape)
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = tf.reduce_sum(egru_sequence(**given, implementation="fused", training=True).y * y)
    alone = tape.gradient(loss, given["kernel"])
    both = values_and_gradients(given, (y, tf.zeros_like(c)), implementation="reference")
    assert largest_error(alone, both["gradient of kernel"]) < 1e-10


@pytest.mark.parametrize("keep", [("y", "c"), ("y",), ("c",), ()])
def test_without_training_no_memory_is_taken_for_what_is_not_kept(keep):
    given = arguments((2, 5, 3, 4))
    graph = tf.function(lambda: egru_sequence(**given, keep=keep, implementation="fused")).get_concrete_function().graph
    (node,) = (node for node in graph.get_operations() if node.type == "KerasEgru>EgruSequence")
    assert [output.shape[1] for output in node.outputs[:2]] == [5 if name in keep else 1 for name in ("y", "c")]


def test_gradient_without_training_is_the_same():
    shape = (3, 7, 2, 30)
    given, upstream = arguments(shape), weights_of_loss(shape)
    kept = values_and_gradients(given, upstream, implementation="fused", training=True)
    recomputed = values_and_gradients(given, upstream, implementation="fused", training=False)
    for name, value in kept.items():
        assert np.array_equal(value, recomputed[name]), name


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("reset", ["threshold", "subtract", "zero"])
def test_smooth_parts_match_finite_differences(reset, reset_after):
    """With states that stay away from their thresholds by more than the surrogate's width, the op is smooth there."""
    shape = (2, 5, 3, 8)
    given = arguments(shape, reset_after=reset_after, seed=4)
    upstream = weights_of_loss(shape)
    options = {"reset": reset, "reset_after": reset_after, "surrogate": Triangular(0.7, 1e-6)}
    out = values_and_gradients(given, upstream, implementation="fused", training=True, **options)
    distance = min(np.abs(x - given["threshold"]).min() for x in (out["c"], given["initial_c"]))
    assert distance > 1e-4
    assert 0 < np.asarray(out["y"]).astype(bool).mean() < 1

    def loss(**changed):
        result = egru_sequence(**{**given, **changed}, implementation="fused", **options)
        return float(tf.reduce_sum(result.y * upstream[0]) + tf.reduce_sum(result.c * upstream[1]))

    rng = np.random.default_rng(5)
    for name, value in given.items():
        direction = rng.normal(size=value.shape)
        step = 1e-6 / np.abs(direction).max()
        numeric = (loss(**{name: value + step * direction}) - loss(**{name: value - step * direction})) / (2 * step)
        analytic = float(np.sum(np.asarray(out[f"gradient of {name}"]) * direction))
        assert numeric == pytest.approx(analytic, rel=1e-6, abs=1e-6), name  # central differences: step^2 and rounding


def test_gradient_counters_count_what_the_tensors_show():
    shape = (4, 9, 6, 40)
    batch, time, _, units = shape
    given = arguments(shape, input_density=0.3)
    surrogate = Triangular(0.7, 0.2)
    module = library.load()
    unused = tf.zeros([0, 0], tf.float64)
    inputs = [*given.values(), tf.zeros([0, 0], tf.bool), tf.zeros([0], tf.float64), unused, unused]
    options = {"surrogate_height": surrogate.height, "surrogate_width": surrogate.width}
    y, c, gates, candidate, _ = module.keras_egru_egru_sequence(*inputs, **options)
    gradients = module.keras_egru_egru_sequence_grad(
        *inputs, y, c, gates, candidate, *weights_of_loss(shape), **options
    )
    passes = np.asarray(y != 0) + np.asarray(c) * np.asarray(surrogate.derivative(c - given["threshold"]))
    needed = np.count_nonzero(passes[:, :-1]) + batch * units  # the initial y is needed everywhere
    before = np.concatenate([np.asarray(given["initial_y"])[:, None], np.asarray(y)[:, :-1]], axis=1)
    expected = [needed, np.count_nonzero(before), np.count_nonzero(given["inputs"])]
    assert list(np.asarray(gradients.counters)) == expected
    assert expected[0] < batch * time * units  # sparse at all, or this test shows nothing


def test_nan_and_infinity_come_through():
    given = arguments((2, 4, 3, 10))
    x = np.array(given["inputs"])
    x[0, 1, 0] = np.nan
    out = egru_sequence(**{**given, "inputs": tf.constant(x)}, implementation="fused")
    assert np.isnan(np.asarray(out.y)[0, 1:]).all()
    assert np.isfinite(np.asarray(out.y)[1]).all()


def digest():
    """Of all values and gradients of a problem."""
    shape = (70, 6, 5, 200)
    given, upstream = arguments(shape, dtype="float32"), weights_of_loss(shape, "float32")
    out = values_and_gradients(given, upstream, implementation="fused", training=True)
    out.pop("counters")
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in out.values())).hexdigest()


def test_same_result_with_any_number_of_threads():
    # Two processes, of which the second is a copy of the first as it was before TensorFlow started its threads.
    code = """
import os
from tests.ops.test_egru_sequence import digest, tf
copied = os.fork()
if copied:
    assert os.waitpid(copied, 0)[1] == 0
tf.config.threading.set_intra_op_parallelism_threads(1 if copied else 5)
print(digest(), flush=True)
"""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": root}
    run = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    # As many threads as there are cores are those of this process.
    assert run.stdout.splitlines() == [digest()] * 2


@pytest.mark.parametrize("implementation", ["fused", "reference"])
def test_works_inside_a_function_of_unknown_batch_and_time(implementation):
    given = arguments((3, 5, 2, 8))
    mask = tf.constant(np.random.default_rng(3).random((3, 5)) < 0.7)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 2], tf.float64), tf.TensorSpec([None, None], tf.bool)])
    def run(x, mask):
        state = tf.zeros([tf.shape(x)[0], 8], tf.float64)
        given_x = {**given, "inputs": x, "initial_y": state, "initial_c": state}
        return egru_sequence(
            **given_x,
            mask=mask,
            zoneout=tf.zeros_like(x[:, :, :1]) + tf.ones(8, tf.float64) / 4,
            implementation=implementation,
        ).y

    for part in (slice(3), slice(1)):
        x = given["inputs"][part]
        zeros = tf.zeros([len(x), 8], tf.float64)
        eager = egru_sequence(
            **{**given, "inputs": x, "initial_y": zeros, "initial_c": zeros}, mask=mask[part], zoneout=0.25
        )
        assert largest_error(run(x, mask[part]), eager.y) < 1e-12


@pytest.mark.parametrize("time", [6, None])
def test_a_graph_makes_no_gradient_for_an_output_that_is_not_used(time):
    """TensorFlow would fill in zeros of the size of c."""
    given = arguments((4, 6, 3, 50))

    @tf.function(input_signature=[tf.TensorSpec([4, time, 3], tf.float64)])
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(egru_sequence(**{**given, "inputs": x}, implementation="fused", training=True).y ** 2)
        return tape.gradient(loss, x)

    operations = run.get_concrete_function().graph.get_operations()
    (gradient,) = (operation for operation in operations if operation.type == "KerasEgru>EgruSequenceGrad")
    grad_y, grad_c = gradient.inputs[15:17]
    assert grad_y.shape.as_list() == [4, time, 50]
    assert grad_c.shape.as_list() == [0, 0, 0]
    eager = values_and_gradients(given, (2 * egru_sequence(**given).y, tf.zeros([4, 6, 50], tf.float64)), training=True)
    assert largest_error(run(given["inputs"]), eager["gradient of inputs"]) < 1e-12


def test_any_surrogate_runs_on_the_reference():
    class Boxcar(Surrogate):
        def derivative(self, v):
            return tf.cast(tf.abs(v) < 0.5, v.dtype)

    given = arguments((2, 3, 2, 4))
    assert egru_sequence(**given, surrogate=Boxcar()).y.shape == (2, 3, 4)
    with pytest.raises(RuntimeError, match="Triangular"):
        egru_sequence(**given, surrogate=Boxcar(), implementation="fused")


@pytest.mark.parametrize("unroll", [True, False])
def test_reference_unrolled_or_not_is_the_same(unroll):
    given = arguments((2, 5, 3, 6))
    out = egru_sequence(**given, implementation="reference", unroll=unroll)
    fused = egru_sequence(**given, implementation="fused")
    assert largest_error(out.y, fused.y) < 1e-12


def test_recurrent_dropout_acts_in_the_products_and_not_in_the_reset():
    given = arguments((2, 4, 3, 6))
    given["recurrent_kernel"] = given["recurrent_kernel"] * 0
    dropped = egru_sequence(**given, reset="subtract", recurrent_dropout_mask=tf.zeros([2, 6], tf.float64))
    whole = egru_sequence(**given, reset="subtract", implementation="reference")
    assert np.array_equal(dropped.y, whole.y)
