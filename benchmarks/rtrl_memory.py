"""The peak memory of a contender among those of online learning, in a process of its own; see `peak_memory.py`.

Terms and weights come first, and one chunk of steps, so that graphs, threads and their buffers are left out. Then the
influence is forgotten: what a chunk has in use from the first step on is what is measured, its influence included.
"""

import json
import sys

from benchmarks import peak_memory
from benchmarks.rtrl_cases import RTRLCase


def measure(names, case, threads=None) -> dict:
    """Peak MiB by contender.

    Raises:
        CannotRun: a process failed.
    """
    given = json.dumps(case), case.name, json.dumps(threads)
    return {name: peak_memory.run_alone("benchmarks.rtrl_memory", name, *given) for name in names}


def _main(name, case, _, threads):
    from benchmarks.rtrl_contenders import ROWS
    from benchmarks.rtrl_imposed import Imposed
    from benchmarks.threads import use_threads

    if json.loads(threads) is not None:
        use_threads(json.loads(threads))
    contender = ROWS[name](Imposed(RTRLCase(*json.loads(case))))
    contender.chunk()
    contender.forget()
    print(peak_memory.peak_mib(contender.chunk))


if __name__ == "__main__":
    _main(*sys.argv[1:])
