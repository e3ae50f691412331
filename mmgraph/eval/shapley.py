"""What each modality adds to the figure of a fitted model: exact Shapley values over all subsets."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb

import numpy as np

from mmgraph.data.split import Split
from mmgraph.data.types import Bools, Floats, Ints
from mmgraph.eval.evaluate import Candidates, Part, Seen, evaluate
from mmgraph.features.controls import masked
from mmgraph.models.fitted import Fitted

MOST = 6  # modalities: 64 subsets
NONE = "(none)"


@dataclass(frozen=True)
class Shapley:
    """Shares of the modalities in a value, user by user; a group of users has the mean of its rows.

    Args:
        modalities: names, one per column of ``values``.
        values: shape (users, modalities); a row sums to the value with all modalities less that with none.
        none: value without any modality, shape (users,).
        users: ids of the users; empty where the game names none.
    """

    modalities: tuple[str, ...]
    values: Floats
    none: Floats
    users: tuple[str, ...] = ()

    @property
    def all(self) -> Floats:
        """Value with all modalities, shape (users,)."""
        return self.none + self.values.sum(1)

    def mean(self, of: Bools | Ints | slice = slice(None)) -> dict[str, float]:
        """Mean over these rows: ``(none)`` and every modality; together the mean value with all of them.

        Raises:
            ValueError: if there is no row.
        """
        if not len(self.none[of]):
            raise ValueError("a mean needs at least one user, and the group has none; leave it out.")
        shares = self.values[of].mean(0)
        return {NONE: float(self.none[of].mean()), **dict(zip(self.modalities, shares.tolist(), strict=True))}


def shapley(value: Callable[[frozenset[str]], Floats], modalities: Collection[str]) -> Shapley:
    r"""Share the value of a game among its players, here modalities.

    .. math:: \phi_m = \sum_{S \subseteq M \setminus m} \frac{|S|! \, (|M|-|S|-1)!}{|M|!} (v(S \cup m) - v(S))

    Exact; calls ``value`` once for each of the :math:`2^{|M|}` subsets, the empty one first.

    Args:
        value: :math:`v`, one finite number per user for a set of modalities; the same users for every set.
        modalities: :math:`M`, at most 6.

    Raises:
        ValueError: if there are too many modalities or one comes twice, or if values are not finite or of different
            numbers of users.

    Source: Shapley, "A Value for n-Person Games", 1953, doi:10.1515/9781400881970-018.
    """
    names, found = tuple(modalities), {kept: np.asarray(value(kept), dtype=np.float64) for kept in subsets(modalities)}
    none = found[frozenset()]
    for kept, worth in found.items():
        if worth.shape != none.shape or worth.ndim != 1 or not np.isfinite(worth).all():
            raise ValueError(f"the value of {sorted(kept)} must be finite and of the same users as that of nothing, "
                             f"got {int((~np.isfinite(worth)).sum())} NaN or infinite values and shape {worth.shape} "
                             f"after {none.shape}; leave out users for whom it is not defined.")
    shares = np.zeros((len(none), len(names)))
    for column, name in enumerate(names):
        for kept in (s for s in found if name not in s):
            gain = found[kept | {name}] - found[kept]
            shares[:, column] += gain / (len(names) * comb(len(names) - 1, len(kept)))
    return Shapley(names, shares, none)


def subsets(modalities: Collection[str]) -> Iterator[frozenset[str]]:
    """All subsets, small ones first.

    Raises:
        ValueError: if there are more than 6 modalities, or one comes twice.
    """
    names = tuple(modalities)
    if len(names) > MOST or len(set(names)) < len(names):
        raise ValueError(f"exact Shapley values need one evaluation per subset of at most {MOST} different modalities, "
                         f"got {len(names)}: {list(names)}; keep the ones in question with features.only(...).")
    return (frozenset(some) for size in range(len(names) + 1) for some in combinations(names, size))


def modality_shapley(fitted: Fitted, split: Split, *, part: Part, metric: str = "recall@20",
                     candidates: Candidates = "all", seen: Seen = "known") -> Shapley:
    """What each modality adds to a metric of one fitted model, for each user with held-out items among the candidates.

    The model stays as it was trained; in each pass the modalities left out are absent for all items, as missing
    content is. Takes 4 passes for 2 modalities, 16 for 4.

    Args:
        fitted: the model with its graph and features.
        split: what is held out; for ``part="test"`` it must be unlocked.
        part: see `evaluate`.
        metric: metric@k, or auc.
        candidates: the candidate set.
        seen: see `evaluate`.

    Raises:
        ValueError: if there are more than 6 modalities, the metric has no length, or nothing is held out
            among the candidates; for others see `evaluate`.
    """
    found = {kept: _per_user(fitted, split, kept, part, metric, candidates, seen)
             for kept in subsets(fitted.features.x)}
    users = split.data.users.names(found[frozenset()][0])  # the same in each pass
    return replace(shapley(lambda kept: found[kept][1], fitted.features.x), users=tuple(users))


def _per_user(fitted: Fitted, split: Split, kept: frozenset[str], part: Part, metric: str, candidates: Candidates,
              seen: Seen) -> tuple[Ints, Floats]:
    """Numbers of the users who count, and the metric of each, with these modalities only."""
    name, _, k = metric.partition("@")
    if metric != "auc" and not k.isdigit():
        raise ValueError(f"metric must be 'auc', or a metric and a length such as 'recall@20', got {metric!r}.")
    features = masked(fitted.features, kept)
    scorer = fitted.model.scorer(fitted.model.prepare(fitted.graph, features), features)
    found = evaluate(scorer, split, part=part, ks=[int(k or 1)], metrics=[name], seen=seen, only=[candidates])
    values = found.values.get((candidates, metric), np.empty(0))
    counts = ~np.isnan(values)
    if not counts.any():
        raise ValueError(f"no user has a held-out item among the {candidates} candidates of the {part} part, so there "
                         f"is nothing to share; choose other candidates.")
    return found.users[counts], values[counts]
