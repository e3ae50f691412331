"""Switches: what can be turned on for any model, and where it is.

* Edges dropped at random, or the popular ones first: `mmgraph.graph.sample.drop_edges`, ``prune_by_degree``.
* Only the principal part of the interactions: `principal_edges`.
* These three in each epoch of a training: ``thin=DropEdges(…)``, `PruneByDegree`, `PrincipalEdges`; by name,
  ``thin={"DropEdges": {"fraction": 0.2}}``, also in a file.
* Items that an epoch cuts off, so that those who hear nothing are learned: ``thin=MaskItems(…)``.
* Virtual edges to items whose content is like what a user took: `with_virtual_edges`.
* Fewer neighbours: `mmgraph.graph.sample.sample_neighbours`.
* Features masked, permuted, replaced by noise: `mmgraph.features.controls`.
* Number of layers: ``n_layers`` of a model. Weights of the layers: `mmgraph.nn.layers`.
* Propagation at scoring time only: `mmgraph.models.late_propagation.propagated`.

All are pure: graph in, graph out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from mmgraph.features.features import Features
from mmgraph.graph.graph import Graph
from mmgraph.graph.relation import Relation
from mmgraph.graph.sample import drop_edges, prune_by_degree, with_interactions
from mmgraph.graph.spectral import normalised, right_singular_vectors
from mmgraph.graph.topk import top_k

BLOCK = 2**22  # scores held at a time
EDGES = 2**18  # edges looked at at a time


@dataclass(frozen=True)
class DropEdges:
    """`mmgraph.graph.sample.drop_edges`, as ``thin`` of a training.

    Args:
        fraction: of the interactions that an epoch does not hear, in [0, 1).
    """

    fraction: float

    def __post_init__(self) -> None:
        _check_fraction(self.fraction)

    def __call__(self, graph: Graph, generator: Generator) -> Graph:
        return drop_edges(graph, self.fraction, generator)


@dataclass(frozen=True)
class PruneByDegree:
    """`mmgraph.graph.sample.prune_by_degree`, as ``thin`` of a training.

    Args:
        fraction: of the interactions that an epoch does not hear, in [0, 1).
    """

    fraction: float

    def __post_init__(self) -> None:
        _check_fraction(self.fraction)

    def __call__(self, graph: Graph, generator: Generator) -> Graph:
        return prune_by_degree(graph, self.fraction, generator)


@dataclass(frozen=True)
class PrincipalEdges:
    """`principal_edges`, as ``thin`` of a training; the same in each epoch, nothing is drawn.

    Args:
        fraction: of the interactions that an epoch does not hear, in [0, 1).
        rank: number of directions, at least 1.
    """

    fraction: float
    rank: int

    def __post_init__(self) -> None:
        _check_principal(self.fraction, self.rank)

    def __call__(self, graph: Graph, generator: Generator) -> Graph:
        return principal_edges(graph, self.fraction, self.rank)


@dataclass(frozen=True)
class MaskItems:
    r"""Items cut off from the graph, as ``thin`` of a training: what a model makes of its own row alone is learned.

    A masked item has no interactions, and sends along no relation; what leads to it because of its content stays, as it
    leads to new items too. It is learned from as before, so a model learns to score items that their takers do not
    reach. Different items are drawn in each epoch, :math:`\lfloor f n \rfloor` of the n.

    Where items start from their content alone, as in CGRC or AlphaRec, a masked item stands there as a new item would.
    Where they have ids, as in LightGCN, it keeps its id, which a new item has not: the ids learn to do without their
    takers, and nothing is learned of new items. A model that reads no graph in training sees no difference.

    A relation that a model makes anew in each epoch from content alone is not cut.

    Args:
        fraction: of the items, in [0, 1).

    Source: masking item nodes so that edges are learned without them is what trains CGRC, Kim et al., SIGIR 2024,
        doi:10.1145/3626772.3657801; as a switch of any model it is ours.
    """

    fraction: float

    def __post_init__(self) -> None:
        _check_fraction(self.fraction)

    def __call__(self, graph: Graph, generator: Generator) -> Graph:
        drawn = torch.randperm(graph.n_items, generator=generator, device=generator.device)
        masked = torch.zeros(graph.n_items, dtype=torch.bool, device=graph.device)
        masked[drawn[:int(self.fraction * graph.n_items)].to(graph.device)] = True
        taken = graph.interactions
        graph = with_interactions(graph, taken.kept(~masked[taken.edges[1]]))
        sent = {key: r.kept(~masked[r.edges[0]]) for key, r in graph.relations.items() if r.source == "item"}
        return replace(graph, relations={**graph.relations, **sent})


Switch = DropEdges | PruneByDegree | PrincipalEdges | MaskItems
SWITCHES: Mapping[str, type[Switch]] = {cls.__name__: cls for cls in get_args(Switch)}


def switch_by_name(words: Mapping[str, Any]) -> Switch:
    """A switch from its name and its fields, ``{"DropEdges": {"fraction": 0.2}}``.

    Raises:
        TypeError: for a field that it does not have, or if one is lacking.
        ValueError: for another name, none or several, or a field out of range.
    """
    name, fields = next(iter(words.items()), ("", None))
    if len(words) != 1 or name not in SWITCHES or not isinstance(fields, Mapping):
        raise ValueError(f"thin is one of {', '.join(SWITCHES)} with its fields, such as "
                         f"{{'DropEdges': {{'fraction': 0.2}}}}; got {dict(words)}.")
    return SWITCHES[name](**fields)


def switch_words(switch: Switch) -> dict[str, Any]:
    """What `switch_by_name` takes."""
    return {type(switch).__name__: asdict(switch)}


def _check_fraction(fraction: float) -> None:
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction is dropped and must lie in [0, 1), got {fraction}.")


def _check_principal(fraction: float, rank: int) -> None:
    if not 0 <= fraction < 1 or rank < 1:
        raise ValueError(f"fraction is dropped and must lie in [0, 1), rank must be at least 1; "
                         f"got {fraction} and {rank}.")


def principal_edges(graph: Graph, fraction: float, rank: int) -> Graph:
    r"""Drop the fraction of the interactions that the strongest singular directions explain least.

    .. math:: \frac{(\tilde R V V^\top)_{ui}}{\tilde R_{ui}}, \qquad \tilde R = D_U^{-1/2} R D_I^{-1/2}

    V: right singular vectors of :math:`\tilde R` of the ``rank`` largest values. The quotient does not favour nodes of
    small degree, and is 1 for every edge at full rank. Of equals, the first stay. For training: new users and items
    would change V.

    Args:
        graph: of trained users and items.
        fraction: of the interactions that is dropped, in [0, 1).
        rank: number of directions, at least 1.

    Source: learning on a principal subgraph by global structure is the idea of Yu et al. (PGL), AAAI 2025,
        doi:10.1609/aaai.v39i12.33429; the quotient is ours.
    """
    _check_principal(fraction, rank)
    relation = graph.interactions
    scaled = normalised(relation, 0.5, 0.5)
    items = right_singular_vectors(scaled, rank).to(graph.device)
    users = scaled.matrix @ items
    inside = torch.cat([(users[u] * items[i]).sum(1) for u, i in zip(*(e.split(EDGES) for e in relation.edges),
                                                                    strict=True)])
    order = (inside / scaled.weight).round(decimals=9).argsort(descending=True, stable=True)
    keep = torch.zeros(relation.n_edges, dtype=torch.bool, device=graph.device)
    keep[order[:relation.n_edges - int(fraction * relation.n_edges)]] = True
    return with_interactions(graph, relation.kept(keep))


def with_virtual_edges(graph: Graph, features: Features, k: int, weight: float, *, n_known: int) -> Graph:
    r"""Let each user also interact with the k items whose content is most like what they took.

    .. math:: s_{ui} = \sum_m \sum_{j \in u} \cos(x_{mj}, x_{mi}), \qquad i < n_\text{known}, \; i \notin u

    Only known (trained) items are added, and only what a user took of them counts, so that a new item moves nothing. A
    sum of zero or less adds no edge; ties go to the smaller item number. Real interactions keep their weight. Not to be
    trained towards: for the graph that a model hears, not for the positives.

    Args:
        graph: with real interactions only.
        features: content of the items.
        k: edges per user, at most.
        weight: of each, positive; a real interaction has 1.
        n_known: number of known items, which come first.
    """
    if not 1 <= k <= n_known <= graph.n_items or weight <= 0:
        raise ValueError(f"k must lie in [1, {n_known}], the known items, those within the {graph.n_items} of the "
                         f"graph, and weight must be positive; got k {k} and weight {weight}.")
    real = graph.interactions
    pairs = torch.cat([torch.empty(2, 0, dtype=torch.long, device=graph.device),
                       *_alike(real.kept(real.indices < n_known), features, k, n_known)], dim=1)
    weights = torch.cat([real.weight, real.weight.new_full((pairs.shape[1],), weight)])
    both = Relation.from_edges(real.source, real.name, real.target, real.n_source, real.n_target,
                               torch.cat([real.edges, pairs], dim=1), weights)
    return with_interactions(graph, both.to(graph.device))


def _alike(taken: Relation, features: Features, k: int, n_known: int) -> Iterator[Int[Tensor, "2 edges"]]:
    """Users and the items most like what they took, some users at a time."""
    units = [_unit(features.x[m][:n_known], features.present[m][:n_known]) for m in features.x]
    for users in torch.arange(taken.n_source, device=taken.weight.device).split(max(1, BLOCK // n_known)):
        mine = replace(taken.rows(users), n_target=n_known)
        ones = torch.ones_like(mine.weight, dtype=torch.float64)
        scores = ones.new_zeros(len(users), n_known)
        for unit in units:
            scores += mine.matrix_with(ones) @ unit @ unit.T
        scores[tuple(mine.edges)] = -torch.inf
        value, column = top_k(scores.float(), k)
        good = value > 0
        yield torch.stack([users[:, None].expand_as(column)[good], column[good]])


def _unit(x: Float[Tensor, "items dim"], present: Bool[Tensor, " items"]) -> Float[Tensor, "items dim"]:
    """Rows of length 1 in float64, zero where absent."""
    return (x.double() / x.double().norm(dim=1, keepdim=True)).masked_fill(~present[:, None], 0)
