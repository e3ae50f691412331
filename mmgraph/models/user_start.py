"""Users without history: the contract of what scores them beside any warm model, and the two as one model."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmgraph.features.features import Features
from mmgraph.graph.graph import Graph
from mmgraph.models.base import Model
from mmgraph.models.cold_start import Observed
from mmgraph.models.method import Method, Role
from mmgraph.models.scorers import Scorer


class UserStart(Method):
    """How users without history are scored by their profile, learned from the warm ones; goes with any warm model.

    The score of a new user and an item is the dot product of the user's row of `profiles` and the item's column of
    `table`. A profile is read from the attribute nodes of users, see `mmgraph.graph.attributes.with_attributes`; the
    row of a user depends on that user alone, the table on warm users alone.
    """

    @abstractmethod
    def learn(self, observed: Observed, generator: torch.Generator) -> None:
        """Learn from warm users and items; what is learned becomes part of the state."""

    @abstractmethod
    def profiles(self, graph: Graph, users: Int[Tensor, " batch"]) -> Float[Tensor, "batch rank"]:
        """What is known of these users; a row of zeros where that is nothing."""

    @abstractmethod
    def table(self, observed: Observed, n_users: int, n_items: int) -> Float[Tensor, "rank items"]:
        """What each entry of a profile says for every item, new ones included.

        Args:
            observed: all users and items.
            n_users: number of warm users; they come first, and no other may be read.
            n_items: number of trained items; they come first.
        """


NEW_USERS = Role(UserStart, "new_users", "user-start method")


@dataclass(frozen=True)
class UserStartScorer:
    """Scores of a warm model, but of a user-start method for new users who took no trained item and have a profile.

    Args:
        observed: all users and items, with the warm model's scores.
        method: has learned.
        n_users: number of users that the warm model was trained on; they come first.
        n_trained: number of items that it was trained on; they come first.
    """

    observed: Observed
    method: UserStart
    n_users: int
    n_trained: int

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.observed.scorer.n_items

    @cached_property
    def _table(self) -> Float[Tensor, "rank items"]:
        return self.method.table(self.observed, self.n_users, self.n_trained).double()

    @cached_property
    def _degree(self) -> Int[Tensor, " users"]:
        """Number of trained items that each user took."""
        taken = self.observed.graph.interactions
        return taken.kept(taken.indices < self.n_trained).indptr.diff()

    @torch.no_grad()
    def scores(self, users: Int[Tensor, " batch"]) -> Float[Tensor, "batch items"]:
        """See `Scorer`; summed in float64, see `DotScorer`."""
        scores = self.observed.scorer.scores(users)
        starting = ((users >= self.n_users) & (self._degree[users] == 0)).nonzero()[:, 0]
        if len(starting):
            profiles = self.method.profiles(self.observed.graph, users[starting]).double()
            told = profiles.any(1)
            scores[starting[told]] = (profiles[told] @ self._table).to(scores.dtype)
        return scores


class WithUserStart(Model):
    """A model and a user-start method, as one model.

    A new user who has taken no trained item is scored by the method, if there is a profile; new items say too little of
    who takes them. Everybody else keeps the scores of the model: warm users, new users who took a trained item
    (fold-in), and new users of whom nothing is known (the average user, as a rule). Items are the model's affair: it
    may have a cold-start method for new ones.

    Args:
        warm: fitted, with or without a cold-start method.
        method: has learned beside it.
    """

    reads_content = True

    def __init__(self, warm: Model, method: UserStart):
        super().__init__(warm.schema)
        self.warm, self.method = warm, method

    def prepare(self, graph: Graph, features: Features) -> Graph:
        """See `Model`."""
        return self.warm.prepare(graph, features)

    def scorer(self, graph: Graph, features: Features) -> Scorer:
        """See `Model`; that of the warm model where every user is warm, else no `DotScorer`, whatever the model's."""
        warm, n_users = self.warm.scorer(graph, features), self.schema.n_users
        if graph.n_users == n_users:
            return warm
        return UserStartScorer(Observed(graph, features, warm), self.method, n_users, self.schema.n_items)

    def hyperparameters(self) -> dict[str, Any]:
        """Those of the warm model, and those of the method behind ``new_users.``."""
        return {**self.warm.hyperparameters(), **NEW_USERS.settings(self.method)}


def user_started(warm: Model, observed: Observed, method: UserStart, *, seed: int = 0) -> WithUserStart:
    """Let a user-start method learn beside a warm model.

    Args:
        warm: fitted; one that has a user-start method already gets this one in its place.
        observed: its prepared training graph, the content of the warm items, its scorer over them.
        method: changed in place.
        seed: of all that is random.

    Raises:
        ValueError: if something else than the trained users is observed.
    """
    if observed.graph.n_users != warm.schema.n_users:
        raise ValueError(f"a user-start method learns from the {warm.schema.n_users} trained users alone, got a graph "
                         f"of {observed.graph.n_users}; pass the prepared training graph.")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        method.to(observed.graph.device).learn(observed, torch.Generator().manual_seed(seed))
    return WithUserStart(apart(warm)[0], method.eval())


def apart(model: Model) -> tuple[Model, UserStart | None]:
    """A model without its user-start method, and the method, if it has one."""
    return (model.warm, model.method) if isinstance(model, WithUserStart) else (model, None)


def rejoined(model: Model, method: UserStart | None) -> Model:
    """A model with the user-start method that `apart` took off; it learned from warm users, and knows them still."""
    return model if method is None else WithUserStart(model, method)
