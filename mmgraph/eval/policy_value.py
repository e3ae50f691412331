"""What an off-policy estimate says, and what it cannot know."""

from dataclasses import dataclass

import numpy as np

from mmgraph.data.types import Floats

Z = 1.96  # of a 95 % interval
RESAMPLES = 1000
FEW = 100  # an effective sample below this, or below 1 % of the rows, is small


@dataclass(frozen=True)
class Weights:
    """Importance weights of the rows of a log.

    Args:
        raw: probability of the logged action under the target policy over that under the logging policy.
        clip: largest weight that is used, above 0.
    """

    raw: Floats
    clip: float = float("inf")

    def __post_init__(self) -> None:
        if not self.clip > 0:
            raise ValueError(f"clip is the largest weight and must be above 0, got {self.clip}.")

    @property
    def used(self) -> Floats:
        """The weights, none above the clip."""
        return np.minimum(self.raw, self.clip)

    @property
    def effective_n(self) -> float:
        r"""Number of rows of equal weight that would be worth as much, :math:`(\sum w)^2 / \sum w^2`, after clipping.

        Source: Kong, Liu & Wong 1994, doi:10.1080/01621459.1994.10476469.
        """
        total = (self.used**2).sum()
        return float(self.used.sum()**2 / total) if total else 0.0

    @property
    def clipped(self) -> float:
        """Share of the rows whose weight was cut."""
        return float((self.raw > self.clip).mean())

    def warnings(self) -> list[str]:
        """What makes an estimate with these weights doubtful, in words."""
        n, found = len(self.raw), []
        if self.effective_n < max(FEW, 0.01 * n):
            found.append(f"{n:,} rows are worth only {self.effective_n:,.0f}: the target policy rarely does what the "
                         f"log shows, and the intervals are too narrow")
        mean, error = self.raw.mean(), self.raw.std(ddof=1) / np.sqrt(n)
        if mean < 1 - max(0.01, 3 * error):
            found.append(f"the mean weight is {mean:.3f}, not 1: the target policy gives about {1 - mean:.0%} of its "
                         f"probability to actions that the logging policy never takes, of which the log knows nothing, "
                         f"or the propensities are too large")
        if mean > 1 + max(0.01, 3 * error):
            found.append(f"the mean weight is {mean:.3f}, not 1: the logged propensities are too small")
        if self.clipped:
            found.append(f"clipping at {self.clip:g} cut {self.clipped:.2%} of the weights and "
                         f"{1 - self.used.sum() / self.raw.sum():.1%} of their sum; the value is biased by what was "
                         f"cut (too low for rewards of 0 or more)")
        return found


@dataclass(frozen=True)
class PolicyValue:
    """The mean reward that a policy is estimated to earn.

    Args:
        method: the estimator.
        value: the estimate.
        standard_error: of the estimate; linearised where it is a ratio.
        interval: 95 %, from the normal distribution.
        bootstrap: 95 %, percentiles over resampled rows; prefer it where it differs.
        n: rows of the log.
        effective_n: rows of equal weight that would be worth as much, see `Weights`.
        max_weight: largest weight before clipping.
        clipped: share of the rows whose weight was cut.
        warnings: why not to trust the estimate, in words; empty if nothing was found.
    """

    method: str
    value: float
    standard_error: float
    interval: tuple[float, float]
    bootstrap: tuple[float, float]
    n: int
    effective_n: float
    max_weight: float
    clipped: float
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.method} {self.value:.4f} [{self.bootstrap[0]:.4f}, {self.bootstrap[1]:.4f}], {self.n:,} rows "
                 f"worth {self.effective_n:,.0f}, largest weight {self.max_weight:.3g}"]
        return "\n".join(lines + [f"  beware: {warning}" for warning in self.warnings])


def policy_value(method: str, weights: Weights, *, base: Floats | float = 0.0, gain: Floats | float = 0.0,
                 per_weight: bool = False, unseen: float = 0.0, seed: int) -> PolicyValue:
    r"""The estimate :math:`\bar b + \bar g / \bar d` of per-row columns; all estimators have this form.

    Args:
        method: its name.
        weights: of the rows.
        base: b, what the reward model says.
        gain: g, what the weighted rows add.
        per_weight: whether d is the weight or 1.
        unseen: mean probability of actions that the log never took, if known.
        seed: of the bootstrap.

    Raises:
        ValueError: if d has mean 0.
    """
    n = len(weights.raw)
    columns = np.stack([np.broadcast_to(c, n) for c in (base, gain, weights.used if per_weight else 1.0)], axis=1)
    b, g, d = columns.mean(0)
    if d == 0:
        raise ValueError(f"{method} has nothing to average: the target policy never takes a logged action.")
    influence = columns[:, 0] - b + (columns[:, 1] - columns[:, 2] * g / d) / d
    value, error = float(b + g / d), float(influence.std(ddof=1) / np.sqrt(n))
    warnings = weights.warnings()
    if unseen > 0.01:
        warnings.append(f"the target policy takes actions that never occur in the log with probability {unseen:.1%}: "
                        f"for these only the reward model speaks")
    return PolicyValue(method, value, error, (value - Z * error, value + Z * error), _bootstrap(columns, seed), n,
                       weights.effective_n, float(weights.raw.max()), weights.clipped, tuple(warnings))


def _bootstrap(columns: Floats, seed: int) -> tuple[float, float]:
    rng, n = np.random.default_rng(seed), len(columns)
    means = np.array([np.bincount(rng.integers(n, size=n), minlength=n) @ columns for _ in range(RESAMPLES)]) / n
    b, g, d = means[means[:, 2] > 0].T  # a resample without any weight has no ratio
    low, high = np.quantile(b + g / d, [0.025, 0.975])
    return float(low), float(high)
