"""How many threads TensorFlow computes with: set once before its first operation, and told by the records."""

import os

from benchmarks.errors import CannotRun


def use_threads(threads):
    """Sets TensorFlow's threads, which must come before its first operation; other libraries set their own."""
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise CannotRun(f"the number of threads cannot be set any more: {error}") from None


def threads_used() -> int:
    """The threads that one operation may take: what was set, else all cores that this process has."""
    import tensorflow as tf

    return tf.config.threading.get_intra_op_parallelism_threads() or cores()


def cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
