"""What every contender of a speed comparison of spiking layers is given: a case, inputs, a gradient and weights."""

import json
from typing import NamedTuple

import numpy as np

from benchmarks.lif_cases import LIFCase


class LIFWorkload(NamedTuple):
    """One batch of sequences for spiking layers.

    inputs: float32 `[batch, steps, features]`.
    grad: float32 `[batch, steps, units]`, of the loss by the spikes of the last layer.
    weights: Layer by layer `kernel`, and with recurrence `recurrent_kernel`.
    """

    case: LIFCase
    inputs: np.ndarray
    grad: np.ndarray
    weights: list[np.ndarray]

    def by_layer(self):
        """`[(kernel, recurrent_kernel or None), ...]`."""
        each = 2 if self.case.recurrent else 1
        groups = [self.weights[i : i + each] for i in range(0, len(self.weights), each)]
        return [(group[0], group[1] if self.case.recurrent else None) for group in groups]

    def in_tensors(self):
        """The same with inputs and gradient as tensors, which contenders in one process then share."""
        import tensorflow as tf

        return self._replace(inputs=tf.constant(self.inputs), grad=tf.constant(self.grad))

    def save(self, path):
        """Writes an `.npz` file for another process."""
        weights = {f"weight{i}": weight for i, weight in enumerate(self.weights)}
        np.savez(path, case=json.dumps(self.case), inputs=self.inputs, grad=self.grad, **weights)

    @classmethod
    def load(cls, path):
        with np.load(path) as file:
            weights = [file[f"weight{i}"] for i in range(sum(name.startswith("weight") for name in file.files))]
            return cls(LIFCase(*json.loads(str(file["case"]))), file["inputs"], file["grad"], weights)


def workload_for(case, inputs, weights, seed=0) -> LIFWorkload:
    """With a gradient of normal numbers at every step, so that no contender can leave any out."""
    grad = np.random.default_rng(seed).standard_normal((*inputs.shape[:2], case.units), "float32")
    return LIFWorkload(case, inputs, grad, weights)
