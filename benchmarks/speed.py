"""The speed of the EGRU beside dense GRUs of the same size, paired: the method of measuring.

- One process, the same inputs, float32; with `threads` as many in every library, else each library's own default. Ours
  and every peer that is installed are built first; what is not installed, or cannot run a mode, has the time None.
- Ours is the real layer on the custom op, with its sparsity imposed by thresholds and surrogate width (`imposed.py`);
  the sparsity in the record is what was counted from the tensors, not what was asked for.
- Each is called twice to warm up (tracing, allocation, packing). Calls shorter than `SHORTEST` are repeated within a
  measurement until it is that long, and the mean of its calls is taken.
- Repeats are interleaved: every round measures each once, and each round starts with another one, so that a slow moment
  of the machine hits all alike. The figure is the median over the rounds; the ratio is taken of the medians.
- Inference is a forward pass. Training is forward and backward, with the gradients of all weights, through
  `tf.function` for the Keras layers. TensorFlow on the CPU and the other libraries return when the work is done.
- torch's OpenMP threads wait passively (`OMP_WAIT_POLICY`, unless it is set already): where another process takes a
  core, their spinning made torch up to ninety times slower than it is.
- `ours_dense` is our layer with `implementation="reference"`, whose products skip nothing; measured on request.
"""

import os
import statistics
import time
from typing import NamedTuple

import numpy as np

from benchmarks import records
from benchmarks.errors import CannotRun
from benchmarks.peers import PEERS, tensorflow_call

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported, which is later

MODES = ("inference", "training")
SHORTEST = 0.02  # seconds of one measurement
WARM_UPS = 2


class Case(NamedTuple):
    """One line of the comparison. `backward_sparsity` None leaves the surrogate at its default width."""

    units: int
    batch: int
    steps: int
    features: int
    mode: str
    activity_sparsity: float
    backward_sparsity: float | None

    def name(self):
        return f"EGRU({self.units}), batch {self.batch}, {self.steps} steps, {self.features} features, {self.mode}"


def compare(cases, repeats, with_reference=False, threads=None, progress=lambda text: None) -> dict:
    """Measures every case and returns the speed record.

    Raises:
        CannotRun: the custom op does not load, or a sparsity cannot be imposed.
    """
    if threads is not None:
        _use_threads(threads)
    from keras_egru.ops import fused_egru

    reason = fused_egru.why_not("float32")
    if reason is not None:
        raise CannotRun(f"the custom op cannot run: {reason}")
    results = []
    for case in cases:
        progress(f"{case.name()}, activity sparsity {case.activity_sparsity:g}")
        results.append(measure(case, repeats, with_reference, threads))
    return {
        "versions": records.versions(),
        "machine": records.machine(),
        "threads": threads,
        "repeats": repeats,
        "cases": results,
    }


def measure(case, repeats, with_reference=False, threads=None, seed=0) -> dict:
    """The record of one case."""
    from benchmarks.imposed import egru_with_sparsity
    from keras_egru.layers import EGRU
    from keras_egru.sparsity import parameter_sparsity

    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(case.batch, case.steps, case.features)).astype("float32")
    grad = rng.normal(size=(case.batch, case.steps, case.units)).astype("float32")
    ours = egru_with_sparsity(
        case.units, inputs, case.activity_sparsity, case.backward_sparsity, seed, implementation="fused"
    )
    calls = {"ours": tensorflow_call(ours.layer, inputs, grad, case.mode), "ours_dense": None}
    if with_reference:
        reference = EGRU.from_config({**ours.layer.get_config(), "implementation": "reference", "name": "reference"})
        reference.build(inputs.shape)
        reference.set_weights(ours.layer.get_weights())
        calls["ours_dense"] = tensorflow_call(reference, inputs, grad, case.mode)
    calls |= {name: build(case.units, inputs, grad, case.mode, threads) for name, build in PEERS.items()}
    milliseconds = interleaved_medians(calls, repeats)
    peers = [milliseconds[name] for name in PEERS if milliseconds[name] is not None]
    return {
        "case": case.name(),
        **case._asdict(),
        "activity_sparsity": ours.activity_sparsity,
        "backward_sparsity": ours.backward_sparsity,
        "parameter_sparsity": parameter_sparsity(ours.layer)["overall"],
        "milliseconds": milliseconds,
        "ratio_to_fastest_peer": milliseconds["ours"] / min(peers) if peers else None,
        "peak_memory_mib": dict.fromkeys(milliseconds),
    }


def interleaved_medians(calls, repeats) -> dict:
    """Median milliseconds by name; None for a call that is None."""
    present = {name: call for name, call in calls.items() if call is not None}
    times = {name: [] for name in present}
    loops = {}
    for name, call in present.items():
        for _ in range(WARM_UPS):
            call()
        loops[name] = max(1, round(SHORTEST / max(_seconds(call, 1), 1e-9)))
    order = list(present)
    for round_ in range(repeats):
        first = round_ % len(order)
        for name in order[first:] + order[:first]:
            times[name].append(_seconds(present[name], loops[name]))
    return {name: 1e3 * statistics.median(times[name]) if name in times else None for name in calls}


def ratio(result) -> float | None:
    """How many times faster ours is than the fastest peer; None without a peer."""
    inverse = result["ratio_to_fastest_peer"]
    return None if inverse is None else 1.0 / inverse


def _seconds(call, loops):
    start = time.perf_counter()
    for _ in range(loops):
        call()
    return (time.perf_counter() - start) / loops


def _use_threads(threads):
    """Sets TensorFlow's threads, which must come before its first operation; the other peers set their own."""
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise CannotRun(f"the number of threads cannot be set any more: {error}") from None
