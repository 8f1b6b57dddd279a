import keras
import numpy as np
import pytest

from benchmarks import classification, models
from benchmarks.config import resolve
from benchmarks.tasks import TASKS
from keras_egru import EGRU
from keras_egru.sparsity import EventRate, InternalState, SilentUnits, Sum, TargetRate
from keras_egru.surrogates import Triangular


def test_the_egru_gets_every_option_of_the_configuration():
    layer = _layer(
        "reset=zero",
        "reset_after=false",
        "threshold_trainable=true",
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
        "threshold_trainable": True,
        "shared_threshold": True,
        "dropconnect": 0.1,
        "zoneout": 0.2,
        "dropout": 0.3,
        "implementation": "reference",
    }
    assert {name: config[name] for name in wanted} == wanted
    assert (layer.surrogate.height, layer.surrogate.width) == (0.5, 0.4)
    assert layer.threshold_initializer.mean == 0.2


def test_the_recipe_is_the_layer_s_default_but_for_one_argument():
    ours, layer = _layer(), EGRU(3)
    assert ours.surrogate == layer.surrogate == Triangular(0.7, 0.1)
    assert ours.threshold_initializer.mean == layer.threshold_initializer.mean == 0.05
    assert ours.cell.threshold_trainable is layer.cell.threshold_trainable is False


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("event_rate", EventRate),
        ("internal_state", InternalState),
        ("silent_units", SilentUnits),
        ("target_rate", TargetRate),
    ],
)
def test_a_state_regularizer_is_chosen_by_name(name, kind):
    regularizer = _layer(f"state_regularizer={name}", "state_regularizer_weight=0.3").state_regularizer
    assert type(regularizer) is kind
    assert regularizer.weight == 0.3


def test_a_penalty_on_the_state_goes_beside_one_on_events():
    options = ("state_regularizer=event_rate", "state_regularizer_weight=0.3", "internal_state_weight=0.1")
    both = _layer(*options, "target_rate=0.2").state_regularizer
    assert type(both) is Sum
    assert [(type(each), each.weight) for each in both.regularizers] == [(EventRate, 0.3), (InternalState, 0.1)]
    assert both.regularizers[0].target == 0.2


@pytest.mark.parametrize("model", ["egru", "gru", "lstm"])
def test_the_kernels_initializer_is_chosen_by_name(model):
    layer = _network(model, "kernel_initializer=zeros").get_layer("recurrent")
    assert not np.any(np.asarray(layer.cell.kernel))
    assert np.any(np.asarray(layer.cell.recurrent_kernel))


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


def test_a_constant_phase_lies_between_warm_up_and_cosine():
    config = _config(
        "epochs=10", "schedule=cosine", "warmup_epochs=1", "constant_epochs=5",
        "learning_rate=0.01", "final_learning_rate=0.1",
    )  # fmt: skip
    rate = models.learning_rate(config, steps_per_epoch=20)
    values = [float(rate(step)) for step in (0, 10, 20, 21, 119, 120, 160, 200)]
    assert values == pytest.approx([0.0, 0.005, 0.01, 0.01, 0.01, 0.01, 0.0055, 0.001], abs=1e-6)
    copied = type(rate).from_config(rate.get_config())
    assert [float(copied(step)) for step in (10, 119, 160)] == [float(rate(step)) for step in (10, 119, 160)]


def test_a_step_schedule_lowers_the_rate_step_by_step():
    rate = models.learning_rate(
        _config("epochs=9", "schedule=step", "step_epochs=3", "step_factor=0.8", "learning_rate=0.1"), 20
    )
    values = [float(rate(step)) for step in (0, 59, 60, 119, 120)]
    assert values == pytest.approx([0.1, 0.1, 0.08, 0.08, 0.064])


def test_a_constant_phase_needs_no_warm_up():
    rate = models.learning_rate(_config("epochs=4", "schedule=cosine", "constant_epochs=2", "learning_rate=1"), 10)
    assert [float(rate(step)) for step in (0, 19, 20, 30, 40)] == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.0], abs=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam"])
def test_beta_1_reaches_the_optimizer(name):
    assert models.optimizer(_config(f"optimizer={name}"), steps_per_epoch=20).beta_1 == 0.9
    assert models.optimizer(_config(f"optimizer={name}", "beta_1=0"), steps_per_epoch=20).beta_1 == 0.0


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "sgd"])
def test_the_threshold_rate_scales_the_updates_of_thresholds_and_no_others(name):
    """From equal weights and with equal gradients, of which the global norm is clipped; any schedule."""
    schedule = ("schedule=cosine", "learning_rate=0.01", "epochs=2")
    options = (f"optimizer={name}", "clipnorm=0.25", "threshold_trainable=true", *schedule)
    before, plain = _updated(*options)
    _, slow = _updated(*options, "threshold_rate=0.25")
    for path, value in before.items():
        factor = 0.25 if path.endswith("threshold") else 1.0
        # What is left after taking the difference of values of about 1, of which each is rounded.
        np.testing.assert_allclose(slow[path] - value, factor * (plain[path] - value), rtol=1e-4, atol=3e-7)
        assert not np.array_equal(plain[path], value)
    assert sum(path.endswith("threshold") for path in before) == 1


def test_factors_of_the_updates_are_taken_in_order_and_the_last_one_stays():
    updates = [
        np.diff([0.0, *_descent(models.optimizer(_config("optimizer=sgd", "learning_rate=0.5"), 1, rates))])
        for rates in (None, [1.0, 0.5, 0.25])
    ]
    np.testing.assert_allclose(updates[0], -0.5)
    np.testing.assert_allclose(updates[1], [-0.5, -0.25, -0.125, -0.125])


def test_an_optimizer_with_rates_of_its_own_can_be_made_again_from_its_configuration():
    options = ("threshold_trainable=true", "threshold_rate=0.25", "schedule=cosine", "constant_epochs=1")
    made = models.optimizer(_config(*options), 1, [1.0, 0.5])
    again = type(made).from_config(made.get_config())
    assert (again.threshold_rate, again.update_rates.tolist()) == (0.25, [1.0, 0.5])


def test_decay_takes_from_weights_and_not_from_biases_and_thresholds():
    network = _network("egru", "update_gate_bias=-1", "units=4", "threshold_trainable=true")
    before = {variable.path: np.array(variable) for variable in network.trainable_variables}
    optimizer = models.optimizer(_config("optimizer=adamw", "weight_decay=0.5", "learning_rate=0.1"), 1)
    zeros = [np.zeros(variable.shape, "float32") for variable in network.trainable_variables]
    optimizer.apply(zeros, network.trainable_variables)
    for variable in network.trainable_variables:
        factor = 0.95 if variable.name.endswith("kernel") else 1.0
        np.testing.assert_allclose(np.array(variable), factor * before[variable.path], rtol=1e-6)
    assert {path.split("/")[-1] for path in before} == {"kernel", "recurrent_kernel", "bias", "threshold"}


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


def _updated(*options):
    """Variables by their paths, before and after one update by the same gradients."""
    network = _network("egru", "units=4", "threshold_trainable=true")
    before = {variable.path: np.array(variable) for variable in network.trainable_variables}
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=variable.shape).astype("float32") for variable in network.trainable_variables]
    models.optimizer(_config(*options), steps_per_epoch=20).apply(gradients, network.trainable_variables)
    return before, {variable.path: np.array(variable) for variable in network.trainable_variables}


def _descent(optimizer):
    """A variable at 0 after each of four updates by a gradient of 1."""
    variable = keras.Variable(0.0)
    for _ in range(4):
        optimizer.apply([np.float32(1.0)], [variable])
        yield float(variable)


def _config(*assignments):
    return resolve(TASKS["spiral"].config_class, "spiral", "smoke", "egru", assignments)


def _layer(*assignments):
    return classification.recurrent_layer(_config(*assignments), "egru", seed=0)


def _network(model, *assignments, seed=0):
    config = _config(*assignments)
    return classification.build(config, model, TASKS["spiral"].load(config, None), seed)
