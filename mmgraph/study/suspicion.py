"""Whether a scorer that comes from outside knows validation interactions it should not know."""

import numpy as np
import torch
from scipy import stats

from mmgraph.data.split import Split
from mmgraph.data.types import Floats
from mmgraph.eval.evaluate import evaluate
from mmgraph.graph.graph import train_graph
from mmgraph.models.base import DotScorer, Embeddings, Scorer

RATIO, P = 1.5, 1e-6  # how much better than the yardstick it must be on validation, and how surely


def suspicion(scorer: Scorer, split: Split, trained_on: tuple[str, ...]) -> list[str]:
    """A mark if a scorer that does not say so ranks validation interactions far better than test interactions.

    Both parts are ranked with the training interactions left out, and recall@k is paired over the users of both. The
    ratio of the two means must exceed 1.5 times that of training popularity, which measures how unlike the two parts
    are by themselves, with a p-value (paired t) below 1e-6. A scorer that used validation only a little passes. k is
    20, or a tenth of a small catalogue.

    Args:
        scorer: of all users and items, in the numbering of the split.
        split: unlocked.
        trained_on: the parts that the scorer says it has seen.
    """
    k = max(1, min(20, scorer.n_items // 10))
    if "valid" in trained_on or not len(split.valid.users):
        return []
    valid, test = both(scorer, split, k)
    if len(valid) < 2 or (valid == test).all():
        return []
    p = float(stats.ttest_rel(valid, test, alternative="greater").pvalue)
    ratio, usual = (a.mean() / max(b.mean(), 1e-12) for a, b in ((valid, test), both(popular(split), split, k)))
    if p >= P or ratio <= RATIO * max(usual, 1.0):
        return []
    return [f"recall@{k} is {valid.mean():.4f} on validation and {test.mean():.4f} on test, {ratio:.1f} times as high "
            f"(training popularity: {usual:.1f} times): the scorer seems to have seen validation without saying so"]


def both(scorer: Scorer, split: Split, k: int) -> tuple[Floats, Floats]:
    """Recall on validation and on test of the users who have both."""
    found = [evaluate(scorer, split, part=part, ks=[k], metrics=["recall"], seen="train", only=("all",))
             for part in ("valid", "test")]
    users = np.intersect1d(found[0].users, found[1].users)
    valid, test = (f.values["all", f"recall@{k}"][np.searchsorted(f.users, users)] for f in found)
    return valid, test


def popular(split: Split) -> DotScorer:
    """Training popularity."""
    count = torch.zeros(len(split.data.items), 1)
    count[:split.n_warm_items, 0] = train_graph(split).interactions.in_degree
    return DotScorer(Embeddings(torch.ones(len(split.data.users), 1), count))
