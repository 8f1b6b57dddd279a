"""Export to TF-Lite: whole sequences or a stream, with builtin ops alone or with the sparse op, in four precisions."""

import contextlib

import numpy as np

from keras_egru.export import comparing, destinations, tflite_file, tflite_sparsity
from keras_egru.export.portable import portable
from keras_egru.export.report import ExportReport
from keras_egru.export.streaming import StreamingModel
from keras_egru.export.tflite_converter import QUANTIZE, convert
from keras_egru.export.tflite_runner import run_sequences, run_steps
from keras_egru.export.tflite_signatures import (
    INIT,
    SEQUENCE,
    STEP,
    sequence_function,
    step_function,
)
from keras_egru.export.traceable import check_traceable, check_whole_sequences

MODES = ("sequence", "streaming")
OPS = ("builtins", "sparse")


def to_tflite(
    model,
    path,
    mode: str = "sequence",
    op: str = "builtins",
    quantize: str | None = None,
    representative_data=None,
    sparse_weights: bool = True,
    batch_size: int = 1,
    data=None,
) -> ExportReport:
    """Writes a model as a TF-Lite file that runs without Keras, without this package and without TensorFlow.

    A file of `mode="sequence"` has the signature `serving_default`, from `input` `[batch, time, ...]` to `output`; time
    varies where the model's does. One of `mode="streaming"` has two: `init` takes nothing and returns the states,
    `step` takes `input` `[batch, ...]` of one time step and the states, and returns `output` and the states under the
    same names; `StreamingModel` says what a step returns. Several inputs have the model's names for them, several
    outputs the names `output_0`, `output_1` and so on.

    Args:
        model: A built Keras model; for streaming as `StreamingModel` wants it.
        path: The file, which must not exist.
        mode: `"sequence"` (default) or `"streaming"`.
        op: `"builtins"` (default): ops of every TF-Lite runtime alone. `"sparse"`: `EGRU` and `EventLIF` layers are
            custom ops, which multiply only what is active; their library must be loaded where the file runs
            (`docs/litert-op.md`).
        quantize: None (default) for float32; `"float16"`: weights of half the size; `"dynamic"`: weights of matrix
            products in 8 bits, activations as they come; `"int8"`: matrix products in integers, with ranges found on
            `representative_data`, for streaming. What is between the products stays float, states above all: rounded to
            8 bits at every step they would not integrate. With `op="sparse"` call `model.quantize("int8")` instead.
        representative_data: Array `[samples, time, ...]` of typical sequences, for `quantize="int8"`.
        sparse_weights: Boolean (default `True`), whether matrices with many zeros are written as the nonzero weights
            alone and unpacked when the file is loaded. The file is smaller, the products are not faster. Pruned layers
            of 8 bits multiply in float then, which can take several times as long as in integers: choose between size
            and speed.
        batch_size: Positive integer (default 1). The file runs with batches of this size alone.
        data: None (default), sequences `[samples, time, ...]`, or `(sequences, classes)`: the file is run on them and
            compared with the model.

    Returns:
        An `ExportReport`; its figures of comparison are None without `data`.

    Raises:
        TypeError: `model` is no Keras model.
        ValueError: an argument is wrong, a layer has no form that was asked for, or the model needs an op that TF-Lite
            does not have; the sentence names it.
        FileExistsError: there is something at `path`.
        OSError: `path` cannot be written; nothing is left there.
        RuntimeError: Keras does not run on TensorFlow, or `op="sparse"` finds no library.
    """
    _check_options(mode, op, quantize, representative_data, batch_size)
    check_traceable(model)
    destinations.check_new(path)
    sequences, labels = (None, None) if data is None else comparing.split_data(data)
    if (sequences is not None or quantize == "int8") and len(model.inputs) != 1:
        raise ValueError(
            "`data` and `representative_data` are for models with one input, and "
            f"'{model.name}' has {len(model.inputs)}."
        )
    if mode == "sequence":
        check_whole_sequences(model)
    if mode == "sequence":
        content = sequence_file(model, op, quantize, sparse_weights, batch_size)
    else:
        content = _streaming_file(model, op, quantize, representative_data, sparse_weights, batch_size)
    ops = tflite_file.count_ops(content)
    _check_ops(ops, op)
    measured = {}
    if sequences is not None:
        original = comparing.observe(model, sequences)
        if mode == "streaming":
            stream = StreamingModel(model)
            exported = run_steps(
                content, sequences, batch_size, op == "sparse", stream.output_is_stream, stream.event_names
            )
        else:
            exported = run_sequences(content, sequences, batch_size, op == "sparse")
            if original.events:
                probe = sequence_file(model, op, quantize, sparse_weights, batch_size, with_events=True)
                exported = exported._replace(events=run_sequences(probe, sequences, batch_size, op == "sparse").events)
        measured = comparing.figures(original, exported, labels)
    with destinations.new_file(path) as file:
        file.write_bytes(content)
    return ExportReport(
        str(path), "tflite", ops, len(content), signatures=tflite_file.signature_keys(content), **measured
    )


def sequence_file(
    model, op: str, quantize: str | None, sparse_weights: bool, batch_size: int, with_events: bool = False
) -> bytes:
    """The content of a file of whole sequences; `with_events` it returns those of all layers too (`tflite_runner`)."""
    with _on(op, model):
        function = sequence_function(model, batch_size, with_events)
        content = convert(function, model.variables, SEQUENCE, quantize, custom_ops=op == "sparse")
    file = tflite_file.read(content)
    return tflite_file.written(file) if sparse_weights and tflite_sparsity.pack(file) else content


def _streaming_file(model, op, quantize, representative_data, sparse_weights, batch_size):
    with _on(op, model):
        stream = StreamingModel(model)
        samples = None if quantize != "int8" else lambda: _step_samples(stream, representative_data, batch_size)
        function = step_function(stream, batch_size)
        content = convert(function, model.variables, STEP, quantize, samples, custom_ops=op == "sparse")
    file = tflite_file.read(content)
    if sparse_weights:
        tflite_sparsity.pack(file)
    initial = {name: np.asarray(value) for name, value in stream.initial_state(batch_size).items()}
    tflite_file.add_constants_signature(file, INIT, initial)
    return tflite_file.written(file)


def _on(op, model):
    """Inside, layers are traced on builtin ops, or on the custom op."""
    return portable(model) if op == "builtins" else contextlib.nullcontext()


def _step_samples(stream, sequences, batch_size):
    """Inputs of steps, as the model meets them on whole sequences."""
    for start in range(0, len(sequences) - batch_size + 1, batch_size):
        state = stream.initial_state(batch_size)
        for t in range(sequences.shape[1]):
            x = sequences[start : start + batch_size, t]
            yield {"input": x, **{name: np.asarray(value) for name, value in state.items()}}
            _, state = stream.step(x, state)


def _check_options(mode, op, quantize, representative_data, batch_size):
    for name, value, allowed in (("mode", mode, MODES), ("op", op, OPS), ("quantize", quantize, QUANTIZE)):
        if value not in allowed:
            raise ValueError(f"`{name}` must be one of {allowed}, received {value!r}.")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            "`batch_size` must be a positive integer, since TF-Lite's loops want a known batch, "
            f"received {batch_size!r}."
        )
    if op == "sparse" and quantize is not None:
        raise ValueError(
            f'`quantize` is for op="builtins", received {quantize!r} with op="sparse": call `model.quantize("int8")` '
            "before, which the sparse op reads as it is."
        )
    if quantize == "int8" and mode == "sequence":
        raise ValueError(
            'quantize="int8" is for mode="streaming", received mode="sequence": TF-Lite quantizes no loop over time; '
            '"dynamic" and "float16" are possible.'
        )
    if quantize == "int8" and representative_data is None:
        raise ValueError(
            '`representative_data` must be given with quantize="int8", received None: it wants typical sequences '
            "[samples, time, ...], on which the ranges of the activations are found."
        )
    if quantize == "int8" and len(np.shape(representative_data)) < 2:
        raise ValueError(
            f"`representative_data` must be sequences [samples, time, ...], received {np.shape(representative_data)}."
        )
    if quantize == "int8" and len(representative_data) < batch_size:
        raise ValueError(
            f"`representative_data` must hold at least `batch_size` sequences, received {len(representative_data)} for "
            f"{batch_size}."
        )


def _check_ops(ops, op):
    """No TensorFlow op, and no custom op but ours."""
    foreign = [name for name in ops if name.startswith("Flex") or not name.isupper()]
    foreign = [name for name in foreign if op == "builtins" or not name.startswith("KerasEgru>")]
    if foreign:
        raise ValueError(f"`model` needs ops that TF-Lite does not have among its builtins: {', '.join(foreign)}.")
