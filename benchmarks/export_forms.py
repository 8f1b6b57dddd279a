"""The forms in which a trained classifier can leave Python: how each is written, and how it is run on sequences.

A TF-Lite file has a fixed batch. Those that are kept take one sequence. Files of a stream are run as twins with a batch
of `TOGETHER`, since every step is a call from Python; files of whole sequences as twins that return the events too, one
sequence at a time, since their loops copy the outputs of all steps at every step.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from keras_egru import EGRU, EventLIF
from keras_egru.export import StreamingModel, to_saved_model, to_tflite
from keras_egru.export.comparing import Observed
from keras_egru.export.report import ExportReport
from keras_egru.export.saved_model import load_saved_model
from keras_egru.export.tflite import sequence_file
from keras_egru.export.tflite_runner import run_sequences, run_steps

TOGETHER = 100  # sequences of a stream at once
EVENT_LAYERS = (EGRU, EventLIF)


class Form(NamedTuple):
    """One form.

    kind: "saved_model", "sequence" or "streaming".
    quantize: Of builtin ops as `to_tflite` has it; with the sparse op "int8" quantizes the Keras model before.
    needs: Layers of which the model must have one, or the form is no other than one before.
    """

    name: str
    kind: str
    op: str
    quantize: str | None = None
    needs: tuple = ()

    @property
    def file(self):
        return self.name if self.kind == "saved_model" else f"{self.name}.tflite"

    @property
    def kept_batch(self):
        """Of the file that is kept; None of a SavedModel, which takes any."""
        return None if self.kind == "saved_model" else 1

    @property
    def measured_batch(self):
        """Of its twin, on which it is measured."""
        return {"saved_model": None, "sequence": 1, "streaming": TOGETHER}[self.kind]


FORMS = (
    Form("saved_model-custom", "saved_model", "custom", needs=EVENT_LAYERS),
    Form("saved_model-portable", "saved_model", "portable"),
    Form("sequence-float32", "sequence", "builtins"),
    Form("sequence-float16", "sequence", "builtins", "float16"),
    Form("sequence-dynamic", "sequence", "builtins", "dynamic"),
    Form("sequence-sparse", "sequence", "sparse", needs=EVENT_LAYERS),
    Form("sequence-sparse-int8", "sequence", "sparse", "int8", needs=(EGRU,)),
    Form("streaming-float32", "streaming", "builtins"),
    Form("streaming-float16", "streaming", "builtins", "float16"),
    Form("streaming-dynamic", "streaming", "builtins", "dynamic"),
    Form("streaming-int8", "streaming", "builtins", "int8"),
    Form("streaming-sparse", "streaming", "sparse", needs=EVENT_LAYERS),
    Form("streaming-sparse-int8", "streaming", "sparse", "int8", needs=(EGRU,)),
)


def forms_of(model) -> list[Form]:
    """Those that a model has."""
    layers = model._flatten_layers()
    return [form for form in FORMS if not form.needs or any(isinstance(layer, form.needs) for layer in layers)]


def write(form, model, path, representative) -> ExportReport:
    """Writes a form to `path`, a TF-Lite file for one sequence.

    Raises:
        ValueError: the model has not this form; the sentence says why.
    """
    if form.kind == "saved_model":
        return to_saved_model(model, path, op=form.op)
    return _to_tflite(form, model, path, representative, batch_size=1)


def dense_bytes(model) -> int:
    """Size of the float32 file in builtin ops with all its weights, pruned or not: of a stream, or of sequences where
    the model has no stream."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return to_tflite(model, Path(folder) / "a.tflite", mode="streaming", sparse_weights=False).size
        except ValueError:
            return to_tflite(model, Path(folder) / "b.tflite", sparse_weights=False).size


def runner(form, model, path, representative) -> Callable[[np.ndarray], Observed]:
    """What runs a form, written to `path`, on sequences `[samples, time, features]`."""
    if form.kind == "saved_model":
        return _saved_model_runner(model, path)
    sparse = form.op == "sparse"
    if form.kind == "sequence":
        quantize = None if sparse else form.quantize
        content = sequence_file(_prepared(form, model), form.op, quantize, True, 1, with_events=True)
        return lambda sequences: run_sequences(content, sequences, 1, sparse)
    stream = StreamingModel(model)
    with tempfile.TemporaryDirectory() as folder:
        twin = Path(folder) / "twin.tflite"
        _to_tflite(form, model, twin, representative, batch_size=TOGETHER)
        content = twin.read_bytes()
    return lambda sequences: run_steps(
        content, sequences, TOGETHER, sparse, stream.output_is_stream, stream.event_names
    )


def _to_tflite(form, model, path, representative, batch_size):
    options = {"mode": form.kind, "op": form.op, "batch_size": batch_size}
    if form.op == "sparse":
        return to_tflite(_prepared(form, model), path, **options)
    return to_tflite(model, path, quantize=form.quantize, representative_data=representative, **options)


def _prepared(form, model):
    """The model whose weights the sparse op is to read: in 8 bits a copy, since quantizing changes the model."""
    if form.op != "sparse" or form.quantize is None:
        return model
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy._flatten_layers():
        if isinstance(layer, EGRU):
            layer.quantize(form.quantize)
    return copy


def _saved_model_runner(model, path):
    import tensorflow as tf

    signatures = load_saved_model(path).signatures
    layers = [layer.name for layer in model._flatten_layers() if isinstance(layer, EVENT_LAYERS)]
    (spec,) = signatures["serving_default"].structured_input_signature[1].values()

    def run(sequences):
        x = {spec.name: tf.constant(sequences)}
        outputs = [np.asarray(y) for y in signatures["serving_default"](**x).values()]
        fired = signatures["events"](**x) if layers else {}
        return Observed(outputs, [np.asarray(fired[name]) for name in layers])

    return run
