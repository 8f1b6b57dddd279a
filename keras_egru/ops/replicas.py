"""Batches of replicas: a `tf.distribute` strategy splits the last, smaller batch of an epoch as it does the others."""

import keras


def may_be_left_empty() -> bool:
    """Whether a batch may be empty: several replicas share each one, and not all of them may get a sample of it."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync > 1
