import json

import keras
import numpy as np
import pytest

from benchmarks import spiking
from benchmarks.config import resolve
from benchmarks.sparsities import sparsity
from benchmarks.tasks import TASKS, config_class
from benchmarks.tasks.dataset import Dataset, Split
from benchmarks.training import Run, execute
from keras_egru import EventLIF
from keras_egru.initializers import GammaTimeConstants
from keras_egru.losses import FirstSpikeLoss
from keras_egru.sparsity import SpikeCounts, SpikeRate
from keras_egru.surrogates import Boxcar, FastSigmoid, Triangular

SURROGATE = ("gradient=surrogate", "tau_syn=null")


def test_the_hidden_layers_get_every_option_of_the_configuration():
    config = _config(
        "units=6,4", "recurrent=true", "tau_mem=12", "tau_syn=4", "dt=0.5", "threshold=0.8", "reset=zero",
        "refractory=2", "implementation=reference", "train_time_constants=true", "rate_strength=0.1", "rate_target=3",
    )  # fmt: skip
    layers = [spiking.hidden_layer(config, number, seed=0) for number in range(2)]
    assert [(layer.units, layer.name) for layer in layers] == [(6, "hidden_1"), (4, "hidden_2")]
    wanted = {
        "tau_mem": 12.0,
        "tau_syn": 4.0,
        "dt": 0.5,
        "threshold": 0.8,
        "reset": "zero",
        "refractory": 2.0,
        "recurrent": True,
        "gradient": "eventprop",
        "train_time_constants": True,
        "implementation": "reference",
    }
    assert {name: layers[0].get_config()[name] for name in wanted} == wanted
    assert isinstance(layers[1].rate_regularizer, SpikeRate)
    assert (layers[1].rate_regularizer.target, layers[1].rate_regularizer.strength) == (3.0, 0.1)


@pytest.mark.parametrize(
    ("assignments", "wanted"),
    [
        (["surrogate=fast_sigmoid", "surrogate_slope=50", "surrogate_width=0.3"], FastSigmoid(50.0, 0.3)),
        (["surrogate=triangular", "surrogate_height=0.5", "surrogate_width=0.3"], Triangular(0.5, 0.3)),
        (["surrogate=boxcar", "surrogate_height=0.5", "surrogate_width=0.3"], Boxcar(0.5, 0.3)),
    ],
)
def test_a_surrogate_is_chosen_by_name_and_exact_gradients_have_none(assignments, wanted):
    assert spiking.surrogate(_config(*SURROGATE, *assignments)) == wanted
    assert spiking.surrogate(_config(*assignments)) is None


def test_spike_counts_are_regularised_where_gradients_are_surrogates():
    layer = spiking.hidden_layer(_config(*SURROGATE, "count_low_weight=2", "count_high=7"), 0, seed=0)
    assert isinstance(layer.activity_regularizer, SpikeCounts)
    assert layer.activity_regularizer.get_config() == {
        "lower": 0.001,
        "lower_weight": 2.0,
        "upper": 7.0,
        "upper_weight": 0.0,
    }


def test_time_constants_may_be_drawn_anew_for_each_layer():
    config = _config("heterogeneous=true", "units=50,50")
    layers = [spiking.hidden_layer(config, number, seed=0) for number in range(2)]
    assert isinstance(layers[0].get_config()["tau_mem"], dict | GammaTimeConstants)
    draws = [np.asarray(spiking._time_constant(20.0, 3.0, config, seed)((50,))) for seed in (10, 20)]
    assert not np.array_equal(*draws)
    assert all((draw >= 3.0).all() and (draw <= 60.0).all() for draw in draws)


def test_initial_weights_have_the_mean_and_the_spread_asked_for():
    network = _network(
        "units=200,100", "recurrent=true", "input_mean=1.5", "input_std=0.5", "hidden_mean=-1", "hidden_std=0.1",
        "recurrent_mean=2", "recurrent_std=0.2", "output_mean=3", "output_std=0.3",
    )  # fmt: skip
    kernels = {
        (1.5, 0.5): _weights(network, "hidden_1").kernel,
        (2.0, 0.2): _weights(network, "hidden_2").recurrent_kernel,
        (-1.0, 0.1): _weights(network, "hidden_2").kernel,
        (3.0, 0.3): _weights(network, "readout").kernel,
    }
    for (mean, spread), kernel in kernels.items():
        kernel = np.asarray(kernel)
        assert kernel.mean() == pytest.approx(mean, abs=4 * spread / np.sqrt(kernel.size))
        assert kernel.std() == pytest.approx(spread, rel=0.1)


def test_a_seed_decides_the_initial_weights():
    first, again, other = (_network(seed=seed).get_weights() for seed in (0, 0, 1))
    for mine, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("readout", ["sum", "sum_exp"])
def test_summed_potentials_are_means_over_the_trial(readout):
    short, long = (_network(f"readout={readout}", f"dt={dt}", *_BUSY) for dt in (0.5, 0.25))
    assert short.get_layer("mean").scale == pytest.approx(1 / 30)
    x = np.asarray(TASKS["yinyang"].load(_config("dt=0.5"), None).train.x[:8])
    potentials = keras.Model(short.input, short.get_layer("mean").input)(x)
    np.testing.assert_allclose(np.asarray(short(x)), np.asarray(potentials) / 30, rtol=1e-5)
    assert np.abs(np.asarray(short(x))).max() < 20
    assert long.output_shape == (None, 3)


def test_the_class_of_first_spikes_is_the_earliest():
    config = _config("readout=first_spike", "first_spike_tau=2", "first_spike_late=5", "first_spike_weight=0.01")
    metric = spiking.accuracy(config)
    metric.update_state(np.array([0, 1, 2]), np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [9.0, 8.0, 0.5]]))
    assert float(metric.result()) == pytest.approx(2 / 3)
    loss = spiking.loss(config)
    assert isinstance(loss, FirstSpikeLoss)
    assert (loss.tau_0, loss.tau_1, loss.alpha) == (2.0, 5.0, 0.01)


def test_dropped_spikes_are_gone_and_the_others_are_as_they_were():
    layer = spiking.SpikeDropout(0.25, seed=3)
    x = np.ones((10, 100, 10), "float32")
    dropped = np.asarray(layer(x, training=True))
    assert set(np.unique(dropped)) == {0.0, 1.0}
    assert dropped.mean() == pytest.approx(0.75, abs=0.02)  # 10,000 draws: four standard deviations
    assert not np.array_equal(dropped, np.asarray(layer(x, training=True)))
    np.testing.assert_array_equal(np.asarray(layer(x, training=False)), x)
    again = spiking.SpikeDropout.from_config(layer.get_config())
    np.testing.assert_array_equal(np.asarray(again(x, training=True)), dropped)


def test_the_rate_of_learning_is_eased_in():
    from keras_egru.schedules import EaseIn

    config = _config("ease_in=0.01", "ease_in_growth=1.5", "learning_rate=0.1")
    problem = spiking.SpikingClassification(config, "lif", TASKS["yinyang"].load(config, None), seed=0)
    (callback,) = problem.fit_options()["callbacks"]
    assert isinstance(callback, EaseIn)
    assert (callback.learning_rate, callback.start, callback.growth) == (0.1, 0.01, 1.5)
    config = _config()
    problem = spiking.SpikingClassification(config, "lif", TASKS["yinyang"].load(config, None), seed=0)
    assert "callbacks" not in problem.fit_options()


@pytest.mark.parametrize("options", [(), SURROGATE, ("recurrent=true",)])
def test_sparsity_is_counted_from_the_spikes_of_every_hidden_layer(options):
    config = _config("units=7,5", "evaluation_batch_size=3", *_BUSY, *options)
    dataset = _random_trains(steps=config.steps)
    network = spiking.build(config, dataset, seed=0)
    figures = sparsity(network, dataset.train.x, config.evaluation_batch_size)

    x = dataset.train.x
    spikes = [np.asarray(keras.Model(network.input, network.get_layer(f"hidden_{k}").output)(x)) for k in (1, 2)]
    assert all(0 < train.sum() < train.size for train in spikes)
    events = np.concatenate([train.reshape(-1) for train in spikes])
    assert figures["activity_sparsity"] == pytest.approx((events == 0).mean())
    assert figures["layers"]["hidden_2"]["activity_sparsity"] == pytest.approx((spikes[1] == 0).mean())
    steps = x.shape[0] * x.shape[1]
    own = [7 * spikes[0].sum(), 5 * spikes[1].sum()] if config.recurrent else [0, 0]
    effective = [7 * x.sum() + own[0], 5 * spikes[0].sum() + own[1]]
    for k, macs in enumerate(effective):
        assert figures["layers"][f"hidden_{k + 1}"]["effective_macs"] == pytest.approx(macs / steps)
    assert figures["effective_macs"] == pytest.approx((sum(effective) + 3 * spikes[1].sum()) / steps)
    assert figures["dense_macs"] == 5 * 7 + 7 * 5 + 5 * 3 + (7 * 7 + 5 * 5 if config.recurrent else 0)


def test_a_surrogate_is_flat_where_the_membrane_is_far_from_the_threshold():
    dataset = _random_trains(steps=30)
    shares = []
    for width in (1e-6, 0.3, 1e6):
        config = _config(*SURROGATE, f"surrogate_width={width}", *_BUSY)
        shares.append(sparsity(spiking.build(config, dataset, 0), dataset.train.x, config.evaluation_batch_size))
    narrow, usual, wide = (figures["surrogate_sparsity"] for figures in shares)
    assert narrow == pytest.approx(1.0, abs=1e-3)
    assert 0.1 < usual < 0.99
    assert wide == 0.0


@pytest.fixture(scope="module", params=["eventprop", "surrogate"])
def finished(request, tmp_path_factory):
    """`(gradient, folder, record)` of a run that has learnt something."""
    options = {
        "eventprop": ("readout=first_spike", "output_mean=0.9", "recurrent=true", "input_dropout=0.02"),
        "surrogate": ("gradient=surrogate", "surrogate_width=1", "surrogate_slope=10"),
    }[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    sizes = ("units=32", "epochs=6", "train_size=1500", "batch_size=25", "learning_rate=0.01")
    return request.param, folder, execute(_run(folder, *sizes, *options))


def test_a_run_learns_and_records_its_sparsity(finished):
    gradient, _, record = finished
    assert record["test_accuracy"] > 0.6  # of three classes
    assert 0.3 < record["activity_sparsity"] < 1.0
    assert record["method"] == {"eventprop": "eventprop", "surrogate": "bptt"}[gradient]
    assert (record["surrogate_sparsity"] is None) == (gradient == "eventprop")
    assert (record["recurrent_parameter_sparsity"] is None) == (gradient == "surrogate")
    assert 0 < record["effective_macs"] < record["dense_macs"]
    assert record["config"]["units"] == [32]
    json.dumps(record)


def test_the_saved_model_is_the_best_epoch_s(finished):
    _, folder, record = finished
    model = keras.saving.load_model(folder / "run" / "model.keras")
    test = TASKS["yinyang"].load(_config(), None).test
    _, accuracy = model.evaluate(np.asarray(test.x), test.y, verbose=0)
    assert accuracy == pytest.approx(record["test_accuracy"])
    assert isinstance(model.get_layer("hidden_1"), EventLIF)


def test_a_resumed_run_has_the_same_figures_as_an_uninterrupted_one(tmp_path, interrupt_after):
    assignments = ("epochs=2", "input_dropout=0.2", "ease_in=0.1")
    whole = execute(_run(tmp_path / "a", *assignments))
    with pytest.raises(KeyboardInterrupt):
        execute(_run(tmp_path / "b", *assignments)._replace(progress=interrupt_after(epoch=1)))
    resumed = execute(_run(tmp_path / "b", *assignments)._replace(resume=True))
    for ours, theirs in zip(resumed["epochs"], whole["epochs"], strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    assert resumed["test_accuracy"] == whole["test_accuracy"]


def test_a_network_is_pruned_as_it_trains(tmp_path):
    record = execute(_run(tmp_path, "epochs=2", "prune=0.5", "prune_weights=all"))
    assert record["parameter_sparsity"] == pytest.approx(0.5, abs=0.01)
    assert record["name"] == "yinyang-smoke-lif-prune0.5-1x1-all-0"


def test_dense_models_read_spike_trains_too(tmp_path):
    run = _run(tmp_path)
    config = resolve(config_class("yinyang", "gru"), "yinyang", "smoke", "gru", ["epochs=1"])
    record = execute(run._replace(model="gru", config=config))
    assert record["activity_sparsity"] is None
    assert record["config"]["units"] == 16


_BUSY = ("input_mean=1.5", "input_std=1", "hidden_mean=1.5", "hidden_std=1", "output_std=0.3")


def _config(*assignments):
    return resolve(config_class("yinyang", "lif"), "yinyang", "smoke", "lif", assignments)


def _network(*assignments, seed=0):
    config = _config(*assignments)
    return spiking.build(config, TASKS["yinyang"].load(config, None), seed)


def _weights(network, name):
    layer = network.get_layer(name)
    return getattr(layer, "cell", None) or layer


def _random_trains(steps):
    rng = np.random.default_rng(0)
    x = (rng.random((8, steps, 5)) < 0.2).astype("float32")
    split = Split(x, rng.integers(0, 3, 8).astype("int32"))
    return Dataset("random", None, 3, False, split, split, split)


def _run(folder, *assignments):
    return Run("yinyang", "smoke", "lif", _config(*assignments), 0, None, folder / "run", "pytest")
