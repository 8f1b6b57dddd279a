"""Runs a TF-Lite file on saved sequences with numpy and LiteRT alone, as a device would; prints the last outputs."""

import json
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter

loaded, x = Interpreter(sys.argv[1]), np.load(sys.argv[2])
if "step" in loaded.get_signature_list():
    state, step = loaded.get_signature_runner("init")(), loaded.get_signature_runner("step")
    for t in range(x.shape[1]):
        results = step(input=x[:, t], **state)
        state = {name: results[name] for name in state}
else:
    results = loaded.get_signature_runner("serving_default")(input=x)
for name in ("keras", "keras_egru", "tensorflow"):
    assert name not in sys.modules, f"{name} was imported"
print(json.dumps(results["output"].tolist()))
