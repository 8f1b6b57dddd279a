"""The EGRU as a node of NIR, an extension: NIR's own nodes have no gates and no graded events.

Imports the optional package `nir`: import this module only where it is needed. `nir.write` writes the node as it does
its own; `nir.read` knows its own types alone, so `keras_egru.export.read_nir` reads files that hold one.
"""

from dataclasses import dataclass
from typing import Any

import nir
import numpy as np


@dataclass(eq=False)
class EGRU(nir.NIRNode):
    """Event-based Gated Recurrent Unit (Subramoney et al. 2023), in discrete time: one update a step of the graph's dt.

    With W, V, b, d the rows of `weight`, `recurrent_weight`, `bias` and `recurrent_bias` of the gates u, r, z, in this
    order, and an input x of any numbers:

        u = sigmoid(W_u x + V_u y + b_u + d_u)                 r = sigmoid(W_r x + V_r y + b_r + d_r)
        z = tanh(W_z x + b_z + r * (V_z y + d_z))              with reset_after
        z = tanh(W_z x + b_z + V_z (r * y))                    without
        c' = u z + (1 - u) c - threshold * [y != 0]            reset="threshold"
        c' = u z + (1 - u) c - y                               reset="subtract"
        c' = u z + (1 - u) (c - y)                             reset="zero"
        c <- zoneout * c + (1 - zoneout) * c'                  y <- c where c > threshold, else 0

    The output is y; c and y start at 0. A bias that is None is zero.
    """

    weight: np.ndarray  # [3 units, features]
    recurrent_weight: np.ndarray  # [3 units, units]
    threshold: np.ndarray  # [units], or [1] for all units
    reset: str
    reset_after: bool
    bias: np.ndarray | None = None  # [3 units]
    recurrent_bias: np.ndarray | None = None  # [3 units], with reset_after
    zoneout: float = 0.0

    def __post_init__(self):
        units = self.recurrent_weight.shape[1]
        self.reset_after, self.zoneout = bool(self.reset_after), float(self.zoneout)  # HDF5 has types of its own
        self.input_type = {"input": np.array([self.weight.shape[1]])}
        self.output_type = {"output": np.array([units])}

    def to_dict(self) -> dict[str, Any]:
        # HDF5 has no None.
        return {name: value for name, value in super().to_dict().items() if value is not None}
