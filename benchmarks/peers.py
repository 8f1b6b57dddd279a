"""The dense peers of a speed comparison: each builds a call that runs a workload, or gives None where it cannot be had.

All peers take the workload's inputs and its GRU weights, so that they compute the same numbers, and return the whole
sequence of outputs. A training call takes the gradients of the loss `sum(outputs * grad)` by all weights, as the first
layer of a network would, and returns them: the gradient by the inputs is not asked for. `threads` None leaves a library
its own default; TensorFlow's threads are set once, before anything is built.
"""

import io

import keras
import numpy as np


def tensorflow_call(layer, workload, mode):
    """A Keras layer through `tf.function`, traced here and without XLA, which the custom op does not take."""
    import tensorflow as tf

    inputs, grad = tf.constant(workload.inputs), tf.constant(workload.grad)

    @tf.function(jit_compile=False)
    def infer():
        return layer(inputs, training=False)

    @tf.function(jit_compile=False)
    def train():
        with tf.GradientTape() as tape:
            outputs = layer(inputs, training=True)
        weights = [variable.value for variable in layer.trainable_variables]
        return tape.gradient(outputs, weights, output_gradients=grad)

    call = infer if mode == "inference" else train
    call.get_concrete_function()
    return call


def keras_gru(workload, mode, threads=None):
    layer = keras.layers.GRU(workload.units, return_sequences=True)
    layer.build(workload.inputs.shape)
    layer.set_weights(workload.gru)
    return tensorflow_call(layer, workload, mode)


def torch_gru(workload, mode, threads=None):
    try:
        import torch
    except ImportError:
        return None
    if threads is not None:
        torch.set_num_threads(threads)
    layer = torch.nn.GRU(workload.inputs.shape[-1], workload.units, batch_first=True)
    kernel, recurrent_kernel, bias = (_r_first(weight, workload.units) for weight in workload.gru)
    with torch.no_grad():
        for parameter, weight in zip(layer.parameters(), (kernel.T, recurrent_kernel.T, *bias), strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
    inputs, grad = torch.from_numpy(workload.inputs), torch.from_numpy(workload.grad)

    def infer():
        with torch.inference_mode():
            return layer(inputs)[0]

    def train():
        layer.zero_grad(set_to_none=True)
        layer(inputs)[0].backward(grad)
        return [parameter.grad for parameter in layer.parameters()]

    return infer if mode == "inference" else train


def onnxruntime_gru(workload, mode, threads=None):
    """Inference only: the runtime does not train. Its outputs are a list of one array, `[steps, 1, batch, units]`."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return None
    if mode == "training":
        return None
    units = workload.units
    steps_first = np.ascontiguousarray(np.swapaxes(workload.inputs, 0, 1))
    steps, batch, features = steps_first.shape
    # The standard has Keras's order of the gates: z, r, h.
    weights = {"W": workload.gru.kernel.T, "R": workload.gru.recurrent_kernel.T, "B": workload.gru.bias.reshape(-1)}
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("GRU", ["X", *weights], ["Y"], hidden_size=units, linear_before_reset=1)],
        "gru",
        [onnx.helper.make_tensor_value_info("X", float32, [steps, batch, features])],
        [onnx.helper.make_tensor_value_info("Y", float32, [steps, 1, batch, units])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(w)[np.newaxis], name) for name, w in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    buffer = io.BytesIO()
    onnx.save(model, buffer)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0 is the runtime's default
    session = onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"X": steps_first})


def _r_first(weight, units):
    """`weight` `[..., 3 units]` with its gates in torch's order, r, z, h, in place of z, r, h."""
    z, r, h = np.split(weight, [units, 2 * units], axis=-1)
    return np.concatenate([r, z, h], axis=-1)


PEERS = {"keras_gru": keras_gru, "torch_gru": torch_gru, "onnxruntime_gru": onnxruntime_gru}
