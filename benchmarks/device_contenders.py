"""All that a speed comparison of streaming on a device runs: TF-Lite files of the same layer, and of a Keras GRU.

A call runs all recorded steps, each as a user's loop does: inputs and states are set, the interpreter is invoked,
output and states are read, by `set_tensor` and `get_tensor` with indices that were looked up once. A signature runner
does the same for some microseconds more a step. States are set to the recorded ones at every step.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from benchmarks.device_imposed import Recorded
from benchmarks.errors import CannotRun
from keras_egru import EGRU
from keras_egru.export import StreamingModel, litert_op, to_tflite

# Of the largest entry: float32 sums of some hundred terms, in another order; and weights rounded to 8 bits.
TOLERANCE, TOLERANCE_8_BITS = 1e-4, 0.1
# Share of the entries: one next to its threshold falls on the other side.
FLIPS, FLIPS_8_BITS = 1e-3, 0.05


class Workload(NamedTuple):
    """The steps of a case's layer and of a GRU of its size."""

    layer: Recorded
    gru: Recorded
    threads: int | None = None


class Found(NamedTuple):
    """What a contender computes at the recorded steps: outputs `[steps, 1, units]`, and states by name after each."""

    outputs: np.ndarray
    states: dict[str, np.ndarray]


class OnDevice:
    """A streaming file and the interpreter that runs it.

    Args:
        content: Of the file.
        steps: `Recorded`, whose inputs and states it is given.
        threads: Of the interpreter; None is its default.
        sparse: Whether the file holds this package's ops.
    """

    def __init__(self, content, steps, threads, sparse):
        from ai_edge_litert.interpreter import Interpreter

        self.steps, self.file_bytes = steps, len(content)
        if sparse:
            self._interpreter = litert_op.interpreter(content, threads)
        else:
            self._interpreter = Interpreter(model_content=content, num_threads=threads)
        self._interpreter.allocate_tensors()
        runner = self._interpreter.get_signature_runner("step")
        inputs, self._outputs = (
            {name: detail["index"] for name, detail in details.items()}
            for details in (runner.get_input_details(), runner.get_output_details())
        )
        given = {"input": steps.inputs, **steps.states}
        self._given = [
            [(inputs[name], np.ascontiguousarray(values[t])) for name, values in given.items()]
            for t in range(len(steps.inputs))
        ]

    def __call__(self):
        for given in self._given:
            self._step(given)

    def found(self) -> Found:
        """What it computes."""
        results = [self._step(given) for given in self._given]
        stacked = {name: np.stack([result[k] for result in results]) for k, name in enumerate(self._outputs)}
        return Found(stacked.pop("output"), stacked)

    def _step(self, given):
        interpreter = self._interpreter
        for index, value in given:
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in self._outputs.values()]


class InKeras:
    """`StreamingModel.step`, the step of Keras and TensorFlow; states stay tensors, the output is read."""

    file_bytes = None

    def __init__(self, steps):
        import tensorflow as tf

        self.steps, self._stream = steps, StreamingModel(steps.model)
        self._states = [
            {name: tf.constant(values[t]) for name, values in steps.states.items()} for t in range(len(steps.inputs))
        ]

    def __call__(self):
        for x, state in zip(self.steps.inputs, self._states, strict=True):
            self._step(x, state)

    def found(self) -> Found:
        """What it computes."""
        results = [self._step(x, state) for x, state in zip(self.steps.inputs, self._states, strict=True)]
        states = {name: np.stack([np.asarray(state[name]) for _, state in results]) for name in self.steps.states}
        return Found(np.stack([y for y, _ in results]), states)

    def _step(self, x, state):
        y, state = self._stream.step(x, state)
        return y.numpy(), state


def ours(workload) -> OnDevice:
    """The sparse op."""
    return _written(workload.layer, workload, op="sparse")


def sparse_int8(workload) -> OnDevice | None:
    """The sparse op on a recurrent kernel of 8 bits; spiking layers have none."""
    if not any(isinstance(layer, EGRU) for layer in workload.layer.model.layers):
        return None
    model = keras.models.clone_model(workload.layer.model)
    model.set_weights(workload.layer.model.get_weights())
    model.layers[0].quantize("int8")
    return _written(workload.layer._replace(model=model), workload, op="sparse")


def builtins(workload) -> OnDevice:
    """The same layer in builtin ops."""
    return _written(workload.layer, workload)


def builtins_int8(workload) -> OnDevice:
    """The same with products of 8 bits."""
    sequences = np.swapaxes(workload.layer.inputs, 0, 1)
    return _written(workload.layer, workload, quantize="int8", representative_data=sequences)


def keras_gru(workload) -> OnDevice:
    """A dense GRU in builtin ops."""
    return _written(workload.gru, workload)


def streaming_model(workload) -> InKeras:
    """The layer in Keras, on the op of TensorFlow."""
    return InKeras(workload.layer)


CONTENDERS = {
    "ours": ours,
    "sparse_int8": sparse_int8,
    "builtins": builtins,
    "builtins_int8": builtins_int8,
    "keras_gru": keras_gru,
    "streaming_model": streaming_model,
}
IN_8_BITS = ("sparse_int8", "builtins_int8")
PEERS = ("keras_gru",)


def agreement(contender) -> dict:
    """How far a contender is from what was recorded: the largest difference, of the largest entry, where no event
    flipped, and the share of events that did, None without events."""
    steps, found = contender.steps, contender.found()
    flipped = [(found.states[name] != 0.0) != (steps.following[name] != 0.0) for name in steps.events]
    kept = ~np.any(flipped, axis=0) if flipped else np.ones(steps.outputs.shape, bool)
    pairs = [(found.outputs, steps.outputs), *((found.states[name], steps.following[name]) for name in steps.states)]
    difference = max(np.max(np.abs(a - b)[kept]) / np.max(np.abs(b)) for a, b in pairs)
    return {"largest_difference": float(difference), "flipped_events": float(np.mean(flipped)) if flipped else None}


def check_alike(contenders) -> dict:
    """The `agreement` of each contender by name.

    Raises:
        CannotRun: one computes something else.
    """
    found = {name: None if contender is None else agreement(contender) for name, contender in contenders.items()}
    for name, measured in found.items():
        if measured is None:
            continue
        most, flips = (TOLERANCE_8_BITS, FLIPS_8_BITS) if name in IN_8_BITS else (TOLERANCE, FLIPS)
        difference, flipped = measured["largest_difference"], measured["flipped_events"] or 0.0
        if not (difference <= most and flipped <= flips):
            raise CannotRun(
                f"{name} computes something else than Keras: it differs by {difference:.1e} of the largest entry, and "
                f"{flipped:.1%} of the events are others."
            )
    return found


def require_litert():
    """Raises a CannotRun if LiteRT or the library of the op is missing."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401

        litert_op.library()
    except (ImportError, RuntimeError) as error:
        raise CannotRun(f'streaming on a device needs LiteRT, `pip install "keras-egru[export]"` ({error}).') from None


def _written(steps, workload, **options):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        to_tflite(steps.model, path, mode="streaming", **options)
        return OnDevice(path.read_bytes(), steps, workload.threads, options.get("op") == "sparse")
