"""From a folder of results to all that people read: page, pictures, table for a README, LaTeX."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgraph.data.folder import read_json, write_text
from mmgraph.study.ledger import short
from mmgraph.study.pages.page import write_page
from mmgraph.study.pages.plots import write_plots
from mmgraph.study.pages.ranks import ALPHA, rank_blocks
from mmgraph.study.result import read
from mmgraph.study.run import DIAGNOSIS, PLAN
from mmgraph.study.summary import Summary, summarise
from mmgraph.study.tables import latex, markdown


@dataclass(frozen=True)
class Told:
    """A finding of a diagnosis, as it was written down."""

    name: str
    value: float | None
    threshold: float | None
    flagged: bool
    text: str


def report(folder: str | os.PathLike[str], to: str | os.PathLike[str] | None = None, **how: Any) -> list[Summary]:
    """Write ``report.html``, ``table.md``, ``table.tex`` and a PNG of every chart that has something to show.

    Args:
        folder: holds results.jsonl and the values per user.
        to: where to write; by default ``report`` below the folder.
        how: arguments of `summarise`: columns, headline, alpha, seed, test.

    Returns:
        What the tables show.

    Raises:
        FileNotFoundError: if there are no results.
        ValueError: if results or their plan were changed, or two splits go by one name.
    """
    place, out = Path(folder).expanduser(), Path(to or Path(folder) / "report").expanduser()
    results = read(place)
    if not results:
        raise FileNotFoundError(f"there are no results in {place}; run a study with this folder as its place first.")
    if (place / PLAN).exists() and {r.plan for r in results} != {short(read_json(place / PLAN, "a study"))}:
        raise ValueError(f"{place / PLAN} is not the plan that the results follow; restore it.")
    summaries = summarise(results, place, **how)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "table.md", "\n\n".join(markdown(s) for s in summaries) + "\n")
    write_text(out / "table.tex", "\n\n".join(latex(s) for s in summaries) + "\n")
    ranks = rank_blocks(results, place, summaries, alpha=how.get("alpha", ALPHA))
    write_page(results, summaries, out / "report.html", findings=findings(place), ranks=ranks)
    write_plots(results, summaries, out, ranks=ranks)
    return summaries


def findings(folder: Path) -> list[Told] | None:
    """The diagnosis of the split, if the study came so far."""
    if not (folder / DIAGNOSIS).exists():
        return None
    rows = read_json(folder / DIAGNOSIS, "a study")["findings"]
    return [Told(row["name"], row["value"], row["threshold"], row["flagged"], row["text"]) for row in rows]
