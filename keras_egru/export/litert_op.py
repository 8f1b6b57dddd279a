"""Finds the LiteRT op library and loads models of `op="sparse"` with it.

The library needs neither Keras nor this package: on a device `ai_edge_litert` and the file of `library()` do (see
docs/litert-op.md).
"""

import importlib.resources
import os
from pathlib import Path
from typing import Any

LIBRARY = "libkeras_egru_litert.so"
OPS = ("KerasEgru>EgruSequence", "KerasEgru>EgruSequenceInt8", "KerasEgru>LifSequence")  # that it runs


def library() -> Path:
    """The path of the library, for `load_delegate` of `ai_edge_litert.interpreter`.

    Raises:
        RuntimeError: it has not been built.
    """
    path = importlib.resources.files("keras_egru") / "export" / LIBRARY
    if not path.is_file():
        raise RuntimeError(
            f"keras-egru: the LiteRT op library {LIBRARY} is not there: install keras-egru with pip where g++ and "
            'cmake are, or export with op="builtins", which needs no library.'
        )
    return Path(str(path))


def interpreter(model: str | os.PathLike | bytes, num_threads: int | None = None) -> Any:
    """An interpreter of a TF-Lite model that may hold this package's ops.

    It is LiteRT's, or TensorFlow's where `ai_edge_litert` is not installed.

    Args:
        model: Path of the file, or its content.
        num_threads: For the built-in ops; the ops of this package use the calling thread alone.

    Raises:
        RuntimeError: the library has not been built, or is not made for the installed runtime.
    """
    path = library()
    try:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter, load_delegate

        version = {"ai_edge_litert": ai_edge_litert.__version__}
    except ImportError:
        import tensorflow as tf

        Interpreter, load_delegate = tf.lite.Interpreter, tf.lite.experimental.load_delegate
        version = {"tensorflow": tf.__version__}
    try:
        delegate = load_delegate(str(path), version)
    except (ValueError, OSError) as error:
        raise RuntimeError(f"keras-egru: the LiteRT op library does not load: {error}") from None
    content = {"model_content": model} if isinstance(model, bytes) else {"model_path": os.fspath(model)}
    return Interpreter(**content, experimental_delegates=[delegate], num_threads=num_threads)
