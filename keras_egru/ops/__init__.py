"""Functional ops, each with its `keras.ops` reference beside the fast path."""

from keras_egru.ops.egru_influence_step import egru_influence_step
from keras_egru.ops.egru_sequence import Counters, EGRUSequence, egru_sequence
from keras_egru.ops.egru_step import egru_step
from keras_egru.ops.lif_sequence import LIFCounters, LIFSequence, SpikeLink, lif_sequence
from keras_egru.ops.lif_step import Decays, LIFState, decays
from keras_egru.ops.thresholded_influence_step import thresholded_influence_step
from keras_egru.ops.thresholded_rnn_step import thresholded_rnn_step

__all__ = [
    "Counters",
    "Decays",
    "EGRUSequence",
    "LIFCounters",
    "LIFSequence",
    "LIFState",
    "SpikeLink",
    "decays",
    "egru_influence_step",
    "egru_sequence",
    "egru_step",
    "lif_sequence",
    "thresholded_influence_step",
    "thresholded_rnn_step",
]
