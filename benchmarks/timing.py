"""How calls are timed beside each other in one process, so that none pays for another.

- Each is called twice at first: allocation, packing of weights.
- Repeats are interleaved: every round measures each once, and each round starts with another one, so that a slow moment
  of the machine hits all alike. The figure is the median over the rounds.
- Before each measurement the process comes to rest. Worker threads of some libraries spin after a call, in case that
  another one comes: ONNX Runtime's for 60 ms, torch's for 10 ms. A call of another library in that time took up to four
  times as long as alone on two cores. How a library waits is part of its own speed and is left as it is; so nothing
  else may run on the machine: where another process takes a core, threads that spin made torch ten times slower.
- Then one call is made untimed, since it finds the caches full of what ran before and not of its own weights.
- Calls shorter than `SHORTEST` are repeated within a measurement until it is that long; the mean of its calls is taken.
- Python collects no garbage meanwhile, as in `timeit`: it would do so in the middle of anyone's call.
- Of an `After` the second call alone is timed, each time behind the first one, which finds its results in the caches.
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

SHORTEST = 0.1  # seconds of one measurement
WARM_UPS = 2
GLANCE = 0.02  # seconds over which the process is watched for spinning threads
AT_REST = 0.05  # cores in use at most
PATIENCE = 1.0  # seconds to wait for rest at most


class After(NamedTuple):
    """A call that is given what `before` returns, and timed without it."""

    before: Callable
    timed: Callable

    def __call__(self):
        return self.timed(self.before())


def interleaved_medians(calls, rounds) -> dict:
    """Median milliseconds by name; None for a call that is None."""
    present = {name: call for name, call in calls.items() if call is not None}
    times = {name: [] for name in present}
    loops = {}
    for name, call in present.items():
        for _ in range(WARM_UPS):
            call()
        loops[name] = max(1, round(SHORTEST / max(_seconds(call, 1), 1e-9)))
    order = list(present)
    for round_ in range(rounds):
        first = round_ % len(order)
        for name in order[first:] + order[:first]:
            come_to_rest()
            present[name]()
            times[name].append(_seconds(present[name], loops[name]))
    return {name: 1e3 * statistics.median(times[name]) if name in times else None for name in calls}


def come_to_rest():
    """Returns when no thread of this process is busy, or when `PATIENCE` is at its end."""
    deadline = time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline:
        start, used = time.perf_counter(), time.process_time()
        time.sleep(GLANCE)
        if time.process_time() - used < AT_REST * (time.perf_counter() - start):
            return


def _seconds(call, loops):
    collects = gc.isenabled()
    gc.disable()
    try:
        return _uninterrupted_seconds(call, loops)
    finally:
        if collects:
            gc.enable()


def _uninterrupted_seconds(call, loops):
    if isinstance(call, After):
        return sum(_seconds_after(call) for _ in range(loops)) / loops
    start = time.perf_counter()
    for _ in range(loops):
        call()
    return (time.perf_counter() - start) / loops


def _seconds_after(call):
    given = call.before()
    start = time.perf_counter()
    call.timed(given)
    return time.perf_counter() - start
