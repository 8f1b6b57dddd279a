"""The reference of the influence on Keras's other backends, in a process of its own, against numbers from this one."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.ops.influence_cases import MASK, egru, gradient_of, thresholded

SCRIPT = """
import json
from tests.ops.test_influence_on_other_backends import gradients

print(json.dumps(gradients()))
"""


def gradients():
    """Of three layers, by name, and the backend that computed them."""
    found = {"backend": keras.backend.backend()}
    for name, layer in {"after": egru(), "before": egru(reset_after=False), "thresholded": thresholded()}.items():
        rng = np.random.default_rng(3)
        layer.set_weights([rng.uniform(0.1, 0.9, old.shape) - 0.3 * (old.ndim > 1) for old in layer.get_weights()])
        found[name] = np.asarray(gradient_of(layer, MASK)).tolist()
    return found


def _gradients_on(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_reference_is_the_same_on_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    expected, found = gradients(), _gradients_on(backend)
    assert (expected.pop("backend"), found.pop("backend")) == ("tensorflow", backend)
    for name, gradient in found.items():
        assert np.any(np.asarray(expected[name]) != 0)
        # JAX computes in float32 unless it is told otherwise.
        assert_allclose(gradient, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
