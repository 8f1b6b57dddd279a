"""Sparsities and multiply-accumulates of a network on data, as records keep them."""

import keras
import numpy as np

SPARSITIES = ("activity_sparsity", "backward_sparsity", "surrogate_sparsity")


def sparsity(network, x, batch_size) -> dict:
    """Sparsities and MACs over the sequences `x`, of the network and of its recurrent `layers`.

    A measure that does not apply to the model is None. MACs are per step of a sequence, and the effective ones meet a
    weight that is not zero: in an event-based layer with an event or a nonzero input, in a dense one at every step.
    """
    from keras_egru.sparsity import measure

    figures = measure(network, x, batch_size=batch_size)
    for name, layer in figures["layers"].items():
        if isinstance(network.get_layer(name), (keras.layers.GRU, keras.layers.LSTM)):
            figures["effective_macs"] -= layer["effective_macs"]
            layer["effective_macs"] = layer["dense_macs"] - _zero_weights(network.get_layer(name).cell)
            figures["effective_macs"] += layer["effective_macs"]
    return {name: figures[name] for name in (*SPARSITIES, "effective_macs", "dense_macs", "layers")}


def of_epoch(measured) -> dict:
    """What an epoch keeps of the figures of `sparsity`: its three shares, and those of each event-based layer."""
    layers = {
        name: {measure: layer[measure] for measure in SPARSITIES}
        for name, layer in measured["layers"].items()
        if layer["activity_sparsity"] is not None
    }
    return {**{name: measured[name] for name in SPARSITIES}, "layers": layers}


def weight_sparsity(network) -> dict:
    """The record's fields about zero weights of a network without pruning's wrappers.

    `parameter_sparsity` is the share over all kernels, `recurrent_parameter_sparsity` that over recurrent kernels (None
    where there are none), and `kernel_sparsities` the shares of each kernel by its path; embeddings are listed there
    and not counted before.
    """
    from keras_egru.pruning import prunable_weights
    from keras_egru.sparsity import parameter_sparsity

    weights = {
        weight.variable.path: np.asarray(weight.variable) == 0
        for layer in network.layers
        for weight in prunable_weights(layer)
    }
    recurrent = [zeros for path, zeros in weights.items() if path.endswith("recurrent_kernel")]
    return {
        "parameter_sparsity": parameter_sparsity(network)["overall"],
        "recurrent_parameter_sparsity": (
            float(sum(map(np.sum, recurrent)) / sum(map(np.size, recurrent))) if recurrent else None
        ),
        "kernel_sparsities": {path: float(np.mean(zeros)) for path, zeros in weights.items()},
    }


def _zero_weights(cell):
    return sum(int(np.sum(np.asarray(kernel) == 0)) for kernel in (cell.kernel, cell.recurrent_kernel))
