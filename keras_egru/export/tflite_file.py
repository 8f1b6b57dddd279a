"""TF-Lite files as objects: the ops that they hold, and subgraphs that return constants."""

from collections import Counter

import numpy as np

NUMBERS = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int8": 9, "float64": 10}


def read(content: bytes):
    """The model object of a file's content."""
    from tensorflow.lite.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def written(model) -> bytes:
    """The content of the file of a model object."""
    from tensorflow.lite.tools import flatbuffer_utils

    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def op_name(code) -> str:
    """`FULLY_CONNECTED`, or the name of a custom op."""
    from tensorflow.lite.python import schema_py_generated as schema

    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return code.customCode.decode()
    return next(name for name, value in vars(schema.BuiltinOperator).items() if value == number)


def count_ops(content: bytes) -> dict[str, int]:
    """How often each op occurs in all subgraphs together, by name."""
    model = read(content)
    codes = [op_name(code) for code in model.operatorCodes or []]
    counts = Counter(codes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators or [])
    return dict(sorted(counts.items()))


def small_products(content: bytes, names, size: int, weights_of_output: int) -> list[str]:
    """Names of the outputs of those ops `names` whose constant weights are fewer than `size`, or fewer than
    `weights_of_output` of an output.
    """
    model = read(content)
    found = []
    for graph in model.subgraphs:
        for op in graph.operators or []:
            if op_name(model.operatorCodes[op.opcodeIndex]) in names:
                weights = graph.tensors[op.inputs[1]]
                count, of_output = np.prod(weights.shape), np.prod(weights.shape[1:])
                constant = model.buffers[weights.buffer].data is not None
                if constant and (count < size or of_output < weights_of_output):
                    found.append(graph.tensors[op.outputs[0]].name.decode())
    return found


def op_code(model, name: str, version: int = 1) -> int:
    """The place of a builtin op among the codes of a model object, which is added where it is not there."""
    from tensorflow.lite.python import schema_py_generated as schema

    number = getattr(schema.BuiltinOperator, name)
    for place, code in enumerate(model.operatorCodes):
        if code.builtinCode == number:
            code.version = max(code.version, version)
            return place
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = number, version
    code.deprecatedBuiltinCode = min(number, 127)  # older readers see this one
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def add_constants_signature(model, key: str, values: dict[str, np.ndarray]) -> None:
    """Adds a signature without inputs that returns `values` by name.

    The converter makes such a one too, but its calibration for int8 fails on it.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    graph, signature = schema.SubGraphT(), schema.SignatureDefT()
    graph.name, graph.inputs, graph.outputs, graph.tensors, graph.operators = key.encode(), [], [], [], []
    signature.signatureKey, signature.inputs, signature.outputs = key.encode(), [], []
    signature.subgraphIndex = len(model.subgraphs)
    for name, value in values.items():
        tensor, buffer, entry = schema.TensorT(), schema.BufferT(), schema.TensorMapT()
        tensor.name, tensor.shape, tensor.type = name.encode(), list(value.shape), NUMBERS[str(value.dtype)]
        tensor.buffer = len(model.buffers)
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), "uint8")
        entry.name, entry.tensorIndex = name.encode(), len(graph.tensors)
        model.buffers.append(buffer)
        graph.outputs.append(len(graph.tensors))
        graph.tensors.append(tensor)
        signature.outputs.append(entry)
    model.subgraphs.append(graph)
    model.signatureDefs.append(signature)


def drop_unused(model) -> None:
    """Removes tensors that no op and no signature reads or writes, and their constants."""
    for number, graph in enumerate(model.subgraphs):
        lists = [graph.inputs, graph.outputs]
        for op in graph.operators or []:
            lists += [op.inputs, op.outputs]
        used = sorted({int(place) for places in lists if places is not None for place in places if place >= 0})
        new = {old: place for place, old in enumerate(used)} | {-1: -1}  # -1 stands for an input that is left out
        graph.tensors = [graph.tensors[old] for old in used]
        graph.inputs, graph.outputs = _moved(graph.inputs, new), _moved(graph.outputs, new)
        for op in graph.operators or []:
            op.inputs, op.outputs = _moved(op.inputs, new), _moved(op.outputs, new)
        for signature in model.signatureDefs or []:
            if signature.subgraphIndex == number:
                for entry in (*signature.inputs, *signature.outputs):
                    entry.tensorIndex = new[entry.tensorIndex]
    kept = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    kept |= {entry.buffer for entry in model.metadata or []}
    for number, buffer in enumerate(model.buffers):
        if number not in kept:
            buffer.data = None


def _moved(places, new):
    return [new[int(place)] for place in places if place is not None] if places is not None else None


def signature_keys(content: bytes) -> tuple[str, ...]:
    """Names of the signatures, in alphabetical order."""
    return tuple(sorted(signature.signatureKey.decode() for signature in read(content).signatureDefs or []))
