"""The memory of a contender among the spiking layers, in a process of its own; `peak_memory.py` tells how it is seen.

- "peak": of whole training steps, as `peak_memory.py` has it.
- "kept": what is in use when the forward pass of such a step is over and the backward pass begins. The spikes that the
  layer returns are not among it, unless the backward pass reads them.

Before the note of what was in use there is one step, so that graphs, threads and their buffers are left out.
"""

import json
import sys
import tempfile
from pathlib import Path

from benchmarks import peak_memory

FIGURES = ("peak", "kept")


def measure(names, workload, threads=None) -> dict:
    """`{"peak": {contender: MiB}, "kept": {...}}`; None for one that has no such gradient.

    Raises:
        CannotRun: a process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.npz"
        workload.save(path)
        found = {
            name: peak_memory.run_alone("benchmarks.lif_memory", name, path, "training", json.dumps(threads))
            for name in names
        }
    return {figure: {name: figures[figure] for name, figures in found.items()} for figure in FIGURES}


def kept_mib(passes):
    """MiB in use between the passes of a step, beyond what there was before it."""
    notes = []

    def note():
        peak_memory.give_back()
        notes.append(_resident())

    step = passes.noted_step(note)
    step()
    peak_memory.give_back()
    before = _resident()
    step()
    return (notes[-1] - before) / 1024


def _resident():
    """Kibibytes, without what is mapped from files, which is program code."""
    found = peak_memory.status()
    return found["VmRSS"] - found["RssFile"]


def _main(name, path, mode, threads):
    from benchmarks.lif_contenders import CONTENDERS
    from benchmarks.lif_workload import LIFWorkload
    from benchmarks.threads import use_threads

    if json.loads(threads) is not None:
        use_threads(json.loads(threads))
    passes = CONTENDERS[name](LIFWorkload.load(path))
    found = dict.fromkeys(FIGURES)
    if passes is not None:
        passes.step()
        found = {"peak": peak_memory.peak_mib(passes.step), "kept": kept_mib(passes)}
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
