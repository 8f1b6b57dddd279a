"""The networks of the classification tasks: recurrent layer, read-out, classifier; the same for EGRU, GRU and LSTM."""

import keras


def build(config, model, dataset, seed) -> keras.Model:
    """A compiled network for sequences like `dataset`'s.

    Args:
        config: `RunConfig`.
        model: "egru", "gru" or "lstm".
        dataset: `Dataset`; only its shapes are used.
        seed: Integer; decides the initial weights and every dropout mask.
    """
    keras.utils.set_random_seed(seed)
    steps, features = dataset.train.x.shape[1:]
    inputs = keras.Input((steps, features))
    hidden = recurrent_layer(config, model, seed)(inputs)
    if config.readout == "trace":
        from keras_egru.layers import ExponentialTrace

        hidden = ExponentialTrace(time_constant=config.time_constant, name="readout")(hidden)
    elif config.readout == "mean":
        hidden = keras.layers.GlobalAveragePooling1D(name="readout")(hidden)
    if config.dropout:
        hidden = keras.layers.Dropout(config.dropout, seed=seed + 1)(hidden)
    outputs = keras.layers.Dense(dataset.classes, name="classifier")(hidden)
    network = keras.Model(inputs, outputs, name=model)
    if model == "egru" and config.update_gate_bias:
        _set_update_gate_bias(network.get_layer("recurrent"), config.update_gate_bias)
    network.compile(
        optimizer=optimizer(config, len(dataset.train.y)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return network


def recurrent_layer(config, model, seed):
    """The layer that `model` names, with the options of `config`; returns sequences unless the read-out is `last`."""
    common = {
        "dropout": config.input_dropout,
        "recurrent_initializer": config.recurrent_initializer,
        "return_sequences": config.readout != "last",
        "seed": seed,
        "name": "recurrent",
    }
    if model == "lstm":
        return keras.layers.LSTM(config.units, **common)
    if model == "gru":
        return keras.layers.GRU(config.units, reset_after=config.reset_after, **common)

    from keras_egru.initializers import Beta
    from keras_egru.layers import EGRU
    from keras_egru.surrogates import Triangular

    return EGRU(
        config.units,
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


def optimizer(config, train_size):
    """The optimizer of `config` for `train_size` examples, with its learning-rate schedule."""
    options = {"learning_rate": learning_rate(config, train_size), "global_clipnorm": config.clipnorm}
    if config.optimizer == "adamw":
        options["weight_decay"] = config.weight_decay
    return keras.optimizers.get({"class_name": config.optimizer, "config": options})


def learning_rate(config, train_size):
    """A float, or the cosine schedule with its linear warm-up."""
    if config.schedule == "constant":
        return config.learning_rate
    steps = config.steps_per_epoch or -(-train_size // config.batch_size)
    warmup = round(config.warmup_epochs * steps)
    warm = {"warmup_target": config.learning_rate, "warmup_steps": warmup} if warmup else {}
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else config.learning_rate,
        decay_steps=config.epochs * steps - warmup,
        alpha=config.final_learning_rate,
        **warm,
    )


def _set_update_gate_bias(layer, value):
    bias = layer.cell.bias.numpy()
    bias.reshape(-1, 3 * layer.units)[0, : layer.units] = value
    layer.cell.bias.assign(bias)
