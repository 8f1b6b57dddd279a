"""Spikes between layers: the tensor that a layer returns carries its `SpikeLink` as Keras's tensors carry their masks.

A layer that is given that very tensor finds the link; behind anything else (dropout, pooling, a slice) there is none,
and gradients go the general way, which is exact for surrogates; Eventprop's then differs where a unit behind spikes in
the same step.
"""

from keras.src.backend.common.tensor_attributes import get_tensor_attr, set_tensor_attr

_ATTRIBUTE = "_keras_egru_spike_link"


def attach(spikes, link) -> None:
    """Says how `spikes` `[batch, time, units]` came about."""
    if link is not None:
        set_tensor_attr(spikes, _ATTRIBUTE, link)


def of(spikes):
    """The `SpikeLink` of `spikes`, or None."""
    return get_tensor_attr(spikes, _ATTRIBUTE)
