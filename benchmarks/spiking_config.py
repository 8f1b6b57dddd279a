"""The configuration of spiking networks, and of the spike trains that any model may be trained on."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from benchmarks.config import Count, NonNegative, Positive, Rate, RunConfig, Share, Sizes


def _alone(value):
    return (value,) if isinstance(value, int) else value


Finite = Annotated[float, Field(allow_inf_nan=False)]


class SpikeTrains(BaseModel):
    """Fields of a task of spike trains: how long a trial is, and how finely time is cut."""

    trial_ms: Positive = Field(description="duration of a trial")
    dt: Positive = Field(1.0, description="milliseconds a step, of the data and of the neurons")

    @model_validator(mode="after")
    def _holds_a_step(self):
        if self.steps < 1:
            raise ValueError(f"trial_ms must be at least one step of {self.dt:g} ms, received {self.trial_ms:g}")
        return self

    @property
    def steps(self) -> int:
        return round(self.trial_ms / self.dt)


class SpikingConfig(RunConfig):
    """One label a sequence of spikes: layers of leaky integrate-and-fire neurons, a leaky read-out.

    Times are in milliseconds. `rate_*` is the regularisation of Nowotny et al. 2022 (equations 6 and 7), `count_*`
    that of Perez-Nieves & Goodman 2021 (appendix E.4).
    """

    train_size: Count | None = Field(None, description="the first N training examples; null for all")
    evaluation_batch_size: Count = 500
    sparsity_sample: Count = Field(500, description="validation examples on which sparsity is measured each epoch")
    ease_in: Share | None = Field(None, description="share of the rate at the first update; null for no ease-in")
    ease_in_growth: Annotated[float, Field(gt=1.0, allow_inf_nan=False)] = Field(1.05, description="an update")

    # Neurons
    units: Annotated[Sizes, BeforeValidator(_alone)] = Field((128,), description="of the hidden layers, as 200,200")
    recurrent: bool = Field(False, description="whether hidden layers are connected to themselves")
    gradient: Literal["surrogate", "eventprop"] = "surrogate"
    tau_mem: Positive = 20.0
    tau_syn: Positive | None = Field(None, description="null for synapses that jump, without a current")
    heterogeneous: bool = Field(False, description="time constants of hidden units drawn from Gamma(3, tau / 3)")
    train_time_constants: bool = False
    threshold: Positive = 1.0
    reset: Literal["subtract", "zero"] = "subtract"
    refractory: NonNegative = 0.0
    surrogate: Literal["triangular", "fast_sigmoid", "boxcar"] = "fast_sigmoid"
    surrogate_height: Positive = Field(1.0, description="of triangular and boxcar")
    surrogate_width: Positive = Field(0.2, description="half its support")
    surrogate_slope: Positive = Field(100.0, description="of fast_sigmoid")
    implementation: Literal["auto", "fused", "reference"] = "auto"

    # Read-out
    readout: Literal["sum", "sum_exp", "max", "last", "first_spike"] = "sum"
    readout_tau_mem: Positive | None = Field(None, description="null for tau_mem")
    readout_tau_syn: Positive | None = Field(None, description="null for tau_syn")
    first_spike_tau: Positive = Field(1.0, description="tau_0 of the loss of first spikes")
    first_spike_late: Positive = Field(3.0, description="tau_1 of that loss, of the penalty of late spikes")
    first_spike_phantom: NonNegative = Field(1.0, description="milliseconds a unit of potential, of silent outputs")
    first_spike_weight: NonNegative = Field(3.6e-4, description="alpha of that loss, of the penalty of late spikes")

    # Initial weights: normal, and Keras's own where the spread is null
    input_mean: Finite = Field(0.0, description="of the weights to the first hidden layer")
    input_std: NonNegative | None = None
    hidden_mean: Finite = Field(0.0, description="of the weights between hidden layers")
    hidden_std: NonNegative | None = None
    recurrent_mean: Finite = 0.0
    recurrent_std: NonNegative | None = None
    output_mean: Finite = Field(0.0, description="of the weights to the read-out")
    output_std: NonNegative | None = None

    # Regularisation
    input_dropout: Rate = Field(
        0.0, description="share of the channels that are silent in a trial; of latency codes, of their spikes"
    )
    rate_strength: NonNegative = 0.0
    rate_target: NonNegative = Field(14.0, description="spikes of a hidden unit in a trial, mean over the batch")
    count_low_weight: NonNegative = Field(0.0, description="of hidden units that spike too little")
    count_low: NonNegative = Field(0.001, description="spikes of a unit in a trial")
    count_high_weight: NonNegative = Field(0.0, description="of hidden layers that spike too much")
    count_high: NonNegative = Field(1.0, description="spikes of a unit in a trial, mean over the layer")

    @model_validator(mode="after")
    def _neurons_fit_together(self):
        if self.gradient == "eventprop" and self.tau_syn is None:
            raise ValueError("gradient=eventprop needs a tau_syn")
        if self.heterogeneous and (self.tau_mem <= 3.0 or (self.tau_syn or 2.0) <= 1.0):
            raise ValueError("heterogeneous needs tau_mem above 3 and tau_syn above 1, the least that is drawn")
        if self.rate_strength and self.gradient != "eventprop":
            raise ValueError("rate_strength needs gradient=eventprop")
        for name in ("count_low_weight", "count_high_weight"):
            if getattr(self, name) and self.gradient != "surrogate":
                raise ValueError(f"{name} needs gradient=surrogate")
        if self.ease_in is not None and self.schedule != "constant":
            raise ValueError("ease_in needs schedule=constant")
        if self.prune is not None and self.prune_weights == "recurrent" and not self.recurrent:
            raise ValueError("prune needs prune_weights=all where hidden layers are not recurrent")
        for name in ("input", "hidden", "recurrent", "output"):
            if getattr(self, f"{name}_mean") and getattr(self, f"{name}_std") is None:
                raise ValueError(f"{name}_mean needs a {name}_std")
        return self
