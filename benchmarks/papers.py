"""The papers' figures that a report sets beside ours. Shares are fractions; None where a paper gives no figure."""

from typing import NamedTuple


class Published(NamedTuple):
    """A row of a published table; sparsities as in the paper, whose backward sparsity is our `surrogate_sparsity`."""

    task: str
    model: str
    units: int | tuple | None
    accuracy: float | None
    activity_sparsity: float | None
    surrogate_sparsity: float | None
    effective_macs: float | None
    source: str
    perplexity: float | None = None


EGRU_PAPER = "EGRU paper"  # Subramoney et al. 2023, Tables 2 and 3
SPARSE_GRADIENTS_PAPER = "sparse gradients paper"  # Perez-Nieves & Goodman 2021, Table 3; accuracies are in figures
EVENTPROP_PAPER = "EventProp paper"  # Nowotny, Turner & Knight 2022, sections 2, 2.3 and 2.4

PUBLISHED = (
    Published("smnist", "coRNN", 256, 0.994, None, None, 262e3, EGRU_PAPER),
    Published("smnist", "GRU", 590, 0.988, None, None, 1e6, EGRU_PAPER),
    Published("smnist", "EGRU", 590, 0.983, 0.721, 0.274, 226e3, EGRU_PAPER),
    Published("psmnist", "coRNN", 256, 0.973, None, None, 262e3, EGRU_PAPER),
    Published("psmnist", "EGRU", 590, 0.951, 0.820, 0.084, 195e3, EGRU_PAPER),
    Published("ptb", "AWD-LSTM", 1150, None, None, None, 24.0e6, EGRU_PAPER, perplexity=57.3),
    Published("ptb", "GRU", 1350, None, None, None, 27.6e6, EGRU_PAPER, perplexity=66.3),
    Published("ptb", "EGRU", 1350, None, 0.797, 0.463, 9.9e6, EGRU_PAPER, perplexity=57.2),
    Published("ptb", "EGRU", 2000, None, 0.848, 0.429, 12.7e6, EGRU_PAPER, perplexity=57.0),
    Published("fashion_mnist_latency", "LIF", (200, 200), None, None, None, None, SPARSE_GRADIENTS_PAPER),
    Published("nmnist", "LIF", (200, 200), None, None, None, None, SPARSE_GRADIENTS_PAPER),
    Published("mnist_latency", "LIF", 128, 0.978, None, None, None, EVENTPROP_PAPER),
    Published("shd", "recurrent LIF", None, 0.935, None, None, None, EVENTPROP_PAPER),
    Published("ssc", "recurrent LIF", None, 0.741, None, None, None, EVENTPROP_PAPER),
)
