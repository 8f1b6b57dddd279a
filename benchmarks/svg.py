"""How the report's figures look, and how one is written: as a file, or inside a page whose theme it follows.

A figure is drawn with a few fixed colours. Inside a page each of them is a CSS variable, so that the same drawing fits
light and dark pages; text stays text, in the font of the page.
"""

import io
import re

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

INK, GRID, PAPER = "#1f2933", "#d5dbe1", "#fefefd"
# Okabe & Ito's palette, told apart by colour-blind people too.
MODEL_COLOURS = {"egru": "#0072b2", "gru": "#d55e00", "lstm": "#009e73", "lif": "#aa4499"}
_IN_A_PAGE = {INK: "currentColor", GRID: "var(--line)", PAPER: "none"} | {
    colour: f"var(--{model})" for model, colour in MODEL_COLOURS.items()
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "keras-egru",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), PAPER),
}
plt.rcParams.update(STYLE)


def as_svg(figure) -> str:
    """The figure as an SVG element, the same one for the same figure; the figure is closed."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    seen: set = set()
    return re.sub(r' id="([^"]+)"', lambda match: _first_time(match, seen), text)


def _first_time(match, seen):
    """matplotlib defines a mark that occurs in two panels twice under one name; the first one serves both."""
    if match[1] in seen:
        return ""
    seen.add(match[1])
    return match[0]


def to_file(svg) -> bytes:
    """The contents of an .svg file, on a white page."""
    return ('<?xml version="1.0" encoding="utf-8"?>\n' + svg.replace(PAPER, "#ffffff")).encode()


def to_page(svg, name, description) -> str:
    """The element as part of an HTML page: no name appears twice, nothing is loaded, colours are those of the page.

    Args:
        svg: From `as_svg`.
        name: Different for each figure of the page; goes before every id.
        description: What someone hears who does not see it.
    """
    svg = re.sub(r' xmlns(?::\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'(\bid=")([^"]+")', rf"\g<1>{name}-\g<2>", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    for colour, variable in _IN_A_PAGE.items():
        svg = svg.replace(colour, variable)
    # The size follows the page, at most that of the drawing.
    width = re.search(r' width="([\d.]+)pt"', svg)[1]
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    description = description.replace("&", "and").replace('"', "'")
    return svg.replace("<svg", f'<svg role="img" aria-label="{description}" style="max-width:{width}pt"', 1)
