"""The C++ example of the LiteRT op: built, and run on a recording of events."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
ai_edge_litert = pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed.")
import keras  # noqa: E402

from keras_egru.export import litert_op  # noqa: E402
from keras_egru.ops import fused_egru, library  # noqa: E402
from keras_egru.surrogates import Triangular  # noqa: E402
from tests.ops import cases  # noqa: E402

ROOT = Path(__file__).parents[2]
RUNTIME = Path(ai_edge_litert.__file__).parent / "libLiteRt.so"
pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="The models come from TensorFlow."),
    pytest.mark.skipif(library.why_not() is not None, reason="The TensorFlow op is not built."),
    pytest.mark.skipif(not (ROOT / "keras_egru/export" / litert_op.LIBRARY).is_file(), reason="The op is not built."),
    pytest.mark.skipif(not RUNTIME.is_file(), reason="This ai_edge_litert has no libLiteRt.so."),
]


@pytest.fixture(scope="module")
def event_stream(tmp_path_factory):
    """The built C++ example."""
    for tool in ("cmake", "g++"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed.")
    build = tmp_path_factory.mktemp("example")
    options = ["-DKERAS_EGRU_BUILD_OP=OFF", "-DKERAS_EGRU_BUILD_EXAMPLES=ON"]
    subprocess.run(["cmake", "-S", str(ROOT), "-B", str(build), *options], check=True, capture_output=True)
    done = subprocess.run(["cmake", "--build", str(build), "--target", "event_stream"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return build / "event_stream"


OPTIONS = {"mask": None, "zoneout": None, "reset": "threshold", "reset_after": True, "training": False, "keep": ()}
OPTIONS["surrogate"] = Triangular(0.7, 1.0)


def streaming_model(features, folder):
    """A model of one EGRU and a read-out, with `init` and `step`."""
    given = cases.arguments((1, 1, features, 12), dtype="float32")
    readout = tf.constant(np.random.default_rng(5).normal(size=(12, 10)), "float32")

    def step(input, egru_y, egru_c):
        state = {"inputs": input[:, None], "initial_y": egru_y, "initial_c": egru_c}
        y, c, _ = fused_egru.run(**(given | state), **OPTIONS)
        return {"output": y[:, 0] @ readout, "egru_y": y[:, 0], "egru_c": c[:, 0]}

    def init():
        return {"egru_y": tf.zeros([1, 12]), "egru_c": tf.zeros([1, 12])}

    inputs = {"input": np.zeros((1, features)), "egru_y": np.zeros((1, 12)), "egru_c": np.zeros((1, 12))}
    specs = [tf.TensorSpec(value.shape, "float32", name=name) for name, value in inputs.items()]
    module = tf.Module()
    module.step = tf.function(step, autograph=False, input_signature=specs)
    module.init = tf.function(init, autograph=False, input_signature=[])
    tf.saved_model.save(module, str(folder), signatures={"step": module.step, "init": module.init})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=["step", "init"])
    converter.allow_custom_ops = True
    return converter.convert()


@pytest.mark.parametrize("planes", [1, 2])
def test_the_example_streams_a_recording_from_c(event_stream, planes, tmp_path):
    rng = np.random.default_rng(6)
    x, y, on = rng.integers(0, 34, 400), rng.integers(0, 34, 400), rng.integers(0, 2, 400)
    times = np.sort(rng.integers(0, 90_000, 400))  # microseconds
    recording = np.stack([x, y, on << 7 | times >> 16, times >> 8 & 255, times & 255], axis=1).astype("uint8")
    recording.tofile(tmp_path / "recording.bin")
    model = streaming_model(planes * 34 * 34, tmp_path / "saved")
    (tmp_path / "model.tflite").write_bytes(model)
    program = [str(event_stream), str(RUNTIME), str(litert_op.library())]
    files = [str(tmp_path / "model.tflite"), str(tmp_path / "recording.bin")]
    done = subprocess.run([*program, *files, "20"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    interpreter = litert_op.interpreter(model)
    state, step = interpreter.get_signature_runner("init")(), interpreter.get_signature_runner("step")
    frames = np.zeros((times.max() // 20_000 + 1, 1, planes * 34 * 34), "float32")
    frames[times // 20_000, 0, (on * 34 * 34 if planes == 2 else 0) + 34 * y + x] = 1
    for frame in frames:
        results = step(input=frame, **state)
        output = results.pop("output")
        state = results
    lines = {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines())}
    np.testing.assert_allclose(np.array(lines["scores"], float), output[0], rtol=1e-3, atol=1e-4)
    assert lines["class"] == [str(output.argmax())]
    assert lines["steps"] == [str(len(frames))]
    assert lines["median"][:-1] == ["microseconds", "a", "step"]


def test_the_example_says_in_a_sentence_what_it_lacks(event_stream, tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"no model")
    (tmp_path / "short.bin").write_bytes(b"1234")

    def error(*arguments):
        done = subprocess.run([str(event_stream), *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 1
        return done.stderr

    model, recording = tmp_path / "model.tflite", tmp_path / "short.bin"
    assert "usage: event_stream LITERT OP MODEL" in error()
    assert "absent.so" in error("absent.so", litert_op.library(), model, recording)
    assert "is not the library of keras-egru" in error(RUNTIME, RUNTIME, model, recording)
    assert "LiteRtCreateModelFromFile failed with status" in error(RUNTIME, litert_op.library(), model, recording)
    model.write_bytes(streaming_model(34, tmp_path / "saved"))
    assert "`input` must be 1156 or 2312 numbers" in error(RUNTIME, litert_op.library(), model, recording)
    model.write_bytes(streaming_model(34 * 34, tmp_path / "fitting"))
    assert "is no recording of events of 5 bytes" in error(RUNTIME, litert_op.library(), model, recording)
