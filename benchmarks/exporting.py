"""What becomes of a finished run's model in every form of export: size, difference, flipped events, accuracy.

- Test sequences go through the Keras model and through every form, in the same order; the accuracy of each is that of
  the run's record, here over as many sequences as are asked for.
- Files that are kept take a batch of one. Which batch they were measured with is told by each (`export_forms.py`).
- Ranges for 8 bits come from the first `REPRESENTATIVE` training sequences; the test set has no part in any file.
- A form that the network does not have is left out, with the sentence that says why.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from benchmarks import finished_runs, records
from benchmarks.errors import CannotRun, CannotWrite, ConfigError
from benchmarks.tasks import TASKS

KIND = "export"
FILE = "export.json"
REPRESENTATIVE = 100  # training sequences
AT_ONCE = 500  # test sequences whose events are in memory
OF_RUN = (
    "name", "task", "preset", "model", "seed", "test_accuracy", "activity_sparsity", "parameter_sparsity",
    "recurrent_parameter_sparsity",
)  # fmt: skip


class Source(NamedTuple):
    """A finished run: its record, its configuration, its model."""

    record: dict
    config: object
    model: object


def execute(folder, data_dir, out, samples, command, progress=lambda text: None) -> dict:
    """Exports the model of the run in `folder` to the new folder `out`, which gets `export.json` too; returns that.

    Args:
        samples: Number of test sequences; 0 for all.
        progress: Is told a line now and then.

    Raises:
        ConfigError: `folder` holds no finished run of a task with classes, or there is something at `out`.
        DataMissing: the data of the task is not there.
        CannotRun: LiteRT or the custom op is missing.
        CannotWrite: `out` cannot be written; nothing is left there.
    """
    from benchmarks.device_contenders import require_litert
    from benchmarks.export_forms import forms_of
    from keras_egru.export.destinations import check_new, new_folder

    try:
        check_new(out)
    except FileExistsError:
        raise ConfigError(f"{out} is there already: remove it or choose another --out.") from None
    source = _source(folder)
    require_litert()
    dataset = TASKS[source.record["task"]].load(source.config, data_dir)
    try:
        with new_folder(out) as files:
            record = header(source, dataset, command)
            record |= exported(source, dataset, files, forms_of(source.model), samples, progress)
            (files / FILE).write_bytes(records.to_json(record))
    except OSError as error:
        raise CannotWrite(f"{out} cannot be written: {error}") from None
    return record


def _source(folder):
    run = finished_runs.find(folder)
    if TASKS[run.record["task"]].kind != "classification":
        raise ConfigError(
            f"{folder} must hold a run with class labels, and {run.record['task']} is a "
            f"{TASKS[run.record['task']].kind}: `python -m keras_egru.export` exports it."
        )
    return Source(run.record, run.config, finished_runs.model_of(run))


def header(source, dataset, command) -> dict:
    """What an `export.json` says of the run, the data and the machine."""
    return {
        "kind": KIND,
        "command": command,
        "versions": records.versions(),
        "machine": records.machine(),
        "run": {name: source.record.get(name) for name in OF_RUN},
        "dataset": dataset.describe(),
        "representative": min(REPRESENTATIVE, len(dataset.train.y)),
    }


def exported(source, dataset, folder, chosen, samples, progress) -> dict:
    """The figures of the `chosen` forms, of which each is written into `folder`."""
    from benchmarks import export_forms as forms

    model, representative = source.model, np.asarray(dataset.train.x[:REPRESENTATIVE])
    rows, runners = [], {}
    for form in chosen:
        row = {"form": form.name, "kind": form.kind, "op": form.op, "quantize": form.quantize}
        try:
            report = forms.write(form, model, folder / form.file, representative)
            runners[form.name] = forms.runner(form, model, folder / form.file, representative)
        except ValueError as error:
            rows.append(row | {"refused": str(error)})
            continue
        except RuntimeError as error:
            raise CannotRun(f"{form.name} cannot be written: {error}") from None
        batches = {"kept_batch": form.kept_batch, "measured_batch": form.measured_batch}
        rows.append(row | {"file": form.file, "bytes": report.size, **batches, "ops": report.ops})
        progress(f"{form.name}: {report.size:,} bytes")
    count = min(samples, len(dataset.test.y)) or len(dataset.test.y)
    original, compared = _compared(source, dataset.test, count, runners, progress)
    dense = forms.dense_bytes(model)
    for row in rows:
        if row["form"] in compared:
            row |= {"share_of_dense": row["bytes"] / dense, **dataclasses.asdict(compared[row["form"]])}
    return {"samples": count, "dense_bytes": dense, "keras_accuracy": original, "forms": rows}


@dataclasses.dataclass
class Compared:
    """A form beside the Keras model: the largest difference of their outputs, the share of (sample, step, unit) at
    which one alone has an event, None without events, and the share of right classes."""

    max_difference: float = 0.0
    flipped_events: float | None = None
    accuracy: float = 0.0

    def add(self, figures, right, share):
        """Takes in some of the sequences, which are `share` of all; of them `right` is the share of right ones."""
        self.max_difference = max(self.max_difference, figures["max_difference"])
        if figures["flipped_events"] is not None:
            self.flipped_events = (self.flipped_events or 0.0) + share * figures["flipped_events"]
        self.accuracy += share * right


def _compared(source, split, count, runners, progress):
    """`(accuracy of the Keras model, Compared by form)` on the first `count` sequences."""
    from keras_egru.export.comparing import figures, observe

    found, accuracy = {name: Compared() for name in runners}, 0.0
    for start in range(0, count, AT_ONCE):
        chosen = slice(start, min(start + AT_ONCE, count))
        sequences, labels = np.asarray(split.x[chosen]), split.y[chosen]
        share = len(labels) / count
        original = observe(source.model, sequences)
        accuracy += share * float(np.mean(classes(original.outputs[0], source.config) == labels))
        for name, run in runners.items():
            exported = run(sequences)
            right = float(np.mean(classes(exported.outputs[0], source.config) == labels))
            found[name].add(figures(original, exported), right, share)
        progress(f"compared on {chosen.stop:,} of {count:,} sequences")
    return accuracy, found


def classes(outputs, config) -> np.ndarray:
    """The answers in outputs `[samples, classes]`, or `[samples, time, classes]` of which the last step counts: the
    largest, or of first-spike times the earliest."""
    outputs = outputs[:, -1] if outputs.ndim == 3 else outputs
    return np.argmin(outputs, -1) if getattr(config, "readout", None) == "first_spike" else np.argmax(outputs, -1)
