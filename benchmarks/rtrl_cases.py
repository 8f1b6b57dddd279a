"""What the speed comparison of online learning measures: the recurrent layers of its cases, and their sparsities.

Table 1 of Subramoney 2023 counts the cost of one step for one sequence, of which its section 3 gives an example: 80 %
of the parameters pruned, half of the derivatives zero.
"""

from typing import NamedTuple

from benchmarks.errors import ConfigError

STEPS = 32  # in one call
UNITS = 128
FEATURES = 2  # as the paper's spirals have, so that nearly all parameters are recurrent
PARAMETER, BACKWARD = 0.8, 0.5


class RTRLCase(NamedTuple):
    """A layer of `units` units, one sequence, and what is imposed on it.

    network: "thresholded" or "egru".
    parameter: Share of the weights of both kernels that is pruned, in every gate.
    backward: Share of the units whose derivative is zero, at every step.
    """

    name: str
    network: str
    units: int = UNITS
    parameter: float = PARAMETER
    backward: float = BACKWARD
    features: int = FEATURES
    steps: int = STEPS

    @property
    def gates(self):
        return {"thresholded": 1, "egru": 3}[self.network]

    def asked(self):
        """What tells a result of a case from another."""
        return {"units": self.units, "parameter": self.parameter, "backward": self.backward}

    def describe(self):
        return f"{self._layer()} of {self.units} units, batch 1, {self.steps} steps, {self.features} features"

    def _layer(self):
        return {"thresholded": "thresholded RNN", "egru": "EGRU"}[self.network]


RTRL_CASES = {case.name: case for case in (RTRLCase("rtrl-thresholded", "thresholded"), RTRLCase("rtrl-egru", "egru"))}


def chosen_cases(names, units=None, parameters=None, backward=None) -> tuple[RTRLCase, ...]:
    """The named cases, each at every parameter sparsity; None is the default.

    Raises:
        ConfigError: nothing is left to learn from.
    """
    if backward is not None and not 0.0 <= backward < 1.0:
        raise ConfigError(f"--backward-sparsity of online learning wants a number in [0, 1), received {backward:g}.")
    return tuple(
        RTRL_CASES[name]._replace(
            units=UNITS if units is None else units,
            parameter=parameter,
            backward=BACKWARD if backward is None else backward,
        )
        for name in names
        for parameter in ((PARAMETER,) if parameters is None else parameters)
    )
