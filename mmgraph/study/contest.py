"""Who wins a column: the best competitor, if it is better than every other beyond chance."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import pandas as pd

from mmgraph.eval.bootstrap import paired_bootstrap
from mmgraph.eval.corrections import holm
from mmgraph.eval.metrics import METRICS
from mmgraph.eval.statistics import Outcome, cohens_d, paired_t, permutation, wilcoxon

Test = Literal["wilcoxon", "t", "permutation", "bootstrap"]
DECIDABLE = frozenset({*METRICS, "auc"})  # of these, more is better; nobody wins by popularity or by a Gini index
WORDS = {"wilcoxon": "Wilcoxon signed-rank test (zero differences by Pratt)", "t": "paired t-test",
         "permutation": "permutation test (sign flips)", "bootstrap": "paired bootstrap"}


@dataclass(frozen=True)
class Standing:
    """One competitor against the best, or the best against the runner-up; see `Cell`."""

    p: float
    difference: float
    effect: float
    winner: bool = False


@dataclass(frozen=True)
class Contest:
    """How a winner is found.

    Args:
        test: the paired test over users.
        alpha: level after Holm's correction for all comparisons of a column.
        seed: of the permutation test and the bootstrap.

    Raises:
        ValueError: for an unknown test, or alpha outside (0, 1).
    """

    test: Test = "wilcoxon"
    alpha: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.test not in get_args(Test):
            raise ValueError(f"test must be one of {', '.join(get_args(Test))}, got {self.test!r}.")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must lie strictly between 0 and 1, got {self.alpha}.")

    @property
    def words(self) -> str:
        """The test and what it decides."""
        return (f"{WORDS[self.test]} over users (values averaged over seeds and splits first), best competitor against "
                f"every other, Holm-corrected within a column; a winner is better than every other competitor at "
                f"α = {self.alpha:g}")

    def standings(self, values: Mapping[str, "pd.Series[float]"], means: Mapping[str, float]) -> dict[str, Standing]:
        """Test the competitor with the highest mean against every other.

        Args:
            values: competitor → value by (split, user), NaN where the user does not count.
            means: competitor → mean, by which the best is found.

        Returns:
            Competitor → standing; without those who share fewer than two users with the best, in whose presence
            nobody wins. Empty for fewer than two competitors.
        """
        order = sorted(values, key=lambda name: -means[name])
        if len(order) < 2:
            return {}
        best, outcomes, effects = order[0], {}, {}
        for other in order[1:]:
            pair = paired(values[best], values[other])
            if len(pair) > 1:
                a, b = pair["a"].to_numpy(), pair["b"].to_numpy()
                outcomes[other], effects[other] = self._tests[self.test](a, b), cohens_d(a, b)
        corrected = dict(zip(outcomes, holm([o.p for o in outcomes.values()]), strict=True))
        found = {name: Standing(corrected[name], -o.difference, -effects[name]) for name, o in outcomes.items()}
        if order[1] in outcomes:
            # A rank test can favour the one with the lower mean: then nobody wins.
            won = len(outcomes) == len(order) - 1 and all(
                o.difference > 0 and o.effect > 0 and corrected[name] < self.alpha for name, o in outcomes.items())
            second = outcomes[order[1]]
            found[best] = Standing(corrected[order[1]], second.difference, effects[order[1]], won)
        return found

    @property
    def _tests(self) -> dict[Test, Callable[..., Outcome]]:
        return {"wilcoxon": wilcoxon, "t": paired_t, "permutation": partial(permutation, seed=self.seed),
                "bootstrap": partial(paired_bootstrap, seed=self.seed)}


def paired(a: "pd.Series[float]", b: "pd.Series[float]") -> pd.DataFrame:
    """Columns a and b, one row per user: means over the splits in which the user counts for both."""
    both = pd.concat({"a": a, "b": b}, axis=1, join="inner").dropna()
    return both.groupby(level="user").mean()
