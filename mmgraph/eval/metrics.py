"""Ranking metrics: pure functions of hits, one number per user; the caller averages.

All take ``hits`` (bool, users × k; column 0 = best rank) and ``n_relevant`` (held-out items per user), and give NaN for
a user without held-out items, so that no mean counts such a user by accident.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Metric = Callable[[Tensor, Tensor], Tensor]


def recall(hits: Bool[Tensor, "users k"], n_relevant: Int[Tensor, " users"]) -> Float[Tensor, " users"]:
    """Share of the held-out items that are in the list, in [0, 1]."""
    return _defined(hits.sum(1).double() / n_relevant, n_relevant)


def precision(hits: Bool[Tensor, "users k"], n_relevant: Int[Tensor, " users"]) -> Float[Tensor, " users"]:
    """Share of the k places that hold a held-out item, in [0, 1]; k counts in full however many are held out."""
    return _defined(hits.double().mean(1), n_relevant)


def hit_rate(hits: Bool[Tensor, "users k"], n_relevant: Int[Tensor, " users"]) -> Float[Tensor, " users"]:
    """1 if any held-out item is in the list, else 0."""
    return _defined(hits.any(1).double(), n_relevant)


def mrr(hits: Bool[Tensor, "users k"], n_relevant: Int[Tensor, " users"]) -> Float[Tensor, " users"]:
    """One over the rank of the first held-out item, 0 if none is in the list.

    Source: Voorhees, TREC-8 1999.
    """
    ranks = torch.arange(1, hits.shape[1] + 1, device=hits.device, dtype=torch.float64)
    return _defined((hits / ranks).amax(1), n_relevant)


def average_precision(hits: Bool[Tensor, "users k"], n_relevant: Int[Tensor, " users"]) -> Float[Tensor, " users"]:
    r"""Mean precision at the ranks of the held-out items, those outside the list counting 0; its mean is MAP.

    .. math:: \frac{1}{n_u} \sum_{r=1}^{k} h_{ur} \frac{\sum_{q \le r} h_{uq}}{r}

    Normalised by all held-out items as in trec_eval, not by min(k, n_u).
    """
    ranks = torch.arange(1, hits.shape[1] + 1, device=hits.device, dtype=torch.float64)
    return _defined((hits * hits.cumsum(1) / ranks).sum(1) / n_relevant, n_relevant)


def ndcg(hits: Bool[Tensor, "users k"], n_relevant: Int[Tensor, " users"]) -> Float[Tensor, " users"]:
    r"""Normalised discounted cumulative gain, binary relevance, in [0, 1].

    .. math:: \frac{\sum_{r=1}^{k} h_{ur} / \log_2(r+1)}{\sum_{r=1}^{\min(k, n_u)} 1 / \log_2(r+1)}

    Source: Järvelin & Kekäläinen 2002, doi:10.1145/582415.582418.
    """
    discount = torch.arange(2, hits.shape[1] + 2, device=hits.device, dtype=torch.float64).log2().reciprocal()
    best = discount.cumsum(0)[n_relevant.clamp(1, hits.shape[1]) - 1]
    gain = (hits * discount).cumsum(1)[:, -1]  # added up in the order of best, so that a perfect list has exactly 1
    return _defined(gain / best, n_relevant)


METRICS: dict[str, Metric] = {"recall": recall, "ndcg": ndcg, "precision": precision, "hit_rate": hit_rate, "mrr": mrr,
                              "map": average_precision}


def _defined(value: Tensor, n_relevant: Tensor) -> Tensor:
    return torch.where(n_relevant > 0, value.double(), torch.nan)
