"""Runs `model.tflite` of a folder on its `inputs.npz` as often as told, as a device would, and writes `outputs.npz`.

Plain `load_delegate`: nothing here knows Keras, TensorFlow or keras-egru.
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, load_delegate

library, folder, calls = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
delegate = load_delegate(library)
interpreter = Interpreter(str(folder / "model.tflite"), experimental_delegates=[delegate])
run = interpreter.get_signature_runner()
with np.load(folder / "inputs.npz") as inputs:
    for _ in range(calls):
        outputs = run(**inputs)
np.savez(folder / "outputs.npz", **outputs)
known = {"keras", "keras_egru", "tensorflow"} & set(sys.modules)
assert not known, f"{known} were imported"
