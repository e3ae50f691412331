"""Negative sampling: exact, vectorised, without rejection."""

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from mmgraph.graph.relation import Relation


class NegativeSampler:
    r"""Draws items uniformly from those that a user has not taken.

    A uniform number r below :math:`n - |H_u|` becomes the r-th item outside the history: r plus the number of history
    items at or below it. As :math:`h_p - p` rises along the sorted history, that number is one binary search in one
    sorted array for the whole batch.

    Args:
        interactions: the relation (user, interacts, item).

    Raises:
        ValueError: if a user has taken every item.
    """

    def __init__(self, interactions: Relation):
        self.n_items = interactions.n_target
        self.indptr = interactions.indptr.long()
        self.n_free = self.n_items - self.indptr.diff()
        if (self.n_free == 0).any():
            full = (self.n_free == 0).nonzero()[:3, 0].tolist()
            raise ValueError(f"{int((self.n_free == 0).sum())} users have taken all {self.n_items} items, e.g. numbers "
                             f"{full}; no negative can be drawn for them: leave them out of training.")
        user, item = interactions.edges
        position = torch.arange(len(user), device=user.device) - self.indptr[user]
        self.keys = user * (self.n_items + 1) + item - position

    def sample(self, users: Int[Tensor, " batch"], generator: Generator) -> Int[Tensor, " batch"]:
        """One item for each user, which the user has not taken."""
        uniform = torch.rand(len(users), dtype=torch.float64, generator=generator, device=generator.device)
        free = self.n_free[users]
        r = torch.minimum((uniform.to(free.device) * free).long(), free - 1)
        at = torch.searchsorted(self.keys, users * (self.n_items + 1) + r, right=True)
        return r + at - self.indptr[users]
