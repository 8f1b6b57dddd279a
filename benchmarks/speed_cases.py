"""What the speed comparison measures: the named cases, their sparsities and their inputs."""

from typing import NamedTuple

import numpy as np

MODES = ("inference", "training")


class Sparsity(NamedTuple):
    """A point of a case. `backward` None leaves the surrogate at its default width. Of the recurrent kernel the share
    `parameter` is pruned, in blocks `[rows, columns]`."""

    activity: float
    backward: float | None
    parameter: float = 0.0
    block: tuple[int, int] = (1, 1)


POINTS = tuple(Sparsity(*point) for point in ((0.0, 0.0), (0.5, 0.3), (0.8, 0.5), (0.9, 0.6), (0.95, 0.7), (0.98, 0.8)))


class Case(NamedTuple):
    """A layer and its inputs `[batch, steps, features]`, of which the share `nonzero` is not zero."""

    name: str
    units: int
    batch: int
    steps: int
    features: int
    nonzero: float = 1.0
    points: tuple[Sparsity, ...] = POINTS

    def describe(self):
        events = "" if self.nonzero == 1.0 else f" of which {self.nonzero:.0%} are not zero"
        features = f"{self.features} feature{'' if self.features == 1 else 's'}"
        return f"{self.units} units, batch {self.batch}, {self.steps} steps, {features}{events}"

    def inputs(self, seed=0):
        """float32 `[batch, steps, features]`: normal numbers, or where `nonzero` is below 1 ones among exact zeros."""
        rng, shape = np.random.default_rng(seed), (self.batch, self.steps, self.features)
        if self.nonzero == 1.0:
            return rng.normal(size=shape).astype("float32")
        return (rng.random(shape) < self.nonzero).astype("float32")


def _replaced(*, activity, backward):
    """`POINTS` with one of its own: in place of the one of that activity, or beside the others."""
    others = [point for point in POINTS if point.activity != activity]
    return tuple(sorted([*others, Sparsity(activity, backward)]))


CASES = {
    case.name: case
    for case in (
        Case("stream", 1024, 1, 50, 64),
        Case("batch64", 1024, 64, 50, 64),
        # The first layer of the papers' language model: words of 400 numbers.
        Case("ptb", 1350, 80, 35, 400, points=_replaced(activity=0.8, backward=0.46)),
        # The layer of the language model that is trained here (preset cpu of ptb), as a text is read.
        Case("words", 320, 1, 256, 320),
        # The papers' sequential MNIST, half as many steps of one pixel; the size at which it is trained here.
        Case("smnist590", 590, 500, 98, 1),
        Case("smnist128", 128, 100, 196, 1, points=_replaced(activity=0.72, backward=0.27)),
        # The channels of the Heidelberg digits, of which few spike in a step.
        Case("events", 256, 1, 1000, 700, nonzero=0.02),
    )
}


def custom_case(units=1024, batch=64, steps=50, features=64):
    """A case of one's own, with the usual points."""
    return Case("custom", units, batch, steps, features)


def points_of(case, activities=None, backward=None, parameters=(0.0,), block=(1, 1)):
    """The case's points, or those of other activity sparsities, each with the backward sparsity that the case pairs it
    with (None where it has no such point) or with `backward` where that is given; and each with every parameter
    sparsity of `parameters`."""
    paired = {point.activity: point.backward for point in case.points}
    chosen = paired if activities is None else activities
    return tuple(
        Sparsity(activity, paired.get(activity) if backward is None else backward, parameter, block)
        for activity in chosen
        for parameter in parameters
    )
