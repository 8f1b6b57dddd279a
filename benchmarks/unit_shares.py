"""What becomes of a finished run's network when its least active units are removed (EGRU paper, section 5.3).

- The paper calls this a natural way to compress an EGRU and shows it on language; its figures are in a supplement, E.4.
  Here the same share of the units of every layer goes, and nothing is trained again.
- Training data says which units are least active, and every share is judged on validation data. The test set is asked
  once, about the largest share that costs no more than `MAY_LOSE` there; about none where none does.
- A language model whose read-out is its embedding gets a read-out of its own, with the same numbers, since its last
  layer must keep its units otherwise. `parameters` counts the table of words once nevertheless.
"""

import keras
import numpy as np

from benchmarks import checkpoints, finished_runs, records
from benchmarks.batches import InOrder
from benchmarks.config import online_label
from benchmarks.errors import ConfigError
from benchmarks.sparsities import sparsity
from benchmarks.tasks import TASKS

KIND, FILE = "units", "units.json"
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
MAY_LOSE = {"accuracy": 0.005, "perplexity": 0.02}  # half a point of accuracy, or 2 % more perplexity
OF_RUN = (
    "name", "task", "preset", "model", "seed", "validation_accuracy", "validation_perplexity", "test_accuracy",
    "test_perplexity",
)  # fmt: skip


def execute(folder, shares, data_dir, out, command, progress=lambda text: None) -> dict:
    """Removes `shares` of the units of the run in `folder` and writes the figures to the file `out`; returns them.

    Raises:
        ConfigError: `folder` holds no finished run of an EGRU with one read-out, or a share is none.
        DataMissing: the data of the task is not there.
        CannotWrite: `out` cannot be written.
    """
    wrong = [share for share in shares if not 0.0 < share < 1.0]
    if wrong:
        raise ConfigError(f"--share must lie between 0 and 1, received {wrong[0]:g}.")
    run = finished_runs.find(folder)
    if run.record["model"] != "egru":
        raise ConfigError(f"{folder} must hold a run of the model egru, and it trained {run.record['model']}.")
    if online_label(run.config) is not None:
        raise ConfigError(f"{folder} must hold a run with one read-out a sequence, and it has one at every step.")
    dataset = TASKS[run.record["task"]].load(run.config, data_dir)
    words = TASKS[run.record["task"]].kind == "language model"
    judge = (NextWords if words else ClassLabels)(run, dataset)
    rows, networks = [judge.row(0.0, judge.network)], {}
    for share in sorted(set(shares)):
        networks[share] = judge.without(share)
        rows.append(judge.row(share, networks[share]))
        progress(f"{share:.0%} removed: {judge.figure} {rows[-1][f'validation_{judge.figure}']:.4g}")
    held = [row["share"] for row in rows[1:] if judge.loses(row, rows[0]) <= MAY_LOSE[judge.figure]]
    chosen = max(held, default=None)
    record = {
        "kind": KIND,
        "command": command,
        "versions": records.versions(),
        "machine": records.machine(),
        "run": {name: run.record.get(name) for name in OF_RUN},
        "dataset": dataset.describe(),
        "activity_of": f"the first {run.config.sparsity_sample} of the training split",
        "rows": rows,
        "may_lose": MAY_LOSE[judge.figure],
        "chosen": chosen,
        "test": {f"test_{judge.figure}": judge.measure(networks[chosen], dataset.test)} if held else None,
    }
    checkpoints.write_atomically(out, records.to_json(record))
    return record


class Judge:
    """The network of a run, and how it and those with fewer units are measured; subclasses say what of."""

    figure = ""

    def __init__(self, run, dataset):
        self.config, self.dataset = run.config, dataset
        self.network = self.prepared(finished_runs.model_of(run))

    def prepared(self, network):
        """The same function, as units can be removed from it."""
        return network

    def sample(self):
        """The training data that tells which units are active, as `remove_units` takes it."""
        raise NotImplementedError(f"{type(self).__name__} must implement `sample`.")

    def measure(self, network, split) -> float:
        """`figure` of a network on a split."""
        raise NotImplementedError(f"{type(self).__name__} must implement `measure`.")

    def sparsity(self, network) -> dict:
        """Of a sample of the validation split."""
        raise NotImplementedError(f"{type(self).__name__} must implement `sparsity`.")

    def loses(self, row, whole) -> float:
        """How much worse than the whole network's."""
        raise NotImplementedError(f"{type(self).__name__} must implement `loses`.")

    def without(self, share):
        """The network without this share of the units of each layer, the least active ones."""
        from keras_egru.pruning import remove_units

        keep = {name: max(1, round(layer.units * (1.0 - share))) for name, layer in _event_layers(self.network).items()}
        return remove_units(self.network, self.sample(), units=keep).model

    def row(self, share, network):
        measured = self.sparsity(network)
        return {
            "share": share,
            "units": {name: layer.units for name, layer in _event_layers(network).items()},
            "parameters": self.parameters(network),
            f"validation_{self.figure}": self.measure(network, self.dataset.validation),
            **{name: measured[name] for name in ("activity_sparsity", "effective_macs", "dense_macs")},
        }

    def parameters(self, network):
        return int(network.count_params())


class ClassLabels(Judge):
    """A network with one label a sequence, judged by its accuracy."""

    figure = "accuracy"

    def sample(self):
        return self.dataset.train.x[: self.config.sparsity_sample]

    def measure(self, network, split):
        network.compile(metrics=["accuracy"], loss=_loss(), jit_compile=False)
        found = network.evaluate(InOrder(split, self.config.evaluation_batch_size), verbose=0, return_dict=True)
        return float(found["accuracy"])

    def sparsity(self, network):
        sample = self.dataset.validation.x[: self.config.sparsity_sample]
        return sparsity(network, sample, self.config.evaluation_batch_size)

    def loses(self, row, whole):
        return whole["validation_accuracy"] - row["validation_accuracy"]


class NextWords(Judge):
    """A language model, judged by its perplexity."""

    figure = "perplexity"

    def prepared(self, network):
        if not self.config.tied:
            return network
        table = np.asarray(network.get_layer("embedding").embeddings)
        readout = keras.layers.Dense(table.shape[0], name="readout")
        last = network.get_layer(f"recurrent_{len(self.config.units)}")
        untied = keras.Model(network.input, readout(last.output), name=network.name)
        readout.set_weights([table[:, :-1].T, table[:, -1]])  # its last column is the bias
        return untied

    def sample(self):
        return iter(self._chunks(self.dataset.train))

    def measure(self, network, split):
        from benchmarks.language_model import EVALUATION_WIDTH, perplexity
        from benchmarks.streams import cross_entropy

        network.compile("sgd", _loss(), jit_compile=False)
        return perplexity(cross_entropy(network, split, EVALUATION_WIDTH))

    def sparsity(self, network):
        from benchmarks.streams import reset_states

        reset_states(network)
        return sparsity(network, np.concatenate(self._chunks(self.dataset.validation)), batch_size=1)

    def loses(self, row, whole):
        return row["validation_perplexity"] / whole["validation_perplexity"] - 1.0

    def parameters(self, network):
        readout = network.get_layer("readout")
        return int(network.count_params() - (readout.count_params() if self.config.tied else 0))

    def _chunks(self, words):
        """The beginning of a text, in chunks of one length."""
        from benchmarks.language_model import EVALUATION_WIDTH
        from benchmarks.streams import in_order

        chunks = [x for x, _ in in_order(words[: self.config.sparsity_sample + 1], EVALUATION_WIDTH)]
        return [x for x in chunks if x.shape == chunks[0].shape]


def _event_layers(network):
    from keras_egru.layers import EGRU

    return {layer.name: layer for layer in network.layers if isinstance(layer, EGRU)}


def _loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
