"""Loads the custom op library, or says in a sentence why it cannot."""

import functools
import importlib.resources

import keras

LIBRARY = "libkeras_egru_ops.so"
TENSORFLOW = "2.21"  # the op library is tied to TensorFlow's minor version


@functools.cache
def why_not() -> str | None:
    """Why the custom op cannot run in this process, as a sentence; None where it can."""
    if keras.backend.backend() != "tensorflow":
        return f"the custom op needs Keras's TensorFlow backend, and this process uses {keras.backend.backend()!r}."
    import tensorflow as tf

    if ".".join(tf.__version__.split(".")[:2]) != TENSORFLOW:
        return f"the custom op is built for TensorFlow {TENSORFLOW}.*, and TensorFlow {tf.__version__} is installed."
    path = importlib.resources.files("keras_egru") / "ops" / LIBRARY
    if not path.is_file():
        return f"the custom op library {LIBRARY} is not there: install keras-egru with pip where g++ and cmake are."
    try:
        _load(str(path))
    except (tf.errors.NotFoundError, OSError) as error:
        return f"the custom op library {LIBRARY} does not load: {error}"
    return None


def load():
    """The module of raw ops.

    Raises:
        RuntimeError: if the library cannot be loaded, with the reason.
    """
    reason = why_not()
    if reason is not None:
        raise RuntimeError(f"keras-egru: {reason}")
    return _load(str(importlib.resources.files("keras_egru") / "ops" / LIBRARY))


@functools.cache
def _load(path):
    import tensorflow as tf

    return tf.load_op_library(path)
