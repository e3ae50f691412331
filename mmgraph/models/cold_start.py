"""Items without history: the contract of what gives them scores beside any warm model, and the two as one model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmgraph.features.features import Features
from mmgraph.graph.graph import Graph
from mmgraph.graph.relation import Relation
from mmgraph.models.base import Model
from mmgraph.models.method import Method, Role
from mmgraph.models.scorers import DotScorer, Embeddings, Scorer


class Observed(NamedTuple):
    """What is there to read: in learning of the warm users and items alone, in scoring of all.

    Args:
        graph: prepared for the warm model.
        features: content of the graph's items.
        scorer: what the warm model says.
    """

    graph: Graph
    features: Features
    scorer: Scorer

    @property
    def vectors(self) -> Embeddings:
        """The warm model's vectors, for methods that are marked as `ColdStart.reads_vectors`."""
        assert isinstance(self.scorer, DotScorer), "marked as reads_vectors"
        return self.scorer.embeddings


class ColdStart(Method):
    """How items without history are scored, learned from the warm ones; goes with any warm model.

    The score of a user and a new item is the dot product of what `users` and `items` give. Both are row by row: what an
    item gets depends on its own content (and on who took it, where somebody did), never on other new items.

    Modules whose sizes depend on the data are made in `build`.

    Attributes:
        reads_vectors: whether it goes only with a warm model whose score is a dot product of vectors.
        random: whether what it learns depends on the seed.
    """

    reads_vectors: ClassVar[bool] = False
    random: ClassVar[bool] = False

    def build(self, dims: Mapping[str, int], width: int) -> None:
        """Make the modules; called before `learn`, and before a saved state is read.

        Args:
            dims: modality → width.
            width: of the warm model's vectors; 0 where it has none.
        """
        return None

    @abstractmethod
    def learn(self, observed: Observed, generator: torch.Generator) -> None:
        """Learn from warm users and items; what is learned becomes part of the state.

        Torch's default generator is seeded by the caller, for dropout and initial weights.
        """

    def users(self, observed: Observed, users: Int[Tensor, " batch"]) -> Float[Tensor, "batch rank"]:
        """Vectors of these users; by default the warm model's."""
        return observed.vectors.users[users]

    @abstractmethod
    def items(self, features: Features, takers: Relation) -> Float[Tensor, "items rank"]:
        """Vectors of items from their content.

        Args:
            features: one row per item.
            takers: (user, interacts, item): who took these items since; without edges where nobody did.

        Returns:
            Dense, or CSR where few numbers of a row are not zero.
        """


NEW_ITEMS = Role(ColdStart, "cold", "cold-start method")


@dataclass(frozen=True)
class Calibration(ABC):
    """Puts scores of new items on the scale of the warm ones, so that both share a list. Fields are plain numbers."""

    @abstractmethod
    def __call__(self, new: Float[Tensor, "batch new"],
                 warm: Float[Tensor, "batch warm"]) -> Float[Tensor, "batch new"]:
        """The scores of new items, calibrated; each by itself, given the user's scores of the warm items."""


def calibration_of(saved: Mapping[str, Any] | None) -> Calibration | None:
    """A calibration from its name and its fields.

    Raises:
        ValueError: for an unknown name.
    """
    if saved is None:
        return None
    found = {cls.__name__: cls for cls in Calibration.__subclasses__()}
    if saved["name"] not in found:
        raise ValueError(f"no calibration is called {saved['name']!r}; there are {', '.join(sorted(found))}.")
    return found[saved["name"]](**{name: value for name, value in saved.items() if name != "name"})


@dataclass(frozen=True)
class ColdScorer:
    """Scores of a warm model for the items it was trained on, and of a cold-start method for all others.

    Args:
        observed: all users and items, with the warm model's scores.
        method: has learned.
        items: vectors of the new items, dense or CSR; float64, so that no block of users casts them again.
        n_known: number of items that the warm model was trained on; they come first.
        calibration: of the new items' scores; none leaves them as they are.
    """

    observed: Observed
    method: ColdStart
    items: Float[Tensor, "new rank"]
    n_known: int
    calibration: Calibration | None = None

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.n_known + len(self.items)

    @torch.no_grad()
    def scores(self, users: Int[Tensor, " batch"]) -> Float[Tensor, "batch items"]:
        """See `Scorer`; summed in float64, see `DotScorer`."""
        scores = self.observed.scorer.scores(users)
        if len(self.items):
            new = products(self.method.users(self.observed, users), self.items).to(scores.dtype)
            scores[:, self.n_known:] = self.calibration(new, scores[:, :self.n_known]) if self.calibration else new
        return scores


def products(users: Float[Tensor, "users rank"], items: Float[Tensor, "items rank"]) -> Float[Tensor, "users items"]:
    """Dot products, summed in float64; the items' vectors dense or CSR."""
    if items.layout == torch.sparse_csr:
        return (items.double() @ users.double().T).T
    return users.double() @ items.double().T


class WithColdStart(Model):
    """A warm model and a cold-start method, as one model: scores of trained items come from the one, of new items from
    the other.

    Args:
        warm: fitted.
        method: has learned beside it.
        width: of the warm model's vectors, 0 where it has none; see `ColdStart.build`.
        calibration: see `ColdScorer`.
    """

    reads_content = True

    def __init__(self, warm: Model, method: ColdStart, *, width: int = 0, calibration: Calibration | None = None):
        super().__init__(warm.schema)
        self.warm, self.method, self.width, self.calibration = warm, method, width, calibration

    def prepare(self, graph: Graph, features: Features) -> Graph:
        """See `Model`.

        What a warm model that reads no content would make of new items by their content is asked for only if somebody
        took one: else nobody hears them, and their scores come from the method.
        """
        idle = not self.warm.reads_content and not graph.interactions.into(self.schema.n_items).n_edges
        return self.warm.prepare(graph, features.only() if idle else features)

    def scorer(self, graph: Graph, features: Features) -> Scorer:
        """See `Model`; a `DotScorer` where the method gives vectors of the warm model's space, uncalibrated."""
        n, warm = self.schema.n_items, self.warm.scorer(graph, features)
        takers = graph.interactions.into(n)
        with torch.no_grad():
            new = self.method.eval().items(features.rows(slice(n, None)), takers)
        if isinstance(warm, DotScorer) and type(self.method).users is ColdStart.users and self.calibration is None:
            users, items = warm.embeddings
            return DotScorer(Embeddings(users, torch.cat([items[:n], new.to(items.dtype)])))
        return ColdScorer(Observed(graph, features, warm), self.method, new.double(), n, self.calibration)

    def hyperparameters(self) -> dict[str, Any]:
        """Those of the warm model, and those of the method behind ``cold.``."""
        return {**self.warm.hyperparameters(), **NEW_ITEMS.settings(self.method)}


def cold_started(warm: Model, observed: Observed, method: ColdStart, *, seed: int = 0) -> WithColdStart:
    """Let a cold-start method learn beside a warm model.

    Args:
        warm: fitted.
        observed: its prepared training graph, the content of the warm items, its scorer over them.
        method: changed in place.
        seed: of all that is random.

    Raises:
        TypeError: if the method reads vectors and the model has none.
        ValueError: if something else than the trained items is observed.
    """
    if method.reads_vectors and not isinstance(observed.scorer, DotScorer):
        raise TypeError(f"{type(method).__name__} reads vectors, and {type(warm).__name__} has none; train a model "
                        f"whose score is a dot product, such as LightGCN, or choose a method that reads scores, such "
                        f"as KernelRidge.")
    if observed.graph.n_items != warm.schema.n_items or len(observed.features) != warm.schema.n_items:
        raise ValueError(f"a cold-start method learns from the {warm.schema.n_items} trained items alone, got a graph "
                         f"of {observed.graph.n_items} and {len(observed.features)} rows of features.")
    width = observed.scorer.embeddings.items.shape[1] if isinstance(observed.scorer, DotScorer) else 0
    device = observed.graph.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        method.build(observed.features.dims, width)
        method.to(device).train().learn(observed, torch.Generator().manual_seed(seed))
    return WithColdStart(warm, method.eval(), width=width)
