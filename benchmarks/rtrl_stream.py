"""How many steps a second a learner takes from a stream: all of `learner.step`, with read-out, loss and optimizer.

One sequence, an EGRU with its default weights, nothing pruned, Adam, an update at every step: what a device would do
that learns as it listens. Nothing is imposed; states are those that the network passes through. The learners are timed
in turns, as `timing.py` tells, each going on with its own stream.
"""

import keras
import numpy as np

from benchmarks import speed_records
from benchmarks.speed import require_op
from benchmarks.threads import use_threads
from benchmarks.timing import interleaved_medians

KIND = "speed-rtrl-stream"
UNITS = 64
FEATURES, OUTPUTS = 8, 8
STEPS = 64  # different ones, again and again
LEARNERS = {"rtrl": None, "snap1": 1, "snap2": 2}


def compare(units, repeats, command, threads=None, out=None, progress=lambda text: None) -> dict:
    """Times the learners and writes the record to `out`; returns it.

    Raises:
        CannotRun: the custom op does not load.
        ConfigError: `out` is something else than a record that the same command began.
    """
    require_op()
    if threads is not None:
        use_threads(threads)
    header = speed_records.header(KIND, command, threads=threads, repeats=repeats)
    record = speed_records.begun(out, header, {"cases": []})
    if not record["cases"]:
        record["cases"].append(measure(units, repeats))
        speed_records.save(out, record)
        progress(describe(record["cases"][-1]))
    return record


def measure(units, repeats) -> dict:
    """Milliseconds a step of each learner, and what its influence was like."""
    learners = {name: _learner(units, order) for name, order in LEARNERS.items()}
    times = interleaved_medians({name: _Stream(learner) for name, learner in learners.items()}, repeats)
    return {
        "units": units, "features": FEATURES, "outputs": OUTPUTS, "batch": 1,
        "milliseconds": times,
        "steps_per_second": {name: 1e3 / time for name, time in times.items()},
        "influence_bytes": {name: learner.influence_bytes for name, learner in learners.items()},
        "multiply_adds": {name: learner.multiply_adds / learner.steps for name, learner in learners.items()},
    }  # fmt: skip


def describe(result) -> str:
    """One line."""
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in result["steps_per_second"].items())
    return f"EGRU of {result['units']} units, batch 1, steps a second: {rates}"


class _Stream:
    """A call of it is a step."""

    def __init__(self, learner):
        rng = np.random.default_rng(0)
        self.learner, self.at = learner, 0
        self.x = rng.standard_normal((STEPS, 1, FEATURES), "float32")
        self.y = rng.standard_normal((STEPS, 1, OUTPUTS), "float32")

    def __call__(self):
        self.at = (self.at + 1) % STEPS
        return self.learner.step(self.x[self.at], self.y[self.at])


def _learner(units, order):
    from keras_egru import EGRU
    from keras_egru.initializers import Beta
    from keras_egru.online import RTRL, SnAp
    from keras_egru.surrogates import Triangular

    keras.utils.set_random_seed(0)
    thresholds = {"threshold_initializer": Beta(0.3), "threshold_trainable": True}
    recurrent = EGRU(units, return_sequences=True, surrogate=Triangular(), **thresholds)
    parts = recurrent, keras.layers.Dense(OUTPUTS)
    options = {"loss": "mse", "optimizer": keras.optimizers.Adam(1e-4)}
    return RTRL(*parts, **options) if order is None else SnAp(*parts, order=order, **options)
