"""Which competitors can be told apart: average ranks over tables, splits or users, and their critical difference."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mmgraph.eval.corrections import critical_difference, friedman
from mmgraph.study.contest import DECIDABLE
from mmgraph.study.grouping import gathered, lines, tables
from mmgraph.study.result import Result
from mmgraph.study.summary import Name, Summary
from mmgraph.study.user_values import averaged

ALPHA = 0.05
LEAST = 3  # competitors, and blocks
DIGITS = 12  # what differs beyond these is a tie: the same values, added up in another order

Lines = Mapping[str, Sequence[Result]]  # label → runs


@dataclass(frozen=True)
class Ranks:
    """Competitors that were measured on the same blocks, by one metric.

    Args:
        title: where they were measured.
        blocks: what was ranked on: ``users``, ``splits``, ``tables`` or ``splits of all tables``.
        n: number of blocks.
        headline: (candidates, metric) that they were ranked by.
        ranks: label → average rank, best first; 1 is best.
        p: of Friedman's test that all rank alike.
        difference: average ranks that lie this far apart differ, see `critical_difference`.
        cliques: labels that cannot be told apart, best first; all, where Friedman's test finds no difference.
        alpha: level of both tests.
        left_out: competitors with a warning or without a value.
    """

    title: str
    blocks: str
    n: int
    headline: Name
    ranks: Mapping[str, float]
    p: float
    difference: float
    cliques: tuple[tuple[str, ...], ...]
    alpha: float = ALPHA
    left_out: tuple[str, ...] = ()


def rank_blocks(results: Sequence[Result], folder: str | os.PathLike[str], summaries: Sequence[Summary], *,
                alpha: float = ALPHA) -> list[Ranks]:
    """Rank the competitors on every split of the tables that share them all; where there are fewer than three such
    splits, on the users of each table, whose values are averaged over seeds and splits.

    Tables with fewer than three competitors, or ordered by a measure of which more is not better, are left out.

    Args:
        results: rows as `read` gives them.
        folder: where they lie, with their values per user.
        summaries: of these rows, see `summarise`.
        alpha: level of the tests.

    Raises:
        KeyError: if a summary is of other rows.

    Source: Demšar 2006, JMLR 7, pages 1–30.
    """
    rows, found = dict(tables(results)), []
    if stray := [s.title for s in summaries if s.title not in rows]:
        raise KeyError(f"no result belongs to the tables {stray}, only to {list(rows)}; summarise the same results.")
    for (headline, names), some in gathered(summaries, lambda s: (s.headline, frozenset(entrants(s)))).items():
        if len(names) < LEAST or headline[1].partition("@")[0] not in DECIDABLE:
            continue
        runs = {s.title: {name: r for name, r in lines(rows[s.title]).items() if name in names} for s in some}
        out = tuple(dict.fromkeys(name for s in some for name in left_out(s)))
        scores = split_scores(runs, headline)
        if len(scores) >= LEAST:
            found.append(ranked(where(some), what(scores), scores, headline, alpha, out))
            continue
        users = [(s, user_scores(folder, runs[s.title], headline)) for s in some]
        found += [ranked(s.title, "users", values, headline, alpha, left_out(s)) for s, values in users
                  if len(values) >= LEAST]
    return found


def entrants(summary: Summary) -> list[str]:
    """The competitors that may win by the headline of a table."""
    return [line.model for line in summary.lines if line.kind in ("model", "baseline") and not line.marks
            and line.cells[summary.headline].mean is not None]


def left_out(summary: Summary) -> tuple[str, ...]:
    """The other competitors."""
    able = entrants(summary)
    return tuple(x.model for x in summary.lines if x.kind in ("model", "baseline") and x.model not in able)


def split_scores(runs: Mapping[str, Lines], headline: Name) -> pd.DataFrame:
    """(table, split) × competitor, means over seeds; splits that lack a value left out."""
    candidates, metric = headline
    values = [(title, r.split["fingerprint"], name, r.metrics.get(candidates, {}).get(metric))
              for title, some in runs.items() for name, mine in some.items() for r in mine]
    frame = pd.DataFrame(values, columns=["table", "split", "model", "value"]).astype({"value": "float64"})
    return frame.pivot_table("value", ["table", "split"], "model", sort=False).dropna()


def user_scores(folder: str | os.PathLike[str], runs: Lines, headline: Name) -> pd.DataFrame:
    """User × competitor, means over seeds, then over splits; users that do not count for all left out."""
    candidates, metric = headline
    values = {name: averaged(folder, some, ())[candidates][metric].groupby(level="user").mean()
              for name, some in runs.items()}
    return pd.concat(values, axis=1).dropna()


def ranked(title: str, blocks: str, scores: pd.DataFrame, headline: Name, alpha: float = ALPHA,
           left_out: tuple[str, ...] = ()) -> Ranks:
    """Average ranks, critical difference and cliques of blocks × competitors, higher being better."""
    found = friedman(scores.round(DIGITS).to_numpy(dtype="float64"))
    ranks = dict(sorted(zip(map(str, scores.columns), found.ranks, strict=True), key=lambda x: x[1]))
    nemenyi = critical_difference(list(ranks.values()), found.n, alpha=alpha)
    names = tuple(ranks)
    cliques = tuple(tuple(names[at] for at in clique) for clique in nemenyi.cliques)
    return Ranks(title, blocks, found.n, headline, ranks, found.p, nemenyi.difference,
                 cliques if found.p < alpha else (names,), alpha, left_out)


def where(summaries: Sequence[Summary]) -> str:
    """One table by its title, several by the data sets they are of."""
    titles = [s.title if len(summaries) == 1 else s.title.partition(" · ")[0] for s in summaries]
    return ", ".join(dict.fromkeys(titles))


def what(scores: pd.DataFrame) -> str:
    """What a block is, see `split_scores`."""
    n_tables = scores.index.get_level_values("table").nunique()
    return "splits" if n_tables == 1 else "tables" if n_tables == len(scores) else "splits of all tables"


def caption(ranks: Sequence[Ranks]) -> str:
    """What the diagrams show, in words."""
    levels = " / ".join(dict.fromkeys(f"{one.alpha:g}" for one in ranks))
    return (f"Average ranks: 1 would be best on every block. A bar joins models that Nemenyi's test cannot tell apart "
            f"at α = {levels}: they lie closer than the critical difference, CD. "
            + " ".join(map(words, ranks)))


def words(one: Ranks) -> str:
    """Blocks, metric, Friedman's test and what was left out."""
    on = "; each user's values are averaged over runs" if one.blocks == "users" else "; mean over users and seeds"
    p = "p < 0.0001" if one.p < 1e-4 else f"p = {one.p:.4f}"
    apart = "" if one.p < one.alpha else ", so that none can be told from another"
    gone = f" Left out (warning, or no value): {', '.join(one.left_out)}." if one.left_out else ""
    return (f"{one.title}: {one.n:,} {one.blocks} as blocks, {one.headline[1]}, {one.headline[0]} items{on}. "
            f"Friedman's test: {p}{apart}.{gone}")
