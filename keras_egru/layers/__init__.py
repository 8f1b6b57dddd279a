"""Keras layers: EGRU, event-LIF and their cells, a thresholded RNN cell, read-outs, and conversion of weights."""

from keras_egru.layers import recording
from keras_egru.layers.conversion import egru_to_gru_weights, from_evnn, gru_to_egru_weights, to_evnn
from keras_egru.layers.egru import EGRU
from keras_egru.layers.egru_cell import EGRUCell
from keras_egru.layers.event_lif import EventLIF
from keras_egru.layers.event_lif_cell import EventLIFCell
from keras_egru.layers.exponential_trace import ExponentialTrace
from keras_egru.layers.leaky_readout import LeakyReadout
from keras_egru.layers.thresholded_rnn_cell import ThresholdedRNNCell

__all__ = [
    "EGRU",
    "EGRUCell",
    "EventLIF",
    "EventLIFCell",
    "ExponentialTrace",
    "LeakyReadout",
    "ThresholdedRNNCell",
    "egru_to_gru_weights",
    "from_evnn",
    "gru_to_egru_weights",
    "recording",
    "to_evnn",
]
