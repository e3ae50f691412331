"""Id tables, and what a row gets that was not there in training."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmgraph.features.features import Features
from mmgraph.graph.relation import Relation
from mmgraph.nn.propagate import spread

Unseen = Literal["zero", "neighbours", "generated"]


class IdTable(nn.Module):
    """One learned vector per trained node, Xavier-uniform at the start; rows beyond them follow a named policy.

    Args:
        n: number of trained nodes.
        dim: width.
        unseen: see `fill_unseen`.
    """

    def __init__(self, n: int, dim: int, *, unseen: Unseen = "zero"):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n, dim)))
        self.unseen = unseen

    def forward(self, n_rows: int, *, neighbours: Relation | None = None, sources: Tensor | None = None,
                features: Features | None = None) -> Float[Tensor, "rows dim"]:
        """The table, filled up to ``n_rows`` rows."""
        return fill_unseen(self.weight, n_rows, self.unseen, neighbours=neighbours, sources=sources,
                           features=features)


def fill_unseen(known: Float[Tensor, "known dim"], n_rows: int, unseen: Unseen, *, neighbours: Relation | None = None,
                sources: Float[Tensor, "sources dim"] | None = None,
                features: Features | None = None) -> Float[Tensor, "rows dim"]:
    """Vectors of the trained nodes, followed by those of the new ones.

    Args:
        known: vectors of the trained nodes, which come first.
        n_rows: number of nodes in all.
        unseen: policy for the new rows. ``zero``: zeros. ``neighbours``: the mean of the trained neighbours, zeros
            where there is none. ``generated``: a ridge regression from content to the trained vectors, zeros without
            content.
        neighbours: relation into these nodes, for ``neighbours``.
        sources: vectors of the nodes it comes from; by default the trained nodes of this type.
        features: content of all rows, for ``generated``.

    Raises:
        ValueError: if there are fewer rows than trained nodes, or the policy lacks what it reads.
    """
    n_new = n_rows - len(known)
    if n_new < 0:
        raise ValueError(f"the graph has {n_rows} nodes of a type of which {len(known)} were trained; "
                         f"score with the training graph or an extension of it.")
    if n_new == 0:
        return known
    if unseen == "zero":
        new = known.new_zeros(n_new, known.shape[1])
    elif unseen == "neighbours":
        if neighbours is None:
            raise ValueError("the policy 'neighbours' reads a relation; pass neighbours=.")
        new = _heard(known, neighbours, sources)
    elif unseen == "generated":
        if features is None or not features.x or len(features) != n_rows:
            raise ValueError(f"the policy 'generated' reads content of all {n_rows} rows, got {features}; "
                             f"pass features=.")
        new = _ridge(features, known)[len(known):]
    else:
        raise ValueError(f"unseen must be 'zero', 'neighbours' or 'generated', got {unseen!r}.")
    return torch.cat([known, new])


def fill_unconnected(users: Float[Tensor, "users dim"], n_known: int,
                     connected: Bool[Tensor, " users"]) -> Float[Tensor, "users dim"]:
    """Users that are new and without any interaction get the mean of the trained users: the average taste."""
    new = torch.arange(len(users), device=users.device) >= n_known
    return torch.where((new & ~connected)[:, None], users[:n_known].mean(0), users)


def _heard(known: Tensor, neighbours: Relation, sources: Tensor | None) -> Tensor:
    """Mean of the sources of each new row; new rows are themselves no sources."""
    heard, n = neighbours.into(len(known)), len(known)
    if sources is None:
        heard = heard.kept(heard.edges[0] < n)
        heard, sources = replace(heard, n_source=n, indptr=heard.indptr[:n + 1]), known
    return spread(sources, heard.averaging)


def _ridge(features: Features, known: Tensor, penalty: float = 10.0) -> Tensor:
    """Content → vectors by ridge regression fitted on the trained rows that have content; zeros without content."""
    content = torch.cat([x / x[:len(known)].square().sum(1).mean().sqrt().clamp(min=1e-12)
                         for x in features.x.values()], dim=1)
    has = torch.stack(list(features.present.values()), dim=1).any(1)
    x = torch.cat([content, torch.ones_like(content[:, :1])], dim=1) * has[:, None]
    gram = x[:len(known)].T @ x[:len(known)] + penalty * torch.eye(x.shape[1], device=x.device)
    return x @ torch.linalg.solve(gram, x[:len(known)].T @ known.detach())
