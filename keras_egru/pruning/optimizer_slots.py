"""What an optimizer remembers of single weights, so that a newly grown weight starts without a past.

Keras's optimizers keep their slots (momenta, second moments, averages, accumulated gradients) in lists with an entry
for each variable, which is how they are found here.
"""

import keras
import numpy as np
from keras import ops


def optimizer_of(optimizer, weight):
    """The optimizer that updates `weight`, inside of a `LossScaleOptimizer` or `MultiOptimizer`; None if none does."""
    if hasattr(optimizer, "inner_optimizer"):
        return optimizer_of(optimizer.inner_optimizer, weight)
    key = optimizer._var_key(weight)
    if key not in optimizer._trainable_variables_indices:
        return None
    if hasattr(optimizer, "optimizers"):
        return optimizer.optimizers[optimizer._var_to_optimizer_idx[key]]
    return optimizer


class Slots:
    """The slots that the optimizer of a compiled model keeps for one weight.

    Slots of another shape than the weight (Adafactor's rows and columns) belong to no single entry and are left alone.

    Args:
        optimizer: The built optimizer of the model.
        weight: A trainable Keras variable.
    """

    def __init__(self, optimizer, weight):
        single = optimizer_of(optimizer, weight)
        self.optimizer = single
        self._slots = []
        if single is None:
            return
        index = single._get_variable_index(weight)
        newborn = _lists_of_newborn(single, len(weight.shape))
        for name, slots in _lists(single, len(single._trainable_variables)):
            slot = slots[index]
            if isinstance(slot, keras.Variable) and slot is not weight and tuple(slot.shape) == tuple(weight.shape):
                self._slots.append((slot, newborn.get(name, 0.0)))

    def reset(self, where):
        """Sets all slots to what they are for a new weight of zero, at the entries where `where` is True."""
        for slot, initial in self._slots:
            slot.assign(np.where(where, initial, ops.convert_to_numpy(slot)))


def _lists_of_newborn(optimizer, rank):
    """`{name of the list: value}` of the slots that an optimizer like this one makes for a weight of zero."""
    newborn = type(optimizer).from_config(optimizer.get_config())
    newborn.build([keras.Variable(np.zeros((1,) * rank, "float32"), name="newborn")])
    return {
        name: ops.convert_to_numpy(slots[0]).item()
        for name, slots in _lists(newborn, 1)
        if isinstance(slots[0], keras.Variable) and len(slots[0].shape) == rank
    }


def _lists(optimizer, length):
    """`(name, list)` of the attributes of `optimizer` with an entry for each variable."""
    for name, value in vars(optimizer).items():
        if (
            isinstance(value, (list, tuple))
            and len(value) == length
            and name not in ("_variables", "_trainable_variables")
        ):
            yield name, value
