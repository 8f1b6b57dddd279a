"""The figures of the papers' tables, each as it is printed."""

import pytest

from benchmarks import papers
from benchmarks.tasks import TASKS

GESTURE = {
    ("EGRU", 512): (0.880, 0.838, 0.468, 0.98e6, 5.5e6),
    ("EGRU, augmented", 1024): (0.971, 0.788, 0.582, 3.2e6, 15.7e6),
    ("CNN+EGRU, augmented", 795): (0.978, 0.764, 0.723, 80.6e6, 4.8e6),
}


@pytest.mark.parametrize(("model", "units"), GESTURE)
def test_gesture_has_table_1_of_the_egru_paper(model, units):
    row = _row("gesture", model, units, papers.GESTURE)
    figures = (row.accuracy, row.activity_sparsity, row.surrogate_sparsity, row.effective_macs, row.parameters)
    assert figures == GESTURE[model, units]


@pytest.mark.parametrize(
    ("task", "units", "perplexity", "activity", "surrogate", "macs"),
    [
        ("ptb", 1350, 57.2, 0.797, 0.463, 9.9e6),
        ("ptb", 2000, 57.0, 0.848, 0.429, 12.7e6),
        ("wikitext2", 1350, 70.6, 0.768, 0.442, 17.5e6),
        ("wikitext2", 2000, 68.9, 0.827, 0.422, 20.1e6),
    ],
)
def test_texts_have_table_3_of_the_egru_paper(task, units, perplexity, activity, surrogate, macs):
    row = _row(task, "EGRU", units, papers.WORDS)
    assert (row.perplexity, row.activity_sparsity, row.surrogate_sparsity, row.effective_macs) == (
        perplexity, activity, surrogate, macs,
    )  # fmt: skip


def test_the_preprint_s_figures_have_deviations_and_are_named_apart():
    row = _row("smnist", "EGRU", 590, papers.OLD_MNIST)
    assert (row.accuracy, row.runs, row.deviations["accuracy"]) == (0.955, 4, 0.016)
    assert row.source == "EGRU preprint (2022), Table S3"
    assert row.as_json()["deviations"]["effective_macs"] == 51e3


def test_every_row_names_its_source_with_a_number_and_shares_are_fractions():
    for row in papers.PUBLISHED:
        assert any(character.isdigit() for character in row.source.rsplit(maxsplit=1)[-1]), row
        for value in (row.accuracy, row.activity_sparsity, row.surrogate_sparsity):
            assert value is None or 0.0 <= value <= 1.0, row
        assert set(row.deviations) <= set(papers.Published._fields)
        assert bool(row.deviations) <= bool(row.runs), row


def test_every_task_with_a_paper_s_figures_is_known_or_planned():
    assert {row.task for row in papers.PUBLISHED} - set(TASKS) <= {"gesture", "wikitext2"}


def _row(task, model, units, source):
    (row,) = [
        row for row in papers.PUBLISHED if (row.task, row.model, row.units, row.source) == (task, model, units, source)
    ]
    return row
