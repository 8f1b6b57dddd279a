"""Export to a SavedModel, which TensorFlow alone loads and serves, with the custom op in it or without."""

import contextlib
from collections import Counter
from pathlib import Path

import keras
import numpy as np
from keras import tree
from keras.src.models.functional import Functional

from keras_egru.export.comparing import Observed, figures, joined, observe, split_data
from keras_egru.export.destinations import check_new, new_folder, size_of
from keras_egru.export.portable import portable
from keras_egru.export.report import ExportReport
from keras_egru.export.traceable import check_traceable, check_whole_sequences
from keras_egru.layers import EGRU, EventLIF, LeakyReadout
from keras_egru.layers.recording import record_states
from keras_egru.ops import library

OPS = ("custom", "portable")
NAMESPACE = "KerasEgru"  # of the custom ops


def to_saved_model(model, path, op: str = "custom", *, data=None) -> ExportReport:
    """Writes a model as a SavedModel for inference.

    Its signatures take the model's inputs by name, of any batch and any number of steps, as far as the layers can: not
    those that are unrolled, nor `TimeDistributed`.

    - `serving_default` gives the model's outputs by name: an output has the name of its layer, or its key.
    - `events` gives `[batch, time, units]` for each `EGRU` and `EventLIF`, by the layer's name: the events, zero where
      a unit is silent. It is there if the model has such layers.

    ```python
    to_saved_model(model, "served", op="portable")
    # In another process, which has TensorFlow alone:
    served = tf.saved_model.load("served").signatures["serving_default"]
    served(sequences=tf.constant(x))  # `sequences` is the name of the model's `keras.Input`
    ```

    With `op="custom"` the layers run on the custom op as they do in the model, fast where they are sparse. A process
    that loads it calls `tf.load_op_library` on the library of this package before, or `load_saved_model`. With
    `op="portable"` they run on TensorFlow's own ops, and the SavedModel is loaded anywhere.

    Args:
        model: A built Sequential or Functional model.
        path: The folder to write; nothing must be there.
        op: `"custom"` (default) or `"portable"`.
        data: Sequences `[samples, time, features]` for a model of one input, or a pair of them and labels, on which
            the report compares what was written with the model. Default `None`.

    Returns:
        An `ExportReport`.

    Raises:
        TypeError: `model` is neither Sequential nor Functional.
        ValueError: it is not built, or has a stateful layer or a `TimeDistributed` over an unknown number of steps,
            which the sentence names; or another argument is wrong.
        FileExistsError: there is something at `path`.
        OSError: `path` cannot be written; nothing is left there.
        RuntimeError: with `op="custom"`, the library of the op does not load; the sentence says why.
    """
    import tensorflow as tf

    if op not in OPS:
        raise ValueError(f"`op` must be one of {OPS}, received {op!r}.")
    check_new(path)
    functional = _functional(model)
    if op == "custom":
        _check_library(model)
    sequences = labels = None
    if data is not None:
        if len(functional.inputs) != 1:
            raise ValueError(f"`data` is for models of one input, and '{model.name}' has {len(functional.inputs)}.")
        sequences, labels = split_data(data)
    with portable(model) if op == "portable" else contextlib.nullcontext():
        signatures = _signatures(functional, model._flatten_layers())
    module = tf.Module()
    module.captured = list({id(v): v for f in signatures.values() for v in f.variables}.values())
    # Stack traces would put names of this machine's folders into the file; nobody takes gradients of a served model.
    options = tf.saved_model.SaveOptions(save_debug_info=False, experimental_custom_gradients=False)
    with new_folder(path) as folder:
        tf.saved_model.save(module, str(folder), signatures=signatures, options=options)
        ops = _ops(folder)
        if custom := [name for name in ops if name.startswith(NAMESPACE)]:
            if op == "portable":
                raise RuntimeError(f"A layer of '{model.name}' does not run without the custom ops {custom}.")
            # TensorFlow's own error names the op that is missing, and not what to do: that is said beside the model.
            (folder / "assets.extra").mkdir()
            (folder / "assets.extra" / "README.txt").write_text(_how_to_load(custom) + "\n")
        compared = {}
        if sequences is not None:
            exported = _observe(tf.saved_model.load(str(folder)), signatures, sequences)
            compared = figures(observe(model, sequences), exported, labels)
        size = size_of(folder)
    return ExportReport(
        path=str(path), format="saved_model", ops=ops, size=size, signatures=tuple(sorted(signatures)), **compared
    )


def load_saved_model(path):
    """What `tf.saved_model.load` returns, with the library of the custom op loaded before where it is needed.

    Args:
        path: A folder that `to_saved_model` has written.

    Raises:
        OSError: there is no SavedModel at `path`.
        RuntimeError: it holds the custom op, and the library does not load here; the sentence says why.
    """
    import tensorflow as tf

    if not (Path(path) / "saved_model.pb").is_file():
        raise OSError(f"`path` must be the folder of a SavedModel, and there is none at {path}.")
    custom = [name for name in _ops(path) if name.startswith(NAMESPACE)]
    if custom and (reason := library.why_not()):
        raise RuntimeError(f"The SavedModel at {path} cannot be loaded: {reason} {_how_to_load(custom)}")
    return tf.saved_model.load(str(path))


def _functional(model):
    """The Functional model in `model`."""
    if not isinstance(model, (keras.Sequential, Functional)):
        raise TypeError(f"`model` must be a Sequential or Functional model, received {type(model).__name__}.")
    check_traceable(model)
    check_whole_sequences(model)
    return model._functional if isinstance(model, keras.Sequential) else model


def _check_library(model):
    ours = any(isinstance(layer, (EGRU, EventLIF, LeakyReadout)) for layer in model._flatten_layers())
    if ours and (reason := library.why_not()):
        raise RuntimeError(f'op="custom" cannot be written here: {reason} op="portable" needs no library.')


def _how_to_load(custom) -> str:
    return (
        f"It holds the custom ops {', '.join(custom)}: call `tf.load_op_library` on {library.LIBRARY} of keras-egru "
        'before `tf.saved_model.load`. A SavedModel of op="portable" needs no library.'
    )


def _signatures(functional, layers) -> dict:
    """Concrete functions by name, over any number of steps where the layers allow it."""
    own = [x.shape for x in functional.inputs]
    free = [(None, None, *shape[2:]) if len(shape) > 2 else shape for shape in own]
    fixed = any(isinstance(layer, keras.layers.TimeDistributed) for layer in layers)
    if own != free and not fixed:
        with contextlib.suppress(TypeError, ValueError):  # such as those of a layer that is unrolled
            return _traced(functional, free)
    return _traced(functional, own)


def _traced(functional, shapes) -> dict:
    import tensorflow as tf

    names = _unique([_name(path, x.name) for path, x in tree.flatten_with_path(functional._inputs_struct)])
    specs = {
        name: tf.TensorSpec((None, *shape[1:]), x.dtype, name=name)
        for name, shape, x in zip(names, shapes, functional.inputs, strict=True)
    }

    def run(inputs):
        flat = [inputs[name] for name in names]
        return functional(tree.pack_sequence_as(functional._inputs_struct, flat), training=False)

    def serving_default(**inputs):
        keys = [
            _name(path, x._keras_history.operation.name)
            for path, x in tree.flatten_with_path(functional._outputs_struct)
        ]
        return dict(zip(_unique(keys), tree.flatten(run(inputs)), strict=True))

    def events(**inputs):
        with record_states() as records:
            run(inputs)
        records = [record for record in records if record.y is not None]
        return dict(zip(_unique([record.layer.name for record in records]), (r.y for r in records), strict=True))

    traced = {
        function.__name__: tf.function(function, autograph=False).get_concrete_function(**specs)
        for function in (serving_default, events)
    }
    if not traced["events"].structured_outputs:
        del traced["events"]
    return traced


def _name(path, name) -> str:
    """The last key on the way to a tensor, or `name` where there is none."""
    return next((key for key in reversed(path) if isinstance(key, str)), name)


def _unique(names) -> list[str]:
    """`names`, of which the second of a name has `_1` appended, the third `_2`."""
    seen: Counter = Counter()
    result = []
    for name in names:
        result.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return result


def _ops(folder) -> dict[str, int]:
    """How often each op occurs in a SavedModel, in its functions too."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString((Path(folder) / "saved_model.pb").read_bytes())
    counts: Counter = Counter()
    for meta_graph in saved.meta_graphs:
        graph = meta_graph.graph_def
        counts.update(node.op for node in graph.node)
        counts.update(node.op for function in graph.library.function for node in function.node_def)
    return dict(sorted(counts.items()))


def _observe(loaded, signatures, sequences, batch_size: int = 64) -> Observed:
    """What the loaded SavedModel does with `sequences`, in the order of `signatures`."""
    import tensorflow as tf

    (spec,) = signatures["serving_default"].structured_input_signature[1].values()
    found: dict[str, list] = {"serving_default": [], "events": []}
    for start in range(0, len(sequences), batch_size):
        batch = tf.cast(sequences[start : start + batch_size], spec.dtype)
        for name, parts in found.items():
            if name in signatures:
                result = loaded.signatures[name](**{spec.name: batch})
                parts.append([np.asarray(result[key]) for key in signatures[name].structured_outputs])
            else:
                parts.append([])
    return joined(found["serving_default"], found["events"])
