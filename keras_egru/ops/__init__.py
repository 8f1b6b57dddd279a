"""Functional ops, each with its `keras.ops` reference beside the fast path."""

from keras_egru.ops.egru_influence import egru_influence_terms
from keras_egru.ops.egru_sequence import Counters, EGRUSequence, egru_sequence
from keras_egru.ops.egru_step import egru_step
from keras_egru.ops.gru_influence import gru_influence_terms, gru_sequence
from keras_egru.ops.influence_layout import InfluenceLayout, egru_layout, thresholded_layout
from keras_egru.ops.influence_sequence import Influence, InfluenceTerms, influence_sequence
from keras_egru.ops.lif_sequence import LIFCounters, LIFSequence, SpikeLink, lif_sequence
from keras_egru.ops.lif_step import Decays, LIFState, decays
from keras_egru.ops.thresholded_influence import thresholded_influence_terms
from keras_egru.ops.thresholded_rnn_step import thresholded_rnn_sequence, thresholded_rnn_step

__all__ = [
    "Counters",
    "Decays",
    "EGRUSequence",
    "Influence",
    "InfluenceLayout",
    "InfluenceTerms",
    "LIFCounters",
    "LIFSequence",
    "LIFState",
    "SpikeLink",
    "decays",
    "egru_influence_terms",
    "egru_layout",
    "egru_sequence",
    "egru_step",
    "gru_influence_terms",
    "gru_sequence",
    "influence_sequence",
    "lif_sequence",
    "thresholded_influence_terms",
    "thresholded_layout",
    "thresholded_rnn_sequence",
    "thresholded_rnn_step",
]
