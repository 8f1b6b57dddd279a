"""Empty batches, as a replica gets one at the end of an epoch: layers take them as `keras.layers.GRU` does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_egru
from keras_egru.ops import library
from keras_egru.sparsity import EventRate, SpikeRate, TargetRate

STEPS, FEATURES, UNITS = 5, 4, 6


def eventprop(**options):
    return keras_egru.EventLIF(UNITS, tau_syn=5.0, gradient="eventprop", return_sequences=True, **options)


LAYERS = {
    "GRU": lambda: keras.layers.GRU(UNITS, return_sequences=True),
    "EGRU": lambda: keras_egru.EGRU(UNITS, return_sequences=True, return_state=True),
    "EGRU, last step, reset before": lambda: keras_egru.EGRU(UNITS, reset_after=False),
    "EGRU, shared threshold, no bias": lambda: keras_egru.EGRU(
        UNITS, shared_threshold=True, threshold_trainable=True, use_bias=False
    ),
    "EGRU, dropouts": lambda: keras_egru.EGRU(UNITS, dropout=0.2, output_dropout=0.2, dropconnect=0.2, zoneout=0.2),
    "EGRU, recomputed": lambda: keras_egru.EGRU(UNITS, return_sequences=True, checkpoint_steps=2),
    "EGRU, reference": lambda: keras_egru.EGRU(UNITS, implementation="reference"),
    "EGRU, target rate": lambda: keras_egru.EGRU(UNITS, state_regularizer=TargetRate()),
    "EGRU, event rate": lambda: keras_egru.EGRU(UNITS, state_regularizer=EventRate()),
    "EventLIF, surrogate": lambda: keras_egru.EventLIF(
        UNITS, recurrent=True, refractory=2.0, return_sequences=True, return_state=True
    ),
    "EventLIF, Eventprop": lambda: eventprop(rate_regularizer=SpikeRate(strength=1.0)),
    "EventLIF, time constants": lambda: eventprop(train_time_constants=True),
    "ExponentialTrace": lambda: keras_egru.ExponentialTrace(time_constant=5.0),
    "LeakyReadout": lambda: keras_egru.LeakyReadout(UNITS, tau_syn=5.0, readout="sum_exp"),
    "linked": lambda: keras.Sequential([eventprop(), keras_egru.LeakyReadout(UNITS, tau_syn=5.0)]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_batch_in_a_graph_has_empty_outputs_and_zero_gradients(name):
    layer = LAYERS[name]()
    layer.build((None, STEPS, FEATURES))
    weights = [variable.value for variable in layer.trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec([None, STEPS, FEATURES])])
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = tf.nest.flatten(layer(x, training=True))
            loss = tf.add_n([tf.reduce_sum(output**2) for output in outputs] + layer.losses)
        return outputs, loss, tape.gradient(loss, [x, *weights], unconnected_gradients="zero")

    outputs, loss, (grad_x, *gradients) = run(tf.zeros([0, STEPS, FEATURES]))
    full, *_ = run(tf.ones([2, STEPS, FEATURES]))
    assert [output.shape for output in outputs] == [(0, *output.shape[1:]) for output in full]
    assert grad_x.shape == (0, STEPS, FEATURES)
    assert np.isfinite(loss)
    for weight, gradient in zip(weights, gradients, strict=True):
        assert gradient.shape == weight.shape
        assert not np.any(gradient)


@pytest.mark.skipif(library.why_not() is not None, reason=str(library.why_not()))
def test_an_empty_batch_of_a_quantized_layer():
    layer = keras_egru.EGRU(UNITS, return_sequences=True)
    layer.build((None, STEPS, FEATURES))
    layer.quantize("int8")
    run = tf.function(layer, input_signature=[tf.TensorSpec([None, STEPS, FEATURES])])
    assert run(tf.zeros([0, STEPS, FEATURES])).shape == (0, STEPS, UNITS)


def test_sequences_without_a_step_are_refused_in_a_graph():
    for layer in (keras_egru.EGRU(UNITS), keras_egru.EventLIF(UNITS)):
        layer.build((None, None, FEATURES))
        run = tf.function(layer, input_signature=[tf.TensorSpec([None, None, FEATURES])])
        with pytest.raises(tf.errors.InvalidArgumentError, match="sequences of at least one step"):
            run(tf.zeros([2, 0, FEATURES]))
