"""`run --export`: what was trained, as the TF-Lite file that a camera's or a microphone's loop calls at every step.

It has builtin ops alone, float32 weights and the states in the caller's hands; `export` writes the other forms.
"""

import tempfile
from pathlib import Path

from benchmarks import checkpoints, exporting, records
from benchmarks.errors import CannotRun, ConfigError
from benchmarks.export_forms import Form
from benchmarks.speed_families import tell
from benchmarks.tasks import TASKS
from keras_egru.export import StreamingModel

FORM = Form("model", "streaming", "builtins")
SAMPLES = 1000  # test sequences to compare on, as many as `export` takes


def check(run, network):
    """Raises a ConfigError if the network of a `Run`, trained or not, has no such file."""
    kind = TASKS[run.task].kind
    if kind != "classification":
        raise ConfigError(f"--export is for tasks with class labels, and {run.task} is a {kind}.")
    try:
        StreamingModel(network)
    except ValueError as error:
        raise ConfigError(f"--export wants a network that goes step by step: {error}") from None


def write(run, network, dataset, record):
    """Writes `model.tflite` and `export.json` into the folder of a `Run`, in the place of those that were there.

    Raises:
        CannotRun: the file cannot be made.
        CannotWrite: the folder cannot be written to.
    """
    source = exporting.Source(record, run.config, network)
    with tempfile.TemporaryDirectory() as folder:
        document = exporting.header(source, dataset, run.command)
        document |= exporting.exported(source, dataset, Path(folder), [FORM], SAMPLES, tell)
        (row,) = document["forms"]
        if "refused" in row:
            raise CannotRun(f"{FORM.file} cannot be written: {row['refused']}")
        content = (Path(folder) / FORM.file).read_bytes()
    checkpoints.write_atomically(run.out / FORM.file, content)
    checkpoints.write_atomically(run.out / exporting.FILE, records.to_json(document))
    tell(
        f"{FORM.file}: {row['accuracy']:.2%} of {document['samples']} test sequences right, and with Keras "
        f"{document['keras_accuracy']:.2%}"
    )
