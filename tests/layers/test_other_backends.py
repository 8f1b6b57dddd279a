"""The layers on Keras's other backends, each in a process of its own, against numbers from this one."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from keras_egru import EGRU, ExponentialTrace

SCRIPT = """
import json, sys
import keras, numpy as np
from keras_egru import EGRU, EGRUCell, ExponentialTrace

case = np.load(sys.argv[1])
x, mask = case["x"], case["mask"]
results = {"backend": keras.backend.backend()}
for reset, reset_after in (("threshold", True), ("subtract", False)):
    key = f"{reset}-{reset_after}"
    weights = [case[f"{key}-{i}"] for i in range(4)]
    options = {"reset": reset, "reset_after": reset_after}
    egru = EGRU(5, return_sequences=True, go_backwards=True, **options)
    rnn = keras.layers.RNN(EGRUCell(5, **options), return_sequences=True, go_backwards=True)
    for name, layer in {"egru": egru, "rnn": rnn}.items():
        layer.build(x.shape)
        layer.set_weights(weights)
        results[f"{name}-{key}"] = keras.ops.convert_to_numpy(layer(x, mask=mask)).tolist()
        (layer if name == "egru" else layer.cell).quantize("int8")
        results[f"{name}-{key}-int8"] = keras.ops.convert_to_numpy(layer(x, mask=mask)).tolist()
for name, sequence in {"trace": True, "last trace": False}.items():
    trace = ExponentialTrace(4.0, trainable_time_constant=True, return_sequences=sequence)(x, mask=mask)
    results[name] = keras.ops.convert_to_numpy(trace).tolist()

for name, rates in {
    "plain": {},
    "regularized": dict.fromkeys(["dropout", "dropconnect", "zoneout", "output_dropout", "recurrent_dropout"], 0.1),
}.items():
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            EGRU(8, threshold_trainable=True, return_sequences=True, **rates),
            ExponentialTrace(trainable_time_constant=True),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    before = model.get_weights()
    results[f"{name} losses"] = model.fit(x, np.ones((len(x), 1)), epochs=5, verbose=0).history["loss"]
    results[f"{name} moved"] = [bool(np.any(a != b)) for a, b in zip(before, model.get_weights())]

try:
    EGRU(3, implementation="fused")
except RuntimeError as error:
    results["fused"] = str(error)
try:
    EGRU(3)(np.zeros((2, 3, 4), "int32"))
except TypeError as error:
    results["integers"] = str(error)
checkpointed = EGRU(3, checkpoint_steps=2)
results["inference"] = list(checkpointed(x).shape)
try:
    checkpointed(x, training=True)
except RuntimeError as error:
    results["checkpoints"] = str(error)
poisoned = x.copy()
poisoned[0, 0, 0] = np.nan
try:
    EGRU(3, validate_inputs=True)(poisoned)
except ValueError as error:
    results["nan"] = str(error)
zoneout = keras.layers.RNN(EGRUCell(3, zoneout=0.5))
try:
    zoneout(x, training=True)
except NotImplementedError as error:
    results["zoneout"] = str(error)
json.dump(results, sys.stdout)
"""


@pytest.fixture
def case(tmp_path, sequences, mask):
    """Weights, inputs and this process's outputs of the reference; the file that carries the first two."""
    arrays, expected = {"x": sequences.astype("float32"), "mask": mask}, {}
    for reset, reset_after in (("threshold", True), ("subtract", False)):
        key = f"{reset}-{reset_after}"
        layer = EGRU(
            5,
            reset=reset,
            reset_after=reset_after,
            bias_initializer="random_normal",
            return_sequences=True,
            go_backwards=True,
            implementation="reference",
        )
        expected[f"egru-{key}"] = expected[f"rnn-{key}"] = np.asarray(layer(arrays["x"], mask=mask))
        assert np.any(expected[f"egru-{key}"] != 0)
        arrays |= {f"{key}-{i}": weight for i, weight in enumerate(layer.get_weights())}
        layer.quantize("int8")
        expected[f"egru-{key}-int8"] = expected[f"rnn-{key}-int8"] = np.asarray(layer(arrays["x"], mask=mask))
    expected["trace"] = np.asarray(ExponentialTrace(4.0, return_sequences=True)(arrays["x"], mask=mask))
    expected["last trace"] = expected["trace"][:, -1]
    path = tmp_path / "case.npz"
    np.savez(path, **arrays)
    return path, expected


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_layers_train_and_give_the_same_numbers(backend, case):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    path, expected = case
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    results = json.loads(run.stdout.splitlines()[-1])
    assert results["backend"] == backend
    for name, values in expected.items():
        # Float32 products summed in another order.
        assert_allclose(results[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    assert results["plain losses"][-1] < results["plain losses"][0]
    assert all(results["plain moved"])
    assert np.all(np.isfinite(results["regularized losses"]))
    assert all(results["regularized moved"])
    assert "TensorFlow backend" in results["fused"]
    assert "floating-point type, received int32" in results["integers"]
    assert results["inference"] == [4, 3]
    assert "`checkpoint_steps` needs Keras's TensorFlow backend" in results["checkpoints"]
    assert "holds NaN or Inf" in results["nan"]
    if backend == "jax":
        assert "use `keras_egru.EGRU`" in results["zoneout"]


def test_this_process_runs_tensorflow():
    """The numbers above are the reference of the TensorFlow backend."""
    assert keras.backend.backend() == "tensorflow"
