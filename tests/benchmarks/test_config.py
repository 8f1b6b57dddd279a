import json

import pytest

from benchmarks.config import MODELS, PRESETS, recorded, resolve
from benchmarks.errors import ConfigError
from benchmarks.tasks import TASKS


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("model", MODELS)
def test_every_preset_holds_for_every_model(task, preset, model):
    config = resolve(TASKS[task].config_class, task, preset, model)
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


def test_embedding_and_read_out_are_tied_where_their_sizes_are_equal():
    tied = {
        assignment: resolve(TASKS["ptb"].config_class, "ptb", "smoke", "egru", ["units=32,16", assignment]).tied
        for assignment in ("embedding_size=null", "embedding_size=16", "embedding_size=32")
    }
    assert list(tied.values()) == [True, True, False]


def _spiral(*assignments):
    return resolve(TASKS["spiral"].config_class, "spiral", "smoke", "egru", assignments)
