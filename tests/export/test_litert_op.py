"""The LiteRT op library: values of the TensorFlow ops in an interpreter, what it refuses, and the C++ example."""

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed.")
import keras  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402

from keras_egru.export import litert_op  # noqa: E402
from keras_egru.ops import LIFState, decays, fused_egru, fused_lif, int8_kernel, library  # noqa: E402
from keras_egru.ops.lif_step import LIFConstants  # noqa: E402
from keras_egru.surrogates import FastSigmoid, Triangular  # noqa: E402
from tests.ops import cases, lif_cases  # noqa: E402

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="The models come from TensorFlow."),
    pytest.mark.skipif(library.why_not() is not None, reason="The TensorFlow op is not built."),
    pytest.mark.skipif(not (ROOT / "keras_egru/export" / litert_op.LIBRARY).is_file(), reason="The op is not built."),
]
CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # float32, summed in another order


def traced(function, inputs):
    """The concrete function of inputs by name, of which arrays or `tf.TensorSpec`s are given."""
    specs = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in inputs.items()}
    return tf.function(function, autograph=False).get_concrete_function(**specs)


def converted(function, **options):
    """The TF-Lite model of a concrete function."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
    converter.allow_custom_ops = True
    for name, value in options.items():
        setattr(converter.target_spec if name == "supported_types" else converter, name, value)
    return converter.convert()


def whole(counters):
    """The op's own tensor of counters, which TF-Lite cannot take apart."""
    return counters[0].op.inputs[0]


def egru(given, *, int8=False, training=False, **options):
    """The op on the arguments of `cases`, as a tuple of outputs."""
    defaults = {"reset": "threshold", "reset_after": True, "keep": ("y", "c"), "mask": None, "zoneout": None}
    options = {"surrogate": Triangular(0.7, 1.0)} | defaults | options
    if int8:
        integers, scale = int8_kernel.quantize(given["recurrent_kernel"], "float32")
        kernel = {"recurrent_kernel": tf.constant(integers), "recurrent_scale": tf.constant(scale)}
        y, c, counters = fused_egru.run_int8(**(given | kernel), **options)
    else:
        y, c, counters = fused_egru.run(**given, training=training, **options)
    return y, c, whole(counters)


def egru_cases():
    """`(arguments, options)`: batch, steps and units of all kinds, and every option."""

    def case(shape, *, threshold=None, live=None, **options):
        given = cases.arguments(shape, reset_after=options.get("reset_after", True), dtype="float32")
        if threshold is not None:
            given["threshold"] = tf.fill([shape[-1]], tf.constant(threshold, "float32"))
        if live is not None:
            kept = np.random.default_rng(1).random(given["recurrent_kernel"].shape) < live
            given["recurrent_kernel"] *= tf.cast(kept, "float32")
        return given, options

    mask = tf.constant(np.random.default_rng(2).random((3, 5)) < 0.6)
    zoneout = tf.constant((np.random.default_rng(3).random((3, 5, 17)) < 0.3).astype("float32"))
    return [
        case((1, 1, 3, 5)),
        case((1, 1, 4, 64), keep=()),
        case((1, 1, 4, 33), reset="subtract", int8=True),
        case((1, 1, 4, 32), reset="zero", reset_after=False, int8=True),
        case((1, 1, 6, 48), live=0.1),
        case((1, 1, 6, 50), live=0.1, reset_after=False),
        case((1, 1, 4, 20), threshold=1e6),  # all silent
        case((1, 1, 4, 20), threshold=-1e6, reset="zero"),  # all active
        case((3, 5, 4, 17), mask=mask),
        case((3, 5, 4, 17), zoneout=zoneout, reset_after=False),
        case((3, 5, 4, 17), zoneout=tf.constant(0.3), keep=("y",)),
        case((9, 4, 70, 65), keep=("c",), reset="subtract"),
        case((9, 3, 5, 40), live=0.1),
    ]


def lif_case_list():
    """`(arguments, options)` of `lif_cases`."""
    return [
        (lif_cases.arguments((1, 1, 5, 7), current=False, recurrent=False, dtype="float32"), {}),
        (lif_cases.arguments((1, 1, 5, 32), dtype="float32"), {"reset": "zero", "v_reset": -0.1, "v_rest": 0.05}),
        (lif_cases.arguments((1, 1, 5, 33), refractory=2, dtype="float32"), {"refractory": 2}),
        (lif_cases.arguments((3, 6, 5, 33), recurrent=False, masked=True, dtype="float32"), {"all_v": True}),
        (lif_cases.arguments((3, 6, 4, 9), dtype="float32"), {"spiking": False, "all_v": True}),
        (lif_cases.arguments((3, 6, 4, 16), refractory=3, dtype="float32"), {"gradient": "eventprop", "refractory": 3}),
        (lif_cases.arguments((9, 4, 4, 16), dtype="float32"), {"threshold": 1 / 3}),
    ]


def lif(given, *, all_v=False, **options):
    """The op on the arguments of `lif_cases`, as a tuple of outputs."""
    constants = {"gradient": "surrogate", "spiking": True, "reset": "subtract", "threshold": 1.0, "v_reset": 0.0}
    constants |= {"v_rest": 0.0, "refractory": 0, "surrogate": FastSigmoid()} | options
    y, v, state, *_, spikes, counters = fused_lif.run(
        given["inputs"], LIFState(given["v"], given["i"], given["y"], given["wait"]), given["kernel"],
        given["recurrent_kernel"], decays(given["tau_mem"], given["tau_syn"], 1.0),
        LIFConstants(**constants), link=None, mask=given["mask"], train_decays=False, all_v=all_v,
        training=False,
    )  # fmt: skip
    last = [tensor for tensor in (state.i, state.wait) if tensor is not None]
    return (v, *last, whole(counters)) + ((y, spikes) if constants["spiking"] else ())


def all_cases(op, names, cases_of_op):
    """One function of what changes from call to call, in all cases, and its inputs.

    A conversion takes seconds, whatever it converts.
    """
    inputs = {}
    for k, (given, _) in enumerate(cases_of_op):
        inputs |= {f"{name}_{k}": given[name] for name in names if given[name] is not None}

    def run(**given):
        outputs = {}
        for k, (arguments, options) in enumerate(cases_of_op):
            now = arguments | {name: given[f"{name}_{k}"] for name in names if f"{name}_{k}" in given}
            outputs |= {f"case_{k}_output_{i}": output for i, output in enumerate(op(now, **options))}
        return outputs

    return traced(run, inputs), {name: value.numpy() for name, value in inputs.items()}


def save(folder, model, inputs):
    (folder / "model.tflite").write_bytes(model)
    np.savez(folder / "inputs.npz", **inputs)


def in_a_fresh_process(folder, calls):
    """What plain `load_delegate` gives, with nothing else of this package, Keras or TensorFlow."""
    script = Path(__file__).parent / "litert_process.py"
    command = [sys.executable, str(script), str(litert_op.library()), str(folder), str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "outputs.npz") as outputs:
        return dict(outputs)


@pytest.mark.parametrize(
    ("op", "names", "cases_of_op"),
    [
        (egru, ("inputs", "initial_y", "initial_c"), egru_cases),
        (lif, ("inputs", "v", "i", "y", "wait"), lif_case_list),
    ],
    ids=["EGRU", "LIF"],
)
def test_a_process_without_tensorflow_computes_what_the_tensorflow_op_computes(op, names, cases_of_op, tmp_path):
    run, inputs = all_cases(op, names, cases_of_op())
    save(tmp_path, converted(run), inputs)
    expected = run(**{name: tf.constant(value) for name, value in inputs.items()})
    found = in_a_fresh_process(tmp_path, calls=2)
    assert set(found) == set(expected)
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], **CLOSE, err_msg=name)
        assert values.dtype == expected[name].dtype


def small(features=3, units=5, batch=1, time=1, **options):
    """The concrete function of one EGRU op, and its inputs."""
    given = cases.arguments((batch, time, features, units), dtype="float32")

    def run(inputs, initial_y, initial_c):
        y, c, _ = egru(given | {"inputs": inputs, "initial_y": initial_y, "initial_c": initial_c}, **options)
        return {"y": y, "c": c}

    inputs = {name: given[name].numpy() for name in ("inputs", "initial_y", "initial_c")}
    return traced(run, inputs), inputs


@pytest.fixture(scope="module")
def small_model():
    return converted(small()[0])


def load(model, **options):
    """An interpreter with its tensors allocated."""
    interpreter = litert_op.interpreter(model, **options)
    interpreter.allocate_tensors()
    return interpreter


def test_calls_of_one_step_make_a_sequence():
    function, inputs = small(features=6, units=40, batch=2, keep=())
    run = load(converted(function)).get_signature_runner()
    x = np.random.default_rng(4).normal(size=(2, 7, 6)).astype("float32")
    state = {name: inputs[name] for name in ("initial_y", "initial_c")}
    given = cases.arguments((2, 1, 6, 40), dtype="float32") | {"inputs": tf.constant(x)}
    y, c, _ = fused_egru.run(
        **given,
        mask=None,
        zoneout=None,
        reset="threshold",
        reset_after=True,
        surrogate=Triangular(0.7, 1.0),
        training=False,
    )
    for t in range(7):
        outputs = run(inputs=x[:, t : t + 1], **state)
        state = {"initial_y": outputs["y"][:, 0], "initial_c": outputs["c"][:, 0]}
        np.testing.assert_allclose(outputs["y"][:, 0], y[:, t], **CLOSE)
        np.testing.assert_allclose(outputs["c"][:, 0], c[:, t], **CLOSE)


def test_a_model_takes_other_batches_and_lengths_whenever_it_is_resized():
    sizes = {"inputs": (None, None, 3), "initial_y": (None, 5), "initial_c": (None, 5)}
    specs = {name: tf.TensorSpec(size, "float32") for name, size in sizes.items()}
    weights = cases.arguments((1, 1, 3, 5), dtype="float32")
    function = traced(lambda **now: egru(weights | now)[0], specs)
    interpreter = litert_op.interpreter(converted(function), num_threads=2)
    for batch, time in ((3, 4), (1, 1), (9, 2)):
        given = cases.arguments((batch, time, 3, 5), dtype="float32", seed=time)
        for detail in interpreter.get_input_details():
            name = detail["name"].removeprefix("serving_default_").split(":")[0]
            interpreter.resize_tensor_input(detail["index"], given[name].shape)
        found = interpreter.get_signature_runner()(**{name: given[name].numpy() for name in sizes})
        expected = function(**{name: given[name] for name in sizes})
        np.testing.assert_allclose(next(iter(found.values())), expected, **CLOSE)


def test_weights_in_16_bits_are_widened_once():
    function, inputs = small(units=33)
    model = converted(function, optimizations=[tf.lite.Optimize.DEFAULT], supported_types=[tf.float16])
    run = load(model).get_signature_runner()
    expected = function(**{name: tf.constant(value) for name, value in inputs.items()})
    for _ in range(2):
        np.testing.assert_allclose(run(**inputs)["c"], expected["c"], atol=5e-3)


def test_tensorflows_interpreter_runs_the_op_where_litert_is_not_installed(small_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.warns(UserWarning, match="deprecated"):
        interpreter = litert_op.interpreter(small_model)
    assert type(interpreter).__module__.startswith("tensorflow")
    function, inputs = small()
    expected = function(**{name: tf.constant(value) for name, value in inputs.items()})
    np.testing.assert_allclose(interpreter.get_signature_runner()(**inputs)["y"], expected["y"], **CLOSE)


def test_a_model_is_loaded_from_a_file_too(small_model, tmp_path):
    (tmp_path / "small.tflite").write_bytes(small_model)
    assert load(tmp_path / "small.tflite").get_signature_list()


def test_without_the_library_litert_names_the_op(small_model):
    interpreter = Interpreter(model_content=small_model)
    with pytest.raises(RuntimeError, match="unresolved custom op: KerasEgru>EgruSequence"):
        interpreter.allocate_tensors()


def test_an_absent_library_is_named_with_what_helps(small_model, monkeypatch):
    monkeypatch.setattr(litert_op, "LIBRARY", "libabsent.so")
    with pytest.raises(RuntimeError, match="libabsent.so is not there: install keras-egru with pip"):
        litert_op.interpreter(small_model)


def test_another_runtime_is_refused_by_its_version(small_model, monkeypatch):
    import ai_edge_litert

    monkeypatch.setattr(ai_edge_litert, "__version__", "3.1.0")
    with pytest.raises(RuntimeError, match="ai_edge_litert from 2.0 on and before 3.0, received 3.1.0"):
        litert_op.interpreter(small_model)


def refusal(model):
    with pytest.raises(RuntimeError) as caught:
        load(model)
    return str(caught.value)


def test_weights_that_may_change_are_refused():
    given = cases.arguments((1, 1, 3, 5), dtype="float32")
    function = traced(lambda **now: egru(given | now)[0], {"recurrent_kernel": given["recurrent_kernel"]})
    assert "`recurrent_kernel` must be a constant of the model" in refusal(converted(function))


def test_a_model_that_was_traced_for_training_is_refused():
    assert "export one that was called with training=False" in refusal(converted(small(training=True)[0]))


def test_a_model_of_doubles_is_refused():
    given = cases.arguments((1, 1, 3, 5), dtype="float64")
    function = traced(lambda inputs: egru(given | {"inputs": inputs})[0], {"inputs": given["inputs"]})
    assert "the op computes in float32 on a device" in refusal(converted(function))


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            b"\tthreshold\0",
            b"\tthreshxld\0",
            "`reset` must be one of 'threshold', 'subtract', 'zero', received 'threshxld'",
        ),
        (b"\0surrogate_width\0", b"\0surrogate_wixth\0", "the attribute `surrogate_wixth` is unknown"),
        (b"\0all_y\0", b"\0al\xff\ny\0", "the attribute `al??y` is unknown"),
    ],
    ids=["a newer value", "a newer attribute", "damaged"],
)
def test_altered_attributes_are_refused(small_model, before, after, sentence):
    assert small_model.count(before) == 1
    assert sentence in refusal(small_model.replace(before, after))


def test_another_library_than_litert_is_refused():
    op = ctypes.CDLL(str(litert_op.library()))
    register = op.KerasEgruRegisterOps
    register.restype, register.argtypes = ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_void_p)
    assert register(None, None) == b"the keras-egru op needs a LiteRtEnvironment, received null."
    assert b"needs LiteRT 2.1 or later" in register(1, op._handle)  # a library that is not LiteRT
