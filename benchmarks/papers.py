"""The papers' figures that a report sets beside ours. Shares are fractions; None where a paper gives no figure."""

from typing import NamedTuple


class Published(NamedTuple):
    """A row of a published table; sparsities as in the paper, whose backward sparsity is our `surrogate_sparsity`."""

    task: str
    model: str
    units: int
    accuracy: float | None
    activity_sparsity: float | None
    surrogate_sparsity: float | None
    effective_macs: float | None
    source: str


EGRU_PAPER = "EGRU paper"  # Subramoney et al. 2023, Table 2

PUBLISHED = (
    Published("smnist", "coRNN", 256, 0.994, None, None, 262e3, EGRU_PAPER),
    Published("smnist", "GRU", 590, 0.988, None, None, 1e6, EGRU_PAPER),
    Published("smnist", "EGRU", 590, 0.983, 0.721, 0.274, 226e3, EGRU_PAPER),
    Published("psmnist", "coRNN", 256, 0.973, None, None, 262e3, EGRU_PAPER),
    Published("psmnist", "EGRU", 590, 0.951, 0.820, 0.084, 195e3, EGRU_PAPER),
)
