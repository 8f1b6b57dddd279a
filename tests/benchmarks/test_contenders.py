"""All contenders compute what they should: the peers the same GRU, the forms of our layer the same EGRU."""

import sys

import numpy as np
import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.imposed import egru_with_sparsity
from benchmarks.speed_cases import MODES
from benchmarks.workload import Workload, workload_for
from keras_egru.ops import fused_egru

pytestmark = pytest.mark.skipif(
    fused_egru.why_not() is not None, reason=f"the custom op cannot run: {fused_egru.why_not()}"
)
BATCH, STEPS, FEATURES, UNITS = 3, 11, 5, 24


@pytest.fixture(scope="module")
def workload():
    inputs = np.random.default_rng(1).normal(size=(BATCH, STEPS, FEATURES)).astype("float32")
    layer = egru_with_sparsity(UNITS, inputs, 0.6, 0.3, implementation="fused").layer
    return workload_for(layer, inputs)


def called(name, workload, mode):
    call = CONTENDERS[name](workload, mode)
    if call is None:
        pytest.skip(f"{name} is not installed or does not know {mode}")
    return call()


def as_arrays(tensors):
    return [np.asarray(tensor) for tensor in tensors]


@pytest.mark.parametrize("name", ["torch_gru", "onnxruntime_gru"])
def test_the_peers_compute_the_outputs_of_the_keras_gru(workload, name):
    expected = np.asarray(called("keras_gru", workload, "inference"))
    outputs = called(name, workload, "inference")
    if name == "onnxruntime_gru":
        outputs = np.swapaxes(outputs[0][:, 0], 0, 1)
    assert expected.shape == (BATCH, STEPS, UNITS)
    np.testing.assert_allclose(np.asarray(outputs), expected, atol=1e-5)


def test_torch_computes_the_gradients_of_the_keras_gru(workload):
    kernel, recurrent_kernel, bias = as_arrays(called("keras_gru", workload, "training"))
    gradients = as_arrays(called("torch_gru", workload, "training"))

    def r_first(gradient):
        z, r, h = np.split(gradient, 3, axis=-1)
        return np.concatenate([r, z, h], axis=-1)

    expected = [r_first(kernel).T, r_first(recurrent_kernel).T, *r_first(bias)]
    for gradient, wanted in zip(gradients, expected, strict=True):
        # Sums of some hundred float32 products.
        np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-4)


def test_the_keras_gru_computes_the_equations_of_a_gru(workload):
    kernel, recurrent_kernel, bias = workload.gru
    h, steps = np.zeros((BATCH, UNITS), "float64"), []
    for t in range(STEPS):
        x_z, x_r, x_h = np.split(workload.inputs[:, t] @ kernel + bias[0], 3, axis=-1)
        h_z, h_r, h_h = np.split(h @ recurrent_kernel + bias[1], 3, axis=-1)
        z, r = 1 / (1 + np.exp(-x_z - h_z)), 1 / (1 + np.exp(-x_r - h_r))
        h = z * h + (1 - z) * np.tanh(x_h + r * h_h)
        steps.append(h)
    np.testing.assert_allclose(called("keras_gru", workload, "inference"), np.stack(steps, axis=1), atol=1e-5)


@pytest.mark.parametrize("name", ["ours_dense", "reference_cell"])
def test_every_form_of_our_layer_computes_the_same_outputs_and_gradients(workload, name):
    expected = np.asarray(called("ours", workload, "inference"))
    assert 0.5 < np.mean(expected == 0) < 0.7
    np.testing.assert_allclose(called(name, workload, "inference"), expected, atol=1e-5)
    for gradient, wanted in zip(
        as_arrays(called(name, workload, "training")), as_arrays(called("ours", workload, "training")), strict=True
    ):
        assert np.any(wanted != 0)
        np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-4)


def test_weights_stored_in_8_bits_compute_nearly_the_same_and_only_in_inference(workload):
    assert CONTENDERS["ours_int8"](workload, "training") is None
    exact, rounded = (np.asarray(called(name, workload, "inference")) for name in ("ours", "ours_int8"))
    # An entry near its threshold may fall to the other side of it; most do not.
    assert np.mean((exact != 0) == (rounded != 0)) > 0.9


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["torch_gru", "onnxruntime_gru"])
def test_a_peer_that_is_missing_has_no_call(workload, name, mode, monkeypatch):
    for module in ("torch", "onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    assert CONTENDERS[name](workload, mode) is None


def test_a_workload_survives_its_file(workload, tmp_path):
    workload.save(tmp_path / "workload.npz")
    loaded = Workload.load(tmp_path / "workload.npz")
    assert loaded.width == workload.width
    assert [len(loaded.gru), len(loaded.egru)] == [3, 4]
    for name in ("inputs", "grad"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(workload, name))
    for mine, theirs in zip((*loaded.gru, *loaded.egru), (*workload.gru, *workload.egru), strict=True):
        np.testing.assert_array_equal(mine, theirs)
