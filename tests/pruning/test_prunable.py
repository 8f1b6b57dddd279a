import keras
import numpy as np
import pytest
from keras import layers

from keras_egru import EGRU
from keras_egru.pruning import prunable_weights

SEQUENCE = (None, 4, 3)


class Chooser(layers.Layer):
    def build(self, shape):
        self.a = self.add_weight(shape=(shape[-1], 2), name="a")
        self.b = self.add_weight(shape=(2,), name="a")
        self.kernel = self.add_weight(shape=(2, 2), name="kernel")

    def get_prunable_weights(self):
        return [self.a, self.b, self.a]


class ChoosingGRU(layers.GRU):
    def get_prunable_weights(self):
        return [self.cell.recurrent_kernel]


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (layers.Dense(2), SEQUENCE, {"kernel": 1}),
        (layers.Conv2D(2, 3), (None, 5, 5, 3), {"kernel": 1}),
        (layers.DepthwiseConv1D(2), SEQUENCE, {"kernel": 1}),
        (layers.SeparableConv1D(2, 2), SEQUENCE, {"depthwise_kernel": 1, "pointwise_kernel": 1}),
        (layers.Embedding(5, 2), (None, 4), {"embeddings": 1}),
        (layers.GRU(5), SEQUENCE, {"kernel": 1, "recurrent_kernel": 3}),
        (layers.LSTM(5), SEQUENCE, {"kernel": 1, "recurrent_kernel": 4}),
        (layers.SimpleRNN(5), SEQUENCE, {"kernel": 1, "recurrent_kernel": 1}),
        (EGRU(5), SEQUENCE, {"kernel": 1, "recurrent_kernel": 3}),
        (layers.ConvLSTM1D(2, 2), (None, 4, 6, 3), {"kernel": 1, "recurrent_kernel": 4}),
        (
            layers.Bidirectional(EGRU(5)),
            SEQUENCE,
            {"forward_kernel": 1, "forward_recurrent_kernel": 3, "backward_kernel": 1, "backward_recurrent_kernel": 3},
        ),
        (
            layers.RNN([layers.GRUCell(5), layers.LSTMCell(2)]),
            SEQUENCE,
            {"cell_0_kernel": 1, "cell_0_recurrent_kernel": 3, "cell_1_kernel": 1, "cell_1_recurrent_kernel": 4},
        ),
        (layers.TimeDistributed(layers.Dense(2)), SEQUENCE, {"kernel": 1}),
        (layers.LayerNormalization(), SEQUENCE, {}),
        (Chooser(), SEQUENCE, {"a": 1, "a_1": 1}),
        (layers.TimeDistributed(Chooser()), SEQUENCE, {"a": 1, "a_1": 1}),
        (ChoosingGRU(5), SEQUENCE, {"recurrent_kernel": 3}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_weights_and_their_gates(layer, shape, expected):
    layer.build(shape)
    found = prunable_weights(layer)
    assert {weight.name: weight.gates for weight in found} == expected
    assert all(any(weight.variable is variable for variable in layer.trainable_variables) for weight in found)


def test_attention_has_four_projections():
    layer = layers.MultiHeadAttention(2, 3)
    layer(np.ones((1, 4, 5)), np.ones((1, 4, 5)))
    names = [weight.name for weight in prunable_weights(layer)]
    assert names == ["query_kernel", "key_kernel", "value_kernel", "output_kernel"]


def test_quantized_and_lora_layers_are_refused():
    quantized, lora = keras.Sequential([layers.Dense(4, name="quantized")]), layers.Dense(4, name="lora")
    quantized.build((None, 4))
    quantized.quantize("int8")
    lora.build((None, 4))
    lora.enable_lora(2)
    for layer in (quantized.layers[0], lora):
        with pytest.raises(ValueError, match=f"`kernel` of layer '{layer.name}' must be a floating-point variable"):
            prunable_weights(layer)
