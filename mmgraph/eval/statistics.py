"""Paired tests over users, of whether one model is better than another beyond chance.

All take two aligned arrays, one value per user. A user who is NaN in either does not count in both, and the number that
is left is in the outcome. Where no pair differs there is nothing to test: the statistic is 0 and p is 1.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # its parts load when they are used: scipy.stats takes half a second

from mmgraph.data.types import Floats

BLOCK = 4_000_000  # numbers in memory at a time


@dataclass(frozen=True)
class Outcome:
    """What a paired test of two models found; all signs are those of the first minus the second.

    Args:
        test: in words.
        statistic: of the test.
        p: two-sided.
        n: pairs that count.
        difference: mean over the pairs.
        low: lower end of the interval of the mean difference: of the bootstrap for that test, else Student's.
        high: upper end.
        effect: `rank_biserial` for the Wilcoxon test, else `cohens_d`.
    """

    test: str
    statistic: float
    p: float
    n: int
    difference: float
    low: float
    high: float
    effect: float


def paired_t(a: Floats, b: Floats, *, level: float = 0.95) -> Outcome:
    """Student's t-test of the mean difference; t is infinite and p 0 where all differences are the same and not 0.

    Raises:
        ValueError: for other lengths or fewer than two pairs.

    Source: Student 1908, doi:10.1093/biomet/6.1.1.
    """
    d, test = differences(a, b), "paired t-test"
    if not d.any():
        return no_difference(test, len(d))
    if not np.ptp(d):
        return outcome(test, float(np.copysign(np.inf, d[0])), 0.0, d, level)
    found = scipy.stats.ttest_1samp(d, 0.0)
    return outcome(test, found.statistic, found.pvalue, d, level)


def wilcoxon(a: Floats, b: Floats, *, zeros: Literal["pratt", "drop"] = "pratt", level: float = 0.95) -> Outcome:
    """Wilcoxon's signed-rank test: exact for up to 50 pairs without ties, else normal (by scipy).

    Args:
        a: values of the first model.
        b: values of the second model.
        zeros: users for whom the models are equal, often most: ``pratt`` ranks them and then leaves them out, so that
            they count against a difference; ``drop`` leaves them out before ranking, as Wilcoxon did.
        level: of the interval of the mean difference.

    Raises:
        ValueError: for other lengths, fewer than two pairs, or an unknown word for zeros.

    Source: Wilcoxon 1945, doi:10.2307/3001968; Pratt 1959, doi:10.1080/01621459.1959.10501526.
    """
    d, effect = differences(a, b), rank_biserial(a, b, zeros=zeros)
    test = f"Wilcoxon signed-rank test (zero differences: {'by Pratt' if zeros == 'pratt' else 'dropped'})"
    if not d.any():
        return no_difference(test, len(d))
    found = scipy.stats.wilcoxon(d, zero_method="pratt" if zeros == "pratt" else "wilcox")
    return outcome(test, found.statistic, found.pvalue, d, level, effect)


def permutation(a: Floats, b: Floats, *, n: int = 9999, seed: int = 0, level: float = 0.95) -> Outcome:
    """Sign-flip test: how often the mean difference is as large if the models are swapped user by user at random.

    All 2^pairs swaps where these are at most n; else n random ones, with p = (b + 1) / (n + 1), which is never 0.

    Raises:
        ValueError: for other lengths, fewer than two pairs, or n below 1.

    Source: Fisher 1935, The Design of Experiments; Phipson & Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    d = differences(a, b)
    if n < 1:
        raise ValueError(f"n is the number of random swaps and must be at least 1, got {n}.")
    exact = len(d) < 60 and 2 ** len(d) <= n
    test = f"permutation test (sign flips, {f'all {2 ** len(d):,}' if exact else f'{n:,} random'})"
    if not d.any():
        return no_difference(test, len(d))
    least = abs(d.sum()) - 1e-12 * np.abs(d).sum()  # sums of the same numbers in another order are ties
    if exact:
        flips = (np.arange(2 ** len(d))[:, None] >> np.arange(len(d)) & 1).astype(np.float64)
        p = float((np.abs(flipped(d, flips)) >= least).mean())
    else:
        p = (_extreme(d, least, n, np.random.default_rng(seed)) + 1) / (n + 1)
    return outcome(test, d.mean(), p, d, level)


def cohens_d(a: Floats, b: Floats) -> float:
    """Mean over standard deviation of the paired differences (d_z); infinite where they are all the same and not 0.

    Source: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, chapter 2.
    """
    return _standardised(differences(a, b))


def rank_biserial(a: Floats, b: Floats, *, zeros: Literal["pratt", "drop"] = "pratt") -> float:
    """Rank sum of the users for whom the first is better minus that of the others, over both; in [−1, 1].

    Source: Kerby 2014, doi:10.2466/11.IT.3.1.
    """
    if zeros not in ("pratt", "drop"):
        raise ValueError(f"zeros must be 'pratt' (ranked, then left out) or 'drop' (left out), got {zeros!r}.")
    d = differences(a, b)
    d = d[d != 0] if zeros == "drop" else d
    ranks = scipy.stats.rankdata(np.abs(d))
    better, worse = ranks[d > 0].sum(), ranks[d < 0].sum()
    return float((better - worse) / (better + worse)) if better + worse else 0.0


def differences(a: Floats, b: Floats) -> Floats:
    """First minus second of the users who count in both.

    Raises:
        ValueError: for other lengths, infinite values, or fewer than two pairs.
    """
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"a paired test needs one value per user from both models, in one order; got shapes "
                         f"{a.shape} and {b.shape}. Align them by user id.")
    if np.isinf(a).any() or np.isinf(b).any():
        raise ValueError("values must be finite, or NaN for a user who does not count; some are infinite.")
    d = a.astype(np.float64) - b
    d = d[~np.isnan(d)]
    if len(d) < 2:
        raise ValueError(f"a paired test needs two users who count in both, found {len(d)} of {len(a)}.")
    return d


def outcome(test: str, statistic: float, p: float, d: Floats, level: float, effect: float | None = None) -> Outcome:
    """The outcome of a test of these differences, with Student's interval and Cohen's d if no other effect is given."""
    check_share("level", level)
    half = float(scipy.stats.t.ppf((1 + level) / 2, len(d) - 1) * scipy.stats.sem(d))
    mean = float(d.mean())
    return Outcome(test, float(statistic), float(p), len(d), mean, mean - half, mean + half,
                   _standardised(d) if effect is None else effect)


def no_difference(test: str, n: int) -> Outcome:
    """The outcome of any test where no pair differs."""
    return Outcome(test, 0.0, 1.0, n, 0.0, 0.0, 0.0, 0.0)


def check_share(name: str, value: float) -> None:
    """Refuse a probability that is not strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}.")


def flipped(d: Floats, flips: Floats) -> Floats:
    """Sum of the differences where 1 keeps the sign and 0 turns it, for each row of flips."""
    return 2 * (flips @ d) - d.sum()


def _extreme(d: Floats, least: float, n: int, rng: np.random.Generator) -> int:
    """Of n random swaps, those whose sum is at least as far from 0."""
    found, size = 0, max(1, BLOCK // len(d))
    for start in range(0, n, size):
        some = rng.integers(0, 256, (min(size, n - start), -(-len(d) // 8)), dtype=np.uint8)
        flips = np.unpackbits(some, axis=1, count=len(d)).astype(np.float64)
        found += int((np.abs(flipped(d, flips)) >= least).sum())
    return found


def _standardised(d: Floats) -> float:
    spread = float(d.std(ddof=1)) if np.ptp(d) else 0.0
    if spread:
        return float(d.mean()) / spread
    return float(np.copysign(np.inf, d[0])) if d[0] else 0.0
