"""A checkpointed sequence against the plain one: the same values and gradients, from less memory."""

import gc
import itertools
import json
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
import tensorflow as tf

from keras_egru.ops import egru_sequence, fused_egru, library
from keras_egru.surrogates import Surrogate
from tests.ops.cases import arguments, largest_error, values_and_gradients, weights_of_loss

EXACT = 1e-12  # float64; only the sums over segments are rounded otherwise
SHAPE = (4, 7, 3, 20)
EXTRAS = ["plain", "mask", "zoneout", "zoneout rate", "mask and zoneout"]

op = pytest.mark.skipif(library.why_not() is not None, reason=str(library.why_not()))


@pytest.fixture(params=["reference", pytest.param("fused", marks=op)])
def implementation(request):
    return request.param


def extras(extra, shape=SHAPE, dtype="float64"):
    """Masks with gaps at the start of a sequence, at the start of the second of segments of 3 steps, and over all."""
    batch, time, _, units = shape
    rng, options = np.random.default_rng(2), {}
    if "mask" in extra:
        mask = rng.random((batch, time)) < 0.8
        mask[0], mask[1, :2], mask[2, 3:5], mask[3] = True, False, False, False
        options["mask"] = tf.constant(mask)
    if extra == "zoneout rate":
        options["zoneout"] = 0.3
    elif "zoneout" in extra:
        options["zoneout"] = tf.constant(rng.random((batch, time, units)) < 0.3)
        options["zoneout"] = tf.cast(options["zoneout"], dtype)
    return options


def assert_same(actual, expected, tolerance=EXACT):
    assert actual["counters"] == expected["counters"]
    for name in expected.keys() - {"counters"}:
        assert actual[name].shape == expected[name].shape
        assert np.asarray(expected[name]).any(), f"{name} is zero and shows nothing"
        assert largest_error(actual[name], expected[name]) < tolerance, name


@op
@pytest.mark.parametrize("steps", [1, 3, 50])
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize(
    ("reset", "reset_after"), list(itertools.product(["threshold", "subtract", "zero"], [True, False]))
)
def test_checkpoints_change_no_value_and_no_gradient(reset, reset_after, extra, steps):
    given, upstream = arguments(SHAPE, reset_after=reset_after), weights_of_loss(SHAPE)
    options = {"reset": reset, "reset_after": reset_after, "training": True, "implementation": "fused", **extras(extra)}
    plain = values_and_gradients(given, upstream, **options)
    assert_same(values_and_gradients(given, upstream, checkpoint_steps=steps, **options), plain)


@op
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (70, 5, 37, 150), (2, 300, 3, 33)])
def test_other_shapes(shape):
    given, upstream = arguments(shape, shared_threshold=True), weights_of_loss(shape)
    options = {"training": True, "implementation": "fused"}
    plain = values_and_gradients(given, upstream, **options)
    for steps in (2, 2**40):
        checkpointed = values_and_gradients(given, upstream, checkpoint_steps=steps, **options)
        for name in plain.keys() - {"counters"}:
            assert largest_error(checkpointed[name], plain[name]) < EXACT, name


@op
def test_float32():
    given, upstream = arguments(SHAPE, dtype="float32"), weights_of_loss(SHAPE, "float32")
    options = {"training": True, "implementation": "fused", **extras("mask and zoneout", dtype="float32")}
    plain = values_and_gradients(given, upstream, **options)
    checkpointed = values_and_gradients(given, upstream, checkpoint_steps=3, **options)
    assert checkpointed["gradient of kernel"].dtype == "float32"
    assert_same(checkpointed, plain, 1e-5)  # some tens of roundings


class Boxcar(Surrogate):
    def derivative(self, v):
        return tf.cast(tf.abs(v) < 0.5, v.dtype)


@pytest.mark.parametrize("extra", ["plain", "mask and zoneout"])
def test_the_reference_takes_checkpoints_too(extra):
    """With what only the reference can do: another surrogate, recurrent dropout."""
    given, upstream = arguments(SHAPE), weights_of_loss(SHAPE)
    dropped = tf.constant(np.random.default_rng(3).random((4, 20)) < 0.8)
    options = {"recurrent_dropout_mask": tf.cast(dropped, "float64"), "surrogate": Boxcar(), **extras(extra)}
    plain = values_and_gradients(given, upstream, training=True, **options)
    assert_same(values_and_gradients(given, upstream, checkpoint_steps=3, training=True, **options), plain)


@pytest.mark.parametrize("extra", ["plain", "mask and zoneout"])
def test_graphs_of_unknown_batch_and_time(implementation, extra):
    names = ("inputs", "initial_y", "initial_c")
    constants = {name: tensor for name, tensor in arguments(SHAPE).items() if name not in names}

    @tf.function(reduce_retracing=True)
    def run(given, upstream, options):
        # The layout of what `values_and_gradients` returns, with the counters as tensors.
        given = {**given, **constants}
        with tf.GradientTape() as tape:
            tape.watch(given)
            out = egru_sequence(**given, **options, checkpoint_steps=3, training=True, implementation=implementation)
            loss = tf.reduce_sum(out.y * upstream[0]) + tf.reduce_sum(out.c * upstream[1])
        gradients = {f"gradient of {name}": g for name, g in tape.gradient(loss, given).items()}
        return {"y": out.y, "c": out.c, "counters": out.counters, **gradients}

    traced = run.get_concrete_function(
        {
            "inputs": tf.TensorSpec([None, None, 3], "float64"),
            **dict.fromkeys(names[1:], tf.TensorSpec([None, 20], "float64")),
        },
        (tf.TensorSpec([None, None, 20], "float64"),) * 2,
        {}
        if extra == "plain"
        else {"mask": tf.TensorSpec([None, None], "bool"), "zoneout": tf.TensorSpec([None, None, 20], "float64")},
    )
    for batch, time in ((4, 7), (1, 1), (3, 3), (4, 6)):
        shape = (batch, time, 3, 20)
        given, upstream = {**arguments(shape), **constants}, weights_of_loss(shape)
        options = {name: tensor[:batch, :time] for name, tensor in extras(extra).items()}
        graph = traced({name: given[name] for name in names}, upstream, options)
        graph["counters"] = [int(count) for count in graph["counters"]]
        plain = values_and_gradients(given, upstream, training=True, implementation=implementation, **options)
        for name in plain.keys() - {"counters"}:
            assert largest_error(graph[name], plain[name]) < EXACT, name
        assert graph["counters"] == plain["counters"]


@pytest.mark.parametrize("keep", [(), ("y",), ("c",)])
@pytest.mark.parametrize(("checkpoint_steps", "training"), [(None, True), (None, False), (3, True)])
def test_what_is_not_kept_is_returned_at_the_last_step_alone(implementation, keep, checkpoint_steps, training):
    given = arguments(SHAPE)
    upstream = {
        name: gradient if name in keep else tf.concat([0 * gradient[:, :-1], gradient[:, -1:]], axis=1)
        for name, gradient in zip(("y", "c"), weights_of_loss(SHAPE), strict=True)
    }
    whole = values_and_gradients(given, list(upstream.values()), training=True, implementation=implementation)
    wanted = {name: gradient if name in keep else gradient[:, -1:] for name, gradient in upstream.items()}
    some = values_and_gradients(
        given,
        list(wanted.values()),
        training=training,
        implementation=implementation,
        keep=keep,
        checkpoint_steps=checkpoint_steps,
    )
    for name in ("y", "c"):
        if name not in keep:
            whole[name] = whole[name][:, -1:]
    assert_same(some, whole)


@op
@pytest.mark.parametrize("used", ["y", "c"])
@pytest.mark.parametrize("keep", [(), ("y", "c")])
def test_only_y_or_only_c_may_be_used(used, keep):
    given = arguments(SHAPE)

    def gradient(**options):
        with tf.GradientTape() as tape:
            tape.watch(given)
            loss = tf.reduce_sum(getattr(egru_sequence(**given, training=True, keep=keep, **options), used) ** 2)
        return tape.gradient(loss, given)

    plain, checkpointed = gradient(), gradient(checkpoint_steps=3)
    for name, expected in plain.items():
        assert largest_error(checkpointed[name], expected) < EXACT, name


@op
@pytest.mark.parametrize("keep", [(), ("y", "c")])
def test_a_loss_of_some_samples_has_a_sparse_gradient(keep):
    given = arguments(SHAPE)

    def gradient(**options):
        with tf.GradientTape() as tape:
            tape.watch(given)
            y = egru_sequence(**given, training=True, keep=keep, implementation="fused", **options).y
            loss = tf.reduce_sum(tf.gather(y, [2, 0]) ** 2)
        return tape.gradient(loss, given["kernel"])

    assert largest_error(gradient(checkpoint_steps=3), gradient()) < EXACT


@op
def test_the_tape_keeps_nothing_of_the_steps_inside_a_segment(monkeypatch):
    """In eager mode whatever the tape keeps is alive, and nothing else is."""
    given, segments = arguments(SHAPE), []
    run = fused_egru.run

    def spy(*tensors, **options):
        y, c, counters = run(*tensors, **options)
        segments.append((tensors[0].shape[1], options["training"], weakref.ref(y), weakref.ref(c)))
        return y, c, counters

    monkeypatch.setattr(fused_egru, "run", spy)

    def alive():
        gc.collect()
        return [y() is not None or c() is not None for _, _, y, c in segments]

    with tf.GradientTape() as tape:
        tape.watch(given)
        out = egru_sequence(**given, checkpoint_steps=3, training=True, keep=(), implementation="fused")
    assert [(steps, training) for steps, training, _, _ in segments] == [(3, False), (3, False), (1, False)]
    assert alive() == [False] * 3
    segments.clear()
    tape.gradient(out.y, given)
    assert [(steps, training) for steps, training, _, _ in segments] == [(1, True), (3, True), (3, True)]
    assert alive() == [False] * 3

    segments.clear()
    with tf.GradientTape() as tape:
        tape.watch(given)
        out = egru_sequence(**given, training=True, keep=(), implementation="fused")
    assert alive() == [True]  # or the assertions above show nothing


def test_without_training_there_is_nothing_to_save():
    given, upstream = arguments(SHAPE), weights_of_loss(SHAPE)
    plain = values_and_gradients(given, upstream)
    assert_same(values_and_gradients(given, upstream, checkpoint_steps=3), plain, 1e-300)


def test_wrong_steps_are_refused():
    for steps, error in ((0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError), ("3", TypeError)):
        with pytest.raises(error, match="`checkpoint_steps` must be"):
            egru_sequence(**arguments(SHAPE), checkpoint_steps=steps)


MEMORY = """
import json, re, sys
import tensorflow as tf
from tests.ops.cases import arguments, egru_sequence

def status(key):
    return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

given = arguments((8, 4000, 2, 64), dtype="float32")

@tf.function
def step(inputs, checkpoint_steps):
    weights = {**given, "inputs": inputs}
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = tf.reduce_sum(egru_sequence(**weights, training=True, keep=(), checkpoint_steps=checkpoint_steps).y)
    return tape.gradient(loss, weights)

growth = []
for checkpoint_steps in (63, None):  # what needs less comes first: the allocator gives nothing back
    step.get_concrete_function(tf.TensorSpec([8, None, 2]), checkpoint_steps)(given["inputs"][:, :2])
    before = status("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")  # VmHWM starts anew
    step.get_concrete_function(tf.TensorSpec([8, None, 2]), checkpoint_steps)(given["inputs"])
    growth.append(status("VmHWM") - before)
print(json.dumps(growth))
"""


@op
def test_memory_of_a_training_step():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    run = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=root, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    checkpointed, plain = json.loads(run.stdout)
    states = 4 * 8 * 4000 * 64  # bytes of y, or of c, at every step
    assert plain > 6 * states  # y, c, u, r, z and the recurrent part of the candidate
    assert checkpointed < states
