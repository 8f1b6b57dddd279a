"""`quantize("int8")` of the EGRU: Keras's call, on the recurrent kernel of a cell.

Keras's own layers quantize all their kernels, and their activations as well. Here the recurrent kernel alone changes:
it is what every step streams from memory, while the input kernel is read once for a whole sequence, and biases and
thresholds are small. Events are zero or a float, and stay so.
"""

import keras
from keras import ops

from keras_egru.ops import int8_kernel


def check_mode(layer, mode) -> None:
    """Raises a NotImplementedError unless `mode` is `"int8"`."""
    if mode != "int8":
        raise NotImplementedError(
            f"The recurrent kernel of layer '{layer.name}' can be held in 8 bits only: "
            f'`mode` must be "int8", received {mode!r}.'
        )


def check_training(layer, training) -> None:
    """Raises a RuntimeError if a quantized layer is to train."""
    if training and layer.quantization_mode is not None:
        raise RuntimeError(f"Layer '{layer.name}' holds its recurrent kernel as int8: {int8_kernel.WHY_NO_TRAINING}")


def quantize(cell, mode, config) -> None:
    """Replaces the float `recurrent_kernel` of a built cell by integers and their `recurrent_scale`."""
    check_mode(cell, mode)
    if config is not None and config.weight_quantizer is not None:
        # `model.quantize` turns this error into a warning and leaves the layer as it is.
        raise NotImplementedError(
            f"Layer '{cell.name}' quantizes by the largest magnitude of a column and takes no `weight_quantizer`."
        )
    integers, scale = int8_kernel.quantize(cell.recurrent_kernel, cell.step_dtype)
    del cell.recurrent_kernel
    with keras.name_scope(cell.name, override_parent=cell.path.rpartition("/")[0]):
        build(cell, mode)
    cell.recurrent_kernel.assign(integers)
    cell.recurrent_scale.assign(scale)
    if cell.dtype_policy.quantization_mode is None:
        cell.dtype_policy = keras.dtype_policies.get(f"{mode}_from_{cell.dtype_policy.name}")


def build(cell, mode) -> None:
    """Adds the two weights of the 8-bit form: `recurrent_kernel`, int8, and `recurrent_scale`, `[3 units]`."""
    check_mode(cell, mode)
    cell.recurrent_kernel = cell.add_weight(
        shape=(cell.units, 3 * cell.units),
        name="recurrent_kernel",
        initializer="zeros",
        dtype="int8",
        trainable=False,
        autocast=False,
    )
    cell.recurrent_scale = cell.add_weight(
        shape=(3 * cell.units,),
        name="recurrent_scale",
        initializer="ones",
        dtype=cell.step_dtype,
        trainable=False,
        autocast=False,
    )
    cell._is_quantized = True  # Keras refuses to quantize again what says so.


def widened(cell, recurrent_kernel):
    """The recurrent kernel in floats: `recurrent_kernel` itself, or what its integers stand for."""
    if cell.recurrent_scale is None:
        return recurrent_kernel
    return int8_kernel.widen(recurrent_kernel, ops.convert_to_tensor(cell.recurrent_scale))


def without_gradient(layer, tensors):
    """`tensors`, with no gradient if the layer is quantized."""
    if layer.quantization_mode is None:
        return tensors
    return keras.tree.map_structure(int8_kernel.without_gradient, tensors)
