import keras
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from keras_egru import EGRU
from keras_egru.layers.recording import record_states


def test_records_every_call_with_what_the_op_saw(implementation, make_egru, sequences, mask):
    layer = make_egru(return_state=True, implementation=implementation)
    with record_states() as records:
        _, y, c = layer(sequences, mask=mask)
        layer(sequences[:, :2])
    first, second = records
    assert first.layer is layer
    assert first.surrogate is layer.surrogate
    assert_array_equal(first.inputs, sequences)
    assert_array_equal(first.mask, mask)
    assert_array_equal(first.threshold, layer.get_weights()[-1])
    assert_array_equal(first.y[:, -1], y)
    assert_array_equal(first.c[:, -1], c)
    assert first.y.shape == first.c.shape == (4, 7, 5)
    assert second.mask is None
    assert second.y.shape == (4, 2, 5)


def test_records_in_processing_order_with_go_backwards(implementation, make_egru, sequences, mask):
    layer = make_egru(go_backwards=True, implementation=implementation)
    with record_states() as records:
        layer(sequences, mask=mask)
    assert_array_equal(records[0].inputs, sequences[:, ::-1])
    assert_array_equal(records[0].mask, mask[:, ::-1])


def test_inputs_are_recorded_after_dropout(make_egru):
    layer = make_egru(dropout=0.5)
    with record_states() as records:
        layer(np.ones((4, 7, 3)), training=True)
    assert set(np.unique(records[0].inputs)) == {0.0, 2.0}


def test_records_the_layers_of_a_model_in_order(implementation, sequences):
    model = keras.Sequential(
        [EGRU(4, return_sequences=True, implementation=implementation), EGRU(3, implementation=implementation)]
    )
    x = sequences.astype("float32")
    model(x)
    with record_states() as records:
        model(x)
    assert [record.layer for record in records] == model.layers
    assert_array_equal(records[1].inputs, records[0].y)


def test_blocks_nest_and_nothing_is_recorded_outside(make_egru, sequences):
    layer = make_egru()
    with record_states() as outer:
        layer(sequences)
        with record_states() as inner:
            layer(sequences)
        layer(sequences)
    layer(sequences)
    assert (len(outer), len(inner)) == (2, 1)
    with pytest.raises(RuntimeError, match="boom"), record_states() as failed:
        raise RuntimeError("boom")
    layer(sequences)
    assert failed == []


def test_records_can_be_reduced_inside_a_graph(make_egru, sequences):
    tf = pytest.importorskip("tensorflow")
    layer = make_egru()

    @tf.function
    def activity(x):
        with record_states() as records:
            layer(x)
        return tf.reduce_mean(tf.cast(records[0].y != 0, tf.float64))

    with record_states() as records:
        layer(sequences)
    assert float(activity(tf.constant(sequences))) == np.mean(np.asarray(records[0].y) != 0)
