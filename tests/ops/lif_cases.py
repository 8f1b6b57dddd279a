"""Cases of `lif_sequence` and their gradients, for tests of both implementations."""

import numpy as np
import tensorflow as tf

from keras_egru.ops import LIFState, decays, lif_sequence

NAMES = ("inputs", "kernel", "recurrent_kernel", "tau_mem", "tau_syn", "v", "i")


def arguments(shape, *, current=True, recurrent=True, refractory=0, masked=False, density=0.3, seed=0, dtype="float64"):
    """Tensors by name for `shape`, (batch, time, features, units): some units fire, some are refractory at first."""
    batch, time, features, units = shape
    rng = np.random.default_rng(seed)

    def tensor(values):
        return tf.constant(np.asarray(values, dtype))

    scale = 1.5 if current else 1.0
    return {
        "inputs": tensor(rng.random((batch, time, features)) < density),
        "kernel": tensor(scale * rng.normal(0.15, 0.4, (features, units))),
        "recurrent_kernel": tensor(rng.normal(0, 0.3, (units, units))) if recurrent else None,
        "tau_mem": tensor(rng.uniform(5, 20, units)),
        "tau_syn": tensor(rng.uniform(2, 30, units)) if current else None,
        "v": tensor(rng.uniform(0, 1.3, (batch, units))),
        "i": tensor(rng.normal(0, 0.1, (batch, units))) if current else None,
        "y": tensor(rng.random((batch, units)) < 0.3),
        "wait": tensor(rng.integers(0, refractory + 1, (batch, units))) if refractory else None,
        "mask": tf.constant(rng.random((batch, time)) < 0.7) if masked else None,
        "weights_y": tensor(rng.normal(size=(batch, time, units))),
        "weights_v": tensor(rng.normal(0, 0.1, (batch, time, units))),
        "weights_i": tensor(rng.normal(size=(batch, units))),
    }


def values_and_gradients(given, *, all_v=True, training=True, **options):
    """What `lif_sequence` returns of `given`, and the gradients of a weighted sum of it, by name."""
    watched = {name: given[name] for name in NAMES if given[name] is not None}
    with tf.GradientTape() as tape:
        tape.watch(list(watched.values()))
        result = lif_sequence(
            given["inputs"],
            LIFState(given["v"], given["i"], given["y"], given["wait"]),
            given["kernel"],
            given["recurrent_kernel"],
            decays(given["tau_mem"], given["tau_syn"], 1.0),
            mask=given["mask"],
            train_decays=True,
            all_v=all_v,
            training=training,
            **options,
        )
        loss = tf.reduce_sum(result.v * given["weights_v"][:, -result.v.shape[1] :])
        if result.y is not None:
            loss += tf.reduce_sum(result.y * given["weights_y"])
        if given["i"] is not None:
            loss += tf.reduce_sum(result.state.i * given["weights_i"])
        if result.penalty is not None:
            loss += result.penalty
    gradients = tape.gradient(loss, list(watched.values()))
    values = {"y": result.y, "v": result.v, **{f"last {k}": s for k, s in result.state._asdict().items()}}
    found = {name: value for name, value in values.items() if value is not None}
    return found | {f"gradient of {name}": g for name, g in zip(watched, gradients, strict=True) if g is not None}


def largest_error(actual, expected):
    """The largest difference, as a share of the largest expected number."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    return np.max(np.abs(actual - expected)) / max(np.max(np.abs(expected)), 1e-30) if expected.size else 0.0
