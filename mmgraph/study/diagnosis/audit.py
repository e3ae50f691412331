"""One page to look at: what is wrong with the splits of some data sets."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmgraph.data.folder import write_text
from mmgraph.study.diagnosis.findings import Cells, Diagnosis, number
from mmgraph.study.pages.chart import COLOURS, inline
from mmgraph.study.pages.panels import SETTINGS
from mmgraph.study.pages.plots import own_ids

if TYPE_CHECKING:  # takes longer to import than the rest of the package
    from matplotlib.axes import Axes

WORDS = {"train": "training", "valid": "validation", "test": "test"}
MARKS = {"warning": "⚠", "fine": "✓", "noted": "i", "not checked": "–"}
LARGEST = 220.0  # area of the largest dot, in square points


class Section(NamedTuple):
    """A further table of the page.

    Args:
        title: above it.
        rows: column → what stands there; all rows have the columns of the first.
        text: below it.
    """

    title: str
    rows: Sequence[Mapping[str, object]]
    text: str


def write_audit(diagnoses: Mapping[str, Diagnosis], file: str | os.PathLike[str], *,
                sections: Sequence[Section | tuple[str, Sequence[Mapping[str, object]], str]] = ()) -> None:
    """Write one HTML file that needs no other: a card for each data set, charts inside, then the further sections.

    Args:
        diagnoses: name of a data set → what `mmgraph.study.diagnosis.diagnostics.diagnose` found.
        file: where; the whole page is there afterwards, or what was there before.
        sections: further tables, see `Section`.

    Raises:
        ValueError: if there is nothing to show, or the rows of a table differ in their columns.
    """
    if not diagnoses:
        raise ValueError("an audit needs at least one diagnosis, see mmgraph.study.diagnose.")
    tables = [Section(*section) for section in sections]
    for table in tables:
        if any(list(row) != list(table.rows[0]) for row in table.rows):
            raise ValueError(f"the rows of {table.title!r} differ in their columns: "
                             f"{sorted({', '.join(row) for row in table.rows})}.")
    charts = {name: [Markup(popularity_chart(cells, f"chart-{at}-{c}")) for c, cells in enumerate(found.popularity)]
              for at, (name, found) in enumerate(diagnoses.items())}
    loader = PackageLoader("mmgraph.study.diagnosis", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True)
    page = environment.get_template("audit.html.j2").render(diagnoses=diagnoses, sections=tables, charts=charts,
                                                            words=WORDS, marks=MARKS, number=number, shown=shown)
    write_text(Path(file).expanduser(), page)


def shown(value: object) -> str:
    """A cell of a table: numbers with four digits, a dash for none."""
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def popularity_chart(cells: Cells, id_: str) -> str:
    """Items by their popularity in two parts; SVG without width and height, labelled by the element ``<id_>-title``."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    out = io.StringIO()
    with rc_context(dict(SETTINGS)):
        figure = Figure(figsize=(3.4, 3.0), layout="constrained")
        draw(figure.subplots(), cells)
        figure.savefig(out, format="svg", transparent=True)
    svg = inline(out.getvalue()).replace('aria-labelledby="chart-title"', f'aria-labelledby="{id_}-title"', 1)
    head, *rest = svg.split("<")
    return head + "".join(own_ids(f"<{tag}", id_) for tag in rest)


def draw(axes: "Axes", cells: Cells) -> None:
    """Dots whose area grows with the root of the number of items, so that a single one is still seen."""
    most = max(count for _, _, count in cells.boxes)
    x, y, area = zip(*((x, y, LARGEST * (count / most) ** 0.5) for x, y, count in cells.boxes), strict=True)
    axes.scatter(x, y, s=area, color=COLOURS["warm" if cells.x == "train" else "cold"], alpha=0.85, linewidths=0)
    for axis, values, part in ((axes.xaxis, x, cells.x), (axes.yaxis, y, cells.y)):
        axis.set_ticks(range(0, max(values) + 1, 1 if max(values) < 8 else 2))
        axis.set_ticklabels([box(int(at)) for at in axis.get_ticklocs()])
        axis.set_label_text(f"interactions in {WORDS[part]}")
    axes.margins(0.12)


def box(at: int) -> str:
    """The counts that a box holds."""
    return str(at) if at < 2 else f"{2 ** (at - 1)}+"
