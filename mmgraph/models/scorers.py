"""What a model gives: scores of all items for some users, from vectors, a table, or what users took."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmgraph.graph.relation import Relation, csr_tensor


class Embeddings(NamedTuple):
    """One vector per user and per item; the score of a pair is their dot product."""

    users: Float[Tensor, "users dim"]
    items: Float[Tensor, "items dim"]


@runtime_checkable
class Scorer(Protocol):
    """All that evaluation, studies and serving read of a model."""

    @property
    def n_items(self) -> int:
        """Number of items."""
        ...

    def scores(self, users: Int[Tensor, " batch"]) -> Float[Tensor, "batch items"]:
        """One score per item for each of these users, higher is better; a new tensor, which the caller may change."""
        ...


@dataclass(frozen=True)
class DotScorer:
    """Scores that are dot products; the vectors can be exported to a vector index."""

    embeddings: Embeddings

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.embeddings.items)

    def scores(self, users: Int[Tensor, " batch"]) -> Float[Tensor, "batch items"]:
        """See `Scorer`.

        Summed in float64: in float32 the last bit depends on the size of the batch, and with it which of two equal
        items wins.
        """
        u, i = self.embeddings.users[users], self.embeddings.items
        return (u.double() @ i.double().T).to(u.dtype)


@dataclass(frozen=True)
class TableScorer:
    """Scores that are known beforehand, such as an oracle's.

    Args:
        table: one row per user.
    """

    table: Float[Tensor, "users items"]

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.table.shape[1]

    def scores(self, users: Int[Tensor, " batch"]) -> Float[Tensor, "batch items"]:
        """See `Scorer`."""
        return self.table[users]


@dataclass(frozen=True)
class HistoryScorer:
    """Scores that add up what each item of a user's history says for the others.

    Args:
        interactions: (user, interacts, item), with the histories of new users.
        weights: row i: what having taken item i says for every item; dense or CSR.
        n_known: items in training; later items in a history say nothing.
    """

    interactions: Relation
    weights: Float[Tensor, "known items"]
    n_known: int

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.weights.shape[1]

    def scores(self, users: Int[Tensor, " batch"]) -> Float[Tensor, "batch items"]:
        """See `Scorer`; a user without history gets the average user's scores."""
        return history_scores(self.interactions, users, self.n_known, self._summed, lambda: self._average)

    @cached_property
    def _average(self) -> Float[Tensor, "1 items"]:
        return self._summed(average_history(self.interactions, self.n_known))

    @cached_property
    def _sparse(self) -> Float[Tensor, "known items"]:
        w = self.weights
        return csr_tensor(w.crow_indices(), w.col_indices(), w.values().double(), (w.shape[0], w.shape[1]))

    def _summed(self, histories: Float[Tensor, "batch known"]) -> Float[Tensor, "batch items"]:
        """Summed in float64, see `DotScorer`; of dense weights only the rows that these histories name."""
        indptr, indices, values = histories.crow_indices(), histories.col_indices(), histories.values().double()
        if self.weights.layout == torch.sparse_csr:
            whole = csr_tensor(indptr, indices, values, (histories.shape[0], histories.shape[1]))
            scores = whole @ self._sparse
            return (scores.to_dense() if scores.layout == torch.sparse_csr else scores).float()
        named, place = indices.unique(return_inverse=True)
        whole = csr_tensor(indptr, place.to(indices.dtype), values, (histories.shape[0], len(named)))
        return (whole @ self.weights[named].double()).float()


@dataclass(frozen=True)
class FilterScorer:
    """Scores that are a linear filter of a user's history, for filters too large to be written out item by item.

    Args:
        interactions: (user, interacts, item), with the histories of new users.
        filtered: dense float64 histories of some users (batch, known items) → their scores of all items, float64; a
            user's row must depend on that user's alone.
        n_items: number of items, new ones included.
        n_known: items in training; later items in a history say nothing.
    """

    interactions: Relation
    filtered: Callable[[Tensor], Tensor]
    n_items: int
    n_known: int

    def scores(self, users: Int[Tensor, " batch"]) -> Float[Tensor, "batch items"]:
        """See `Scorer`; a user without history gets the average user's scores."""
        return history_scores(self.interactions, users, self.n_known, self._filtered, lambda: self._average)

    @cached_property
    def _average(self) -> Float[Tensor, "1 items"]:
        return self._filtered(average_history(self.interactions, self.n_known))

    def _filtered(self, histories: Float[Tensor, "batch known"]) -> Float[Tensor, "batch items"]:
        return self.filtered(histories.to_dense().double()).to(histories.dtype)


def history_scores(interactions: Relation, users: Int[Tensor, " batch"], n_known: int,
                   respond: Callable[[Tensor], Tensor], average: Callable[[], Tensor]) -> Float[Tensor, "batch items"]:
    """What ``respond`` makes of the users' histories (CSR); ``average`` for a user who has none."""
    mine = interactions.rows(users)
    mine = replace(mine.kept(mine.indices < n_known), n_target=n_known)
    scores, without = respond(mine.matrix), mine.out_degree == 0
    return torch.where(without[:, None], average(), scores) if without.any() else scores


def average_history(interactions: Relation, n_known: int) -> Float[Tensor, "1 known"]:
    """The mean history over the users that have one, CSR."""
    share = interactions.in_degree[:n_known] / (interactions.out_degree > 0).sum()
    known = torch.arange(n_known, device=share.device)
    return csr_tensor(known.new_tensor([0, n_known]), known, share, (1, n_known))
