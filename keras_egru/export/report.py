"""What an export tells: the ops that were written, the size of the file, and how far it is from the Keras model."""

import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """The outcome of one export.

    Attributes:
        path: Where it was written, as given.
        format: `"saved_model"`, `"tflite"` or `"nir"`.
        ops: How often each op (of NIR, each kind of node) occurs, by name in alphabetical order.
        size: Bytes on disk, of a folder the sum of its files.
        signatures: Names of the entry points, in alphabetical order.
        samples: Sequences of `data` that were compared, or None without data; so are the next three.
        max_difference: Largest absolute difference of the outputs from the Keras model's.
        flipped_events: Share of (sample, step, unit) at which exactly one of the two has an event; None of models
            without events.
        keras_accuracy: Share of right classes of the Keras model, where `data` has labels.
        accuracy: The same of what was exported.
    """

    path: str
    format: str
    ops: dict[str, int]
    size: int
    signatures: tuple[str, ...] = ()
    samples: int | None = None
    max_difference: float | None = None
    flipped_events: float | None = None
    keras_accuracy: float | None = None
    accuracy: float | None = None

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    def __str__(self):
        lines = [f"{self.format} {self.path}: {self.size:,} bytes"]
        if self.signatures:
            lines.append("signatures: " + ", ".join(self.signatures))
        lines.append("ops: " + ", ".join(f"{name} x{count}" for name, count in self.ops.items()))
        if self.samples is not None:
            lines.append(f"on {self.samples} sequences: largest difference {self.max_difference:.3g}")
        if self.flipped_events is not None:
            lines.append(f"flipped events: {self.flipped_events:.3%}")
        if self.accuracy is not None:
            lines.append(f"accuracy: {self.accuracy:.2%} (Keras model: {self.keras_accuracy:.2%})")
        return "\n".join(lines)
