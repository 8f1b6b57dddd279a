"""Trains on one device and on two logical CPUs, and prints how the results differ; see test_two_replicas.py.

It is a process of its own, since CPUs are split before TensorFlow does anything.
"""

import json

import keras
import numpy as np
import tensorflow as tf

from keras_egru import EGRU, EventLIF, ExponentialTrace, LeakyReadout, pruning
from keras_egru.sparsity import SparsityMonitor, SpikeRate, TargetRate

STEPS, FEATURES, BATCH = 10, 4, 8

[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
ONE, TWO = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

generator = np.random.default_rng(0)
X = (generator.random((4 * BATCH, STEPS, FEATURES)) < 0.3).astype("float32")
Y = (X.mean(axis=(1, 2)) > 0.3).astype("int32")
SPIKING = {"kernel_initializer": keras.initializers.RandomNormal(1.0, 0.5, seed=2), "return_sequences": True}


def egru():
    return [EGRU(8, return_sequences=True), ExponentialTrace(time_constant=5.0), keras.layers.Dense(2)]


def surrogate():
    return [EventLIF(8, recurrent=True, **SPIKING), LeakyReadout(2, readout="last")]


def eventprop():
    hidden = EventLIF(8, tau_syn=5.0, tau_mem=10.0, gradient="eventprop", **SPIKING)
    return [hidden, LeakyReadout(2, tau_syn=5.0, kernel_initializer=keras.initializers.RandomNormal(0.0, 1.0, seed=2))]


def spiking_and_egru(rate_regularizer=None, state_regularizer=None):
    hidden = EventLIF(8, tau_syn=5.0, gradient="eventprop", rate_regularizer=rate_regularizer, **SPIKING)
    return [hidden, EGRU(8, state_regularizer=state_regularizer), keras.layers.Dense(2)]


def penalised():
    return spiking_and_egru(SpikeRate(target=2.0, strength=1e-3), TargetRate())


def built(strategy, layers, prepare=None):
    """Plain gradient descent, since it shows a gradient of the wrong size."""
    keras.utils.set_random_seed(3)
    with strategy.scope():
        model = keras.Sequential([keras.Input((STEPS, FEATURES)), *layers()])
        model = model if prepare is None else prepare(model)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    return model


def fit(model, samples=slice(None), callbacks=()):
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0, "callbacks": list(callbacks)}
    return {name: values[0] for name, values in model.fit(X[samples], Y[samples], **options).history.items()}


def replicas_agree(model):
    copies = [[copy.numpy() for copy in variable.value.values] for variable in model.variables]
    return all(len(values) == 2 and np.array_equal(*values) for values in copies)


def difference(weights, others):
    return max(float(np.max(np.abs(a - b))) for a, b in zip(weights, others, strict=True))


def compared(layers, prepare=None, callbacks=tuple):
    """An epoch on one device and on two replicas."""
    one, two = (built(strategy, layers, prepare) for strategy in (ONE, TWO))
    before = one.get_weights()
    (expected, found) = (fit(model, callbacks=callbacks()) for model in (one, two))
    masks = [
        [variable.numpy() for variable in model.weights if variable.name.endswith("_mask")] for model in (one, two)
    ]
    return {
        "moved": difference(before, one.get_weights()),
        "difference": difference(one.get_weights(), two.get_weights()),
        "logs": [expected, found],
        "replicas agree": replicas_agree(two),
        "masks agree": all(np.array_equal(a, b) for a, b in zip(*masks, strict=True)),
        "zeros": [float(np.mean(mask == 0)) for mask in masks[1]],
    }


def one_sample_too_many(layers):
    """The last batch leaves a replica empty. As Keras means over replicas, its only sample counts half."""
    one, two = built(ONE, layers), built(TWO, layers)
    fit(two, slice(BATCH + 1))
    fit(one, slice(BATCH))
    one.optimizer.learning_rate = 0.05
    before = one.get_weights()
    fit(one, slice(BATCH, BATCH + 1))
    return {
        "moved": difference(before, one.get_weights()),
        "difference": difference(one.get_weights(), two.get_weights()),
        "replicas agree": replicas_agree(two),
        "predicted": two.predict(X[: BATCH + 1], batch_size=BATCH, verbose=0).shape,
    }


def without_a_sample(layers):
    """Shapes and gradients where a replica's part of a batch is empty, and known to be."""
    with TWO.scope():
        model = keras.Sequential([keras.Input((STEPS, FEATURES)), *layers()])

    def replica():
        with tf.GradientTape() as tape:
            outputs = model(tf.zeros([0, STEPS, FEATURES]), training=True)
            loss = tf.reduce_sum(outputs)
        return outputs, tape.gradient(loss, model.trainable_variables)

    outputs, gradients = TWO.run(replica)
    first = [TWO.experimental_local_results(gradient)[0].numpy() for gradient in gradients]
    return {
        "shape": TWO.experimental_local_results(outputs)[0].shape.as_list(),
        "zero": not any(np.any(gradient) for gradient in first),
    }


def dropped():
    rates = {"dropout": 0.3, "output_dropout": 0.3, "dropconnect": 0.3, "zoneout": 0.3, "seed": 1}
    model = built(TWO, lambda: [EGRU(8, **rates), keras.layers.Dense(2)])
    logs = fit(model)
    layer = model.layers[0]
    run = tf.function(lambda: TWO.run(lambda: layer(X[:1], training=True)))
    draws = [[part.numpy().tolist() for part in TWO.experimental_local_results(run())] for _ in range(4)]
    return {"loss": logs["loss"], "replicas agree": replicas_agree(model), "draws": draws}


def stateful():
    """Each replica keeps the states of its own samples."""
    states = []
    for strategy, batch in ((ONE, BATCH), (TWO, BATCH // 2)):
        keras.utils.set_random_seed(3)
        with strategy.scope():
            recurrent = EGRU(8, stateful=True)
            model = keras.Sequential([keras.Input(batch_shape=(batch, STEPS, FEATURES)), recurrent])
            model.compile(keras.optimizers.SGD(0.0), "mse")
        model.fit(X, np.zeros((len(X), 8)), batch_size=BATCH, shuffle=False, verbose=0)
        parts = [strategy.experimental_local_results(state.value) for state in recurrent.states]
        states.append([np.concatenate([part.numpy() for part in of_state]) for of_state in parts])
    return difference(*states)


def quantized():
    outputs = []
    for strategy in (ONE, TWO):
        model = built(strategy, lambda: [EGRU(8)])
        with strategy.scope():
            model.layers[0].quantize("int8")
        outputs.append(model.predict(X, batch_size=BATCH, verbose=0))
    return difference(*outputs)


print(
    json.dumps(
        {
            "compared": {
                "EGRU": compared(egru, callbacks=lambda: [SparsityMonitor(X[:BATCH])]),
                "EventLIF, surrogate": compared(surrogate),
                "EventLIF, Eventprop": compared(eventprop),
                "RigL": compared(
                    egru,
                    lambda model: pruning.random_mask(model, 0.5, seed=1),
                    lambda: [pruning.RigL((X, Y), end_step=100, interval=2, seed=1)],
                ),
                "DeepRewiring": compared(
                    egru,
                    lambda model: pruning.random_mask(model, 0.5, seed=1, signed=True),
                    lambda: [pruning.DeepRewiring(l1=0.1, seed=1)],
                ),
            },
            "one sample too many": one_sample_too_many(spiking_and_egru),
            "penalised": fit(built(TWO, penalised), slice(BATCH + 1)),
            "without a sample": {
                "EGRU": without_a_sample(egru),
                "surrogate": without_a_sample(surrogate),
                "eventprop": without_a_sample(eventprop),
            },
            "dropped": dropped(),
            "stateful": stateful(),
            "quantized": quantized(),
        }
    )
)
