"""Sparsity: measures, effective MACs, a monitor for training and regularisers of the state."""

from keras_egru.layers.spike_rate import SpikeRate
from keras_egru.sparsity.macs import Macs, dense_recurrent_macs, product_macs, recurrent_macs
from keras_egru.sparsity.measures import (
    activity_sparsity,
    backward_sparsity,
    parameter_sparsity,
    surrogate_sparsity,
)
from keras_egru.sparsity.measuring import measure
from keras_egru.sparsity.monitor import SparsityMonitor
from keras_egru.sparsity.regularizers import EventRate, InternalState, SilentUnits, StateRegularizer, Sum, TargetRate
from keras_egru.sparsity.spike_regularizers import SpikeCounts

__all__ = [
    "EventRate",
    "InternalState",
    "Macs",
    "SilentUnits",
    "SparsityMonitor",
    "SpikeCounts",
    "SpikeRate",
    "StateRegularizer",
    "Sum",
    "TargetRate",
    "activity_sparsity",
    "backward_sparsity",
    "dense_recurrent_macs",
    "measure",
    "parameter_sparsity",
    "product_macs",
    "recurrent_macs",
    "surrogate_sparsity",
]
