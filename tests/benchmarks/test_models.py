import keras
import numpy as np
import pytest

from benchmarks import classification, models
from benchmarks.config import resolve
from benchmarks.tasks import TASKS
from keras_egru.sparsity import EventRate, InternalState, TargetRate


def test_the_egru_gets_every_option_of_the_configuration():
    layer = _layer(
        "reset=zero",
        "reset_after=false",
        "threshold_trainable=false",
        "shared_threshold=true",
        "surrogate_height=0.5",
        "surrogate_width=0.4",
        "dropconnect=0.1",
        "zoneout=0.2",
        "input_dropout=0.3",
        "implementation=reference",
        "threshold_mean=0.2",
    )
    config = layer.get_config()
    wanted = {
        "reset": "zero",
        "reset_after": False,
        "threshold_trainable": False,
        "shared_threshold": True,
        "dropconnect": 0.1,
        "zoneout": 0.2,
        "dropout": 0.3,
        "implementation": "reference",
    }
    assert {name: config[name] for name in wanted} == wanted
    assert (layer.surrogate.height, layer.surrogate.width) == (0.5, 0.4)
    assert layer.threshold_initializer.mean == 0.2


@pytest.mark.parametrize(
    ("name", "kind"), [("event_rate", EventRate), ("internal_state", InternalState), ("target_rate", TargetRate)]
)
def test_a_state_regularizer_is_chosen_by_name(name, kind):
    regularizer = _layer(f"state_regularizer={name}", "state_regularizer_weight=0.3").state_regularizer
    assert type(regularizer) is kind
    assert regularizer.weight == 0.3


@pytest.mark.parametrize("reset_after", [True, False])
def test_the_initial_bias_of_the_update_gate_is_set_and_no_other(reset_after):
    network = _network("egru", "update_gate_bias=-1", f"reset_after={reset_after}", "units=4")
    bias = np.asarray(network.get_layer("recurrent").cell.bias)
    assert np.count_nonzero(bias) == 4
    np.testing.assert_array_equal(np.atleast_2d(bias)[0, :4], -1.0)


def test_a_seed_decides_the_initial_weights():
    first, again, other = (_network("egru", seed=seed).get_weights() for seed in (0, 0, 1))
    for mine, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not np.array_equal(first[0], other[0])


def test_the_cosine_schedule_warms_up_and_ends_at_the_share_asked_for():
    config = _config(
        "epochs=10", "schedule=cosine", "warmup_epochs=2",
        "learning_rate=0.01", "final_learning_rate=0.1",
    )  # fmt: skip
    rate = models.learning_rate(config, steps_per_epoch=20)
    values = [float(rate(step)) for step in (0, 20, 40, 120, 200)]
    assert values == pytest.approx([0.0, 0.005, 0.01, 0.0055, 0.001], abs=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "sgd"])
def test_the_optimizer_is_the_one_asked_for_and_clips_the_global_norm(name):
    optimizer = models.optimizer(_config(f"optimizer={name}", "clipnorm=0.25"), steps_per_epoch=20)
    assert type(optimizer).__name__.lower() == name
    assert optimizer.global_clipnorm == 0.25


@pytest.mark.parametrize("model", ["egru", "gru", "lstm"])
@pytest.mark.parametrize("readout", ["trace", "last", "mean"])
def test_every_model_has_every_read_out(model, readout):
    network = _network(model, f"readout={readout}", "units=3")
    assert network.output_shape == (None, 2)
    assert network.get_layer("classifier").input.shape == (None, 3)


def test_the_trace_weighs_outputs_by_their_age():
    network = _network("gru", "readout=trace", "time_constant=5", "units=3")
    x = np.random.default_rng(0).normal(size=(2, 17, 2)).astype("float32")
    inputs = network.inputs
    outputs = keras.Model(inputs, [network.get_layer("recurrent").output, network.get_layer("readout").output])
    sequence, trace = (np.asarray(tensor) for tensor in outputs([x]))
    weights = np.exp(-np.arange(16, -1, -1) / 5.0)
    np.testing.assert_allclose(trace, np.einsum("btu,t->bu", sequence, weights), rtol=1e-5, atol=1e-6)


def _config(*assignments):
    return resolve(TASKS["spiral"].config_class, "spiral", "smoke", "egru", assignments)


def _layer(*assignments):
    return classification.recurrent_layer(_config(*assignments), "egru", seed=0)


def _network(model, *assignments, seed=0):
    config = _config(*assignments)
    return classification.build(config, model, TASKS["spiral"].load(config, None), seed)
