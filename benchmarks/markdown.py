"""Markdown that the pages are made of."""


def table(columns, rows) -> str:
    """`rows` are tuples of strings, as many as `columns`."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
