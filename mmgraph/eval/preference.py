"""Which of two rankers won a series of comparisons, and whether that could be chance."""

from dataclasses import dataclass

import numpy as np
import scipy  # its parts load when they are used: scipy.stats takes half a second

Z = 1.96  # of a 95 % interval


@dataclass(frozen=True)
class Preference:
    """Independent comparisons of two rankers a and b, such as one interleaved list per user.

    Args:
        wins: comparisons that a won.
        ties: comparisons that nobody won, those without a click included.
        losses: comparisons that b won.
    """

    wins: int
    ties: int
    losses: int

    def __post_init__(self) -> None:
        if min(self.wins, self.ties, self.losses) < 0 or self.n == 0:
            raise ValueError(f"a preference needs at least one comparison and no negative count, got {self.wins} wins, "
                             f"{self.ties} ties, {self.losses} losses.")

    @property
    def n(self) -> int:
        """Number of comparisons."""
        return self.wins + self.ties + self.losses

    @property
    def delta(self) -> float:
        r"""How far a is ahead, in [−0.5, 0.5]; 0 if neither is.

        .. math:: \Delta = \frac{\mathrm{wins} + \mathrm{ties} / 2}{n} - 0.5

        Source: Chapelle et al. 2012, doi:10.1145/2094072.2094078.
        """
        return (self.wins - self.losses) / (2 * self.n)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of delta; of positive width even where all comparisons ended alike.

        Source: the adjusted Wald interval of paired proportions, half a count added to each cell: Agresti & Min,
        Statistics in Medicine 24, 2005.
        """
        n, wins, losses = self.n + 2, self.wins + 0.5, self.losses + 0.5
        difference = (wins - losses) / n
        half = Z * float(np.sqrt((wins + losses) / n - difference**2) / np.sqrt(n))
        return max(-0.5, (difference - half) / 2), min(0.5, (difference + half) / 2)

    @property
    def p(self) -> float:
        """Two-sided p-value of the sign test, which leaves out ties; 1 where all are ties."""
        decided = self.wins + self.losses
        return float(scipy.stats.binomtest(self.wins, decided).pvalue) if decided else 1.0

    def __str__(self) -> str:
        low, high = self.interval
        return (f"a won {self.wins:,}, tied {self.ties:,}, lost {self.losses:,} of {self.n:,}: "
                f"Δ = {self.delta:+.3f} [{low:+.3f}, {high:+.3f}], p = {self.p:.2g}")
