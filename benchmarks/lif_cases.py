"""What the speed comparison of spiking layers measures: the named cases, of the papers' sizes, and their spike trains.

The surrogate cases have the sizes and time constants of Perez-Nieves & Goodman 2021 (Table 3), with smaller batches
where sequences are long and recurrence for the Heidelberg digits; the Eventprop cases those of Nowotny, Turner & Knight
for these digits, with a shorter trial, at several lengths of a step.
"""

from typing import NamedTuple

import numpy as np

LATENCY = "latency"
BRIGHT = 0.5  # share of the channels that spike
TAU_EFF, THETA = 20.0, 0.2  # of the latencies: milliseconds, and the weakest input that spikes
ACTIVITIES = (0.01,)  # share of spikes, where none is asked for


class LIFCase(NamedTuple):
    """Layers of `units` units behind each other and their inputs, `[batch, steps, features]`.

    spikes: Of a channel in a trial on average, at random times; or `LATENCY`: one at most, early where the channel's
        input is strong. A channel that spikes twice in a step has the input 2 there.
    """

    name: str
    units: int
    batch: int
    steps: int
    features: int
    spikes: float | str
    layers: int = 1
    recurrent: bool = False
    gradient: str = "surrogate"
    reset: str = "subtract"
    tau_mem: float = 10.0
    tau_syn: float | None = None
    dt: float = 1.0

    def describe(self):
        layers = f"{self.layers} layers of " if self.layers > 1 else ""
        parts = [f"{layers}{self.units} {'recurrent ' if self.recurrent else ''}units", f"batch {self.batch}"]
        parts += [f"{self.steps} steps of {self.dt:g} ms", f"{self.features} channels"]
        parts.append({"surrogate": "surrogate gradient", "eventprop": "Eventprop"}[self.gradient])
        return ", ".join(parts)

    def inputs(self, seed=0):
        """float32 `[batch, steps, features]`. Cases that differ in steps and `dt` but not in duration have the same
        trains: spikes are drawn in continuous time."""
        rng = np.random.default_rng(seed)
        sample, channel, time = self._latencies(rng) if self.spikes == LATENCY else self._random_times(rng)
        inputs, step = np.zeros((self.batch, self.steps, self.features), "float32"), (time / self.dt).astype(int)
        kept = step < self.steps
        np.add.at(inputs, (sample[kept], step[kept], channel[kept]), 1.0)
        return inputs

    def _latencies(self, rng):
        """`TAU_EFF log(x / (x - THETA))` of strengths x that are even between `THETA` and 1."""
        sample, channel = np.nonzero(rng.random((self.batch, self.features)) < BRIGHT)
        strength = 1.0 - (1.0 - THETA) * rng.random(sample.size)
        return sample, channel, TAU_EFF * np.log(strength / (strength - THETA))

    def _random_times(self, rng):
        counts = rng.poisson(self.spikes, (self.batch, self.features))
        sample, channel = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
        return sample, channel, rng.random(sample.size) * (self.steps * self.dt)


_DIGITS = LIFCase(
    "lif-eventprop", 256, 32, 100, 700, spikes=1.5,
    recurrent=True, gradient="eventprop", reset="zero", tau_mem=20.0, tau_syn=5.0,
)  # fmt: skip


def at_step(dt):
    """The Eventprop case with steps of `dt` ms, which divides its 100 ms."""
    return _DIGITS._replace(name=f"lif-eventprop-{dt:g}ms", steps=round(_DIGITS.steps * _DIGITS.dt / dt), dt=dt)


LIF_CASES = {
    case.name: case
    for case in (
        LIFCase("lif-fashion", 200, 256, 100, 784, LATENCY),
        # Two layers of which the second is given the first one's spikes, measured together; ours hands on a list.
        LIFCase("lif-hidden", 200, 256, 100, 200, spikes=1.0, layers=2),
        LIFCase("lif-nmnist", 200, 64, 300, 1156, spikes=3.0),
        LIFCase("lif-shd", 200, 32, 500, 700, spikes=7.5, recurrent=True, dt=2.0),
        LIFCase("lif-shd1000", 1000, 32, 500, 700, spikes=7.5, recurrent=True, dt=2.0),
        _DIGITS,
        *(at_step(dt) for dt in (4.0, 2.0, 0.5, 0.25)),
    )
}
