"""An estimate of energy from counted operations: arithmetic alone, and never a measurement.

Costs of one operation on 32-bit floating-point numbers in a 45 nm process are those of Horowitz, "Computing's energy
problem (and what we can do about it)", ISSCC 2014, figure 1.1.9. Memory is left out: reading a weight costs more than
multiplying it, by how much depends on where it lies (the same source, for 64 bits: 10 pJ in a cache of 8 KB, 1.3 to
2.6 nJ in DRAM).
"""

MULTIPLY_PJ, ADD_PJ = 3.7, 0.9
SOURCE = (
    f"Energy is an estimate, not measured: effective operations of one sequence step x their cost at 45 nm and 32-bit "
    f"floating point (multiply {MULTIPLY_PJ} pJ, add {ADD_PJ} pJ; Horowitz, ISSCC 2014). Spikes are 0 or 1 and cost "
    "additions alone. Memory traffic, which costs more than arithmetic, and elementwise work are left out."
)


def nanojoules(macs, spiking=False) -> float | None:
    """Of so many multiply-accumulates; of additions where `spiking`. None of None."""
    if macs is None:
        return None
    return macs * (ADD_PJ if spiking else MULTIPLY_PJ + ADD_PJ) / 1e3
