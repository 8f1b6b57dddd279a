"""One label a sequence of spikes: hidden layers of leaky integrate-and-fire neurons and a leaky read-out.

The set-ups are those of Nowotny et al. 2022 (exact gradients, EventProp) and Perez-Nieves & Goodman 2021 (surrogate
gradients). Logits are potentials of the read-out: their maximum, their last, or, `sum` and `sum_exp`, their mean over
the trial, plain or weighted; with `first_spike` the class is that whose unit would spike first.
"""

import keras

from benchmarks.classification import Classification

LEAST_TAU_MEM, LEAST_TAU_SYN = 3.0, 1.0  # milliseconds, of what is drawn (Nowotny et al. 2022, section 4.8)


class SpikingClassification(Classification):
    """The `Problem` of a `Dataset` of spike trains and a `SpikingConfig`."""

    def fit_options(self):
        options = super().fit_options()
        if self.config.ease_in is None:
            return options
        from keras_egru.schedules import EaseIn

        return {
            **options,
            "callbacks": [EaseIn(self.config.learning_rate, self.config.ease_in, self.config.ease_in_growth)],
        }

    def test(self):
        exact = self.config.gradient == "eventprop"
        return {**super().test(), "method": "eventprop" if exact else "bptt"}

    def _compiled(self, model, seed, optimizer, wrap=lambda layer: layer):
        network = build(self.config, self.dataset, seed, wrap)
        network.compile(optimizer=optimizer, loss=loss(self.config), metrics=[accuracy(self.config)], jit_compile=False)
        return network


def build(config, dataset, seed, wrap=lambda layer: layer) -> keras.Model:
    """A network, not compiled yet, for spike trains like `dataset`'s.

    Args:
        config: `SpikingConfig` with the fields of `SpikeTrains`.
        dataset: `Dataset`; only its shapes are used.
        seed: Integer; decides the initial weights and what is dropped.
        wrap: Takes every layer with weights and returns what takes its place, such as `Pruning.wrap`.
    """
    keras.utils.set_random_seed(seed)
    hidden = inputs = keras.Input(dataset.train.x.shape[1:])
    if config.input_dropout:
        hidden = SpikeDropout(config.input_dropout, seed)(hidden)
    for number in range(len(config.units)):
        hidden = wrap(hidden_layer(config, number, seed))(hidden)
    outputs = wrap(readout_layer(config, dataset.classes, seed))(hidden)
    if config.readout in ("sum", "sum_exp"):
        # Sums in millivolts times milliseconds saturate a softmax.
        outputs = keras.layers.Rescaling(1.0 / config.trial_ms, name="mean")(outputs)
    return keras.Model(inputs, outputs, name="lif")


def hidden_layer(config, number, seed, **options):
    """The hidden layer of that number, from 0, with further options of `EventLIF`."""
    from keras_egru import EventLIF

    incoming = "hidden" if number else "input"
    seed = seed + 10 * (number + 1)
    return EventLIF(
        config.units[number],
        tau_mem=_time_constant(config.tau_mem, LEAST_TAU_MEM, config, seed),
        tau_syn=_time_constant(config.tau_syn, LEAST_TAU_SYN, config, seed + 1),
        dt=config.dt,
        threshold=config.threshold,
        reset=config.reset,
        refractory=config.refractory,
        recurrent=config.recurrent,
        gradient=config.gradient,
        surrogate=surrogate(config),
        train_time_constants=config.train_time_constants,
        kernel_initializer=_initializer(config, incoming, seed + 2) or "glorot_uniform",
        recurrent_initializer=_initializer(config, "recurrent", seed + 3) or "orthogonal",
        return_sequences=True,
        implementation=config.implementation,
        name=f"hidden_{number + 1}",
        **_regularizers(config),
        **options,
    )


def readout_layer(config, classes, seed):
    from keras_egru import LeakyReadout

    return LeakyReadout(
        classes,
        tau_mem=config.readout_tau_mem or config.tau_mem,
        tau_syn=config.readout_tau_syn or config.tau_syn,
        dt=config.dt,
        readout=config.readout,
        threshold=config.threshold,
        phantom=config.first_spike_phantom,
        kernel_initializer=_initializer(config, "output", seed) or "glorot_uniform",
        name="readout",
    )


def surrogate(config):
    """The surrogate derivative of `config`; None where gradients are exact."""
    from keras_egru.surrogates import Boxcar, FastSigmoid, Triangular

    if config.gradient == "eventprop":
        return None
    if config.surrogate == "fast_sigmoid":
        return FastSigmoid(config.surrogate_slope, config.surrogate_width)
    kind = {"triangular": Triangular, "boxcar": Boxcar}[config.surrogate]
    return kind(config.surrogate_height, config.surrogate_width)


def loss(config):
    """Softmax cross-entropy of the logits, or the loss of first-spike times."""
    if config.readout != "first_spike":
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    from keras_egru.losses import FirstSpikeLoss

    return FirstSpikeLoss(config.first_spike_tau, config.first_spike_late, config.first_spike_weight)


def accuracy(config):
    """The metric "accuracy"; of first-spike times, the class is the earliest."""
    if config.readout != "first_spike":
        return keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    return FirstSpikeAccuracy(name="accuracy")


@keras.saving.register_keras_serializable(package="keras_egru_benchmarks")
class FirstSpikeAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """Share of the examples in which the unit of the label spikes first."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(y_true, -y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="keras_egru_benchmarks")
class SpikeDropout(keras.layers.Layer):
    """Drops the spikes of a channel in a trial with probability `rate` while training; the others stay as they are.

    Where a channel spikes once at most, as with latency codes, that is the paper's dropout of single spikes, for one
    draw a channel instead of one a channel and step.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        if not training:
            return inputs
        batch, _, channels = keras.ops.shape(inputs)
        kept = keras.random.uniform((batch, 1, channels), seed=self.seed_generator) >= self.rate
        return inputs * keras.ops.cast(kept, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def _regularizers(config):
    if config.rate_strength:
        from keras_egru.sparsity import SpikeRate

        return {"rate_regularizer": SpikeRate(config.rate_target, config.rate_strength)}
    if config.count_low_weight or config.count_high_weight:
        from keras_egru.sparsity import SpikeCounts

        counts = SpikeCounts(config.count_low, config.count_low_weight, config.count_high, config.count_high_weight)
        return {"activity_regularizer": counts}
    return {}


def _time_constant(mean, least, config, seed):
    if mean is None or not config.heterogeneous:
        return mean
    from keras_egru.initializers import GammaTimeConstants

    return GammaTimeConstants(mean, least, seed=seed)


def _initializer(config, name, seed):
    mean, spread = getattr(config, f"{name}_mean"), getattr(config, f"{name}_std")
    return None if spread is None else keras.initializers.RandomNormal(mean, spread, seed=seed)
