"""The report as Markdown, with its figures as SVG files beside it."""

from benchmarks.energy import SOURCE
from benchmarks.markdown import table
from benchmarks.report_rows import PUBLISHED

INTRODUCTION = """
Test figures are those of the epoch that was best on validation, means ± standard deviations over the seeds. Sparsities
are shares of zeros on the test set; what the papers call backward sparsity is the column 'surrogate sparsity'. MACs are
per sequence step. `cpu` and `smoke` are presets of ours for two cores, with other networks and budgets than the papers
have; `paper` is our run in a paper's setting. Rows that are `published` are printed in papers: not to be ranked with
ours.
""".strip()


def document(report, tasks, further, gaps) -> str:
    """The arguments are those of `report_html.page`."""
    parts = ["# Benchmark report", INTRODUCTION, SOURCE, *warnings(report)]
    for task in tasks:
        parts += [f"## {task.name}", task.summary + "." if task.summary else "", results(task.rows, task.columns)]
        for setting in task.settings:
            parts.append(f"### {task.name}, `{setting.preset}`: {setting.title}")
            parts += [_image(figure) for figure in setting.figures]
            for found in setting.tables:
                parts += [f"**{found.title}.** {found.note}".strip(), table(found.columns, found.rows)]
    if gaps:
        parts += ["## EGRU beside dense models", "\n".join(f"- {sentence}" for sentence in gaps)]
    for section in further:
        parts += [f"## {section.title}", section.note, table(section.table.columns, section.table.rows)]
        parts += [_image(figure) for figure in section.figures]
    return "\n\n".join(part for part in parts if part) + "\n"


def warnings(report) -> list:
    """A paragraph about files that could not be read, if there are any."""
    if not report.refused:
        return []
    return ["**Left out, since they could not be read:**", "\n".join(f"- {sentence}" for sentence in report.refused)]


def results(rows, columns, without=()) -> str:
    """The table of rows of `report_rows`; `**` around the best of a preset and data set."""
    columns = [column for column in columns if column not in without]
    lines = []
    for row in rows:
        cells = {**row.cells, "preset": row.preset if row.preset == PUBLISHED else f"`{row.preset}`"}
        if row.verified is False:
            cells["data"] += ", not verified"
        for column in ("test accuracy", "test perplexity"):
            if row.best and cells[column] != "-":
                cells[column] = f"**{cells[column]}**"
        lines.append([cells[column].replace("|", "\\|") for column in columns])
    return table(columns, lines)


def _image(figure):
    return f"![{figure.caption}]({figure.name}.svg)\n\n*{figure.caption}*"
