"""Intervals of a mean over users, by drawing users again and again; blocked, so that memory stays bounded."""

from typing import Literal, NamedTuple

import numpy as np
import scipy  # its parts load when they are used: scipy.stats takes half a second

from mmgraph.data.types import Floats
from mmgraph.eval.statistics import BLOCK, Outcome, check_share, cohens_d, differences, no_difference


class Interval(NamedTuple):
    """A mean, the ends of its interval, and the number of users that count."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap_interval(values: Floats, *, level: float = 0.95, n: int = 9999, seed: int = 0,
                       method: Literal["percentile", "bca"] = "percentile") -> Interval:
    """Interval of the mean over users; NaN does not count.

    Args:
        values: one per user.
        level: share of such intervals that hold the true mean.
        n: resamples.
        seed: of the resamples.
        method: ``percentile``, or ``bca``, corrected for bias and skewness.

    Raises:
        ValueError: if fewer than two users count, n is below 1, or the method is unknown.

    Source: Efron 1979, doi:10.1214/aos/1176344552; BCa: Efron 1987, doi:10.1080/01621459.1987.10478410.
    """
    if method not in ("percentile", "bca"):
        raise ValueError(f"method must be 'percentile' or 'bca', got {method!r}.")
    check_share("level", level)
    x = values.astype(np.float64)[~np.isnan(values)]
    if len(x) < 2:
        raise ValueError(f"an interval needs two users who count, found {len(x)} of {len(values)}.")
    mean = float(x.mean())
    if not np.ptp(x):
        return Interval(mean, mean, mean, len(x))
    means, ends = bootstrap_means(x[:, None], n=n, seed=seed)[:, 0], ((1 - level) / 2, (1 + level) / 2)
    low, high = np.quantile(means, ends if method == "percentile" else bca_ends(x, means, level))
    return Interval(mean, float(low), float(high), len(x))


def bootstrap_means(values: Floats, *, n: int = 9999, seed: int = 0) -> Floats:
    """Means of n resamples of the rows of ``values`` (users, columns), shape (n, columns); one draw for all columns.

    A resample is kept as the count of each user, so that its means are one product of matrices.

    Raises:
        ValueError: if values are not (users, columns), hold NaN, or n is below 1.
    """
    if values.ndim != 2 or not len(values) or np.isnan(values).any():
        raise ValueError(f"values must be (users, columns) without NaN, got shape {values.shape}; leave out the users "
                         f"who do not count.")
    if n < 1:
        raise ValueError(f"n is the number of resamples and must be at least 1, got {n}.")
    rng, users, means = np.random.default_rng(seed), len(values), []
    size, values = max(1, BLOCK // users), values.astype(np.float64)
    for start in range(0, n, size):
        rows = min(size, n - start)
        drawn = rng.integers(0, users, (rows, users)) + np.arange(rows)[:, None] * users
        counts = np.bincount(drawn.ravel(), minlength=rows * users).reshape(rows, users)
        means.append(counts.astype(np.float64) @ values / users)
    return np.concatenate(means)


def bca_ends(x: Floats, means: Floats, level: float) -> tuple[float, float]:
    """The quantiles of the bootstrap distribution of a mean that end the BCa interval."""
    below, upto = (means < x.mean()).mean(), (means <= x.mean()).mean()
    bias = scipy.stats.norm.ppf((below + upto) / 2)
    d = x - x.mean()  # the jackknife of a mean in closed form
    acceleration = (d**3).sum() / (6 * (d**2).sum() ** 1.5)
    z = bias + scipy.stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = scipy.stats.norm.cdf(bias + z / (1 - acceleration * z))
    return float(low), float(high)


def paired_bootstrap(a: Floats, b: Floats, *, level: float = 0.95, n: int = 9999, seed: int = 0) -> Outcome:
    """Percentile interval of the mean paired difference; p is twice the share of resamples on the far side of 0.

    The shares are (b + 1) / (n + 1), so that p is never 0. The statistic is the mean difference.

    Raises:
        ValueError: for other lengths, fewer than two pairs, or n below 1.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapters 13 and 15.
    """
    check_share("level", level)
    d, test = differences(a, b), f"paired bootstrap ({n:,} resamples)"
    if not d.any():
        return no_difference(test, len(d))
    means = bootstrap_means(d[:, None], n=n, seed=seed)[:, 0]
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    tail = (min((means <= 0).sum(), (means >= 0).sum()) + 1) / (n + 1)
    mean = float(d.mean())
    return Outcome(test, mean, min(1.0, float(2 * tail)), len(d), mean, float(low), float(high), cohens_d(a, b))
