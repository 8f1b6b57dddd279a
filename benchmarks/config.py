"""The configuration of one run: its fields with their defaults and limits, and how presets and `--set` fill them."""

import tomllib
from importlib import resources
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from benchmarks.errors import ConfigError

PRESETS = ("smoke", "cpu", "paper")
MODELS = ("egru", "gru", "lstm", "lif")

Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Initializer = Literal[
    "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "identity", "lecun_normal", "lecun_uniform",
    "orthogonal", "zeros",
]  # fmt: skip  # of Keras


def _split(value):
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _split_block(value):
    if not isinstance(value, str):
        return value
    height, times, width = value.lower().partition("x")
    if not (times and height.strip().isdecimal() and width.strip().isdecimal()):
        raise ValueError("it must be HEIGHTxWIDTH, such as 1x16")
    return height, width


Block = Annotated[tuple[Count, Count], BeforeValidator(_split_block)]
Sizes = Annotated[tuple[Count, ...], Field(min_length=1), BeforeValidator(_split)]


class RunConfig(BaseModel):
    """What decides the figures of a run, apart from task, model and seed; networks and tasks add their own fields."""

    model_config = ConfigDict(extra="forbid", validate_default=True)

    # Training
    epochs: Count = 10
    kept_epoch: Literal["best", "last"] = Field(
        "best", description="whose weights are kept and tested; the last where validation is too small to choose"
    )
    steps_per_epoch: Count | None = Field(None, description="updates an epoch; null goes once through the data")
    batch_size: Count = 100
    optimizer: Literal["adam", "adamw", "nadam", "sgd"] = "adam"
    beta_1: Rate = Field(0.9, description="how much of the mean gradient an update keeps; not of sgd")
    learning_rate: Positive = 1e-3
    schedule: Literal["constant", "cosine", "step"] = "constant"
    warmup_epochs: NonNegative = Field(0.0, description="linear warm-up before a cosine schedule")
    constant_epochs: NonNegative = Field(0.0, description="at the full rate, after the warm-up, before the cosine")
    final_learning_rate: NonNegative = Field(0.0, description="where a cosine schedule ends, as a share of the rate")
    step_epochs: Positive = Field(100.0, description="from step to step of a step schedule")
    step_factor: Share = Field(0.8, description="what such a step leaves of the rate")
    clipnorm: Positive | None = Field(None, description="limit of the global gradient norm; null for none")
    weight_decay: NonNegative = Field(0.0, description="decoupled, of all but biases and thresholds; needs adamw")

    # Magnitude pruning
    prune: Share | None = Field(None, description="share of the weights that are zero in the end; null for none")
    block: Block = Field((1, 1), description="height and width of what is pruned together, as 1x16")
    prune_weights: Literal["recurrent", "all"] = Field("recurrent", description="recurrent kernels, or all kernels")
    prune_begin: Rate = Field(0.2, description="the share of the updates before the first mask")
    prune_end: float = Field(0.7, gt=0.0, le=1.0, description="and before the last one; what is left, recovers")

    # Data
    verify_data: bool = Field(True, description="whether data files of known names must be those that were published")

    @model_validator(mode="after")
    def _fits_together(self):
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError("weight_decay needs optimizer=adamw")
        if "beta_1" in self.model_fields_set and self.optimizer == "sgd":
            raise ValueError("beta_1 needs optimizer=adam, adamw or nadam")
        for name in ("warmup_epochs", "constant_epochs"):
            if getattr(self, name) and self.schedule != "cosine":
                raise ValueError(f"{name} needs schedule=cosine")
        for name in ("step_epochs", "step_factor"):
            if getattr(self, name) != type(self).model_fields[name].default and self.schedule != "step":
                raise ValueError(f"{name} needs schedule=step")
        if self.warmup_epochs + self.constant_epochs >= self.epochs:
            raise ValueError("warmup_epochs and constant_epochs together must be smaller than epochs")
        if self.prune is None:
            idle = [name for name in PRUNED_ONLY if name in self.model_fields_set]
            if idle:
                raise ValueError(f"{' and '.join(idle)} must come with prune, the share of weights to prune")
        return self


class RecurrentConfig(RunConfig):
    """What EGRU, GRU and LSTM have, apart from their sizes.

    of_any_model: Those of `EGRU_ONLY` that the task gives to GRU and LSTM too.
    """

    of_any_model: ClassVar[tuple[str, ...]] = ()

    # Network
    kernel_initializer: Initializer = "glorot_uniform"
    recurrent_initializer: Initializer = "orthogonal"
    reset_after: bool = True

    # EGRU only
    reset: Literal["threshold", "subtract", "zero"] = "threshold"
    threshold_mean: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    threshold_trainable: bool = False
    threshold_rate: Positive = Field(1.0, description="of the thresholds, as a factor of the learning rate")
    shared_threshold: bool = False
    surrogate_height: Positive = 0.7
    surrogate_width: Positive = 0.1
    update_gate_bias: float = Field(0.0, allow_inf_nan=False, description="initial bias of the gate u")
    dropconnect: Rate = 0.0
    zoneout: Rate = 0.0
    state_regularizer: Literal["event_rate", "internal_state", "silent_units", "target_rate"] | None = None
    state_regularizer_weight: NonNegative = 0.0
    internal_state_weight: NonNegative = Field(0.0, description="of an internal_state beside another state_regularizer")
    target_rate: Annotated[float, Field(ge=0.0, le=1.0)] = Field(0.1, description="events per unit and step")
    implementation: Literal["auto", "fused", "reference"] = "auto"

    @model_validator(mode="after")
    def _has_a_regularizer_for_its_weight(self):
        if self.state_regularizer_weight and self.state_regularizer is None:
            raise ValueError("state_regularizer_weight needs a state_regularizer")
        if self.internal_state_weight and self.state_regularizer in (None, "internal_state"):
            raise ValueError("internal_state_weight needs a state_regularizer beside it, and not internal_state")
        return self

    @model_validator(mode="after")
    def _has_thresholds_to_train_at_their_rate(self):
        if self.threshold_rate != 1.0 and not self.threshold_trainable:
            raise ValueError("threshold_rate needs threshold_trainable=true")
        return self


class SequenceConfig(RecurrentConfig):
    """Sequences of one length that begin with a state of zero, and one recurrent layer."""

    train_size: Count | None = Field(None, description="the first N training examples; null for all")
    evaluation_batch_size: Count = 500
    sparsity_sample: Count = Field(500, description="validation examples on which sparsity is measured each epoch")

    units: Count = 128


class OnlineConfig(SequenceConfig):
    """A read-out and a loss at every step, which lets gradients go forward in time (Subramoney 2023)."""

    gradient: Literal["bptt", "rtrl", "snap-1", "snap-2"] | None = Field(
        None, description="how a read-out at every step learns; null for one read-out a sequence, and bptt"
    )
    update_every: Count | None = Field(
        None, description="steps from update to update; with bptt it goes no further back; null updates once a batch"
    )
    parameter_sparsity: Rate = Field(0.0, description="share of the recurrent layer's weights that are always zero")

    @model_validator(mode="after")
    def _can_learn_online(self):
        given = self.model_fields_set
        if self.gradient is None:
            idle = [name for name in ONLINE_ONLY if name != "gradient" and name in given]
            if idle:
                raise ValueError(f"{' and '.join(idle)} must come with gradient, such as gradient=rtrl")
            return self
        refused = [name for name in ("prune", *NOT_ONLINE) if name in given and getattr(self, name) is not None]
        if refused:
            raise ValueError(f"gradient={self.gradient} reads out at every step and does not go with {refused[0]}")
        return self


class ClassifierConfig(SequenceConfig):
    """One label a sequence: a recurrent layer, a read-out, a classifier."""

    readout: Literal["trace", "last", "mean"] = "trace"
    time_constant: Positive = Field(10.0, description="of the trace read-out, in steps")
    dropout: Rate = Field(0.0, description="between read-out and classifier")
    input_dropout: Rate = Field(0.0, description="the recurrent layer's `dropout`")


DENSE = ("gru", "lstm")
EGRU_ONLY = (
    "reset",
    "threshold_mean",
    "threshold_trainable",
    "threshold_rate",
    "shared_threshold",
    "surrogate_height",
    "surrogate_width",
    "update_gate_bias",
    "dropconnect",
    "zoneout",
    "state_regularizer",
    "state_regularizer_weight",
    "internal_state_weight",
    "target_rate",
    "last_target_rate",
    "implementation",
)
ONLINE_ONLY = ("gradient", "update_every", "parameter_sparsity")
NOT_ONLINE = (
    "readout",
    "time_constant",
    "dropout",
    "input_dropout",
    "dropconnect",
    "zoneout",
    "state_regularizer",
    "state_regularizer_weight",
    "internal_state_weight",
    "target_rate",
)
PRUNED_ONLY = ("block", "prune_weights", "prune_begin", "prune_end")


def resolve(config_class, task, preset, model, assignments=()) -> RunConfig:
    """The configuration of a run: the preset's table, then the preset's table for the model, then `--set`.

    Args:
        config_class: The extension of `RunConfig` for the task and the model.
        task: Name of the task, and of its file under `presets/`.
        preset: One of `PRESETS`.
        model: One of `MODELS`.
        assignments: `"key=value"` strings, the last one of a key counts.

    Raises:
        ConfigError: a key is unknown, a value does not fit, or a key does not apply to the model.
    """
    table = _preset(task, preset)
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    values |= table.get(model, {})
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key, text = key.strip(), text.strip()
        if not equals:
            raise ConfigError(f"--set wants key=value, received {assignment!r}.")
        if key not in config_class.model_fields:
            known = ", ".join(config_class.model_fields)
            raise ConfigError(
                f"--set knows no key {key!r} for the task {task} and the model {model}; it knows {known}."
            )
        if key in _unused_by(model, config_class):
            raise ConfigError(f"--set {key} applies to the model egru only, and this run trains {model}.")
        if key in ONLINE_ONLY and model == "lstm":
            raise ConfigError(f"--set {key} applies to the models egru and gru only, and this run trains {model}.")
        values[key] = None if text.lower() in ("none", "null") else text
    try:
        return config_class(**values)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from None


def recorded(config, model) -> dict:
    """The configuration as a record keeps it: without options of the EGRU, of pruning or of online learning that do not
    apply."""
    values = config.model_dump(mode="json")  # equal to what a checkpoint's JSON gives back
    unused = _unused_by(model, type(config))
    unused += () if config.prune is not None else ("prune", *PRUNED_ONLY)
    if isinstance(config, OnlineConfig):
        unused += ONLINE_ONLY if config.gradient is None else NOT_ONLINE
    return {key: value for key, value in values.items() if key not in unused}


def _unused_by(model, config_class):
    """Options that GRU and LSTM have not."""
    if model not in DENSE:
        return ()
    return tuple(name for name in EGRU_ONLY if name not in config_class.of_any_model)


def online_label(config) -> str | None:
    """What tells a run with a read-out at every step from others in its name, such as `rtrl-w0.8`; None elsewhere."""
    if not isinstance(config, OnlineConfig) or config.gradient is None:
        return None
    every = f"-every{config.update_every}" if config.update_every else ""
    return f"{config.gradient}{every}-w{config.parameter_sparsity:g}"


def _preset(task, preset):
    text = resources.files("benchmarks").joinpath("presets", f"{task}.toml").read_text("utf-8")
    return tomllib.loads(text)[preset]


def _sentence(error):
    problems = {}
    for problem in error.errors():
        message = problem["msg"].removeprefix("Value error, ")
        field = problem["loc"][0] if problem["loc"] else message
        if problem["loc"]:
            message = f"{field} = {problem['input']!r} is refused: {message}"
        problems.setdefault(field, message)  # of a list, what is wrong with its first wrong part
    return "The configuration does not hold: " + "; ".join(problems.values()) + "."
