"""What the networks of all tasks are made of: recurrent layers, the same for EGRU, GRU and LSTM, and optimizers."""

import keras


def recurrent_layer(config, model, units, seed, **options):
    """The layer that `model` names, with the options of `config` and, for any of the three, `options`."""
    common = {"recurrent_initializer": config.recurrent_initializer, "seed": seed, **options}
    if model == "lstm":
        return keras.layers.LSTM(units, **common)
    if model == "gru":
        return keras.layers.GRU(units, reset_after=config.reset_after, **common)

    from keras_egru.initializers import Beta
    from keras_egru.layers import EGRU
    from keras_egru.surrogates import Triangular

    return EGRU(
        units,
        reset=config.reset,
        reset_after=config.reset_after,
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


def state_regularizer(config):
    """The regulariser of the EGRU's internal state, or None."""
    if config.state_regularizer is None:
        return None
    from keras_egru.sparsity import EventRate, InternalState, TargetRate

    if config.state_regularizer == "internal_state":
        return InternalState(weight=config.state_regularizer_weight)
    kind = EventRate if config.state_regularizer == "event_rate" else TargetRate
    return kind(target=config.target_rate, weight=config.state_regularizer_weight)


def optimizer(config, steps_per_epoch):
    """The optimizer of `config` for epochs of `steps_per_epoch` updates, with its learning-rate schedule."""
    options = {"learning_rate": learning_rate(config, steps_per_epoch), "global_clipnorm": config.clipnorm}
    if config.optimizer == "adamw":
        options["weight_decay"] = config.weight_decay
    return keras.optimizers.get({"class_name": config.optimizer, "config": options})


def learning_rate(config, steps_per_epoch):
    """A float, or the cosine schedule with its linear warm-up."""
    if config.schedule == "constant":
        return config.learning_rate
    warmup = round(config.warmup_epochs * steps_per_epoch)
    warm = {"warmup_target": config.learning_rate, "warmup_steps": warmup} if warmup else {}
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        decay_steps=config.epochs * steps_per_epoch - warmup,
        alpha=config.final_learning_rate,
        **warm,
    )


def set_update_gate_bias(layer, value):
    """Sets the bias of the gate u of a built EGRU, of its input where it has two."""
    bias = layer.cell.bias.numpy()
    bias.reshape(-1, 3 * layer.units)[0, : layer.units] = value
    layer.cell.bias.assign(bias)
