"""The reference of the influence on Keras's other backends, in a process of its own, against numbers from this one."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

SCRIPT = """
import json
import keras, numpy as np
from tests.ops.influence_cases import MASK, egru, gradient_of, thresholded

found = {"backend": keras.backend.backend()}
for name, layer in {"after": egru(), "before": egru(reset_after=False), "thresholded": thresholded()}.items():
    rng = np.random.default_rng(3)
    layer.set_weights([rng.uniform(0.1, 0.9, weight.shape) - 0.3 * (weight.ndim > 1) for weight in layer.get_weights()])
    found[name] = np.asarray(gradient_of(layer, MASK)).tolist()
print(json.dumps(found))
"""


def _gradients(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    found = json.loads(process.stdout.splitlines()[-1])
    assert found.pop("backend") == backend
    return found


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_reference_is_the_same_on_other_backends(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    expected = _gradients("tensorflow")
    for name, gradient in _gradients(backend).items():
        assert np.any(np.asarray(expected[name]) != 0)
        # JAX computes in float32 unless it is told otherwise.
        assert_allclose(gradient, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
