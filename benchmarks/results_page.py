"""`RESULTS.md` from the training records: tables beside the papers' figures, and commands; no figure is typed in."""

from pathlib import Path

from benchmarks import report_rows
from benchmarks.checkpoints import write_atomically
from benchmarks.energy import SOURCE
from benchmarks.figures import decimal, number, share, with_deviation
from benchmarks.gaps import describe
from benchmarks.learning_speed import ACCURACY, table
from benchmarks.markdown import table as to_table
from benchmarks.papers import PUBLISHED
from benchmarks.report_markdown import results, warnings
from benchmarks.tasks import TASKS

INTRODUCTION = """
<!-- Made by `python -m benchmarks report --results`; change the records or `benchmarks/papers.py`, not this file. -->

Every row is made from run records of this repository and can be repeated with the commands below it; rows that are
`published` are printed in papers and were made with other networks, budgets and machines. `cpu` is a preset of ours for
two cores and minutes: the method of the paper on a smaller network. `paper` is our run in the setting of a paper.

Figures are means ± standard deviations over seeds. Test figures are those of the epoch that was best on validation; the
test set chose nothing. *data* names training, validation and test examples. Sparsities are shares of zeros on the test
set: of outputs (activity), of entries that no gradient passes (backward), of surrogate derivatives (surrogate, what the
EGRU papers print as backward sparsity). MACs are those of one sequence step. Speed is on
[docs/performance.md](docs/performance.md).
""".strip()
# What is read in the records and the report; the page stays narrow.
LEFT_OUT = (
    "parameter sparsity",
    "influence sparsity",
    "model gzip KB",
    "unpruned gzip KB",
    "validation accuracy",
    "validation perplexity",
)


def write(report, page) -> list:
    """Writes the page of a `Report`; returns its path in a list.

    Raises:
        CannotWrite: the file cannot be written.
    """
    write_atomically(page, to_markdown(report).encode())
    return [Path(page)]


def to_markdown(report) -> str:
    """The page."""
    parts = ["# Results", INTRODUCTION, SOURCE, *warnings(report)]
    for name in dict.fromkeys(setting.task for setting in report.settings):
        of_task = [setting for setting in report.settings if setting.task == name]
        rows = [report_rows.group_row(setting, group) for setting in of_task for group in setting.groups]
        rows += [report_rows.published_row(row) for row in PUBLISHED if row.task == name]
        summary = f"{TASKS[name].summary}." if name in TASKS else ""
        parts += [f"## {name}", summary, results(rows, report_rows.used_columns(rows), LEFT_OUT)]
        for setting in of_task:
            parts += _learning_speed(setting)
        parts += ["\n".join(f"- {describe(gap)}" for gap in report.gaps if gap["task"] == name), _commands(of_task)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _learning_speed(setting):
    """Where a dense GRU can be compared with: how much learning an EGRU took."""
    rows = [row for row in table(setting) if row["updates"]]
    if not any(row["over_gru"] for row in rows):
        return []
    cells = [
        (
            row["label"],
            f"{row['reached']} of {row['runs']}",
            with_deviation(row["updates"], number),
            with_deviation(row["epochs"], decimal),
            f"{row['over_gru']:.2f}x",
        )
        for row in rows
    ]
    columns = ("run", "reached", "updates", "epochs", "updates over GRU's")
    data = report_rows.describe_data(setting.dataset)
    return [
        f"Until the validation accuracy was {share(ACCURACY)} ({setting.preset}, {data}):",
        to_table(columns, cells),
    ]


def _commands(of_task):
    """Every record's command, folded; a fenced block in HTML needs empty lines around it."""
    groups = [group for setting in of_task for group in setting.groups]
    named = {name: record for group in groups for name, record in zip(group.names, group.records, strict=True)}
    lines = "\n".join(f"{record['command'] or '# unknown'}  # {name}" for name, record in sorted(named.items()))
    count = f"{len(named)} run" + ("" if len(named) == 1 else "s")
    return f"<details><summary>Commands of {count}</summary>\n\n```bash\n{lines}\n```\n\n</details>"
