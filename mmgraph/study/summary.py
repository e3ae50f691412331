"""What a table shows of many results: means over seeds, intervals, and a winner only where the difference is one."""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from mmgraph.study.contest import DECIDABLE, Contest, Standing, Test
from mmgraph.study.grouping import check_names, lines, tables
from mmgraph.study.result import Result
from mmgraph.study.user_values import averaged, intervals

Name = tuple[str, str]  # (candidates, metric)


@dataclass(frozen=True)
class Cell:
    """One model on one candidate set by one metric.

    Args:
        mean: over users, then over seeds (and folds).
        sd: over seeds and folds; none for a single one.
        low: lower end of the 95 % bootstrap interval of the mean over users (values averaged over seeds first).
        high: upper end.
        n_users: users that count.
        winner: whether it is the best competitor, and better than the runner-up beyond chance.
        p: corrected p-value of the paired test against the best competitor (the best: against the runner-up).
        difference: mean paired difference to the best competitor (the best: to the runner-up).
        effect: size of that difference, Cohen's d of the paired differences.
    """

    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    n_users: int
    winner: bool = False
    p: float | None = None
    difference: float | None = None
    effect: float | None = None


@dataclass(frozen=True)
class Line:
    """All that is shown of one model.

    Args:
        model: label, with the control in words for a control (``VBPR, features permuted``).
        kind: see `Result`.
        n_runs: seeds and folds that were read.
        cells: (candidates, metric) → cell.
        fit_seconds: mean wall time of the final training.
        search_seconds: wall time of the search, all trials.
        peak_mb: highest memory of all phases.
        marks: all marks of its results, each once.
    """

    model: str
    kind: str
    n_runs: int
    cells: Mapping[Name, Cell]
    fit_seconds: float | None
    search_seconds: float | None
    peak_mb: float | None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """The results of one data set, split protocol and part.

    Args:
        title: data set and protocol.
        headline: (candidates, metric) that orders the lines.
        columns: all (candidates, metric) that were measured.
        lines: competitors best first, then controls and references.
        test: the statistical test and correction in words.
    """

    title: str
    headline: Name
    columns: tuple[Name, ...]
    lines: tuple[Line, ...]
    test: str


def summarise(results: Sequence[Result], folder: str | os.PathLike[str], *, columns: Sequence[Name] | None = None,
              headline: Name | None = None, alpha: float = 0.05, seed: int = 0, test: Test = "wilcoxon",
              ) -> list[Summary]:
    """One table for each data set, protocol, part, set of parts that training saw, and version of the features.

    Only competitors without marks that were read on every split of the table can win, and only by metrics of accuracy.

    Args:
        results: see `read`.
        folder: where they lie, with their values per user.
        columns: (candidates, metric) to show, measures beyond accuracy too; by default all metrics.
        headline: the column that orders the lines; by default the first metric among ``all`` items, for its longest
            list.
        alpha: level of the test after Holm's correction for all comparisons of a column.
        seed: of the bootstrap and of the permutation test.
        test: ``wilcoxon``, ``t``, ``permutation`` or ``bootstrap``, see `mmgraph.eval.statistics`.

    Raises:
        KeyError: for a column that was not measured, or a headline that is not a column.
        ValueError: if two data sets or two splits share a name, one line stands for several results, or values per user
            do not have the mean that the row states.
    """
    check_names(results)
    contest = Contest(test, alpha, seed)
    return [_summary(title, lines(some), folder, columns, headline, contest) for title, some in tables(results)]


def _summary(title: str, runs: Mapping[str, Sequence[Result]], folder: str | os.PathLike[str],
             columns: Sequence[Name] | None, headline: Name | None, contest: Contest) -> Summary:
    measured = tuple(dict.fromkeys((c, m) for some in runs.values() for r in some for c in r.metrics
                                   for m in r.metrics[c]))
    shown = tuple(columns) if columns is not None else measured
    if stray := [c for c in shown if c not in measured and not any(run_means(some, *c) for some in runs.values())]:
        raise KeyError(f"{title}: {stray} was not measured, only {list(measured)}.")
    first = headline if headline is not None else first_column(shown)
    if first not in shown:
        raise KeyError(f"{title}: the headline {first} is not among the columns {list(shown)}.")
    marks = {name: marks_of(some, runs) for name, some in runs.items()}
    values = {name: averaged(folder, some, DECIDABLE) for name, some in runs.items()}
    cells = _cells(runs, values, marks, shown, contest)
    found = [_line(name, some, cells[name], marks[name]) for name, some in runs.items()]
    return Summary(title, first, shown, tuple(ordered(found, runs, first)), contest.words)


def first_column(columns: Sequence[Name]) -> Name:
    """The first metric among all items (else the first candidate set), for its longest list.

    Raises:
        ValueError: if there is no column.
    """
    if not columns:
        raise ValueError("a table needs a column; name (candidates, metric) pairs that were measured.")
    some = [c for c in columns if c[0] == "all"] or [c for c in columns if c[0] == columns[0][0]]
    same = [c for c in some if c[1].partition("@")[0] == some[0][1].partition("@")[0]]
    return max(same, key=lambda c: int(c[1].partition("@")[2] or 0))


def marks_of(runs: Sequence[Result], everything: Mapping[str, Sequence[Result]]) -> tuple[str, ...]:
    """The marks of a line, whether it was read before, and whether it lacks splits that others were read on."""
    splits = {r.split["fingerprint"] for some in everything.values() for r in some}
    mine = {r.split["fingerprint"] for r in runs}
    again = [f"reading {r.reading} of the same split and seed" for r in runs if r.reading > 1]
    lacking = [f"read on {len(mine)} of {len(splits)} splits"] if mine != splits else []
    return tuple(dict.fromkeys([mark for r in runs for mark in r.marks] + again + lacking))


def _cells(runs: Mapping[str, Sequence[Result]], values: Mapping[str, Mapping[str, pd.DataFrame]],
           marks: Mapping[str, Sequence[str]], columns: Sequence[Name],
           contest: Contest) -> dict[str, dict[Name, Cell]]:
    ends = intervals(values, columns, contest.seed)
    cells: dict[str, dict[Name, Cell]] = {name: {} for name in runs}
    for candidates, metric in columns:
        means = {name: run_means(some, candidates, metric) for name, some in runs.items()}
        able = {name: frames[candidates][metric] for name, frames in values.items()
                if means[name] and runs[name][0].competitor and not marks[name]
                and candidates in frames and metric in frames[candidates]}
        decidable = metric.partition("@")[0] in DECIDABLE
        standings = contest.standings(able, {n: statistics.fmean(means[n]) for n in able}) if decidable else {}
        for name, some in runs.items():
            low, high, n = ends.get((name, candidates, metric), (None, None, None))
            n_users = max((r.n_users.get(candidates, 0) for r in some), default=0) if n is None else n
            cells[name][candidates, metric] = _cell(means[name], low, high, n_users, standings.get(name))
    return cells


def run_means(runs: Sequence[Result], candidates: str, metric: str) -> list[float]:
    """The mean over users, or the measure beyond accuracy, of each run that has one."""
    found = ({**r.beyond.get(candidates, {}), **r.metrics.get(candidates, {})}.get(metric) for r in runs)
    return [mean for mean in found if mean is not None]


def _cell(means: Sequence[float], low: float | None, high: float | None, n_users: int,
          standing: Standing | None) -> Cell:
    mean, sd = statistics.fmean(means) if means else None, statistics.stdev(means) if len(means) > 1 else None
    if standing is None:
        return Cell(mean, sd, low, high, n_users)
    return Cell(mean, sd, low, high, n_users, standing.winner, standing.p, standing.difference, standing.effect)


def _line(name: str, runs: Sequence[Result], cells: Mapping[Name, Cell], marks: tuple[str, ...]) -> Line:
    fits = [r.run["seconds"]["fit"] for r in runs if r.run.get("seconds", {}).get("fit") is not None]
    searches = {(r.split["fingerprint"], repr(r.search)): r.run["seconds"]["search"] for r in runs
                if r.run.get("seconds", {}).get("search") is not None}  # rows of several seeds share a search
    peaks = [mb for r in runs for mb in (r.run.get("peak_mb") or {}).values() if mb is not None]
    return Line(name, runs[0].kind, len(runs), cells, statistics.fmean(fits) if fits else None,
                sum(searches.values()) if searches else None, max(peaks, default=None), marks)


def ordered(found: Sequence[Line], runs: Mapping[str, Sequence[Result]], headline: Name) -> list[Line]:
    """Competitors by the headline, best first; controls in the order of their models; references."""
    def falling(line: Line) -> float:
        mean = line.cells[headline].mean
        return float("inf") if mean is None else -mean

    best = sorted((x for x in found if runs[x.model][0].competitor), key=falling)
    place = {runs[x.model][0].model: at for at, x in reversed(list(enumerate(best)))}
    controls = [x for x in found if x.kind == "control"]
    controls.sort(key=lambda x: (place.get(runs[x.model][0].model, len(best)), x.model))
    return best + controls + sorted((x for x in found if x.kind == "reference"), key=falling)
