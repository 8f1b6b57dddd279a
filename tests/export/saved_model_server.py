"""Serves SavedModels with TensorFlow alone: `python saved_model_server.py FOLDER LIBRARY`.

Each `FOLDER/<name>-<op>` has the inputs of its signatures in `FOLDER/<name>.npz`; what they return goes to
`FOLDER/<name>-<op>.npz`. Portable ones are loaded first, then custom ones without the library, which has to fail, and
with it.
"""

import sys

sys.modules["keras"] = sys.modules["keras_egru"] = None  # importing either raises an ImportError

from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def serve(folder):
    loaded = tf.saved_model.load(str(folder))
    inputs = dict(np.load(folder.parent / f"{folder.name.rpartition('-')[0]}.npz"))
    found = {}
    for name, signature in loaded.signatures.items():
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        found |= {f"{name}.{key}": value.numpy() for key, value in signature(**tensors).items()}
    np.savez(folder.with_suffix(".npz"), **found)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    for folder in sorted(root.glob("*-portable")):
        serve(folder)
    for folder in sorted(root.glob("*-custom")):
        try:
            tf.saved_model.load(str(folder))
        except RuntimeError as error:
            folder.with_suffix(".error").write_text(str(error))
    tf.load_op_library(sys.argv[2])
    for folder in sorted(root.glob("*-custom")):
        serve(folder)
