"""From a folder of results to all that people read: page, pictures, table for a README, LaTeX."""

import os
from dataclasses import dataclass, replace
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
    short_ones = [narrow(summary) for summary in summaries]
    write_text(out / "table.md", "\n\n".join(markdown(s) for s in short_ones) + "\n")
    write_text(out / "table.tex", "\n\n".join(latex(s) for s in short_ones) + "\n")
    ranks = rank_blocks(results, place, summaries, alpha=how.get("alpha", ALPHA))
    write_page(results, summaries, out / "report.html", findings=findings(place), ranks=ranks)
    write_plots(results, summaries, out, ranks=ranks)
    return summaries


def narrow(summary: Summary, most: int = 6) -> Summary:
    """A summary with the columns that a page of print holds: the headline's list length on every candidate set that at
    least 1 % of the users count in, metrics in their order; the page has them all.

    Args:
        summary: with all columns.
        most: columns that are kept if there are more.
    """
    if len(summary.columns) <= most:
        return summary
    users = {of: max(line.cells[of].n_users for line in summary.lines if of in line.cells) for of in summary.columns}
    k = summary.headline[1].partition("@")[2]
    some = [of for of in summary.columns if of[1].endswith(f"@{k}") and users[of] >= 0.01 * max(users.values())]
    metrics = list(dict.fromkeys(metric for _, metric in some))
    sets = dict.fromkeys(on for on, _ in some)
    kept = [of for of in some if of[1] in metrics[:max(1, most // max(len(sets), 1))]]
    return replace(summary, columns=tuple(kept or [summary.headline]))


def findings(folder: Path) -> list[Told] | None:
    """The diagnosis of the split, if the study came so far."""
    if not (folder / DIAGNOSIS).exists():
        return None
    rows = read_json(folder / DIAGNOSIS, "a study")["findings"]
    return [Told(row["name"], row["value"], row["threshold"], row["flagged"], row["text"]) for row in rows]
