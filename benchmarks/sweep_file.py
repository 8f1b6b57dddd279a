"""A sweep as its TOML file tells it, and the runs that it asks for; all that can be wrong is told before the first."""

import itertools
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from benchmarks.config import MODELS, PRESETS, Count, resolve
from benchmarks.errors import ConfigError

EXAMPLE = """\
task = "smnist"
preset = "cpu"
method = "grid"            # every combination; "optuna" searches, in as many runs as `trials` says
seeds = [0, 1]             # "optuna" takes one
models = ["egru"]          # likewise
prune = false              # true stops a run that is worse than the median of the others at its epoch
[set]                      # what all runs have, as --set
epochs = 5
[space]                    # "optuna" takes {low = 1e-4, high = 1e-2, log = true} too
surrogate_width = [0.2, 0.4]
[variants]                 # settings that go together; of a grid
"as it is" = {}
"hard reset" = {reset = "zero"}
"""


def _as_typed(value):
    """The value as `--set` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list) and value and all(type(item) in (int, float, str) for item in value):
        return ",".join(map(str, value))
    if isinstance(value, str):
        return value
    raise ValueError("it must be a number, a text, true, false or a list of numbers")


Setting = Annotated[str, BeforeValidator(_as_typed)]
Number = Annotated[int | float, Field(allow_inf_nan=False)]


class Range(BaseModel):
    """Between `low` and `high`, both among them; whole numbers if both are."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    low: Number
    high: Number
    log: bool = False

    @model_validator(mode="after")
    def _has_an_inside(self):
        if not self.low < self.high:
            raise ValueError(f"low must be smaller than high, received {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log = true needs low > 0, received {self.low}")
        return self


def _values_or_range(value):
    return "range" if isinstance(value, (dict, Range)) else "list"


Values = Annotated[list[Setting], Field(min_length=1)]
Axis = Annotated[Annotated[Range, Tag("range")] | Annotated[Values, Tag("list")], Discriminator(_values_or_range)]


class Sweep(BaseModel):
    """One file; `load` makes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: str = ""
    task: str
    preset: Literal[PRESETS] = "cpu"
    models: tuple[Literal[MODELS], ...] = Field(("egru",), min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, strict=True)], ...] = Field((0,), min_length=1)
    method: Literal["grid", "optuna"] = "grid"
    trials: Count | None = Field(None, description="how many runs optuna may have")
    prune: bool = Field(False, description="stop a run that is worse than the median of others at its epoch")
    settings: dict[str, Setting] = Field({}, alias="set")
    space: dict[str, Axis] = {}
    variants: dict[str, dict[str, Setting]] = {}

    @field_validator("models", "seeds", "space", mode="after")
    @classmethod
    def _nothing_twice(cls, value):
        for values in value.values() if isinstance(value, dict) else [value]:
            if not isinstance(values, Range) and len(set(values)) < len(values):
                raise ValueError("a value is there twice")
        return value

    @model_validator(mode="after")
    def _fits_together(self):
        if not self.space and not self.variants:
            raise ValueError("[space] must have a key with values to try, or [variants] a variant")
        varied = [*self.space, *dict.fromkeys(key for variant in self.variants.values() for key in variant)]
        twice = [key for key in varied if varied.count(key) > 1 or (key in self.space and key in self.settings)]
        if twice:
            raise ValueError(f"{twice[0]} must be in one of [set], [space] and [variants]")
        if self.method == "optuna":
            self._can_be_searched()
        else:
            self._is_a_grid()
        return self

    def _can_be_searched(self):
        if self.trials is None:
            raise ValueError('method = "optuna" needs trials, the number of runs')
        if self.variants:
            raise ValueError('[variants] go with method = "grid"')
        if len(self.models) > 1 or len(self.seeds) > 1:
            raise ValueError('method = "optuna" takes one model and one seed, since it would choose the luckiest')

    def _is_a_grid(self):
        if self.trials is not None:
            raise ValueError('trials go with method = "optuna"; a grid runs every combination')
        ranges = [key for key, axis in self.space.items() if isinstance(axis, Range)]
        if ranges:
            raise ValueError(f"{ranges[0]} must be a list of values in a grid, such as [0.1, 0.2]")

    def points(self) -> list:
        """The `Point`s of a grid, those that differ in their seed alone next to one another."""
        keys, axes = list(self.space), list(self.space.values())
        return [
            Point(model, seed, variant, dict(zip(keys, values, strict=True)))
            for model, variant, *values, seed in itertools.product(
                self.models, self.variants or [None], *axes, self.seeds
            )
        ]

    def extremes(self) -> list:
        """A `Point` for each end of each axis that optuna may go to, the other axes at their first value."""
        axes = {key: [repr(a.low), repr(a.high)] if isinstance(a, Range) else a for key, a in self.space.items()}
        first = {key: values[0] for key, values in axes.items()}
        values = [first | {key: value} for key, ends in axes.items() for value in ends]
        return [Point(self.models[0], self.seeds[0], None, point) for point in values]

    def first_point(self):
        """Some `Point` that may be run."""
        return (self.points() if self.method == "grid" else self.extremes())[0]

    def size(self) -> int:
        """The number of runs."""
        return self.trials if self.method == "optuna" else len(self.points())

    def assignments(self, point) -> list:
        """What `--set` gives for a point; a later one counts."""
        variant = self.variants[point.variant] if point.variant is not None else {}
        return [f"{key}={value}" for key, value in (self.settings | variant | point.values).items()]

    def config(self, point):
        """The configuration of the run at a point.

        Raises:
            ConfigError: there is none, and why.
        """
        from benchmarks.tasks import config_class

        chosen = config_class(self.task, point.model)
        return resolve(chosen, self.task, self.preset, point.model, self.assignments(point))


class Point(NamedTuple):
    """What one run of a sweep has that others have not; `values` are texts as `--set` takes them."""

    model: str
    seed: int
    variant: str | None
    values: dict[str, str]

    def describe(self) -> str:
        parts = {"model": self.model, "variant": self.variant, **self.values, "seed": self.seed}
        return ", ".join(f"{name}={value}" for name, value in parts.items() if value is not None)


class Named(NamedTuple):
    """A sweep and its name, which is its file's."""

    name: str
    sweep: Sweep


def shipped() -> dict[str, Any]:
    """`{name: file}` of the sweeps that come with the suite."""
    files = resources.files("benchmarks").joinpath("sweeps").iterdir()
    return {Path(file.name).stem: file for file in sorted(files, key=lambda f: f.name) if file.name.endswith(".toml")}


def load(file) -> Named:
    """The sweep in a file, or the shipped one of that name, all of whose runs have a configuration that holds.

    Raises:
        ConfigError: the file cannot be read, or what in it is wrong.
    """
    known = shipped()
    path = known[file] if file in known else Path(file)
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"{file} cannot be read ({why}); the sweeps by name are {', '.join(known)}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file} is not TOML: {error}.") from None
    try:
        sweep = Sweep(**values)
    except ValidationError as error:
        raise ConfigError(f"{file}: {_sentence(error)}.") from None
    check(sweep, file)
    return Named(Path(path.name).stem, sweep)


def check(sweep, file):
    """Resolves the configuration of every run of a grid, and those at the ends of what is searched.

    Raises:
        ConfigError: one does not hold, and which.
    """
    for point in sweep.points() if sweep.method == "grid" else sweep.extremes():
        try:
            sweep.config(point)
        except ConfigError as error:
            raise ConfigError(f"{file} asks for a run with {point.describe()}, and that cannot be: {error}") from None


def _sentence(error):
    problems = error.errors()
    problem = next((other for other in problems if other["type"] == "extra_forbidden"), problems[0])
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    where = [str(part) for part in problem["loc"] if part not in ("range", "list", "int", "float")]
    name = ".".join(where)
    if not where:
        return message
    if problem["type"] == "extra_forbidden":
        kind = Sweep if len(where) == 1 else Range
        known = ", ".join(field.alias or key for key, field in kind.model_fields.items())
        return f"there is no key {name}; there are {known}"
    if problem["type"] == "missing":
        return f"the key {name} is missing"
    return f"{name} = {problem['input']!r} is refused: {message}"
