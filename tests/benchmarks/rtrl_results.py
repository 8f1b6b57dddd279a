"""Made-up results of online learning, of numbers that are easy to reckon with."""

from benchmarks.rtrl_contenders import ROWS


def online_result(case, *, units=128, ours=2.0, size=25, growth=1.0):
    """Dense ones take 20 and 12 ms a step and 110 and 100 bytes, ours `ours` and `size`, all times `growth`."""
    times = dict.fromkeys(ROWS, 5.0) | {"ours_dense": 20.0, "tensorflow": 12.0, "ours": ours}
    sizes = dict.fromkeys(ROWS, 40) | {"bptt": None, "ours_dense": 110, "tensorflow": 100, "ours": size}
    adds = dict.fromkeys(ROWS, 500.0) | {"bptt": None, "ours_dense": 1000.0, "tensorflow": 1000.0, "ours": 20.0}
    analytic = dict.fromkeys(ROWS, 500.0) | {"ours_dense": 1000.0, "tensorflow": 1000.0, "ours": 10.0}
    times, sizes, adds = (
        {name: None if figure is None else figure * growth for name, figure in figures.items()}
        for figures in (times, sizes, adds)
    )
    return {
        "case": case,
        "description": f"a network of {units} units",
        "units": units,
        "asked": {"units": units, "parameter": 0.8, "backward": 0.5},
        "parameter_sparsity": 0.801,
        "backward_sparsity": 0.5,
        "milliseconds": {"chunk": times, "single": times | {"bptt": None}},
        "multiply_adds": adds,
        "influence_bytes": sizes,
        "analytic_multiply_adds": analytic,
        "analytic_influence_bytes": dict.fromkeys(ROWS, 100.0) | {"bptt": None, "ours": 10.0},
        "peak_memory_mib": dict.fromkeys(ROWS),
    }
