"""Recording of the states that layers pass through, for whoever measures them.

A layer returns `y` at most; what is measured (backward and surrogate sparsity, effective MACs) needs `c` and the
inputs too. Nothing is kept, and nothing is paid, outside of a `record_states` block.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

_records: ContextVar[list | None] = ContextVar("keras_egru_records", default=None)


class StateRecord(NamedTuple):
    """One call of one layer, in the order in which the steps were processed (reversed with `go_backwards`).

    layer: The layer.
    inputs: `[batch, time, features]`, as the op sees them: after dropout.
    y: `[batch, time, units]`, the events; None of a layer that has none, such as a read-out.
    c: `[batch, time, units]`, the internal state before a reset.
    threshold: `[units]` or `[1]`, or None without events.
    surrogate: The `keras_egru.surrogates.Surrogate`; None where a gradient passes through events alone (Eventprop).
    mask: Bool `[batch, time]`, or None. Where False, `y` and `c` were carried over.
    binary: Whether `y` is 0 or 1, as of spikes, and not `c` at an event.
    """

    layer: object
    inputs: object
    y: object
    c: object
    threshold: object
    surrogate: object
    mask: object
    binary: bool = False


@contextmanager
def record_states() -> Iterator[list[StateRecord]]:
    """Collects a `StateRecord` for every call of a recording layer inside the block.

    ```python
    with record_states() as records:
        model(inputs)
    silent = [keras.ops.mean(record.y == 0) for record in records]
    ```

    Call the model itself: `predict` and `fit` run a graph that was traced before, or is traced for later. Inside a
    `tf.function` of one's own the records hold that graph's tensors and may be used in it. Blocks nest: the inner one
    records.

    Yields:
        The list of records, which grows as layers are called.
    """
    records: list[StateRecord] = []
    token = _records.set(records)
    try:
        yield records
    finally:
        _records.reset(token)


def is_recording() -> bool:
    """Whether a `record_states` block is open."""
    return _records.get() is not None


def record(layer, inputs, y, c, threshold, surrogate, mask, binary=False) -> None:
    """Called by layers: keeps a `StateRecord` when a `record_states` block is open, else does nothing."""
    records = _records.get()
    if records is not None:
        records.append(StateRecord(layer, inputs, y, c, threshold, surrogate, mask, binary))
