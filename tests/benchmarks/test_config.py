import json

import pytest

from benchmarks.config import EGRU_ONLY, PRESETS, recorded, resolve
from benchmarks.errors import ConfigError
from benchmarks.tasks import TASKS, config_class, models_of


@pytest.mark.parametrize(("task", "model"), [(name, model) for name in TASKS for model in models_of(TASKS[name])])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_holds_for_every_model_of_its_task(task, preset, model):
    config = resolve(config_class(task, model), task, preset, model)
    assert config.units
    # Beside EGRU stands a peer under the same budget.
    assert config.epochs == resolve(TASKS[task].config_class, task, preset, "egru").epochs


def test_the_last_assignment_of_a_key_counts_and_null_is_none():
    config = _spiral("clipnorm=1", "clipnorm=null", "units=3", "units=5", "threshold_trainable=false")
    assert (config.clipnorm, config.units, config.threshold_trainable) == (None, 5, False)


def test_a_record_of_a_dense_model_has_no_option_of_the_egru():
    config = _spiral()
    assert "threshold_mean" in recorded(config, "egru")
    assert "threshold_mean" not in recorded(config, "gru")
    assert recorded(config, "gru")["units"] == config.units


def test_several_problems_are_named_together():
    with pytest.raises(ConfigError, match=r"units = '0'.*dropout = '1'"):
        _spiral("units=0", "dropout=1")


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["optimizer=sgd", "beta_1=0.5"], "beta_1 needs optimizer=adam, adamw or nadam"),
        (["constant_epochs=1"], "constant_epochs needs schedule=cosine"),
        (
            ["schedule=cosine", "epochs=4", "warmup_epochs=1", "constant_epochs=3"],
            "together must be smaller",
        ),
        (["kernel_initializer=he"], r"kernel_initializer = 'he' is refused: .*he_uniform"),
        (["step_epochs=10"], "step_epochs needs schedule=step"),
        (["internal_state_weight=0.1"], "internal_state_weight needs a state_regularizer beside it"),
        (["threshold_rate=0.1", "threshold_trainable=false"], "threshold_rate needs threshold_trainable=true"),
        (["threshold_rate=0"], "threshold_rate = '0' is refused"),
    ],
)
def test_options_of_the_optimizer_that_do_not_fit_together_are_refused(assignments, words):
    with pytest.raises(ConfigError, match=words):
        _spiral(*assignments)


def test_the_spiral_preset_for_the_cpu_is_the_paper_s_number_of_updates():
    config = resolve(TASKS["spiral"].config_class, "spiral", "cpu", "egru")
    assert (config.units, config.batch_size, config.epochs * config.steps_per_epoch) == (16, 32, 1700)


def test_the_sizes_of_several_layers_are_separated_by_commas_and_go_through_json():
    config = resolve(TASKS["ptb"].config_class, "ptb", "smoke", "egru", ["units=32,16"])
    assert config.units == (32, 16)
    assert json.loads(json.dumps(recorded(config, "egru"))) == recorded(config, "egru")


@pytest.mark.parametrize("text", ["", "32,0", "32;16"])
def test_sizes_that_are_no_sizes_are_refused(text):
    with pytest.raises(ConfigError, match="units = .* is refused"):
        resolve(TASKS["ptb"].config_class, "ptb", "smoke", "egru", [f"units={text}"])


@pytest.mark.parametrize("regularizer", ["none", "internal_state"])
def test_a_rate_of_the_last_layer_needs_a_regularizer_that_has_rates(regularizer):
    options = ["last_target_rate=0.5", f"state_regularizer={regularizer}"]
    with pytest.raises(ConfigError, match="last_target_rate needs a state_regularizer of event rates"):
        resolve(TASKS["ptb"].config_class, "ptb", "smoke", "egru", options)


def test_embedding_and_read_out_are_tied_where_their_sizes_are_equal():
    tied = {
        assignment: resolve(TASKS["ptb"].config_class, "ptb", "smoke", "egru", ["units=32,16", assignment]).tied
        for assignment in ("embedding_size=null", "embedding_size=16", "embedding_size=32")
    }
    assert list(tied.values()) == [True, True, False]


def test_a_spiking_network_needs_spike_trains_and_other_models_do_not():
    spiking = [name for name in TASKS if "lif" in models_of(TASKS[name])]
    assert spiking == ["gesture", "nmnist", "yinyang", "mnist_latency", "fashion_mnist_latency", "shd", "ssc"]
    assert all({"egru", "gru", "lstm"} <= set(models_of(task)) for task in TASKS.values())
    with pytest.raises(ConfigError, match=r"lif needs a task of spike trains \(gesture, .*\), received smnist"):
        config_class("smnist", "lif")


def test_a_spiking_network_has_its_own_options_and_none_of_the_egru():
    values = recorded(_yin_yang("reset=zero", "implementation=reference"), "lif")
    assert (values["reset"], values["implementation"]) == ("zero", "reference")
    assert not set(EGRU_ONLY) - {"reset", "implementation", "surrogate_height", "surrogate_width"} & set(values)
    with pytest.raises(ConfigError, match="no key 'threshold_mean' for the task yinyang and the model lif"):
        _yin_yang("threshold_mean=0.1")
    with pytest.raises(ConfigError, match="no key 'tau_mem' for the task yinyang and the model egru"):
        resolve(config_class("yinyang", "egru"), "yinyang", "smoke", "egru", ["tau_mem=5"])


def test_one_hidden_layer_or_several_are_asked_for_alike():
    assert [_yin_yang(f"units={text}").units for text in ("12", "12,8")] == [(12,), (12, 8)]


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["tau_syn=null"], "gradient=eventprop needs a tau_syn"),
        (["tau_syn=1", "heterogeneous=true"], "heterogeneous needs"),
        (["ease_in=0.01", "schedule=cosine"], "ease_in needs schedule=constant"),
        (["prune=0.5"], "prune needs prune_weights=all"),
        (["recurrent_mean=0.1"], "recurrent_mean needs a recurrent_std"),
        (["rate_strength=1", "gradient=surrogate"], "rate_strength needs gradient=eventprop"),
        (["count_high_weight=1"], "count_high_weight needs gradient=surrogate"),
        (["readout=trace"], "readout = 'trace' is refused"),
        (["units=0"], "units = '0' is refused"),
        (["trial_ms=28", "dt=60"], "trial_ms must be at least one step"),
        (["late_ms=31"], "early_ms, late_ms and trial_ms must grow in this order"),
        (["dt=0"], "dt = '0' is refused"),
        (["tau_mem=inf"], "tau_mem = 'inf' is refused"),
    ],
)
def test_options_of_a_spiking_network_that_do_not_fit_together_are_refused(assignments, words):
    with pytest.raises(ConfigError, match=words):
        _yin_yang(*assignments)


def _yin_yang(*assignments):
    return resolve(config_class("yinyang", "lif"), "yinyang", "smoke", "lif", assignments)


def _spiral(*assignments):
    return resolve(TASKS["spiral"].config_class, "spiral", "smoke", "egru", assignments)
