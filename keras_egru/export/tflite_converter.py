"""TensorFlow functions to TF-Lite: the converter's options, quantization, and what it refuses as a sentence."""

import re
import tempfile
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from keras_egru.export import tflite_file

QUANTIZE = (None, "float16", "dynamic", "int8")
# Weights, of a matrix and of one of its outputs: of fewer, scales and zero points take what 8 bits save.
SMALLEST, SMALLEST_OF_OUTPUT = 1024, 9
MATRIX_OPS = ("BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def convert(
    function,
    variables,
    key: str,
    quantize: str | None = None,
    samples: Callable[[], Iterable[dict[str, Any]]] | None = None,
    custom_ops: bool = False,
) -> bytes:
    """The file of one signature.

    Args:
        function: Concrete function with named inputs and outputs.
        variables: The Keras variables that it reads.
        key: Name of the signature.
        quantize: One of `QUANTIZE`. With `"int8"` matrix products alone are in integers: a state that is rounded to 8
            bits at every step would not integrate.
        samples: Of `"int8"`: gives inputs by name.
        custom_ops: Whether ops that are no builtins may be in the file.

    Raises:
        ValueError: the function has an op that TF-Lite does not have; the sentence names it.
    """
    import tensorflow as tf

    module = tf.Module()
    module.read = [getattr(variable, "value", variable) for variable in variables]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parts of TF-Lite that are about to move
        # Gradients have no place in a file, and int8 layers have none.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, folder, signatures={key: function}, options=options)

        def converter(*optimizations):
            made = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[key])
            made.allow_custom_ops = custom_ops
            made.optimizations = list(optimizations)
            return made

        try:
            if quantize is None:
                return converter().convert()
            reduced = converter(tf.lite.Optimize.DEFAULT)
            if quantize == "float16":
                reduced.target_spec.supported_types = [tf.float16]
            if quantize != "int8":
                return reduced.convert()
            plain = converter().convert()
            ops = tflite_file.count_ops(plain)
            small = tflite_file.small_products(plain, MATRIX_OPS, SMALLEST, SMALLEST_OF_OUTPUT)
            if len(small) == sum(ops.get(name, 0) for name in MATRIX_OPS):
                return plain
            denied = tf.lite.experimental.QuantizationDebugOptions(
                denylisted_ops=sorted(set(ops).difference(MATRIX_OPS)), denylisted_nodes=small
            )
            reduced.representative_dataset = samples
            debugger = tf.lite.experimental.QuantizationDebugger(
                converter=reduced, debug_dataset=samples, debug_options=denied
            )
            return debugger.get_nondebug_quantized_model()
        except Exception as error:
            missing = sorted(set(re.findall(r"'?tf\.(\w+)'? op is neither a custom op nor a flex op", str(error))))
            if missing:
                raise ValueError(
                    f"`model` needs ops that TF-Lite does not have among its builtins: {', '.join(missing)}."
                ) from None
            raise
