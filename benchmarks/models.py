"""What the networks of all tasks are made of: recurrent layers, the same for EGRU, GRU and LSTM, and optimizers."""

import keras

from benchmarks.config import DENSE
from benchmarks.dropconnect import DropConnectGRU, DropConnectLSTM
from benchmarks.optimizers import UNDECAYED, Held, with_scaled_rates

OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "nadam": keras.optimizers.Nadam,
    "sgd": keras.optimizers.SGD,
}


def recurrent_layer(config, model, units, seed, **options):
    """The layer that `model` names, with the options of `config` and, for any of the three, `options`."""
    initializers = {name: getattr(config, name) for name in ("kernel_initializer", "recurrent_initializer")}
    common = {**initializers, "seed": seed, **options}
    if model in DENSE:
        return _dense_layer(config, model, units, common)

    from keras_egru.initializers import Beta, UpdateGateBias
    from keras_egru.layers import EGRU
    from keras_egru.surrogates import Triangular

    return EGRU(
        units,
        reset=config.reset,
        reset_after=config.reset_after,
        bias_initializer=UpdateGateBias(config.update_gate_bias),
        threshold_initializer=Beta(config.threshold_mean, seed=seed),
        threshold_trainable=config.threshold_trainable,
        shared_threshold=config.shared_threshold,
        surrogate=Triangular(config.surrogate_height, config.surrogate_width),
        dropconnect=config.dropconnect,
        zoneout=config.zoneout,
        state_regularizer=state_regularizer(config),
        implementation=config.implementation,
        **common,
    )


def _dense_layer(config, model, units, options):
    if model == "gru":
        options = {**options, "reset_after": config.reset_after}
    if config.dropconnect and "dropconnect" in config.of_any_model:
        kind = {"gru": DropConnectGRU, "lstm": DropConnectLSTM}[model]
        return kind(units, dropconnect=config.dropconnect, **options)
    kind = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[model]
    return kind(units, **options)


def state_regularizer(config):
    """The regulariser of the EGRU's internal state, or None."""
    if config.state_regularizer is None:
        return None
    from keras_egru.sparsity import EventRate, InternalState, SilentUnits, Sum, TargetRate

    if config.state_regularizer == "internal_state":
        return InternalState(weight=config.state_regularizer_weight)
    kinds = {"event_rate": EventRate, "silent_units": SilentUnits, "target_rate": TargetRate}
    rate = kinds[config.state_regularizer](target=config.target_rate, weight=config.state_regularizer_weight)
    return Sum(rate, InternalState(config.internal_state_weight)) if config.internal_state_weight else rate


def optimizer(config, steps_per_epoch, update_rates=None):
    """The optimizer of `config` for epochs of `steps_per_epoch` updates, with its learning-rate schedule.

    Args:
        config: Any configuration.
        steps_per_epoch: Number of updates.
        update_rates: Factors of the learning rate, one an update of the whole run; None for 1.
    """
    options = {"learning_rate": learning_rate(config, steps_per_epoch), "global_clipnorm": config.clipnorm}
    if config.optimizer == "adamw":
        options["weight_decay"] = config.weight_decay
    if config.optimizer != "sgd":
        options["beta_1"] = config.beta_1
    optimizer_class = OPTIMIZERS[config.optimizer]
    threshold_rate = getattr(config, "threshold_rate", 1.0)  # spiking neurons train no thresholds
    if threshold_rate != 1.0 or update_rates is not None:
        optimizer_class = with_scaled_rates(optimizer_class)
        options |= {"threshold_rate": threshold_rate, "update_rates": update_rates}
    optimizer = optimizer_class(**options)
    optimizer.exclude_from_weight_decay(var_names=UNDECAYED)
    return optimizer


def learning_rate(config, steps_per_epoch):
    """A float, or steps, or the cosine schedule, with its linear warm-up and then its constant phase before it."""
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "step":
        updates = max(1, round(config.step_epochs * steps_per_epoch))
        return keras.optimizers.schedules.ExponentialDecay(
            config.learning_rate, updates, config.step_factor, staircase=True
        )
    warmup, constant = (round(n * steps_per_epoch) for n in (config.warmup_epochs, config.constant_epochs))
    warm = {"warmup_target": config.learning_rate, "warmup_steps": warmup} if warmup else {}
    cosine = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        decay_steps=config.epochs * steps_per_epoch - warmup - constant,
        alpha=config.final_learning_rate,
        **warm,
    )
    return Held(cosine, begin=warmup, updates=constant) if constant else cosine
