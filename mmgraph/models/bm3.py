"""BM3: bootstrapped views instead of negatives; the views of an item's content are drawn to its place in the graph."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgraph.features.features import Features
from mmgraph.graph.graph import Graph, Schema
from mmgraph.models.base import Trained, Triples
from mmgraph.models.scorers import Embeddings
from mmgraph.nn.ids import IdTable
from mmgraph.nn.loss import l2_loss
from mmgraph.nn.modalities import PerModality
from mmgraph.nn.propagate import light_propagate


class BM3(Trained):
    r"""Zhou et al., "Bootstrap Latent Representations for Multi-modal Recommendation", WWW 2023, arXiv:2207.05969.

    .. math:: h_u = \bar h_u, \qquad h_i = \bar h_i + h_i^{(0)}, \qquad h_i^m = W_m x_i^m + b_m, \qquad
        s_{ui} = f(h_u)^\top f(h_i)

    .. math:: L = C(f(h_u), \dot h_i) + C(f(h_i), \dot h_u)
        + \sum_m [C(f(h_i^m), \dot h_i) + C(f(h_i^m), \dot h_i^m)] + \lambda (\lVert h_u \rVert^2 + \lVert h_i \rVert^2)

    :math:`\bar h`: LightGCN mean of the id vectors; :math:`f`: the predictor, one linear layer that all share;
    :math:`\dot h`: h after dropout, the target, through which no gradient flows; :math:`C(a, b) = 1 - \cos(a, b)`.
    No negatives: those of a batch are not read. Warm items are scored by ids alone, content forms only the predictor.

    A new item has no id vector; the mean of its :math:`h_i^m`, which training draws towards :math:`\dot h_i`, takes
    the place of :math:`h_i`. Cosines leave lengths free, so each :math:`h_i^m` counts with length 1, and the mean
    has the mean length of the trained items' :math:`h_i`. A new user starts at zero and receives what the items they
    took send; without any, the average trained user's vector.

    Deviations: the paper has no new items and gives them no vector; an item enters the terms of those modalities only
    that it has; as in the authors' code :math:`C` is :math:`1 - \cos` and the modal terms have a weight; the authors'
    code fine-tunes the raw features, here they are fixed. As there, :math:`\lambda` shrinks all vectors alike (means
    over users and over items of squared lengths; theirs are not squared): were it those of the batch, popular items
    would shrink most and, as cosines leave lengths free, rank last.

    Args:
        dim: width of the vectors.
        n_layers: LightGCN layers.
        dropout: fraction of the entries of a target that is zeroed, in [0, 1).
        modal_loss: weight of the terms of each modality; 1 in the paper, 2 in the authors' code.
        l2: :math:`2 \lambda`, weight of half the mean squared length of the propagated vectors.
    """

    reads_content = True

    def __init__(self, schema: Schema, *, dim: int = 64, n_layers: int = 1, dropout: float = 0.3,
                 modal_loss: float = 2.0, l2: float = 1e-2):
        super().__init__(schema)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is the fraction of a target's entries zeroed and must lie in [0, 1), got "
                             f"{dropout}; 0 leaves the targets whole.")
        self.dim, self.n_layers, self.dropout, self.modal_loss, self.l2 = dim, n_layers, dropout, modal_loss, l2
        self.user = IdTable(schema.n_users, dim)
        self.item = IdTable(schema.n_items, dim)
        self.project = PerModality({m: nn.Linear(size, dim) for m, size in schema.dims.items()})
        self.predict = nn.Linear(dim, dim)

    def forward(self, graph: Graph, features: Features) -> Embeddings:
        users, items = self._propagated(graph)
        return Embeddings(self.predict(users), self.predict(self._with_new(items, features)))

    def loss(self, graph: Graph, features: Features, batch: Triples) -> dict[str, Tensor]:
        (users, items), (u, i, _) = self._propagated(graph), batch
        l2 = l2_loss(users) + l2_loss(items)
        users, items = users[u], items[i]
        user_target, item_target = self._target(users), self._target(items)
        terms = {"user": _mismatch(self.predict(users), item_target).mean(),
                 "item": _mismatch(self.predict(items), user_target).mean(), "l2": self.l2 * l2}
        for name, project in self.project.items():
            has = features.present[name][i]
            content = project(features.x[name][i])
            share = self.modal_loss * has / has.sum().clamp(min=1)
            view = self.predict(content)
            terms[f"align_{name}"] = share @ _mismatch(view, item_target)
            terms[f"mask_{name}"] = share @ _mismatch(view, self._target(content))
        return terms

    def _propagated(self, graph: Graph) -> tuple[Tensor, Tensor]:
        start = self.item(graph.n_items)
        users, items = light_propagate(self.user(graph.n_users), start, graph, self.n_layers)
        return users, items + start

    def _target(self, vectors: Tensor) -> Tensor:
        return F.dropout(vectors.detach(), self.dropout, self.training)

    def _with_new(self, items: Tensor, features: Features) -> Tensor:
        """The trained items' vectors, then those of the new ones, from their content."""
        n = self.schema.n_items
        if len(items) == n:
            return items
        new = items[n:]
        for name, project in self.project.items():
            new = new + F.normalize(project(features.x[name][n:]), dim=1) * features.present[name][n:, None]
        return torch.cat([items[:n], F.normalize(new, dim=1) * items[:n].norm(dim=1).mean()])


def _mismatch(online: Tensor, target: Tensor) -> Tensor:
    r""":math:`1 - \cos`, row by row; 1 where a row is zero."""
    return 1 - (F.normalize(online, dim=1) * F.normalize(target, dim=1)).sum(1)
