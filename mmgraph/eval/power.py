"""How much can be seen: the smallest difference that a test would find, and the users that an A/B test needs."""

import math
from collections.abc import Callable

import numpy as np
import scipy  # its parts load when they are used: scipy.stats takes half a second

from mmgraph.eval.statistics import check_share


def detectable_difference(sd: float, n: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest mean paired difference that a two-sided t-test finds with this probability.

    Args:
        sd: standard deviation of the paired differences over users.
        n: users.
        power: probability of finding it.
        alpha: level of the test.

    Raises:
        ValueError: for a negative sd, fewer than two users, or probabilities that make no sense.

    Source: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences.
    """
    _check(power, alpha)
    if n < 2 or not (math.isfinite(sd) and sd >= 0):
        raise ValueError(f"n must be at least 2 and sd finite and not negative, got n = {n}, sd = {sd}.")

    def missing(shift: float) -> float:
        return _t_power(shift, float(n - 1), alpha) - power

    return sd * _root(missing, 0.0) / math.sqrt(n)


def sample_size_means(difference: float, sd: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Users in each of two groups of equal size, for a two-sided t-test of a difference of means.

    Args:
        difference: of the means that must be found, in units of the measure.
        sd: standard deviation of the measure over the users of a group.
        power: probability of finding it.
        alpha: level of the test.

    Raises:
        ValueError: for no difference, an sd that is not positive, or probabilities that make no sense.

    Source: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences.
    """
    _check(power, alpha)
    if not (math.isfinite(difference) and difference and math.isfinite(sd) and sd > 0):
        raise ValueError(f"difference must not be 0 and sd must be positive, got {difference} and {sd}.")
    effect = abs(difference) / sd

    def missing(n: float) -> float:
        return _t_power(effect * math.sqrt(n / 2), 2 * (n - 1), alpha) - power

    return 2 if missing(2.0) >= 0 else _whole(_root(missing, 2.0))


def sample_size_proportions(first: float, second: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """Users in each of two groups of equal size, for a two-sided test of two proportions (of clicks, of buyers).

    Normal approximation to the difference of the arcsines, Cohen's h.

    Args:
        first: proportion in one group, in (0, 1).
        second: proportion in the other that must be told from it.
        power: probability of finding the difference.
        alpha: level of the test.

    Raises:
        ValueError: for equal proportions, or probabilities that make no sense.

    Source: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, chapter 6.
    """
    _check(power, alpha)
    check_share("first", first)
    check_share("second", second)
    if first == second:
        raise ValueError(f"no number of users tells two equal proportions apart, both are {first}.")
    effect = abs(2 * (math.asin(math.sqrt(first)) - math.asin(math.sqrt(second))))
    critical = scipy.stats.norm.isf(alpha / 2)

    def missing(n: float) -> float:
        shift = effect * math.sqrt(n / 2)
        return float(scipy.stats.norm.sf(critical - shift) + scipy.stats.norm.cdf(-critical - shift)) - power

    return 2 if missing(2.0) >= 0 else _whole(_root(missing, 2.0))


def _t_power(shift: float, freedom: float, alpha: float) -> float:
    """Probability that a two-sided t-test rejects at this non-centrality."""
    critical = scipy.stats.t.isf(alpha / 2, freedom)
    return float(scipy.stats.nct.sf(critical, freedom, shift) + scipy.stats.nct.cdf(-critical, freedom, shift))


def _root(rising: Callable[[float], float], low: float) -> float:
    high = max(2 * low, 1.0)
    while rising(high) < 0:
        low, high = high, 2 * high
    return float(scipy.optimize.brentq(rising, low, high, xtol=1e-15, rtol=4 * np.finfo(float).eps))


def _whole(n: float) -> int:
    return math.ceil(n - 1e-9)


def _check(power: float, alpha: float) -> None:
    check_share("power", power)
    check_share("alpha", alpha)
    if power <= alpha:
        raise ValueError(f"power must be larger than alpha, which equal groups reach, got {power} and {alpha}.")
