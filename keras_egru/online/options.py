"""Checks of what learners and models are told, in the same sentences."""

import numbers

import keras


def check_backend():
    """Raises a RuntimeError unless Keras uses TensorFlow, whose tapes take credit from step to step."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(f"Online learning needs Keras's TensorFlow backend, received {keras.backend.backend()}.")


def checked_update_every(update_every) -> int | None:
    """`update_every`: None, or a positive integer."""
    if update_every is None:
        return None
    if isinstance(update_every, bool) or not isinstance(update_every, numbers.Integral) or update_every < 1:
        raise ValueError(f"`update_every` must be a positive integer or None, received {update_every!r}.")
    return int(update_every)


def checked_order(order) -> int:
    """`order` of SnAp: 1 or 2."""
    if isinstance(order, bool) or order not in (1, 2):
        raise ValueError(f"`order` of SnAp must be 1 or 2, received {order!r}.")
    return int(order)


def check_loss_of_every_step(network, update_every):
    """Raises a ValueError where weights are to change within a sequence and there is but one loss, at its end."""
    if update_every is not None and not network.every_step:
        raise ValueError(
            f"update_every={update_every} needs a loss at every step, and '{network.recurrent[-1].layer.name}' returns "
            "its last step alone: set return_sequences=True, or update_every=None."
        )
