"""Keras layers: EGRU and event-LIF with their cells, what reads them out, and the conversion of EGRU's weights."""

from keras_egru.layers import recording
from keras_egru.layers.conversion import egru_to_gru_weights, from_evnn, gru_to_egru_weights, to_evnn
from keras_egru.layers.egru import EGRU
from keras_egru.layers.egru_cell import EGRUCell
from keras_egru.layers.event_lif import EventLIF
from keras_egru.layers.event_lif_cell import EventLIFCell
from keras_egru.layers.exponential_trace import ExponentialTrace
from keras_egru.layers.leaky_readout import LeakyReadout

__all__ = [
    "EGRU",
    "EGRUCell",
    "EventLIF",
    "EventLIFCell",
    "ExponentialTrace",
    "LeakyReadout",
    "egru_to_gru_weights",
    "from_evnn",
    "gru_to_egru_weights",
    "recording",
    "to_evnn",
]
