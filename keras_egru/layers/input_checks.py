"""Checks of what a layer is given, made before anything is built or computed.

Keras leaves integer inputs as they are and promotes them in the first product, and lets empty batches through: here
both are errors, each one sentence that names the argument and the layer. In a replica a batch may be empty.
"""

import numbers
import os

import keras
import numpy as np
from keras import ops, tree

from keras_egru.ops import replicas

VALIDATE_VARIABLE = "KERAS_EGRU_VALIDATE"


def check_sequences(sequences, layer_name: str) -> None:
    """Raises unless `sequences` is a float tensor without an empty batch or a sequence of length zero.

    Args:
        sequences: What the layer was called with: a tensor, a Keras tensor or an array. Unknown sizes pass.
        layer_name: Named in the message.

    Raises:
        TypeError: `sequences` is not of a floating-point type.
        ValueError: the batch is empty, and not a replica's part of one, or the sequences have no step.
    """
    check_float(sequences, "sequences", layer_name)
    shape = tuple(sequences.shape)
    if len(shape) >= 1 and shape[0] == 0 and not replicas.may_be_left_empty():
        raise ValueError(f"`sequences` of layer '{layer_name}' holds an empty batch, received the shape {shape}.")
    if len(shape) >= 2 and shape[1] == 0:
        raise ValueError(f"`sequences` of layer '{layer_name}' has no time step, received the shape {shape}.")


def check_known_features(shape, layer_name: str) -> None:
    """Raises a ValueError unless `shape`, that of `sequences`, is `[batch, time, features]` with a known last size."""
    if len(shape) != 3 or shape[-1] is None:
        raise ValueError(
            f"`sequences` of layer '{layer_name}' must have the shape [batch, time, features] with a known number "
            f"of features, received {tuple(shape)}."
        )


def checked_units(units) -> int:
    """`units` as an int.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is not positive.
    """
    if isinstance(units, bool) or not isinstance(units, numbers.Integral):
        raise TypeError(f"`units` must be an integer, received {units!r}.")
    if units <= 0:
        raise ValueError(f"`units` must be a positive integer, received {units}.")
    return int(units)


def check_float(tensor, argument: str, layer_name: str) -> None:
    """Raises a TypeError unless `tensor` is a tensor or an array of a floating-point type."""
    if not hasattr(tensor, "dtype") or not hasattr(tensor, "shape"):
        raise TypeError(
            f"`{argument}` of layer '{layer_name}' must be a tensor or an array, received {type(tensor).__name__}."
        )
    dtype = tensor.dtype
    name = dtype.name if isinstance(dtype, np.dtype) else keras.backend.standardize_dtype(dtype)
    if not name.startswith(("float", "bfloat")):
        raise TypeError(f"`{argument}` of layer '{layer_name}' must be of a floating-point type, received {name}.")


def check_states(states, names, units: int, batch, layer_name: str) -> None:
    """Raises unless `states` is a list of float tensors called `names`, each `[batch, units]` (unknown sizes pass).

    Raises:
        TypeError: a state is not of a floating-point type.
        ValueError: there are more or fewer states, or one has another shape.
    """
    if not isinstance(states, (list, tuple)) or len(states) != len(names):
        count = len(states) if isinstance(states, (list, tuple)) else type(states).__name__
        raise ValueError(f"The state of '{layer_name}' must be a list of [{', '.join(names)}], received {count}.")
    for name, state in zip(names, states, strict=True):
        check_float(state, f"state {name}", layer_name)
        shape = tuple(state.shape)
        fits = len(shape) == 2 and shape[1] in (None, units) and (None in (shape[0], batch) or shape[0] == batch)
        if not fits:
            raise ValueError(
                f"The state `{name}` of '{layer_name}' must have the shape ({batch}, {units}), received {shape}."
            )


def validation_is_on(layer_asks: bool) -> bool:
    """Whether inputs are checked for NaN and Inf: the layer asks, or the environment has `KERAS_EGRU_VALIDATE=1`."""
    return layer_asks or os.environ.get(VALIDATE_VARIABLE, "") not in ("", "0")


def assert_finite(tensor, argument: str, layer_name: str):
    """`tensor`, once it is known to be free of NaN and Inf.

    Eagerly, and while a JAX function is not being traced, the check is made at once. In a TensorFlow graph it becomes
    part of the graph and raises `tf.errors.InvalidArgumentError` when the graph runs. A traced JAX function cannot
    raise: nothing is checked there.

    Raises:
        ValueError: a value is NaN or Inf.
    """
    message = f"`{argument}` of layer '{layer_name}' holds NaN or Inf"
    if is_symbolic(tensor):
        if keras.backend.backend() != "tensorflow":
            return tensor
        import tensorflow as tf

        return tf.debugging.assert_all_finite(tensor, message)
    finite = np.asarray(ops.convert_to_numpy(ops.isfinite(tensor)))
    if not finite.all():
        raise ValueError(f"{message} in {finite.size - finite.sum()} of {finite.size} entries.")
    return tensor


def assert_weights_finite(layer, layer_name: str) -> None:
    """`assert_finite` for every weight of `layer`, such as a cell, named as the weights of the layer `layer_name`."""
    for variable in layer.weights:
        # A copy, since Keras takes a variable for a tensor, whose value a graph would not wait for.
        assert_finite(ops.copy(variable), variable.name, layer_name)


def is_symbolic(tensor) -> bool:
    """Whether `tensor` stands for a value that is not known yet: in a TensorFlow graph or a traced JAX function."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.is_symbolic_tensor(tensor)
    if backend == "jax":
        import jax

        return isinstance(tensor, jax.core.Tracer)
    return False


def time_mask(mask):
    """The mask as bool `[batch, time]`: Keras may nest it in a list, or give it a last axis of size 1."""
    if mask is None:
        return None
    mask = tree.flatten(mask)[0]
    if mask is None:
        return None
    mask = ops.cast(mask, "bool")
    return mask[:, :, 0] if len(mask.shape) == 3 else mask
