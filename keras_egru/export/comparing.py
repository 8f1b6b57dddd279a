"""How far an exported model is from the Keras model: difference of outputs, flipped events, accuracy."""

from typing import Any, NamedTuple

import numpy as np
from keras import tree

from keras_egru.layers.recording import record_states


class Observed(NamedTuple):
    """What a model does with some sequences.

    outputs: A list of arrays, `[samples, ...]`.
    events: A list with `[samples, time, units]` for each layer that has events, zero where a unit is silent.
    """

    outputs: list
    events: list


def split_data(data) -> tuple[np.ndarray, np.ndarray | None]:
    """`(sequences, labels)` of `data`: an array, or a pair of arrays; labels are None of an array.

    Raises:
        ValueError: the labels are not as many as the sequences, or there are no sequences.
    """
    sequences, labels = data if isinstance(data, (tuple, list)) and len(data) == 2 else (data, None)
    sequences = np.asarray(sequences)
    if sequences.ndim < 2 or len(sequences) == 0:
        raise ValueError(f"`data` must hold sequences [samples, time, features], received {sequences.shape}.")
    if labels is not None and len(labels := np.asarray(labels)) != len(sequences):
        raise ValueError(f"`data` must have a label for each sequence, received {len(labels)} for {len(sequences)}.")
    return sequences, labels


def observe(model, sequences, batch_size: int = 64) -> Observed:
    """What the Keras model does with `sequences`, in inference."""
    outputs: list[Any] = []
    events: list[Any] = []
    for start in range(0, len(sequences), batch_size):
        with record_states() as records:
            result = model(sequences[start : start + batch_size], training=False)
        outputs.append([np.asarray(x) for x in tree.flatten(result)])
        events.append([np.asarray(record.y) for record in records if record.y is not None])
    return joined(outputs, events)


def joined(outputs, events) -> Observed:
    """The `Observed` of batches, each a list of arrays."""
    return Observed(
        [np.concatenate(parts) for parts in zip(*outputs, strict=True)],
        [np.concatenate(parts) for parts in zip(*events, strict=True)],
    )


def figures(original: Observed, exported: Observed, labels=None) -> dict[str, Any]:
    """The figures of an `ExportReport`."""
    difference = max(
        float(np.max(np.abs(a.astype("float64") - b.astype("float64"))))
        for a, b in zip(original.outputs, exported.outputs, strict=True)
    )
    flipped = entries = 0
    for a, b in zip(original.events, exported.events, strict=True):
        flipped += int(np.sum((a != 0) != (b != 0)))
        entries += a.size
    return {
        "samples": len(original.outputs[0]),
        "max_difference": difference,
        "flipped_events": flipped / entries if entries else None,
        "keras_accuracy": None if labels is None else accuracy(original.outputs, labels),
        "accuracy": None if labels is None else accuracy(exported.outputs, labels),
    }


def accuracy(outputs, labels) -> float:
    """Share of labels that the largest of the outputs' last axis names.

    Raises:
        ValueError: there is not one output of several classes, or labels of another shape.
    """
    if len(outputs) != 1 or outputs[0].shape[-1] < 2 or outputs[0].shape[:-1] != np.shape(labels):
        shapes = ", ".join(str(x.shape) for x in outputs)
        raise ValueError(
            "The labels of `data` must be the classes of one output [..., classes], received labels "
            f"{np.shape(labels)} for outputs {shapes}."
        )
    return float(np.mean(np.argmax(outputs[0], axis=-1) == labels))
