import pytest

from benchmarks import seeds
from tests.benchmarks.made_up_records import CONFIG, made_up


def test_a_field_that_was_added_later_splits_no_group_and_another_value_of_it_does():
    """`surrogate_height` is 0.7 where nothing is said."""
    runs = {
        "old": made_up(),
        "new": made_up(seed=1, config={**CONFIG, "surrogate_height": 0.7}),
        "other": made_up(seed=2, config={**CONFIG, "surrogate_height": 0.3}),
    }
    (setting,) = seeds.settings(list(runs.items()))
    assert [(group.label, group.names) for group in setting.groups] == [
        ("EGRU-8", ["old", "new"]),
        ("EGRU-8, surrogate_height=0.3", ["other"]),
    ]


def test_presets_and_data_sets_are_settings_of_their_own_and_folders_of_data_are_not():
    data = made_up()["dataset"]
    runs = {
        "cpu": made_up(),
        "elsewhere": made_up(seed=1, dataset={**data, "path": "other", "verified": None}),
        "paper": made_up(preset="paper"),
        "part": made_up(dataset={**data, "train": 10, "complete": False}),
    }
    found = seeds.settings(list(runs.items()))
    assert [(s.preset, s.dataset["train"], [name for g in s.groups for name in g.names]) for s in found] == [
        ("paper", 1000, ["paper"]),
        ("cpu", 10, ["part"]),
        ("cpu", 1000, ["cpu", "elsewhere"]),
    ]


def test_models_come_in_one_order_and_seeds_in_theirs():
    runs = [("a", made_up("lstm")), ("b", made_up("gru")), ("c", made_up(seed=3)), ("d", made_up(seed=1))]
    (setting,) = seeds.settings(runs)
    assert [group.model for group in setting.groups] == ["egru", "gru", "lstm"]
    assert setting.groups[0].seeds == [1, 3]


def test_a_pruned_run_says_so_in_its_label():
    pruned = {**CONFIG, "prune": 0.8, "block": [1, 16], "prune_weights": "recurrent"}
    (setting,) = seeds.settings([("a", made_up()), ("b", made_up(config=pruned))])
    assert [group.label for group in setting.groups] == ["EGRU-8", "EGRU-8, pruned 80% 1x16 recurrent"]


def test_a_figure_that_one_run_lacks_has_no_mean_and_one_run_has_no_deviation():
    one, two = made_up(test=0.5), made_up(seed=1, test=0.7)
    (setting,) = seeds.settings([("a", one), ("b", {**two, "effective_macs": None})])
    (group,) = setting.groups
    assert group.summary("test_accuracy") == pytest.approx([0.6, 0.02**0.5])
    assert group.summary("effective_macs") is group.mean("effective_macs") is None
    assert seeds.Group("", ["a"], [one]).summary("test_accuracy") == [0.5, None]


def test_figures_of_epochs_are_as_many_as_all_runs_have():
    runs = [("a", made_up(accuracies=(0.1, 0.2, 0.3))), ("b", made_up(seed=1, accuracies=(0.4, 0.5)))]
    (setting,) = seeds.settings(runs)
    (group,) = setting.groups
    assert group.epochs("val_accuracy") == [[0.1, 0.2], [0.4, 0.5]]
    assert group.layers() == ["first", "second"]
    assert group.of_layer("first", "backward_sparsity") == [[0.4, 0.4], [0.4, 0.4]]
    assert group.epochs("val_perplexity") == []


def test_the_name_of_several_runs_is_what_they_have_in_common():
    group = seeds.Group("", ["runs/egru-0", "runs/egru-1"], [made_up(), made_up(seed=1)])
    assert group.name == "runs/egru-*"
    assert group._replace(names=["runs/egru-0"]).name == "runs/egru-0"
