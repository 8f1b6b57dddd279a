"""Event-based recurrent networks for Keras, whose time falls with their sparsity."""

from keras_egru import (
    callbacks,
    constraints,
    export,
    initializers,
    layers,
    losses,
    online,
    ops,
    pruning,
    readouts,
    schedules,
    sparsity,
    surrogates,
)
from keras_egru.layers import (
    EGRU,
    EGRUCell,
    EventLIF,
    EventLIFCell,
    ExponentialTrace,
    LeakyReadout,
    ThresholdedRNNCell,
)

__version__ = "0.1.0"

__all__ = [
    "EGRU",
    "EGRUCell",
    "EventLIF",
    "EventLIFCell",
    "ExponentialTrace",
    "LeakyReadout",
    "ThresholdedRNNCell",
    "__version__",
    "callbacks",
    "constraints",
    "export",
    "initializers",
    "layers",
    "losses",
    "online",
    "ops",
    "pruning",
    "readouts",
    "schedules",
    "sparsity",
    "surrogates",
]
