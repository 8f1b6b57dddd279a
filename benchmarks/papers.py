"""The papers' figures that a report sets beside ours. Shares are fractions; None where a paper gives no figure.

The EGRU paper of 2023 gives figures of the best runs. Means and deviations over runs are in its supplement, of which we
have that of the submission of 2022: other networks with other figures, and so named apart.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NONE: Mapping = MappingProxyType({})


class Published(NamedTuple):
    """A row of a published table; sparsities as in the paper, whose backward sparsity is our `surrogate_sparsity`.

    source: The paper and the number of its table or section.
    deviations: Standard deviations over `runs`, by the name of the figure.
    data: What was different from our presets of that name, such as the length of the sequences.
    """

    task: str
    model: str
    units: int | tuple | None
    source: str
    accuracy: float | None = None
    perplexity: float | None = None
    validation_perplexity: float | None = None
    activity_sparsity: float | None = None
    surrogate_sparsity: float | None = None
    effective_macs: float | None = None
    parameters: float | None = None
    data: str = ""
    runs: int | None = None
    deviations: Mapping = NONE

    def as_json(self) -> dict:
        return self._asdict() | {"deviations": dict(self.deviations)}


# Subramoney, Nazeer, Schöne, Mayr & Kappel 2023.
GESTURE, MNIST, WORDS = (f"EGRU paper (2023), Table {number}" for number in (1, 2, 3))
# The supplement of the submission of 2022.
OLD_GESTURE, ABLATION, OLD_MNIST, OLD_VALIDATION, OLD_WORDS = (
    f"EGRU preprint (2022), Table S{number}" for number in (1, 2, 3, 4, 5)
)
SPARSE_GRADIENTS = "sparse gradients paper (2021), Table 3"  # Perez-Nieves & Goodman; accuracies are in figures alone
EVENTPROP = "Eventprop paper (Nowotny et al.), section "  # Nowotny, Turner & Knight

FRAMES = "DVS128 Gesture, 25 ms frames, 32x32"
CAMERA = "DVS128 Gesture, 25 ms frames, 128x128"
PIXELS = "MNIST, 784 steps"
PTB = "Penn Treebank"
WIKITEXT = "WikiText-2"


def _row(task, data, source, model, units, **figures):
    return Published(task, model, units, source, data=data, **figures)


def _gesture(model, units, accuracy, macs, parameters, activity=None, surrogate=None, source=GESTURE, data=FRAMES):
    figures = {"activity_sparsity": activity, "surrogate_sparsity": surrogate, "effective_macs": macs}
    return _row("gesture", data, source, model, units, accuracy=accuracy, parameters=parameters, **figures)


def _pixels(task, model, units, accuracy, macs, parameters, activity=None, surrogate=None, source=MNIST, **further):
    figures = {"activity_sparsity": activity, "surrogate_sparsity": surrogate, "effective_macs": macs}
    return _row(task, PIXELS, source, model, units, accuracy=accuracy, parameters=parameters, **figures, **further)


def _words(task, model, units, perplexity, macs, parameters, activity=None, surrogate=None, source=WORDS, **further):
    figures = {"activity_sparsity": activity, "surrogate_sparsity": surrogate, "effective_macs": macs}
    data = PTB if task == "ptb" else WIKITEXT
    return _row(task, data, source, model, units, perplexity=perplexity, parameters=parameters, **figures, **further)


PUBLISHED = (
    _gesture("LSTM (He et al. 2020)", 512, 0.868, 3.9e6, 7.4e6),
    _gesture("AlexNet+LSTM, augmented (Innocenti et al. 2021)", 256, 0.977, 601.3e6, 8.3e6, data="DVS128 Gesture"),
    _gesture("GRU", 1024, 0.881, 10.6e6, 15.7e6, 0.0),
    _gesture("EGRU", 512, 0.880, 0.98e6, 5.5e6, 0.838, 0.468),
    _gesture("GRU, augmented", 1024, 0.951, 10.6e6, 15.7e6, 0.0),
    _gesture("EGRU, augmented", 1024, 0.971, 3.2e6, 15.7e6, 0.788, 0.582),
    _gesture("CNN+GRU, augmented", 136, 0.974, 79.1e6, 2.1e6, 0.0, data=CAMERA),
    _gesture("CNN+EGRU, augmented", 795, 0.978, 80.6e6, 4.8e6, 0.764, 0.723, data=CAMERA),
    _gesture("LSTM", 867, 0.8789, 20.97e6, 16.28e6, 0.0, source=OLD_GESTURE),
    _gesture("GRU", 1024, 0.8807, 15.73e6, 15.75e6, 0.0, source=OLD_GESTURE),
    _gesture("EGRU", 512, 0.8802, 4.19e6, 5.51e6, 0.8379, 0.5355, source=OLD_GESTURE),
    _gesture("EGRU", 1024, 0.9022, 10.54e6, 15.75e6, 0.8253, 0.5663, source=OLD_GESTURE),
    _gesture("EGRU, augmented", 1024, 0.9713, 10.77e6, 15.75e6, 0.7877, 0.5820, source=OLD_GESTURE),
    _gesture("EGRU, no regularization", 1024, 0.893, None, None, 0.765, source=ABLATION),
    _gesture("EGRU, scalar threshold", 1024, 0.883, None, None, 0.908, source=ABLATION),
    _gesture("EGRU, hard reset", 1024, 0.872, None, None, 0.90, source=ABLATION),
    _pixels("smnist", "coRNN", 256, 0.994, 262e3, 134e3),
    _pixels("smnist", "LSTM", 512, 0.989, 1e6, 1e6),
    _pixels("smnist", "GRU", 590, 0.988, 1e6, 1e6),
    _pixels("smnist", "EGRU", 590, 0.983, 226e3, 1e6, 0.721, 0.274),
    _pixels(
        "smnist", "GRU", 512, 0.987, 795e3, 791e3, source=OLD_MNIST, runs=3, deviations={"accuracy": 0.002}
    ),
    _pixels(
        "smnist", "GRU", 590, 0.987, 1.054e6, 1.049e6, source=OLD_MNIST, runs=4, deviations={"accuracy": 0.001}
    ),
    _pixels(
        "smnist", "EGRU", 590, 0.955, 210e3, 1.048e6, 0.805, 0.260, source=OLD_MNIST, runs=4,
        deviations={
            "accuracy": 0.016, "effective_macs": 51e3, "activity_sparsity": 0.049, "surrogate_sparsity": 0.043
        },
    ),
    _pixels("psmnist", "coRNN", 256, 0.973, 262e3, 134e3),
    _pixels("psmnist", "LSTM", 512, 0.951, 1e6, 1e6),
    _pixels("psmnist", "EGRU", 590, 0.951, 195e3, 1e6, 0.820, 0.084),
    _words("ptb", "AWD-LSTM (Merity et al. 2018)", 1150, 57.3, 24.0e6, 24e6),
    _words("ptb", "IndRNN (Li et al. 2018)", None, 55.2, 51.6e6, 52e6),
    _words("ptb", "GRU", 1350, 66.3, 27.6e6, 28e6),
    _words("ptb", "EGRU", 1350, 57.2, 9.9e6, 33e6, 0.797, 0.463),
    _words("ptb", "EGRU", 2000, 57.0, 12.7e6, 55e6, 0.848, 0.429),
    _words("ptb", "LSTM", 1150, 59.7, 24e6, 24e6, source=OLD_WORDS, validation_perplexity=63.6),
    _words("ptb", "GRU", 1350, 70.1, 24e6, 24e6, source=OLD_WORDS, validation_perplexity=74.8),
    _words("ptb", "EGRU", 1350, 68.48, 5.4e6, 24e6, 0.857, source=OLD_WORDS, validation_perplexity=73.1),
    _words("ptb", "EGRU", 2700, 67.8, 8.4e6, 76e6, 0.913, source=OLD_WORDS, validation_perplexity=72.0),
    _words(
        "ptb", "LSTM", 1150, None, None, None, source=OLD_VALIDATION, validation_perplexity=61.2, runs=10,
        deviations={"validation_perplexity": 0.2},
    ),
    _words(
        "ptb", "GRU", 1350, None, None, None, source=OLD_VALIDATION, validation_perplexity=75.2, runs=10,
        deviations={"validation_perplexity": 0.1},
    ),
    _words("wikitext2", "LSTM (Melis et al. 2018)", None, 65.9, None, 24e6),
    _words("wikitext2", "AWD-LSTM (Merity et al. 2018)", 1150, 65.8, 32.0e6, 33e6),
    _words("wikitext2", "GRU", 1350, 71.8, 38.8e6, 39e6),
    _words("wikitext2", "EGRU", 1350, 70.6, 17.5e6, 51e6, 0.768, 0.442),
    _words("wikitext2", "EGRU", 2000, 68.9, 20.1e6, 74e6, 0.827, 0.422),
    Published("fashion_mnist_latency", "LIF", (200, 200), SPARSE_GRADIENTS, data="Fashion-MNIST, 100 steps"),
    Published("nmnist", "LIF", (200, 200), SPARSE_GRADIENTS, data="N-MNIST, 300 steps"),
    Published(
        "mnist_latency", "LIF", 128, EVENTPROP + "2", 0.978, data="MNIST", runs=10, deviations={"accuracy": 0.001}
    ),
    Published(
        "shd", "recurrent LIF", None, EVENTPROP + "2.3", 0.935, data="SHD", runs=8, deviations={"accuracy": 0.007}
    ),
    Published(
        "ssc", "recurrent LIF", None, EVENTPROP + "2.4", 0.741, data="SSC", runs=8, deviations={"accuracy": 0.009}
    ),
)  # fmt: skip
