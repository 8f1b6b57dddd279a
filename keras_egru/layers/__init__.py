"""Keras layers: the EGRU, its cell, the trace that reads it out, and the conversion of its weights."""

from keras_egru.layers import recording
from keras_egru.layers.conversion import egru_to_gru_weights, from_evnn, gru_to_egru_weights, to_evnn
from keras_egru.layers.egru import EGRU
from keras_egru.layers.egru_cell import EGRUCell
from keras_egru.layers.exponential_trace import ExponentialTrace

__all__ = [
    "EGRU",
    "EGRUCell",
    "ExponentialTrace",
    "egru_to_gru_weights",
    "from_evnn",
    "gru_to_egru_weights",
    "recording",
    "to_evnn",
]
