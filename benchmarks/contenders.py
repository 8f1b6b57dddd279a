"""All that a speed comparison runs: our layer in its forms and the dense peers. Each builds a call as in `peers.py`."""

import keras
import numpy as np

from benchmarks.peers import PEERS, tensorflow_call
from keras_egru.layers import EGRU, EGRUCell
from keras_egru.surrogates import Triangular


def ours(workload, mode, threads=None):
    """The custom op, which skips what is silent."""
    return tensorflow_call(_egru(workload, "fused"), workload, mode)


def ours_dense(workload, mode, threads=None):
    """The custom op made to skip nothing."""
    return tensorflow_call(_egru(workload, "dense"), workload, mode)


TOO_SMALL_TO_MATTER = 1e-20  # in the place of a pruned weight; no denormal, which would be slow


def ours_unpruned(workload, mode, threads=None):
    """The same layer with numbers in the place of pruned weights: the same events, and no weight is left out."""
    if workload.recurrent_mask is None:
        return None
    kernel, recurrent_kernel, *others = workload.egru
    filled = np.where(workload.recurrent_mask == 0, np.float32(TOO_SMALL_TO_MATTER), recurrent_kernel)
    workload = workload._replace(egru=[kernel, filled, *others], recurrent_mask=None)
    return tensorflow_call(_egru(workload, "fused"), workload, mode)


def ours_int8(workload, mode, threads=None):
    """The weights stored in 8 bits; inference only. Rounded weights may fire a little more or less often."""
    if mode == "training":
        return None
    layer = _egru(workload, "fused")
    layer.quantize("int8")
    return tensorflow_call(layer, workload, mode)


def reference_cell(workload, mode, threads=None):
    """The definition, step by step in `keras.layers.RNN`."""
    cell = EGRUCell(workload.units, threshold_trainable=True, surrogate=Triangular(width=workload.width))
    layer = keras.layers.RNN(cell, return_sequences=True)
    layer.build(workload.inputs.shape)
    layer.set_weights(workload.egru)
    return tensorflow_call(layer, workload, mode)


def _egru(workload, implementation):
    layer = EGRU(
        workload.units,
        threshold_trainable=True,  # all gradients are timed
        surrogate=Triangular(width=workload.width),
        return_sequences=True,
        implementation=implementation,
    )
    layer.build(workload.inputs.shape)
    layer.set_weights(workload.egru)
    if workload.recurrent_mask is not None:
        layer.cell.recurrent_mask = keras.Variable(workload.recurrent_mask, trainable=False)
    return layer


REFERENCE = "reference_cell"  # slow, so on request only
CONTENDERS = {
    "ours": ours,
    "ours_unpruned": ours_unpruned,
    "ours_dense": ours_dense,
    "ours_int8": ours_int8,
    REFERENCE: reference_cell,
    **PEERS,
}
