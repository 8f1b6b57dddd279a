"""What a report reckons from records: fronts, learning speed, energy, trade-offs, and how a drawing enters a page."""

import re

import pytest

from benchmarks import energy, learning_speed, pareto, seeds, tradeoff
from benchmarks.gaps import gaps
from benchmarks.svg import INK, MODEL_COLOURS, PAPER, as_svg, plt, to_file, to_page
from tests.benchmarks.made_up_records import CONFIG, made_up


def test_a_point_is_on_the_front_if_none_is_cheaper_and_as_good():
    points = [(5.0, 0.9), (1.0, 0.5), (2.0, 0.4), (3.0, 0.9), (9.0, 0.95), (1.0, 0.45)]
    assert pareto.front(points) == [1, 3, 4]


def test_equal_points_are_all_on_the_front_and_no_points_have_none():
    assert sorted(pareto.front([(1.0, 0.5), (1.0, 0.5)])) == [0, 1]
    assert pareto.front([]) == []


def test_learning_speed_is_of_the_first_epoch_that_got_there():
    record = made_up(accuracies=(0.5, 0.95, 0.9, 0.97))
    assert learning_speed.first_epoch(record) == 1
    assert learning_speed.updates(record)[1] == 20
    assert learning_speed.first_epoch(made_up(accuracies=(0.5, 0.94))) is None


@pytest.mark.parametrize(
    ("config", "dataset", "each"),
    [
        ({"steps_per_epoch": 7, "batch_size": 100}, {"train": 1000}, 7),
        ({"steps_per_epoch": None, "batch_size": 300}, {"train": 1000}, 4),
        ({"steps_per_epoch": None, "batch_size": 10, "steps": 35}, {"train": 1001, "vocabulary": 50}, 2),
    ],
)
def test_updates_of_older_records_follow_from_batch_and_data(config, dataset, each):
    record = {"config": config, "dataset": dataset, "epochs": [{"epoch": 1}, {"epoch": 2}]}
    assert learning_speed.updates(record) == [each, 2 * each]


def test_energy_is_of_multiplications_and_additions_and_of_additions_alone_where_spikes_are():
    assert energy.nanojoules(1000.0) == pytest.approx(4.6)
    assert energy.nanojoules(1000.0, spiking=True) == pytest.approx(0.9)
    assert energy.nanojoules(None) is None
    assert "estimate" in energy.SOURCE


def test_a_trade_off_is_between_groups_that_differ_in_what_backward_sparsity_is_won_with():
    runs = {
        "wide": made_up(),
        "narrow": made_up(config={**CONFIG, "surrogate_width": 0.3}, backward_sparsity=0.7, test=0.85),
        "regular": made_up(config={**CONFIG, "state_regularizer": "target_rate"}, backward_sparsity=0.5),
        "faster": made_up(config={**CONFIG, "learning_rate": 0.1}, backward_sparsity=0.9),
        "gru": made_up("gru"),
    }
    (setting,) = seeds.settings(list(runs.items()))
    (curve,) = tradeoff.tradeoffs(setting)
    assert curve.labels == ["", "regularizer=target_rate", "width=0.3"]
    assert curve.backward == [0.4, 0.5, 0.7]
    assert curve.test[2] == [0.85, None]


def test_gaps_are_between_networks_of_one_size_over_the_seeds_that_both_have():
    runs = [
        ("egru-0", made_up(test=0.9)),
        ("egru-1", made_up(seed=1, test=0.8)),
        ("gru-1", made_up("gru", seed=1, test=0.85)),
        ("larger", made_up("gru", test=0.99, config={**CONFIG, "units": 16})),
    ]
    (setting,) = seeds.settings(runs)
    (gap,) = gaps(setting)
    assert (gap["peer_label"], gap["seeds"], gap["difference"]) == ("GRU-8", [1], pytest.approx(-0.05))


def test_a_drawing_in_a_page_follows_its_theme_and_shares_no_name_with_another():
    first, second = (to_page(_drawing(), name, 'a "line" & more') for name in ("first", "second"))
    for colour in (INK, PAPER, MODEL_COLOURS["egru"]):
        assert colour not in first
    assert "var(--egru)" in first
    assert "currentColor" in first
    assert "xmlns" not in first
    assert "http" not in first
    assert "aria-label=\"a 'line' and more\"" in first
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', first)) <= ids[0]


def test_a_drawing_in_a_file_is_on_white_and_its_text_is_text():
    content = to_file(_drawing()).decode()
    assert content.startswith("<?xml")
    assert PAPER not in content
    assert 'xmlns="http://www.w3.org/2000/svg"' in content
    assert re.search(r"<text[^>]*>steps</text>", content)
    assert "metadata" not in content


def test_a_drawing_is_the_same_each_time():
    assert _drawing() == _drawing()


def _drawing():
    figure, axes = plt.subplots()
    axes.plot([0, 1], [0, 1], marker="o", color=MODEL_COLOURS["egru"])
    axes.set_xlabel("steps")
    return as_svg(figure)
