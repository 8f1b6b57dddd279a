"""Pruning: masks that hold at every moment, and what makes them."""

from keras_egru.pruning.masked import Masked, MaskedWeight, masked_layers
from keras_egru.pruning.prunable import PrunableWeight, prunable_weights
from keras_egru.pruning.unit_removal import UnitRemoval, remove_units

__all__ = [
    "Masked",
    "MaskedWeight",
    "PrunableWeight",
    "UnitRemoval",
    "masked_layers",
    "prunable_weights",
    "remove_units",
]
