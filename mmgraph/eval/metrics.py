"""Ranking metrics: pure functions of hits, one number per user; the caller averages.

All take ``hits`` (bool, users × k; column 0 = best rank) and ``n_relevant`` (held-out items per user), and give NaN for
a user without held-out items, so that no mean counts such a user by accident. `accuracy` also takes the number of
candidates; AUC, which has no k and reads scores, not hits, is in `mmgraph.eval.auc`.

Metrics of ratings (RMSE, MAE) are out of scope: no score of a ranking is a rating.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Metric = Callable[..., Tensor]  # (hits, n_relevant) → values; accuracy: (hits, n_relevant, n_candidates)


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

    Normalised by all held-out items: ``map`` of trec_eval, ir-measures (AP) and ranx.
    """
    return _defined(_precisions(hits) / n_relevant, n_relevant)


def average_precision_capped(hits: Bool[Tensor, "users k"],
                             n_relevant: Int[Tensor, " users"]) -> Float[Tensor, " users"]:
    r"""Like `average_precision`, normalised by min(k, n_u), so that a perfect list has 1: MAP of RecBole and PyG.

    .. math:: \frac{1}{\min(k, n_u)} \sum_{r=1}^{k} h_{ur} \frac{\sum_{q \le r} h_{uq}}{r}
    """
    return _defined(_precisions(hits) / n_relevant.clamp(max=hits.shape[1]), n_relevant)


def f1(hits: Bool[Tensor, "users k"], n_relevant: Int[Tensor, " users"]) -> Float[Tensor, " users"]:
    r"""Harmonic mean of precision and recall at k, in [0, 1]; 0 where both are 0.

    .. math:: \frac{2 P R}{P + R} = \frac{2 \sum_r h_{ur}}{k + n_u}

    Source: van Rijsbergen, Information Retrieval, 1979.
    """
    return _defined(2 * hits.sum(1).double() / (hits.shape[1] + n_relevant), n_relevant)


def accuracy(hits: Bool[Tensor, "users k"], n_relevant: Int[Tensor, " users"],
             n_candidates: Int[Tensor, " users"]) -> Float[Tensor, " users"]:
    r"""Share of the candidates that are told right if all in the list are called relevant and all others not.

    .. math:: 1 - \frac{(\min(k, c_u) - t_u) + (n_u - t_u)}{c_u}, \quad t_u = \sum_r h_{ur}

    Says little where few of many items are relevant: the empty list has :math:`1 - n_u / c_u`.

    Args:
        hits: see `recall`.
        n_relevant: held-out items among the candidates.
        n_candidates: items of the candidate set that are not left out as seen, :math:`c_u`.
    """
    wrong = n_candidates.clamp(max=hits.shape[1]) + n_relevant - 2 * hits.sum(1)
    return _defined(1 - wrong / n_candidates.double(), n_relevant)


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
                              "map": average_precision, "map_capped": average_precision_capped, "f1": f1,
                              "accuracy": accuracy}
NAMES: tuple[str, ...] = (*METRICS, "auc")  # all that `evaluate` measures


def metric_at_k(name: str, hits: Bool[Tensor, "users k"], n_relevant: Int[Tensor, " users"],
                n_candidates: Int[Tensor, " users"]) -> Float[Tensor, " users"]:
    """The metric of this name in `METRICS`, whether or not it reads the number of candidates."""
    metric = METRICS[name]
    return metric(hits, n_relevant, n_candidates) if metric is accuracy else metric(hits, n_relevant)


def _precisions(hits: Tensor) -> Tensor:
    """Sum of the precisions at the ranks of the hits."""
    ranks = torch.arange(1, hits.shape[1] + 1, device=hits.device, dtype=torch.float64)
    return (hits * hits.cumsum(1) / ranks).sum(1)


def _defined(value: Tensor, n_relevant: Tensor) -> Tensor:
    return torch.where(n_relevant > 0, value.double(), torch.nan)
