"""Functional ops, each with its `keras.ops` reference beside the fast path."""

from keras_egru.ops.egru_sequence import Counters, EGRUSequence, egru_sequence
from keras_egru.ops.egru_step import egru_step

__all__ = ["Counters", "EGRUSequence", "egru_sequence", "egru_step"]
