"""Pruning: masks that hold at every moment, and tfmot's schedules and magnitudes to make them.

tfmot is imported when it is first needed; `PolynomialDecay` and `ConstantSparsity` are its own classes.
"""

from keras_egru.pruning.callbacks import PruningSummaries, UpdatePruningStep
from keras_egru.pruning.deep_rewiring import DeepRewiring
from keras_egru.pruning.low_magnitude import PruneLowMagnitude
from keras_egru.pruning.masked import Masked, MaskedWeight, masked_layers
from keras_egru.pruning.prunable import PrunableWeight, prunable_weights
from keras_egru.pruning.prune import prune_low_magnitude, strip_pruning
from keras_egru.pruning.random_mask import RandomMask, random_mask
from keras_egru.pruning.rigl import RigL
from keras_egru.pruning.unit_removal import UnitRemoval, remove_units

__all__ = [
    "ConstantSparsity",
    "DeepRewiring",
    "Masked",
    "MaskedWeight",
    "PolynomialDecay",
    "PrunableWeight",
    "PruneLowMagnitude",
    "PruningSummaries",
    "RandomMask",
    "RigL",
    "UnitRemoval",
    "UpdatePruningStep",
    "masked_layers",
    "prunable_weights",
    "prune_low_magnitude",
    "random_mask",
    "remove_units",
    "strip_pruning",
]


def __getattr__(name):
    if name in ("ConstantSparsity", "PolynomialDecay"):
        from keras_egru.pruning.engine import load_tfmot

        return getattr(load_tfmot(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
