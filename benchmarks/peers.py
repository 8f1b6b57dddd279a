"""The peers of a speed comparison: each builds a call that runs a sequence, or gives None where it cannot be had.

Every peer takes the same inputs, has one recurrent layer of the same size and returns the whole sequence of outputs. A
training call also takes the gradient of the loss `sum(outputs * grad)` by all weights, as the first layer of a network
would: the gradient by the inputs is not asked for. `threads` None leaves a library its own default; TensorFlow's
threads are set once, before anything is built.
"""

import io

import keras
import numpy as np


def tensorflow_call(layer, inputs, grad, mode):
    """A Keras layer through `tf.function`, without XLA, which the custom op does not take."""
    import tensorflow as tf

    inputs, grad = tf.constant(inputs), tf.constant(grad)

    @tf.function(jit_compile=False)
    def infer():
        return layer(inputs, training=False)

    @tf.function(jit_compile=False)
    def train():
        with tf.GradientTape() as tape:
            outputs = layer(inputs, training=True)
        weights = [variable.value for variable in layer.trainable_variables]
        return tape.gradient(outputs, weights, output_gradients=grad)

    return infer if mode == "inference" else train


def keras_gru(units, inputs, grad, mode, threads=None):
    layer = keras.layers.GRU(units, return_sequences=True)
    layer.build(inputs.shape)
    return tensorflow_call(layer, inputs, grad, mode)


def torch_gru(units, inputs, grad, mode, threads=None):
    try:
        import torch
    except ImportError:
        return None
    if threads is not None:
        torch.set_num_threads(threads)
    layer = torch.nn.GRU(inputs.shape[-1], units, batch_first=True)
    inputs, grad = torch.from_numpy(inputs), torch.from_numpy(grad)

    def infer():
        with torch.inference_mode():
            return layer(inputs)[0]

    def train():
        layer.zero_grad(set_to_none=True)
        layer(inputs)[0].backward(grad)

    return infer if mode == "inference" else train


def onnxruntime_gru(units, inputs, grad, mode, threads=None):
    """Inference only: the runtime does not train."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return None
    if mode == "training":
        return None
    steps_first = np.ascontiguousarray(np.swapaxes(inputs, 0, 1))
    steps, batch, features = steps_first.shape
    rng, tensor = np.random.default_rng(0), onnx.TensorProto.FLOAT
    shapes = {"W": (1, 3 * units, features), "R": (1, 3 * units, units), "B": (1, 6 * units)}
    weights = [
        onnx.numpy_helper.from_array(rng.normal(0.0, units**-0.5, shape).astype("float32"), name)
        for name, shape in shapes.items()
    ]
    node = onnx.helper.make_node("GRU", ["X", "W", "R", "B"], ["Y"], hidden_size=units, linear_before_reset=1)
    graph = onnx.helper.make_graph(
        [node],
        "gru",
        [onnx.helper.make_tensor_value_info("X", tensor, [steps, batch, features])],
        [onnx.helper.make_tensor_value_info("Y", tensor, [steps, 1, batch, units])],
        weights,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    buffer = io.BytesIO()
    onnx.save(model, buffer)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0 is the runtime's default
    session = onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"X": steps_first})


PEERS = {"keras_gru": keras_gru, "torch_gru": torch_gru, "onnxruntime_gru": onnxruntime_gru}
