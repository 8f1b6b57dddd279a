"""What every contender of a speed comparison is given: inputs, the gradient of the outputs, and weights."""

from typing import NamedTuple

import numpy as np


class GRUWeights(NamedTuple):
    """As `keras.layers.GRU` has them, gates in the order z, r, h: `[features, 3 units]`, `[units, 3 units]` and
    `[2, 3 units]` (input, recurrent)."""

    kernel: np.ndarray
    recurrent_kernel: np.ndarray
    bias: np.ndarray


class Workload(NamedTuple):
    """One sequence batch for an EGRU and for dense GRUs of the same size.

    inputs: float32 `[batch, steps, features]`.
    grad: float32 `[batch, steps, units]`, of the loss by the outputs.
    gru: Weights of the dense GRUs.
    egru: Weights of the EGRU, as `EGRU.get_weights` gives them.
    width: Of the EGRU's triangular surrogate.
    recurrent_mask: float32 `[units, 3 units]`, zero where the EGRU's recurrent kernel is pruned, or None.
    """

    inputs: np.ndarray
    grad: np.ndarray
    gru: GRUWeights
    egru: list[np.ndarray]
    width: float
    recurrent_mask: np.ndarray | None = None

    @property
    def units(self):
        return self.grad.shape[-1]

    def save(self, path):
        """Writes an `.npz` file for another process."""
        egru = {f"egru{i}": weight for i, weight in enumerate(self.egru)}
        mask = {} if self.recurrent_mask is None else {"recurrent_mask": self.recurrent_mask}
        np.savez(path, inputs=self.inputs, grad=self.grad, width=self.width, **self.gru._asdict(), **egru, **mask)

    @classmethod
    def load(cls, path):
        with np.load(path) as file:
            gru = GRUWeights(*(file[name] for name in GRUWeights._fields))
            egru = [file[f"egru{i}"] for i in range(sum(name.startswith("egru") for name in file.files))]
            mask = file["recurrent_mask"] if "recurrent_mask" in file.files else None
            return cls(file["inputs"], file["grad"], gru, egru, float(file["width"]), mask)


def workload_for(layer, inputs, seed=0, recurrent_mask=None) -> Workload:
    """The workload of a built `EGRU` with a triangular surrogate, pruned by `recurrent_mask` unless that is None."""
    rng = np.random.default_rng(seed)
    grad = rng.normal(size=(*inputs.shape[:2], layer.units)).astype("float32")
    gru = gru_weights(layer.units, inputs.shape[-1], seed)
    return Workload(inputs, grad, gru, layer.get_weights(), layer.surrogate.width, recurrent_mask)


def gru_weights(units, features, seed=0) -> GRUWeights:
    """Uniform within `units ** -0.5`, as torch draws them."""
    rng = np.random.default_rng(seed)
    shapes = ((features, 3 * units), (units, 3 * units), (2, 3 * units))
    return GRUWeights(*(rng.uniform(-(units**-0.5), units**-0.5, shape).astype("float32") for shape in shapes))
