"""What a comparison of models is: rows, the columns of a table, and the files that keep them."""

import csv
import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from mmgraph.data.folder import write_text
from mmgraph.data.split import Split
from mmgraph.eval.evaluate import Part
from mmgraph.models.fitted import Fitted


@dataclass(frozen=True)
class Row:
    """One figure of one model; plain JSON.

    Args:
        model: its label.
        cls: its class.
        competitor: false for a scorer that was not fitted but measured beside the models (an oracle, chance).
        candidates: the set that was ranked.
        n_candidates: items in it.
        metric: metric@k.
        mean: over users; none if no user has a held-out item in the set.
        half_width: of the 95 % interval of the mean over users; none for fewer than two users.
        n_users: users that count.
        seconds: wall time of the fit; none for a scorer that was not fitted.
        epochs: epochs run, of which validation chose one; 0 for a closed form.
        part: the part that was read.
        split: fingerprint of the split.
        seed: of parameters and training.
        hyperparameters: all of them, defaults included.
        options: the options of `fit` that were given and change its outcome.
    """

    model: str
    cls: str
    competitor: bool
    candidates: str
    n_candidates: int
    metric: str
    mean: float | None
    half_width: float | None
    n_users: int
    seconds: float | None
    epochs: int | None
    part: Part
    split: str
    seed: int
    hyperparameters: Mapping[str, Any]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One metric on one candidate set, for every model.

    Args:
        candidates: the set.
        n_candidates: items in it.
        n_users: users that count.
        metric: metric@k.
        cells: label → row.
        best: labels of the competitors with the highest mean; several if they tie exactly.
    """

    candidates: str
    n_candidates: int
    n_users: int
    metric: str
    cells: Mapping[str, Row]
    best: frozenset[str]


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        rows: one per model, candidate set and metric.
        fitted: label → fitted model.
        split: the split, unlocked if the test part was read.
        provenance: what one needs to know to repeat it.
    """

    rows: list[Row]
    fitted: Mapping[str, Fitted]
    split: Split
    provenance: Mapping[str, str]

    @property
    def labels(self) -> list[str]:
        """All models in their order, then the scorers measured beside them."""
        return list(dict.fromkeys(row.model for row in self.rows))

    @property
    def metrics(self) -> list[str]:
        """All metrics in their order."""
        return list(dict.fromkeys(row.metric for row in self.rows))

    @property
    def headline(self) -> str:
        """The metric that tables show: the first one, for the longest list; by default recall@20."""
        first = [m for m in self.metrics if m.partition("@")[0] == self.metrics[0].partition("@")[0]]
        return max(first, key=lambda m: int(m.partition("@")[2] or 0))

    def columns(self, metric: str) -> list[Column]:
        """One column per candidate set.

        Raises:
            KeyError: for a metric that was not measured.
        """
        if metric not in self.metrics:
            raise KeyError(f"{metric!r} was not measured, only {self.metrics}; name it in metrics and ks of compare.")
        rows, columns = [row for row in self.rows if row.metric == metric], []
        for candidates in dict.fromkeys(row.candidates for row in rows):
            cells = {row.model: row for row in rows if row.candidates == candidates}
            means = {name: row.mean for name, row in cells.items() if row.competitor and row.mean is not None}
            best = frozenset(name for name, mean in means.items() if mean == max(means.values()))
            one = next(iter(cells.values()))
            columns.append(Column(candidates, one.n_candidates, one.n_users, metric, cells, best))
        return columns


def table(comparison: Comparison) -> Table:
    """The headline metric for the terminal: one line per model, one column per candidate set, the best bold."""
    columns = comparison.columns(comparison.headline)
    part = comparison.rows[0].part
    shown = Table(title=f"{comparison.headline} on {part}, ± half of the 95 % interval over users")
    shown.add_column("model")
    for c in columns:
        head = f"{c.candidates}\n{c.n_candidates:,} items\n{c.n_users:,} users"
        shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("seconds", justify="right")
    for label in comparison.labels:
        row = columns[0].cells[label]
        name = Text(label) if row.competitor else Text(f"{label} (no competitor)", style="dim")
        cells = [Text(figure(c.cells[label]), style="bold" if label in c.best else "") for c in columns]
        shown.add_row(name, *cells, "–" if row.seconds is None else f"{row.seconds:.1f}")
    return shown


def figure(row: Row) -> str:
    """Mean and half width, as tables show them."""
    if row.mean is None:
        return "–"
    return f"{row.mean:.4f}" + ("" if row.half_width is None else f" ±{row.half_width:.4f}")


def save(comparison: Comparison, folder: str | os.PathLike[str]) -> None:
    """Write ``results.csv`` (one line per row) and ``results.json`` (rows and provenance); both are whole or as before.

    Raises:
        OSError: if writing fails.
    """
    place, out = Path(folder).expanduser(), io.StringIO()
    place.mkdir(parents=True, exist_ok=True)
    lines = csv.DictWriter(out, [f.name for f in fields(Row)], lineterminator="\n")
    lines.writeheader()
    rows = [asdict(row) for row in comparison.rows]
    for row in rows:
        nested = {name: json.dumps(value, ensure_ascii=False) for name, value in row.items() if isinstance(value, dict)}
        lines.writerow(row | nested)
    whole = {"provenance": dict(comparison.provenance), "rows": rows}
    write_text(place / "results.json", json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False))
    write_text(place / "results.csv", out.getvalue())
