"""What the machine could do at best, and the work that a sequence cannot do without: the share of the limit reached.

Two figures are measured with loops of the op library that do nothing else: bytes read a second from a buffer of the
size of the recurrent weights, and float32 multiply-adds a second from registers, each on all threads, the best of a few
attempts. At a batch of one every weight that is read is used once, so reading is the limit; at larger batches it is
multiplying. The multiply-adds are those of the vector unit: where little is silent, products may go to a matrix unit
and beat it. Elementwise work takes time too and is not counted.
"""

import ctypes
import importlib.resources
from typing import NamedTuple

import numpy as np

from benchmarks.errors import CannotRun
from benchmarks.imposed import states_of
from keras_egru.ops import library
from keras_egru.sparsity import product_macs
from keras_egru.sparsity.measures import count_blocked

ATTEMPTS = 3
SECONDS = 0.3  # of an attempt
FLOAT32 = 4  # bytes


class Limits(NamedTuple):
    """Of this machine with `threads` threads; the bandwidth is that of a buffer of `buffer_bytes`."""

    threads: int
    buffer_bytes: int
    read_bytes_per_second: float
    multiply_adds_per_second: float


class Work(NamedTuple):
    """What one call cannot do without.

    multiply_adds: forward, those of inputs and events that are not zero; in training also those of the weight
        gradients, as many again, and those of the entries through which a gradient passes to the step before.
    weight_bytes: float32 rows of the kernels that these multiply, one read for each; the weight gradients, which are
        written, are left out.
    """

    multiply_adds: float
    weight_bytes: float


def measure_limits(units, threads) -> Limits:
    """The limits for an EGRU of `units` units.

    Raises:
        CannotRun: the op library does not load, or is older than the two loops.
    """
    functions, size = _library(), units * 3 * units * FLOAT32
    return Limits(
        threads,
        size,
        max(functions.keras_egru_read_bandwidth(size, threads, SECONDS) for _ in range(ATTEMPTS)),
        max(functions.keras_egru_multiply_add_rate(threads, SECONDS) for _ in range(ATTEMPTS)),
    )


def needed_work(layer, inputs, mode) -> Work:
    """Counts from the tensors what `layer` has to do on `inputs` `[batch, steps, features]`.

    The last step's outputs are left out: nothing is multiplied by them.
    """
    y, c, threshold = (np.asarray(tensor) for tensor in states_of(layer, inputs))
    forward = product_macs(inputs, layer.kernel).effective + product_macs(y[:, :-1], layer.recurrent_kernel).effective
    if mode == "inference":
        return Work(forward, forward * FLOAT32)
    blocked = count_blocked(c[:, :-1], threshold, layer.surrogate)
    backward = (blocked.total - blocked.zeros) * layer.recurrent_kernel.shape[1]
    return Work(2 * forward + backward, (forward + backward) * FLOAT32)


def share_of_limit(work, limits, batch, milliseconds) -> dict:
    """`{"limit": its name, "milliseconds": the time at the limit, "share": of the measured time}`."""
    if batch == 1:
        name, seconds = "reading weights", work.weight_bytes / limits.read_bytes_per_second
    else:
        name, seconds = "multiply-adds", work.multiply_adds / limits.multiply_adds_per_second
    return {"limit": name, "milliseconds": 1e3 * seconds, "share": 1e3 * seconds / milliseconds}


def _library():
    reason = library.why_not()
    if reason is not None:
        raise CannotRun(f"the machine's limits cannot be measured: {reason}")
    loaded = ctypes.CDLL(str(importlib.resources.files("keras_egru") / "ops" / library.LIBRARY))
    arguments = {
        "keras_egru_read_bandwidth": (ctypes.c_int64, ctypes.c_int, ctypes.c_double),
        "keras_egru_multiply_add_rate": (ctypes.c_int, ctypes.c_double),
    }
    for name, types in arguments.items():
        try:
            function = getattr(loaded, name)
        except AttributeError:
            raise CannotRun(f"{library.LIBRARY} has no function {name}: install keras-egru again.") from None
        function.argtypes, function.restype = types, ctypes.c_double
    return loaded
