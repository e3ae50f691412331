"""What lists are like beyond being right, and who is served how well, as tables of a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmgraph.study.pages.views import at, by_label, by_world, mean_sd
from mmgraph.study.result import Result

HIGHER, LOWER = "higher is better", "lower is better"
MEASURES = {
    "coverage": (HIGHER, "share of the items that are in at least one list"),
    "gini": (LOWER, "how unequally the places in lists are shared out: 0 if all items are shown equally often, close "
                    "to 1 if a few get all places"),
    "exposure_entropy": (HIGHER, "how evenly the places are shared out, in bits; 0 if a single item gets all"),
    "normalised_exposure_entropy": (HIGHER, "the same over its largest possible value: 1 if all items are shown "
                                            "equally often"),
    "personalisation": (HIGHER, "how little the lists of two users have in common: 0 if all get the same list"),
    "novelty": (HIGHER, "how little known the listed items are, in bits"),
    "average_popularity": (LOWER, "how often the listed items were taken in training; low means less known items"),
    "popularity_lift": (LOWER, "how much more popular the list is than what the user takes: 0 as popular, 1 twice as "
                               "popular"),
    "diversity": (HIGHER, "how unlike each other the items of a list are by their content: 1 − cosine"),
    "serendipity": (HIGHER, "right items that popularity alone would not have shown"),
    "calibration": (LOWER, "how far the categories in a list are from those in the user's history: divergence in "
                           "nats, 0 if they agree")}


class Column(NamedTuple):
    """A column of means.

    Args:
        head: what is measured, or the group it is measured for.
        metric: what the reader may choose the column by; for measures beyond accuracy the length of the list, ``@20``.
        candidates: the set of items; empty for all.
        better: `HIGHER`, `LOWER`, or nothing where it goes without saying.
    """

    head: str
    metric: str
    candidates: str = ""
    better: str = ""


@dataclass(frozen=True)
class Table:
    """Competitors × columns.

    Args:
        title: what it shows, and where.
        columns: in the order of the page.
        rows: label → column → mean and sd over runs.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Mapping[str, Mapping[Column, tuple[float, float | None]]]


@dataclass(frozen=True)
class Tables:
    """Tables of which the same columns are shown at first.

    Args:
        tables: one or more.
        metric: shown first.
        candidates: shown first.
    """

    tables: Sequence[Table]
    metric: str
    candidates: str = ""

    @property
    def metrics(self) -> list[str]:
        """All that may be chosen."""
        return list(dict.fromkeys(c.metric for table in self.tables for c in table.columns))

    @property
    def sets(self) -> list[str]:
        """All candidate sets."""
        return list(dict.fromkeys(c.candidates for table in self.tables for c in table.columns))

    @property
    def explained(self) -> dict[str, tuple[str, str]]:
        """Measure → what is better, and what it means."""
        there = {c.head.partition("(")[0] for table in self.tables for c in table.columns}
        return {name: given for name, given in MEASURES.items() if name in there}


def beyond_accuracy(results: Sequence[Result]) -> Tables | None:
    """Measures beyond accuracy of the competitors, first the longest lists of all items; none if no row has any."""
    found = [table(name, [(r, {measure(on, key): at(r.beyond, on, key) for on in r.beyond
                              for key in sorted(r.beyond[on], key=place)})
                          for r in rows]) for name, rows in by_world(results).items()]
    found = [one for one in found if one.columns]
    if not found:
        return None
    shown = Tables(found, "")
    return Tables(found, max(shown.metrics, key=lambda k: int(k[1:] or 0)), "all" if "all" in shown.sets else "")


def place(name: str) -> tuple[int, str]:
    """Where a measure such as ``gini@20`` stands: as in `MEASURES`, others last."""
    base = name.partition("@")[0].partition("(")[0]
    return ([*MEASURES, base].index(base), name.partition("@")[0])


def measure(candidates: str, name: str) -> Column:
    """The column of a measure such as ``diversity(image)@20``."""
    head, sign, k = name.partition("@")
    return Column(head, sign + k, candidates, MEASURES.get(head.partition("(")[0], ("", ""))[0])


def served(results: Sequence[Result], of: str, metric: str) -> Tables | None:
    """Means by group for the competitors, one table for each kind with two groups or more; none if no row has any.

    Args:
        results: rows.
        of: ``user`` or ``item``.
        metric: shown first; where it was not measured for these groups, the first one that was.
    """
    found = []
    for name, rows in by_world(results).items():
        kinds = dict.fromkeys(kind for r in rows for kind in r.groups if kind.partition(" ")[0] == of)
        found += [table(f"{kind}: {name}", [(r, {Column(group, key): at(r.groups[kind], group, key)
                                                 for group in r.groups[kind] for key in r.groups[kind][group]})
                                            for r in rows if len(r.groups.get(kind, ())) > 1]) for kind in kinds]
    found = [one for one in found if one.columns]
    if not found:
        return None
    metrics = Tables(found, metric).metrics
    return Tables(found, metric if metric in metrics else metrics[0])


def table(title: str, values: Sequence[tuple[Result, Mapping[Column, float | None]]]) -> Table:
    """Means over the runs of each competitor; columns without any value are left out."""
    given = {id(result): row for result, row in values}
    means: dict[str, dict[Column, tuple[float, float | None]]] = {}
    for name, runs in by_label([r for r, _ in values if r.competitor]).items():
        for column in dict.fromkeys(c for r in runs for c in given[id(r)]):
            if known := [v for r in runs if (v := given[id(r)].get(column)) is not None]:
                means.setdefault(name, {})[column] = mean_sd(known)
    return Table(title, tuple(dict.fromkeys(c for row in means.values() for c in row)), means)


def fairest(results: Sequence[Result]) -> str:
    """Name of the exposure ratio that was measured; empty without one."""
    return next((key for r in results for kind in r.groups.values() for group in kind.values() for key in group
                 if key.startswith("exposure ratio")), "")
