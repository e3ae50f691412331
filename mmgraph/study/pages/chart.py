"""A comparison as a chart: inline SVG whose text is text."""

import io
import re
from typing import TYPE_CHECKING, Any

from mmgraph.study.comparison import Column, Comparison

if TYPE_CHECKING:  # takes longer to import than the rest of the package
    from matplotlib.axes import Axes

COLOURS = {"warm": "#c8761a", "cold": "#3f7fd6", "all": "#7a7f87"}  # at least 3 : 1 against white and near-black
INK = "#010203"  # stands for the colour of the page's text
STYLE: dict[Any, Any] = {  # of all charts
    "svg.fonttype": "none", "svg.hashsalt": "mmgraph", "text.parse_math": False, "font.family": "sans-serif",
    "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False}


def chart(comparison: Comparison) -> str:
    """Grouped bars of the headline metric, warm against cold candidates (all, where there are no cold ones), with 95 %
    intervals; SVG without width and height, in the colour of the text around it.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = [c for c in comparison.columns(comparison.headline) if c.candidates != "all"]
    columns = columns or comparison.columns(comparison.headline)
    labels, out = comparison.labels, io.StringIO()
    with rc_context(STYLE | {"font.size": 11}):
        figure = Figure(figsize=(4.6, 1.3 + 0.24 * (len(columns) + 0.5) * len(labels)), layout="constrained")
        axes = figure.subplots()
        for place, column in enumerate(columns):
            draw(axes, column, labels, place, len(columns))
        axes.set_yticks(range(len(labels)), [cut(label) for label in labels])
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{comparison.headline} (mean, 95 % interval)")
        figure.legend(loc="outside upper left", frameon=False, ncols=2, fontsize=11)
        figure.savefig(out, format="svg", transparent=True)
    return inline(out.getvalue())


def draw(axes: "Axes", column: Column, labels: list[str], place: int, n: int) -> None:
    """The bars of one candidate set; scorers that are no competitors are pale."""
    height = 0.8 / n
    for at, label in enumerate(labels):
        row = column.cells[label]
        axes.barh(at + (place - (n - 1) / 2) * height, row.mean or 0.0, height * 0.94, xerr=row.half_width or 0.0,
                  color=COLOURS[column.candidates], alpha=1.0 if row.competitor else 0.45,
                  error_kw={"ecolor": INK, "elinewidth": 0.9},
                  label=f"{column.candidates}: {column.n_candidates:,} items" if at == 0 else "_")


def cut(label: str, longest: int = 24) -> str:
    """A label that leaves room for the bars."""
    return label if len(label) <= longest else label[: longest - 1] + "…"


def inline(svg: str) -> str:
    """An SVG file as an element of a page: no prolog, metadata, name spaces or size of its own, text in its colour."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg"):], flags=re.DOTALL)
    head, _, body = svg.partition(">")
    head = re.sub(r'\s(xmlns(:\w+)?|width|height|version)="[^"]*"', "", head)
    return f'{head} role="img" aria-labelledby="chart-title">{body}'.replace(INK, "currentColor")
