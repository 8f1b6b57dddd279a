"""GRU and LSTM with DropConnect (Wan et al. 2013) of their recurrent weights, as AWD-LSTM and the EGRU have it.

For training alone: their weights are those of Keras's layers, which are evaluated and saved in their place.
"""

from contextlib import contextmanager

import keras


class _DropConnect:
    """Goes before a Keras layer in a class.

    Args:
        dropconnect: Float in [0, 1). Fraction of the recurrent kernel to drop in training, one mask a batch.
    """

    def __init__(self, *args, dropconnect, **kwargs):
        super().__init__(*args, **kwargs)
        self.dropconnect = dropconnect

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if not training:
            return super().inner_loop(sequences, initial_state, mask, training=training)
        kernel = keras.random.dropout(self.cell.recurrent_kernel, self.dropconnect, seed=self.cell.seed_generator)
        with _as_recurrent_kernel(self.cell, kernel):
            return super().inner_loop(sequences, initial_state, mask, training=training)

    def get_config(self):
        return {**super().get_config(), "dropconnect": self.dropconnect}


@keras.saving.register_keras_serializable(package="keras_egru_benchmarks")
class DropConnectGRU(_DropConnect, keras.layers.GRU):
    """`keras.layers.GRU` with `dropconnect`."""


@keras.saving.register_keras_serializable(package="keras_egru_benchmarks")
class DropConnectLSTM(_DropConnect, keras.layers.LSTM):
    """`keras.layers.LSTM` with `dropconnect`."""


@contextmanager
def _as_recurrent_kernel(cell, tensor):
    """Lends the cell a tensor in place of its variable; Keras, which tracks variables, does not notice."""
    variable = cell.recurrent_kernel
    object.__setattr__(cell, "recurrent_kernel", tensor)
    try:
        yield
    finally:
        object.__setattr__(cell, "recurrent_kernel", variable)
