"""The spiking layers on Keras's other backends, each in a process of its own, against numbers from this one."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from keras_egru import EventLIF, LeakyReadout
from keras_egru.sparsity import SpikeRate

OPTIONS = {
    "surrogate": {"reset": "zero", "recurrent": True, "refractory": 2.0},
    "eventprop": {"tau_syn": 5.0, "gradient": "eventprop", "recurrent": True, "refractory": 1.0},
}

SCRIPT = """
import json, sys
import keras, numpy as np
from keras_egru import EventLIF, EventLIFCell, LeakyReadout
from keras_egru.sparsity import SpikeRate

case, options = np.load(sys.argv[1]), json.loads(sys.argv[2])
x, mask = case["x"], case["mask"]
results = {"backend": keras.backend.backend()}

for name, kind in options.items():
    layer = EventLIF(8, tau_mem=8.0, return_sequences=True, return_state=True, go_backwards=True, **kind)
    layer.build(x.shape)
    layer.set_weights([case[f"{name}-{i}"] for i in range(2)])
    y, *state = layer(x, mask=mask)
    results[name] = keras.ops.convert_to_numpy(y).tolist()
    results[f"{name} state"] = [keras.ops.convert_to_numpy(part).tolist() for part in state]
    masked = keras.layers.Masking(-1.0)(np.where(mask[:, :, None], x, -1.0).astype("float32"))
    for call in ({}, {"initial_state": layer.get_initial_state(len(x))}):
        # Arrays of JAX hold no attributes; Keras keeps their masks elsewhere.
        key = f"{name} masked" + (" from a state" if call else "")
        results[key] = keras.ops.convert_to_numpy(layer(masked, **call)[0]).tolist()
    results[f"{name} jit"] = layer.supports_jit and LeakyReadout(2).supports_jit
    rnn = keras.layers.RNN(EventLIFCell(8, tau_mem=8.0, **kind), go_backwards=True, return_state=True)
    rnn.build(x.shape)
    rnn.set_weights(layer.get_weights())
    results[f"{name} rnn state"] = [keras.ops.convert_to_numpy(part).tolist() for part in rnn(x, mask=mask)[1:]]

    # One step of plain gradient descent: what the weights move by is the gradient.
    rate = SpikeRate(1.0, 1e-2) if name == "eventprop" else None
    trained = {"tau_mem": 8.0, "return_sequences": True, "train_time_constants": True, "rate_regularizer": rate}
    readout = LeakyReadout(2, "sum_exp", tau_mem=8.0, tau_syn=kind.get("tau_syn"))
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), EventLIF(8, **trained, **kind), EventLIF(6, **trained, **kind), readout]
    )
    weights = [case[key] for key in case.files if key.startswith(f"{name} network")]
    model.set_weights(weights)
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    model.fit(x, np.ones((len(x), 2)), batch_size=len(x), verbose=0)
    moves = [(before - after) * 1e3 for before, after in zip(weights, model.get_weights())]
    results[f"{name} gradients"] = [move.tolist() for move in moves]

for layer in (EventLIF, LeakyReadout):
    try:
        layer(3, implementation="fused")
    except RuntimeError as error:
        results[f"fused {layer.__name__}"] = str(error)
poisoned = x.copy()
poisoned[0, 0, 0] = np.nan
try:
    EventLIF(3, validate_inputs=True)(poisoned)
except ValueError as error:
    results["nan"] = str(error)
json.dump(results, sys.stdout)
"""


@pytest.fixture
def case(tmp_path, spikes, spike_mask):
    """Weights, inputs and this process's results of the reference; the file that carries the first two."""
    tf = pytest.importorskip("tensorflow")
    arrays, expected = {"x": spikes.astype("float32"), "mask": spike_mask}, {}
    for name, kind in OPTIONS.items():
        scale = 3.0 if "tau_syn" in kind else 1.0
        options = {
            "tau_mem": 8.0, "kernel_initializer": keras.initializers.RandomUniform(-0.1 * scale, 0.6 * scale),
            "implementation": "reference", "return_sequences": True, **kind,
        }  # fmt: skip
        layer = EventLIF(8, return_state=True, go_backwards=True, **options)
        y, *state = layer(arrays["x"], mask=spike_mask)
        assert np.any(np.asarray(y) != 0)
        expected[name] = expected[f"{name} masked"] = expected[f"{name} masked from a state"] = np.asarray(y)
        expected[f"{name} state"] = expected[f"{name} rnn state"] = np.stack(state)
        arrays |= {f"{name}-{i}": weight for i, weight in enumerate(layer.get_weights())}
        readout = LeakyReadout(2, "sum_exp", tau_mem=8.0, tau_syn=kind.get("tau_syn"), implementation="reference")
        rate = SpikeRate(1.0, 1e-2) if name == "eventprop" else None
        options |= {"train_time_constants": True, "rate_regularizer": rate}
        model = keras.Sequential([keras.Input((12, 6)), EventLIF(8, **options), EventLIF(6, **options), readout])
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(arrays["x"], training=True) - 1.0) ** 2) + sum(model.losses)
        gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
        expected[f"{name} gradients"] = [np.asarray(gradient) for gradient in gradients]
        assert all(np.any(gradient != 0) for gradient in expected[f"{name} gradients"])
        arrays |= {f"{name} network-{i}": weight for i, weight in enumerate(model.get_weights())}
    path = tmp_path / "case.npz"
    np.savez(path, **arrays)
    return path, expected


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_layers_give_the_same_numbers_and_gradients(backend, case):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    path, expected = case
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), json.dumps(OPTIONS)],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    results = json.loads(run.stdout.splitlines()[-1])
    assert results["backend"] == backend
    for name, values in expected.items():
        for ours, theirs in zip(results[name], values, strict=True):
            # Float32 products summed in another order, and a difference of weights of the order of 10, times 1,000.
            bound = 2e-3 if name.endswith("gradients") else 1e-5
            assert_allclose(ours, theirs, rtol=1e-4, atol=bound * max(np.max(np.abs(theirs)), 1.0), err_msg=name)
    assert results["surrogate jit"] is results["eventprop jit"] is True
    assert "TensorFlow backend" in results["fused EventLIF"]
    assert "TensorFlow backend" in results["fused LeakyReadout"]
    assert "holds NaN or Inf" in results["nan"]
