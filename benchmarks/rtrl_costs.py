"""What the RTRL paper's Table 1 says that a step costs (Subramoney 2023): analytic figures, nowhere measured.

Of the paper's time the second term is meant, of updating the influence, since that is what is timed. Its memory is
that of the influence matrix. The EGRU, whose state leaks, keeps the rows of units that pass nothing on: sparsity of the
derivative counts once and not twice, each row takes one product more for the leak, and no row is saved.
"""

from typing import NamedTuple


class Cost(NamedTuple):
    """Multiply-adds of a step, and numbers kept; None where there is no influence."""

    multiply_adds: float
    numbers: float | None


def costs(network, units, parameters, live, passing) -> dict[str, Cost]:
    """By contender.

    Args:
        network: "thresholded" or "egru".
        units: n of the table.
        parameters: p, of the dense network.
        live: Share of the weights that is not pruned.
        passing: Share of the units whose derivative is not zero.
    """
    n, p = units, parameters
    leaks = network == "egru"

    def exact(live, passing):
        if leaks:
            return Cost(live**2 * passing * n**2 * p + live * n * p, live * n * p)
        return Cost(live**2 * passing**2 * n**2 * p, live * passing * n * p)

    return {
        "bptt": Cost(n**2 + p, None),
        "ours_dense": exact(1.0, 1.0),
        "tensorflow": exact(1.0, 1.0),
        "ours_parameter": exact(live, 1.0),
        "ours_activity": exact(1.0, passing),
        "ours": exact(live, passing),
        "snap1": Cost(live * p, live * p),
        "snap2": Cost(live**3 * n**2 * p, live**2 * n * p),
    }
