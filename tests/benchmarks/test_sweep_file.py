import re

import pytest

from benchmarks import sweep_file
from benchmarks.errors import ConfigError

GRID = 'task = "spiral"\npreset = "smoke"\n'
SEARCH = GRID + 'method = "optuna"\ntrials = 3\n'


def _load(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return sweep_file.load(str(path))


def test_a_grid_is_every_combination_and_seeds_are_next_to_one_another(tmp_path):
    text = 'seeds = [0, 1]\nmodels = ["egru", "gru"]\n[set]\nepochs = 1\n[space]\nunits = [4, 6]\n'
    name, sweep = _load(tmp_path, GRID + text)
    assert name == "mine"
    points = [(point.model, point.values["units"], point.seed) for point in sweep.points()]
    assert points == [(model, units, seed) for model in ("egru", "gru") for units in "46" for seed in (0, 1)]
    assert sweep.size() == 8


def test_a_variant_overrides_what_all_runs_have(tmp_path):
    text = '[set]\nreset = "zero"\nepochs = 1\n[variants]\nplain = {}\nother = {reset = "subtract"}\n'
    sweep = _load(tmp_path, GRID + text).sweep
    assert [(point.variant, sweep.config(point).reset) for point in sweep.points()] == [
        ("plain", "zero"),
        ("other", "subtract"),
    ]


def test_values_become_what_set_takes(tmp_path):
    text = (
        'task = "ptb"\npreset = "smoke"\n[space]\nunits = [[8, 6], [5]]\nprune = ["none", 0.5]\nreset_after = [true]\n'
    )
    sweep = _load(tmp_path, text).sweep
    configs = [sweep.config(point) for point in sweep.points()]
    assert [(c.units, c.prune) for c in configs] == [((8, 6), None), ((8, 6), 0.5), ((5,), None), ((5,), 0.5)]
    assert sweep.assignments(sweep.points()[1]) == ["units=8,6", "prune=0.5", "reset_after=true"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task =", "is not TOML: Invalid value"),
        ("taks = 1", "there is no key taks; there are summary, task,"),
        ('preset = "smoke"', "the key task is missing"),
        ('task = "spirals"\n[space]\nunits = [4]', "there is no task 'spirals'"),
        (GRID, "[space] must have a key"),
        (GRID + "[space]", "[space] must have a key"),
        (GRID + "[space]\nunits = []", "space.units = [] is refused"),
        (GRID + "[space]\nunits = [4, 4]", "a value is there twice"),
        (GRID + "[space]\nunits = 4", "space.units = 4 is refused: it must be a valid list"),
        (GRID + "[space]\nunits = [{low = 4}]", "it must be a number, a text"),
        (GRID + "[space]\nunits = {low = 4, high = 8}", "units must be a list of values in a grid"),
        (GRID + "[space]\nwidth = [1]", "width=1, seed=0, and that cannot be: --set knows no key 'width'"),
        (GRID + "[space]\nunits = [4, 0]", "units=0, seed=0, and that cannot be"),
        (GRID + 'models = ["egru", "gru"]\n[space]\nreset = ["zero"]', "model=gru, reset=zero, seed=0, and that"),
        (GRID + 'models = ["rnn"]\n[space]\nunits = [4]', "models.0 = 'rnn' is refused"),
        (GRID + "seeds = [-1]\n[space]\nunits = [4]", "seeds.0 = -1 is refused"),
        (GRID + "seeds = []\n[space]\nunits = [4]", "seeds = [] is refused"),
        (GRID + "trials = 3\n[space]\nunits = [4]", 'trials go with method = "optuna"'),
        (GRID + "[set]\nunits = 4\n[space]\nunits = [4]", "units must be in one of [set], [space] and [variants]"),
        (GRID + 'method = "best"\n[space]\nunits = [4]', "method = 'best' is refused"),
        (GRID + 'method = "optuna"\n[space]\nunits = [4]', "needs trials, the number of runs"),
        (SEARCH + "seeds = [0, 1]\n[space]\nunits = [4]", "takes one model and one seed"),
        (SEARCH + "[space]\nunits = [4]\n[variants]\nplain = {}", '[variants] go with method = "grid"'),
        (SEARCH + "[space]\nunits = {low = 4, high = 8, lgo = true}", "there is no key space.units.lgo; there are low"),
        (SEARCH + "[space]\nunits = {low = 9, high = 8}", "low must be smaller than high, received 9 and 8"),
        (SEARCH + "[space]\nunits = {low = 0, high = 8, log = true}", "log = true needs low > 0, received 0"),
        (SEARCH + "[space]\nthreshold_mean = {low = 0.5, high = 1.0}", "threshold_mean=1.0, seed=0, and that cannot"),
        (SEARCH + '[space]\nunits = {low = "4", high = 8}', "space.units.low = '4' is refused"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_in_a_sentence_that_names_it(tmp_path, text, words):
    with pytest.raises(ConfigError, match=re.escape(words)) as error:
        _load(tmp_path, text)
    assert "mine.toml" in str(error.value)


def test_a_file_that_is_not_there_is_told_with_the_names_that_are():
    with pytest.raises(ConfigError, match="nowhere cannot be read.*the sweeps by name are ablations_gesture"):
        sweep_file.load("nowhere")


@pytest.mark.parametrize("name", sweep_file.shipped())
def test_every_shipped_sweep_holds_and_says_what_of_which_paper_it_is(name):
    found = sweep_file.load(name)
    assert found.name == name
    assert found.sweep.preset == "cpu"
    assert re.search(r"\((EGRU|Mukherji)", found.sweep.summary)
    assert sweep_file.shipped()[name].read_text().startswith("# ")


def test_the_example_of_the_help_holds(tmp_path):
    assert _load(tmp_path, sweep_file.EXAMPLE).sweep.size() == 8
