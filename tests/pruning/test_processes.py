"""What needs a process of its own: what loading tfmot does to it, and MirroredStrategy on two logical CPUs."""

import json
import os
import subprocess
import sys

import pytest

TRAINING = """
import json, os, sys
import keras, numpy as np, tensorflow as tf
from keras_egru import pruning

def is_loaded(package):
    return any(name.partition(".")[0] == package for name in sys.modules)

loaded_late = not is_loaded("tensorflow_model_optimization")
pruning.ConstantSparsity
report = {
    "loaded late": loaded_late and is_loaded("tensorflow_model_optimization"),
    "environment": os.environ.get("TF_USE_LEGACY_KERAS"),
    "tf.keras": tf.keras.__version__ == keras.__version__,
}
import tensorflow_model_optimization as tfmot
report["one class"] = tfmot.sparsity.keras.PolynomialDecay is pruning.PolynomialDecay

[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
random = np.random.default_rng(0)
inputs, targets = random.normal(size=(32, 4)), random.normal(size=(32, 5))

def trained(strategy, callbacks):
    keras.utils.set_random_seed(3)
    with strategy.scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
        model = pruning.prune_low_magnitude(model, pruning.PolynomialDecay(0.2, 0.8, 1, 5, frequency=2))
        model.compile(keras.optimizers.Adam(0.05, use_ema=True), "mse")
    model.fit(inputs, targets, batch_size=8, verbose=0, shuffle=False, callbacks=callbacks)
    return model.layers[0]

one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
expected, layer = (trained(strategy, [pruning.UpdatePruningStep()]) for strategy in (one, two))
[pair], [expected_pair] = layer.masks, expected.masks
weight, mask = pair.weight.numpy(), pair.mask.numpy()
replicas = [variable.value.values for variable in (pair.weight, pair.mask, pair.threshold, pair.step)]
report |= {
    "step": int(layer.pruning_step.numpy()),
    "sparsity": 1 - float(mask.mean()),
    "the mask is that of one device": bool(np.all(mask == expected_pair.mask.numpy())),
    "weights are masked": bool(np.all(weight[mask == 0] == 0)),
    "replicas agree": all(bool(np.all(first.numpy() == second.numpy())) for first, second in replicas),
}
try:
    trained(two, [])
except RuntimeError as error:
    report["refused"] = str(error)
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report():
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    command = [sys.executable, "-c", TRAINING]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_tfmot_is_loaded_late_and_leaves_the_process_as_it_was(report):
    assert report["loaded late"]
    assert report["environment"] is None
    assert report["tf.keras"], "tf.keras is Keras 2 now"
    assert report["one class"]


def test_replicas_have_the_mask_of_one_device(report):
    assert report["step"] == 4
    assert report["sparsity"] == pytest.approx(0.8)
    assert report["the mask is that of one device"]
    assert report["weights are masked"]
    assert report["replicas agree"]


def test_training_without_the_callback_is_refused_in_replicas(report):
    assert "without the callback keras_egru.pruning.UpdatePruningStep()" in report["refused"]
