"""Running a TF-Lite file on given sequences, to compare it with the Keras model."""

import warnings

import numpy as np

from keras_egru.export.comparing import Observed, joined
from keras_egru.export.tflite_signatures import INIT, SEQUENCE, STEP


def run_sequences(content: bytes, sequences, batch_size: int, sparse_op: bool) -> Observed:
    """What the signature of whole sequences does with `sequences`, `[samples, time, ...]`."""
    run = interpreter(content, sparse_op).get_signature_runner(SEQUENCE)
    outputs, events = [], []
    for batch, count in _batches(sequences, batch_size):
        results = run(input=batch)
        names = sorted(results, key=_order)
        outputs.append([results[name][:count] for name in names if name.startswith("output")])
        events.append([results[name][:count] for name in names if name.startswith("events")])
    return joined(outputs, events)


def run_steps(content: bytes, sequences, batch_size: int, sparse_op: bool, whole, event_states) -> Observed:
    """The same with a call of `step` for each time step.

    Args:
        whole: Of each output, whether the Keras model returns it at every step.
        event_states: Names of the states that are events.
    """
    loaded = interpreter(content, sparse_op)
    init, step = loaded.get_signature_runner(INIT), loaded.get_signature_runner(STEP)
    outputs, events = [], []
    for batch, count in _batches(sequences, batch_size):
        state, steps, fired = init(), [], []
        for t in range(batch.shape[1]):
            results = step(input=batch[:, t], **state)
            steps.append([results[name] for name in sorted(set(results) - set(state), key=_order)])
            state = {name: results[name] for name in state}
            fired.append([state[name] for name in event_states])
        outputs.append(
            [
                (np.stack(values, axis=1) if every else values[-1])[:count]
                for values, every in zip(zip(*steps, strict=True), whole, strict=True)
            ]
        )
        events.append([np.stack(values, axis=1)[:count] for values in zip(*fired, strict=True)])
    return joined(outputs, events)


def interpreter(content: bytes, sparse_op: bool):
    """LiteRT's interpreter of a file, TensorFlow's where `ai_edge_litert` is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's says that it will move
        if sparse_op:
            from keras_egru.export import litert_op

            return litert_op.interpreter(content)
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            from tensorflow.lite import Interpreter
        return Interpreter(model_content=content)


def _batches(sequences, batch_size):
    """Batches of exactly `batch_size`, the last one filled up, and how many of each count."""
    for start in range(0, len(sequences), batch_size):
        batch = sequences[start : start + batch_size]
        count = len(batch)
        if count < batch_size:
            batch = np.concatenate([batch, np.repeat(batch[-1:], batch_size - count, axis=0)])
        yield batch, count


def _order(name):
    kind, _, number = name.rpartition("_")
    return (kind, int(number)) if number.isdigit() else (name, 0)
