"""Exact nearest neighbours by content, block by block: never an n × n matrix."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmgraph.features.features import Features
from mmgraph.graph.graph import Graph
from mmgraph.graph.relation import Relation
from mmgraph.graph.topk import top_k

BLOCK = 2**20  # similarities held at a time
SPARSE = 0.05  # a share of numbers that are not zero up to which products of sparse rows are faster


def knn_graph(features: Features, k: int, *, n_known: int | None = None, new_only: bool = False,
              binary: bool = False, weights: Mapping[str, float] | None = None) -> Relation:
    """Edges to each item from the k known items that are most like it, by cosine, averaged over the modalities.

    The known (trained) items are the first ones; they alone send, so a new item changes nobody else's neighbours. An
    item sends to and receives from nobody in a modality that it lacks; nobody is their own neighbour; ties go to the
    smaller item number.

    Args:
        features: content of all items (or users).
        k: neighbours per item and modality.
        n_known: number of known items; all by default.
        new_only: whether only new items receive.
        binary: weight 1 per modality instead of the cosine.
        weights: modality → its share in the average, in any unit; alike by default. A modality left out has none.

    Returns:
        Relation (item, similar, item), source = neighbour; without modalities one without edges. Edges of several
        modalities are averaged; cosines of zero or less are left out.
    """
    n, n_known, kind = len(features), len(features) if n_known is None else n_known, features.ids.what
    if k < 1 or not 0 <= n_known <= n:
        raise ValueError(f"k must be at least 1 and n_known lie in [0, {n}], the rows; got {k} and {n_known}.")
    total = sp.csr_array((n, n), dtype=np.float32)
    for name, share in _shares(features, weights).items():
        source, target, cosine = nearest(features.x[name], features.present[name], k, n_known,
                                         first=n_known if new_only else 0)
        weight = np.ones(len(cosine), dtype=np.float32) if binary else cosine.cpu().numpy()
        total = total + sp.csr_array((weight * np.float32(share), (source.cpu().numpy(), target.cpu().numpy())), (n, n))
    relation = Relation.of(kind, "similar", kind, total)
    return relation.to(next(iter(features.x.values())).device) if features.x else relation


def nearest(x: Float[Tensor, "items dim"], present: Bool[Tensor, " items"], k: int, n_known: int, *,
            first: int = 0) -> tuple[Int[Tensor, " edges"], Int[Tensor, " edges"], Float[Tensor, " edges"]]:
    """Neighbour, item and cosine (float32) of the k nearest known items of each item from number ``first`` on.

    Cosines are computed in float64 and rounded to float32. In float32 the last bit depends on the shape of the block,
    and with it which of two equal neighbours wins: an item would get other neighbours alone than among others. Where
    few numbers of the known rows are not zero (words, people), products are those of sparse rows.
    """
    known, items = present[:n_known].nonzero()[:, 0], present[first:].nonzero()[:, 0] + first
    parts = [(items[:0], items[:0], x.new_zeros(0, dtype=torch.float32))]
    sparse = x.device.type == "cpu" and x[known].count_nonzero() <= SPARSE * x[known].numel()
    candidates = _sparse_unit(x[known]).T.tocsr() if sparse else _unit(x[known]).T
    for block in items.split(max(1, BLOCK // max(len(known), 1))) if len(known) else ():
        cosine = (torch.from_numpy((_sparse_unit(x[block]) @ candidates).astype(np.float32).toarray()) if sparse
                  else (_unit(x[block]) @ candidates).float())
        column = torch.searchsorted(known, block).clamp(max=len(known) - 1)
        cosine[torch.arange(len(block), device=x.device), column] *= known[column] != block  # nobody's own neighbour
        cosine.masked_fill_(cosine <= 0, -torch.inf)
        value, column = top_k(cosine, min(k, len(known)))
        row = block[:, None].expand_as(column)
        good = value > 0
        parts.append((known[column[good]], row[good], value[good]))
    source, target, value = (torch.cat(p) for p in zip(*parts, strict=True))
    return source, target, value


def _unit(x: Tensor) -> Tensor:
    return x.double() / x.double().norm(dim=1, keepdim=True)


def _sparse_unit(x: Tensor) -> sp.csr_array:
    rows = sp.csr_array(x.numpy()).astype(np.float64)
    lengths = np.sqrt((rows * rows).sum(axis=1))
    rows.data /= np.repeat(lengths, np.diff(rows.indptr))
    return rows


def _shares(features: Features, weights: Mapping[str, float] | None) -> dict[str, float]:
    """Modality → share, summing to 1."""
    if weights is None:
        return {name: 1 / len(features.x) for name in features.x}
    total = sum(weights.values())
    if set(weights) - set(features.x) or min(weights.values(), default=0) < 0 or total <= 0:
        raise ValueError(f"weights must be non-negative, not all zero, and name modalities of {sorted(features.x)}; "
                         f"got {dict(weights)}.")
    return {name: weight / total for name, weight in weights.items() if weight > 0}


def with_neighbours_of_new(graph: Graph, features: Features, k: int, *, n_known: int) -> Graph:
    """The graph with the relation ``similar`` into its new items only, for models that are otherwise blind to them."""
    found = knn_graph(features, k, n_known=n_known, new_only=True)
    return graph.with_relation("similar", found.to(graph.device))


def similar(modality: str) -> str:
    """Name of the relation of items alike in one modality."""
    return f"similar_{modality}"


def with_modality_graphs(graph: Graph, features: Features, k: int, *, n_known: int, binary: bool = False) -> Graph:
    """The graph with one relation per modality, called ``similar(modality)``: `knn_graph` of that modality alone.

    Weights are cosines (1 if ``binary``); take ``.averaging`` for means, ``.symmetric`` for the usual
    :math:`D^{-1/2} S D^{-1/2}`.
    """
    for name in features.x:
        graph = graph.with_relation(similar(name), knn_graph(features.only(name), k, n_known=n_known, binary=binary))
    return graph
