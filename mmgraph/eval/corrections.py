"""Many comparisons at once: corrected p-values, and the ranks of many models over many data sets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts load when they are used: scipy.stats takes half a second

from mmgraph.data.types import Floats
from mmgraph.eval.statistics import check_share


@dataclass(frozen=True)
class Friedman:
    """Whether the models' ranks differ at all.

    Args:
        statistic: chi-squared, corrected for ties.
        p: its p-value.
        ranks: average rank of each model over the data sets, 1 is best; ties share their ranks.
        n: data sets.
    """

    statistic: float
    p: float
    ranks: tuple[float, ...]
    n: int


@dataclass(frozen=True)
class CriticalDifference:
    """Which models the Nemenyi test cannot tell apart.

    Args:
        difference: average ranks that lie this far apart differ.
        cliques: positions of the models, best first, that do not differ from each other: the bars of the diagram.
    """

    difference: float
    cliques: tuple[tuple[int, ...], ...]


def holm(p: Sequence[float]) -> list[float]:
    """Corrected p-values, in the given order: the chance of any false finding stays below alpha.

    Raises:
        ValueError: for a value outside [0, 1].

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2), jstor:4615733.
    """
    values = _probabilities(p)
    order = values.argsort(kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(x) for x in corrected]


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Corrected p-values, in the given order: the expected share of false findings among all stays below alpha.

    Raises:
        ValueError: for a value outside [0, 1].

    Source: Benjamini & Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    values = _probabilities(p)
    return [float(x) for x in scipy.stats.false_discovery_control(values)] if len(values) else []


def friedman(scores: Floats) -> Friedman:
    """Friedman's test of several models on several data sets.

    Args:
        scores: (data sets, models), higher is better.

    Raises:
        ValueError: for fewer than two data sets or three models, or a score that is not finite.

    Source: Friedman 1937, doi:10.1080/01621459.1937.10503522; Demšar 2006, JMLR 7, pages 1–30.
    """
    if scores.ndim != 2 or scores.shape[0] < 2 or scores.shape[1] < 3:
        raise ValueError(f"scores must be (data sets, models), at least two by three, got shape {scores.shape}; "
                         f"two models are compared with a paired test.")
    if not np.isfinite(scores).all():
        raise ValueError("every model needs a finite score on every data set; leave out the data sets that lack one.")
    ranks = scipy.stats.rankdata(-scores, axis=1)
    average = tuple(float(r) for r in ranks.mean(axis=0))
    if not np.ptp(ranks):  # every data set ties all models
        return Friedman(0.0, 1.0, average, len(scores))
    found = scipy.stats.friedmanchisquare(*scores.T)
    return Friedman(float(found.statistic), float(found.pvalue), average, len(scores))


def critical_difference(ranks: Sequence[float], n: int, *, alpha: float = 0.05) -> CriticalDifference:
    r"""Nemenyi's test of all pairs of models, from the ranks that `friedman` gives.

    .. math:: CD = q_\alpha \sqrt{k (k + 1) / 6 n}

    Args:
        ranks: average rank of each of the k models.
        n: data sets.
        alpha: chance that any two equal models are told apart.

    Raises:
        ValueError: for fewer than two models or data sets.

    Source: Nemenyi 1963, Distribution-free Multiple Comparisons; Demšar 2006, JMLR 7, pages 1–30.
    """
    check_share("alpha", alpha)
    k = len(ranks)
    if k < 2 or n < 2:
        raise ValueError(f"a critical difference needs two models and two data sets, got {k} and {n}.")
    q = scipy.stats.studentized_range.ppf(1 - alpha, k, np.inf) / np.sqrt(2)
    difference = float(q * np.sqrt(k * (k + 1) / (6 * n)))
    return CriticalDifference(difference, _cliques(ranks, difference))


def _cliques(ranks: Sequence[float], difference: float) -> tuple[tuple[int, ...], ...]:
    """Longest runs of two or more models, in the order of their ranks, whose ends are less than this apart."""
    order, found, reached = sorted(range(len(ranks)), key=lambda i: ranks[i]), [], 0
    for start in range(len(order)):
        end = start
        while end < len(order) and ranks[order[end]] - ranks[order[start]] < difference:
            end += 1
        if end - start > 1 and end > reached:
            found.append(tuple(order[start:end]))
        reached = max(reached, end)
    return tuple(found)


def _probabilities(p: Sequence[float]) -> Floats:
    values = np.asarray(p, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():  # also for NaN
        raise ValueError(f"p-values must lie in [0, 1], got {list(p)}; leave out the tests that could not be made.")
    return values
