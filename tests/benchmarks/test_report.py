import json
import re
from html.parser import HTMLParser

import pytest

from benchmarks import figures, records, report
from tests.benchmarks.made_up_records import CONFIG, made_up, save

EMBEDDED = (
    "smnist-cpu-learning",
    "smnist-cpu-fronts",
    "smnist-cpu-tradeoff",
    "smnist-cpu-sparsity",
    "smnist-cpu-events",
)


@pytest.fixture(scope="module")
def written(call, tmp_path_factory):
    """`(folder of the report, result of the command)`: two seeds of an EGRU and a GRU, an EGRU of another surrogate, a
    smoke run on part of the data, an old record, and one that was cut off."""
    folder, out = tmp_path_factory.mktemp("records"), tmp_path_factory.mktemp("report")
    smoke = made_up(dataset={**made_up()["dataset"], "complete": False, "verified": False}, preset="smoke")
    old = made_up("lstm", accuracies=(0.5, 0.6))
    for name in ("schema", "events", "effective_macs", "seconds", "parameters", "machine", "command"):
        del old[name]
    save(
        folder,
        egru0=made_up(test=0.90),
        egru1=made_up(seed=1, test=0.94, accuracies=(0.95, 0.96, 0.97)),
        narrow=made_up(test=0.88, config={**CONFIG, "surrogate_width": 0.4}, backward_sparsity=0.6),
        gru0=made_up("gru", test=0.96),
        gru1=made_up("gru", seed=1, test=0.96),
        smoke=smoke,
        old=old,
        cut={},
    )
    (folder / "cut" / records.FILE).write_text('{"task": "smnist", "mod')
    return out, call("report", folder, "--out", out, "--json")


@pytest.fixture(scope="module")
def document(written):
    return json.loads(written[1].stdout)


@pytest.fixture(scope="module")
def page(written):
    parsed = _Page()
    parsed.feed((written[0] / "report.html").read_text())
    parsed.close()
    return parsed


def test_runs_that_differ_in_their_seeds_alone_are_one_row_with_mean_and_deviation(document):
    groups = {group["label"]: group for group in document["groups"] if group["preset"] == "cpu"}
    assert sorted(groups) == ["EGRU-8", "EGRU-8, surrogate_width=0.4", "GRU-8", "LSTM-8"]
    assert groups["EGRU-8"]["seeds"] == [0, 1]
    assert groups["EGRU-8"]["test_accuracy"] == pytest.approx([0.92, 0.02 * 2**0.5])
    assert groups["EGRU-8, surrogate_width=0.4"]["test_accuracy"] == [0.88, None]


def test_the_papers_rows_of_the_tasks_come_with_them(document):
    paper = {(row["model"], row["accuracy"]): row for row in document["published"]}
    assert {row["task"] for row in document["published"]} == {"smnist"}
    assert paper["EGRU", 0.983]["source"] == "EGRU paper (2023), Table 2"
    assert paper["EGRU", 0.955]["deviations"]["accuracy"] == 0.016


def test_gaps_are_between_groups_of_the_same_data_and_size(document):
    gaps = {(gap["label"], gap["peer"]): gap for gap in document["gaps"]}
    assert set(gaps) == {
        (label, peer) for label in ("EGRU-8", "EGRU-8, surrogate_width=0.4") for peer in ("gru", "lstm")
    }
    assert gaps["EGRU-8", "gru"]["difference"] == pytest.approx(-0.04)
    assert gaps["EGRU-8", "gru"]["seeds"] == [0, 1]
    assert gaps["EGRU-8, surrogate_width=0.4", "gru"]["difference"] == pytest.approx(-0.08)


def test_learning_speed_and_trade_off_are_told(document):
    (speed,) = [found["rows"] for found in document["learning_speed"] if found["preset"] == "cpu"]
    rows = {row["label"]: row for row in speed}
    assert rows["EGRU-8"]["updates"] == pytest.approx([20.0, 10 * 2**0.5])
    assert rows["EGRU-8"]["over_gru"] == pytest.approx(20 / 30)
    assert rows["LSTM-8"]["reached"] == 0
    (tradeoff,) = document["tradeoffs"]
    (curve,) = tradeoff["curves"]
    assert curve["backward"] == [pytest.approx(0.4), 0.6]


def test_a_file_that_was_cut_off_is_named_everywhere_and_the_rest_is_reported(written, document, page):
    folder, result = written
    assert result.exit_code == 0, result.stderr
    (sentence,) = document["refused"]
    assert "cut/record.json is not JSON" in sentence
    assert f"Left out: {sentence}" in result.stderr
    assert sentence in page.text
    assert sentence in (folder / "report.md").read_text()


def test_a_page_loads_nothing(page):
    assert page.loaded == []
    assert "@import" not in page.style
    assert "url(" not in page.style
    assert "script" not in page.tags
    assert page.tags.count("svg") == len(EMBEDDED) + 3  # a smoke run has no trade-off and nothing to compare


def test_what_a_page_points_to_is_in_it_and_no_id_comes_twice(page):
    assert len(page.ids) == len(set(page.ids))
    assert page.targets <= set(page.ids)
    for name in EMBEDDED:
        assert name in page.ids
    assert page.unresolved == set(), "every mark that a figure uses is drawn in it"


def test_a_page_has_every_run_and_the_badges_of_its_conditions(page):
    for name in ("egru0", "egru1", "narrow", "gru0", "gru1", "smoke", "old"):
        assert name in page.text
    ours = [row for row in page.rows["ours"] if "EGRU-8" in row]
    assert sum("cpu" in row for row in ours) == 2
    (smoke,) = [row for row in ours if "smoke" in row]
    assert smoke.count("part of the data") == 2  # as a badge, and beside the sizes
    assert "data not verified" in smoke
    assert all("published" in row for row in page.rows["published"][1:])


def test_figures_of_papers_are_not_ranked_with_our_runs(page):
    """The papers' accuracies are higher than ours."""
    best = [row for rows in page.rows.values() for row in rows if "★" in row]
    assert len(best) == 1
    assert best[0].startswith("GRU-8")


def test_markdown_shows_the_figures_beside_it(written):
    folder, _ = written
    markdown = (folder / "report.md").read_text()
    shown = re.findall(r"\]\((\S+)\)", markdown)
    assert sorted(shown) == sorted(path.name for path in folder.glob("*.svg"))
    assert {f"{name}.svg" for name in EMBEDDED} <= set(shown)
    assert all((folder / name).read_text().startswith("<?xml") for name in shown)


def test_markdown_says_under_which_conditions_each_figure_was_won(written):
    markdown = (written[0] / "report.md").read_text()
    lines = [line.split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    header = next(line for line in lines if line[0] == "| run")
    ours = next(dict(zip(header, line, strict=True)) for line in lines if line[0] == "| EGRU-8")
    assert ours["preset"] == "`cpu`"
    assert ours["data"] == "MNIST, 1,000 / 100 / 200, 49 steps"
    assert (ours["epochs"], ours["seeds"]) == ("3", "2 (0-1)")
    assert ours["test accuracy"] == "92.0 ± 2.8%"
    assert ours["energy, estimated, nJ"] == "0.46"  # 100 x (3.7 + 0.9) pJ
    assert any("**96.0 ± 0.0%**" in line for line in lines)


def test_figures_that_an_older_record_lacks_are_dashes(written):
    markdown = (written[0] / "report.md").read_text()
    lines = [line.split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    header = next(line for line in lines if line[0] == "| run")
    old = next(dict(zip(header, line, strict=True)) for line in lines if line[0] == "| LSTM-8")
    assert old["test accuracy"] == "90.0%"
    assert [old[name] for name in ("parameters", "effective MACs", "energy, estimated, nJ", "minutes")] == ["-"] * 4


def test_the_terminal_shows_groups_and_papers_and_marks_parts_of_the_data(tmp_path):
    partial = {**made_up()["dataset"], "complete": False}
    save(tmp_path, a=made_up(dataset=partial), b=made_up(seed=1, dataset=partial, test=0.94))
    found = report.read(tmp_path)
    ours, *papers = report.rows(found)
    assert (ours["preset"], ours["seeds"], ours["test"], ours["activity sparsity"]) == (
        "cpu*",
        "2",
        "92.0 ± 2.8%",
        "80.0%",
    )
    assert all(row["preset"] == "-" for row in papers)
    assert report.footnotes(found) == [report.FOOTNOTE]


@pytest.mark.parametrize("steps", [10, 98])
def test_the_summary_is_of_the_setting_with_the_most_models(call, tmp_path, steps):
    alone = made_up("lstm", dataset={**made_up()["dataset"], "steps": steps}, test=0.123)
    save(tmp_path, alone=alone, egru=made_up(test=0.456), gru=made_up("gru", test=0.789))
    assert call("report", tmp_path).exit_code == 0
    page = (tmp_path / "report.html").read_text()
    summary = page[: page.index('<section id="task-')]
    assert [share in summary for share in ("45.6%", "78.9%", "12.3%")] == [True, True, False]


def test_dense_runs_alone_have_no_figure_of_sparsity_and_a_record_without_layers_has_one(call, tmp_path):
    save(tmp_path / "dense", gru=made_up("gru"))
    save(tmp_path / "old", egru=made_up(layers=False, events=None))
    for name, wanted in {"dense": ["learning"], "old": ["learning", "sparsity"]}.items():
        result = call("report", tmp_path / name, "--out", tmp_path / name / "out")
        assert result.exit_code == 0, result.stderr
        assert sorted(path.stem for path in (tmp_path / name / "out").glob("*.svg")) == [
            f"smnist-cpu-{w}" for w in wanted
        ]


def test_a_figure_that_is_not_known_is_a_dash_and_numbers_keep_three_digits():
    assert figures.number(None) == figures.share(None) == figures.decimal(None) == "-"
    assert [figures.number(value) for value in (56.2, 866, 10_215, 1_054_000)] == ["56", "866", "10.2k", "1.05M"]


def test_a_deviation_follows_its_mean_in_the_same_unit():
    assert figures.with_deviation([0.981, 0.002], figures.share) == "98.1 ± 0.2%"
    assert figures.with_deviation([226e3, 51e3], figures.number) == "226k ± 51k"
    assert figures.with_deviation([0.5, None], figures.share) == "50.0%"
    assert figures.with_deviation(None, figures.share) == "-"


def test_sizes_of_several_layers_are_written_shortly():
    assert [figures.units(value) for value in (128, [256, 256, 256], [512, 256], [64])] == [
        "128",
        "3x256",
        "512-256",
        "64",
    ]


def test_a_record_refuses_what_json_has_not():
    with pytest.raises(ValueError, match="JSON"):
        records.to_json({"loss": float("nan")})


class _Page(HTMLParser):
    """What a browser would load, and what a reader sees.

    loaded: Addresses that are neither a place in the page nor data.
    rows: Text of the rows of a table's body, by its class.
    unresolved: Names that a figure refers to and that are not in the page; known once it is closed.
    """

    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.loaded, self.targets = [], [], [], set()
        self.text, self.style, self.rows, self.body, self.within = "", "", {}, None, None

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.within = tag
        for name, value in attributes:
            value = value or ""
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
                if value.startswith("#"):
                    self.targets.add(value[1:])
                elif not value.startswith("data:"):
                    self.loaded.append(value)
            for place in re.findall(r"url\(([^)]*)\)", value):
                self.targets.add(place.removeprefix("#")) if place.startswith("#") else self.loaded.append(place)
            if re.match(r"\w+://", value):
                self.loaded.append(value)
        if tag == "tbody":
            self.body = dict(attributes).get("class")
        if tag == "tr" and self.body:
            self.rows.setdefault(self.body, []).append("")

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag):
        if tag == "tbody":
            self.body = None
        if tag == "style":
            self.within = None

    def handle_data(self, data):
        if self.within == "style":
            self.style += data
            return
        self.text += data
        if self.rows.get(self.body):
            self.rows[self.body][-1] = (self.rows[self.body][-1] + " " + data.strip()).strip()

    @property
    def unresolved(self):
        return self.targets - set(self.ids)
