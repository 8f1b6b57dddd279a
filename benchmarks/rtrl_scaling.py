"""How the time and the memory of online learning grow with the number of units, for every row of the paper's Table 1.

Both networks at the sparsities of the paper's example, the number of units doubled again and again; all the rest is as
`rtrl_speed.py` has it. Through each contender's figures a power law is laid, by least squares of the logarithms.
"""

from typing import NamedTuple

import numpy as np

from benchmarks import rtrl_speed, scaling
from benchmarks.rtrl_cases import RTRL_CASES

KIND = "speed-rtrl-scaling"
UNITS = (16, 32, 64, 128, 256)
CASES = tuple(case._replace(units=units) for case in RTRL_CASES.values() for units in UNITS)
FIGURES = {
    "ms a step": lambda result: result["milliseconds"]["chunk"],
    "multiply-adds": lambda result: result["multiply_adds"],
    "bytes of influence": lambda result: result["influence_bytes"],
}


class Fit(NamedTuple):
    """`figure ~ units ** exponent` of a contender, and the share of the logarithms' variance that it explains."""

    case: str
    name: str
    what: str
    exponent: float
    r_squared: float


def compare(repeats, command, threads=None, out=None, progress=lambda text: None, cases=CASES) -> dict:
    """Measures what the record at `out` does not hold yet; see `rtrl_speed.compare`."""
    plan = rtrl_speed.Plan(cases, repeats, threads=threads)
    return rtrl_speed.compare(plan, command, out, progress, kind=KIND)


def grouped(results) -> dict:
    """`{case: results}`, by units."""
    groups = {}
    for result in sorted(results, key=lambda result: result["units"]):
        groups.setdefault(result["case"], []).append(result)
    return groups


def fits(results) -> list[Fit]:
    """Of every case with two sizes at least, and every contender that has the figure at all of them."""
    found = []
    for case, group in grouped(results).items():
        units = [result["units"] for result in group]
        if len(units) < 2:
            continue
        for name in group[0]["influence_bytes"]:
            for what, figures in FIGURES.items():
                values = [figures(result)[name] for result in group]
                if None not in values:
                    line = scaling.fitted(np.log(units), np.log(values))
                    found.append(Fit(case, name, what, line.slope, line.r_squared))
    return found
