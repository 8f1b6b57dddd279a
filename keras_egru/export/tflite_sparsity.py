"""Pruned weights in a TF-Lite file: kept as the nonzero ones and unpacked by the runtime when it loads the file.

TF-Lite's own `EXPERIMENTAL_SPARSITY` writes wrong int8 weights where a matrix has fewer than 16 columns, and its files
are refused by XNNPACK. Here 8-bit weights are unpacked (DENSIFY), widened (DEQUANTIZE) and multiplied in float, which
every interpreter takes; what they were quantized to is kept to the last bit.
"""

import copy

import numpy as np

from keras_egru.export import tflite_file
from keras_egru.export.tflite_converter import SMALLEST

WORTHWHILE = 0.75  # of the bytes of the dense form
# Which inputs of an op are matrices of weights.
MATRICES = {
    "FULLY_CONNECTED": (1,),
    "KerasEgru>EgruSequence": (3, 4),
    "KerasEgru>EgruSequenceInt8": (3, 4),
    "KerasEgru>LifSequence": (8, 9),
}


def pack(model) -> int:
    """Packs the matrices of a model object for which that pays; returns how many."""
    packed = 0
    for graph in model.subgraphs:
        for op in list(graph.operators or []):
            for which in MATRICES.get(tflite_file.op_name(model.operatorCodes[op.opcodeIndex]), ()):
                packed += _pack_weights(model, graph, op, which)
    tflite_file.drop_unused(model)
    return packed


def _pack_weights(model, graph, op, which) -> bool:
    from tensorflow.lite.python import schema_py_generated as schema

    place, types = op.inputs[which], schema.TensorType
    widening = _producer(model, graph, place, "DEQUANTIZE")  # of float16 weights
    place = place if widening is None else widening.inputs[0]
    tensor = graph.tensors[place]
    dtype = {types.FLOAT32: "float32", types.FLOAT16: "float16", types.INT8: "int8"}.get(tensor.type)
    data = model.buffers[tensor.buffer].data
    if dtype is None or data is None or len(data) == 0 or tensor.sparsity is not None or len(tensor.shape) != 2:
        return False
    weights = np.frombuffer(bytes(data), dtype).reshape(tensor.shape)
    segments, indices = _rows(weights)
    size = np.count_nonzero(weights) * weights.itemsize + segments.nbytes + indices.nbytes
    if weights.size < SMALLEST or size > WORTHWHILE * weights.nbytes:
        return False
    # The sparse op reads 8 bits as they are.
    widen = dtype == "int8" and tflite_file.op_name(model.operatorCodes[op.opcodeIndex]) == "FULLY_CONNECTED"
    if widen and not _in_float(model, graph, op):
        return False

    scales = np.asarray(tensor.quantization.scale if widen else [], "float32")
    if len(scales) > 1:
        tensor.quantization = _unit_scale(schema)
    dense = copy.copy(tensor)
    dense.name, dense.buffer = tensor.name + b"/dense", 0
    tensor.sparsity = _sparsity(schema, weights.shape[0], segments, indices)
    model.buffers[tensor.buffer].data = np.frombuffer(weights[weights != 0].tobytes(), "uint8")
    unpacked = _add_tensor(graph, dense)
    _insert(model, graph, op if widening is None else widening, "DENSIFY", [place], [unpacked])
    if widening is not None:
        widening.inputs = [unpacked]
    elif widen:
        wide = copy.copy(dense)
        wide.name, wide.type, wide.quantization = tensor.name + b"/wide", types.FLOAT32, None
        op.inputs[which] = _add_tensor(graph, wide)
        _insert(model, graph, op, "DEQUANTIZE", [unpacked], [op.inputs[which]])
        if len(scales) > 1:
            _scale_outputs(model, graph, op, scales)
    else:
        op.inputs[which] = unpacked
    return True


def _in_float(model, graph, op) -> bool:
    """Makes an op with int8 weights one that takes and gives floats; False where its surroundings do not allow it."""
    from tensorflow.lite.python import schema_py_generated as schema

    float32 = schema.TensorType.FLOAT32
    if graph.tensors[op.inputs[0]].type == float32:  # activations are quantized as they come
        op.builtinOptions.asymmetricQuantizeInputs = False
        return True
    before = _producer(model, graph, op.inputs[0], "QUANTIZE")
    readers = [other for other in graph.operators if op.outputs[0] in other.inputs]
    if before is None or op.outputs[0] in graph.outputs or len(readers) != 1:
        return False
    if tflite_file.op_name(model.operatorCodes[readers[0].opcodeIndex]) != "DEQUANTIZE":
        return False
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        bias = graph.tensors[op.inputs[2]]
        values = np.frombuffer(bytes(model.buffers[bias.buffer].data), "int32")
        model.buffers.append(schema.BufferT())
        widened = values * np.asarray(bias.quantization.scale, "float32")
        model.buffers[-1].data = np.frombuffer(widened.astype("float32").tobytes(), "uint8")
        bias = copy.copy(bias)
        bias.type, bias.quantization, bias.buffer = float32, None, len(model.buffers) - 1
        op.inputs[2] = _add_tensor(graph, bias)
    quantized = op.inputs[0]
    op.inputs[0], op.outputs[0] = before.inputs[0], readers[0].outputs[0]
    graph.operators.remove(readers[0])
    if quantized not in graph.outputs and not any(quantized in other.inputs for other in graph.operators):
        graph.operators.remove(before)
    return True


def _scale_outputs(model, graph, op, scales):
    """Multiplies the outputs of `op`, whose weights are bare integers, by the scale of each; its bias in advance."""
    from tensorflow.lite.python import schema_py_generated as schema

    constant = schema.TensorT()
    constant.name, constant.shape, constant.type = b"scales", [len(scales)], schema.TensorType.FLOAT32
    constant.buffer = len(model.buffers)
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(scales.tobytes(), "uint8")
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        bias = copy.copy(graph.tensors[op.inputs[2]])
        values = np.frombuffer(bytes(model.buffers[bias.buffer].data), "float32") / scales
        bias.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.frombuffer(values.astype("float32").tobytes(), "uint8")
        op.inputs[2] = _add_tensor(graph, bias)
    output = op.outputs[0]
    bare = copy.copy(graph.tensors[output])
    bare.name += b"/integers"
    op.outputs[0] = _add_tensor(graph, bare)
    options = schema.MulOptionsT()
    options.fusedActivationFunction, op.builtinOptions.fusedActivationFunction = (
        op.builtinOptions.fusedActivationFunction,
        schema.ActivationFunctionType.NONE,
    )
    scaling = _insert(model, graph, op, "MUL", [op.outputs[0], _add_tensor(graph, constant)], [output], after=True)
    scaling.builtinOptionsType, scaling.builtinOptions = schema.BuiltinOptions.MulOptions, options


def _rows(weights):
    """`(segments, indices)` of the nonzero weights, row after row, in the narrowest integers."""
    segments = np.concatenate([[0], np.cumsum(np.count_nonzero(weights, axis=1))])
    indices = np.nonzero(weights)[1]
    return segments.astype(np.min_scalar_type(segments[-1])), indices.astype(np.min_scalar_type(weights.shape[1]))


def _sparsity(schema, rows, segments, indices):
    def vector(values):
        kind = {1: "Uint8", 2: "Uint16"}.get(values.itemsize, "Int32")
        result = getattr(schema, f"{kind}VectorT")()
        result.values = values if kind != "Int32" else values.astype("int32")
        return getattr(schema.SparseIndexVector, f"{kind}Vector"), result

    outer, inner, sparsity = schema.DimensionMetadataT(), schema.DimensionMetadataT(), schema.SparsityParametersT()
    outer.format, outer.denseSize = schema.DimensionType.DENSE, rows
    inner.format = schema.DimensionType.SPARSE_CSR
    inner.arraySegmentsType, inner.arraySegments = vector(segments)
    inner.arrayIndicesType, inner.arrayIndices = vector(indices)
    sparsity.traversalOrder, sparsity.dimMetadata = [0, 1], [outer, inner]
    return sparsity


def _unit_scale(schema):
    quantization = schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [1.0], [0]
    return quantization


def _producer(model, graph, place, name):
    """The op of that name that writes a tensor, or None."""
    for op in graph.operators:
        if place in op.outputs and tflite_file.op_name(model.operatorCodes[op.opcodeIndex]) == name:
            return op
    return None


def _add_tensor(graph, tensor) -> int:
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _insert(model, graph, beside, name, inputs, outputs, after=False):
    from tensorflow.lite.python import schema_py_generated as schema

    op = schema.OperatorT()
    op.opcodeIndex = tflite_file.op_code(model, name, version=2 if name == "DEQUANTIZE" else 1)
    op.inputs, op.outputs = inputs, outputs
    place = next(k for k, other in enumerate(graph.operators) if other is beside)
    graph.operators.insert(place + after, op)
    return op
