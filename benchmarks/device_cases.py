"""What the speed comparison of streaming on a device measures: one layer, one sequence, one step a call."""

from typing import NamedTuple

from benchmarks.errors import ConfigError

STEPS = 100  # that a stream is recorded for, and which are then run again and again
FEATURES = 64
INPUT_SPIKES = 0.05  # of a spiking layer's channels at a step


class DeviceCase(NamedTuple):
    """A layer of `units` units and what is imposed on it.

    network: "egru" or "lif".
    activities: Shares of silent entries, where none are asked for.
    activity: The share of this measurement.
    parameter: Share of the EGRU's recurrent kernel that is pruned, in blocks `[rows, columns]`.
    """

    name: str
    network: str
    units: int
    activities: tuple[float, ...]
    activity: float = 0.0
    parameter: float = 0.0
    block: tuple[int, int] = (1, 16)
    features: int = FEATURES
    steps: int = STEPS

    def asked(self):
        """What tells a result of a case from another."""
        return {"activity": self.activity, "parameter": self.parameter, "block": list(self.block)}

    def describe(self):
        layer = {"egru": "EGRU", "lif": "recurrent EventLIF"}[self.network]
        inputs = "features" if self.network == "egru" else f"channels of which {INPUT_SPIKES:.0%} spike at a step"
        return f"{layer} of {self.units} units, batch 1, one step a call, {self.features} {inputs}"


SILENT = (0.5, 0.8, 0.9, 0.95)
DEVICE_CASES = {
    case.name: case
    for case in (
        DeviceCase("device-egru512", "egru", 512, (0.0, *SILENT)),
        DeviceCase("device-egru128", "egru", 128, (0.0, *SILENT)),
        # Half of its units have inputs that keep them silent.
        DeviceCase("device-lif512", "lif", 512, SILENT),
    )
}


def chosen_cases(names, activities=None, parameters=None, block=(1, 16)) -> tuple[DeviceCase, ...]:
    """The named cases, each at every activity sparsity and every parameter sparsity; None is the default.

    Raises:
        ConfigError: weights of a spiking layer are to be pruned.
    """
    spiking = [name for name in names if DEVICE_CASES[name].network == "lif"]
    if parameters is not None and spiking:
        raise ConfigError(f"--parameter-sparsity does not go with {spiking[0]}.")
    return tuple(
        case._replace(activity=activity, parameter=parameter, block=tuple(block))
        for case in (DEVICE_CASES[name] for name in names)
        for activity in activities or case.activities
        for parameter in parameters or (0.0,)
    )
