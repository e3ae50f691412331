"""WarmUp: what a new item contains, and more and more who took it."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor

from mmgraph.cold.rehearsal import Rehearsal, rehearsed
from mmgraph.cold.taste import taste
from mmgraph.features.features import Features
from mmgraph.graph.relation import Relation, csr_tensor
from mmgraph.models.cold_start import NEW_ITEMS, ColdStart, Observed, products

WEIGHTS, SHRINKAGES = (0.5, 0.25, 1.0, 0.125, 2.0, 4.0, 0.0), (2.0, 0.5, 8.0)  # tried; the first of equals is chosen


class WarmUp(ColdStart):
    r"""Another method's score of a new item, and how much more than others the user is like its takers, which weighs
    the more, the more took it.

    .. math:: s_{ui} = c_{ui} + \rho\, \frac{n_i}{n_i + \kappa}\, \frac{\sigma_c}{\sigma_r}\, (h_u - \bar h) \cdot g_i,
              \qquad h_u = \frac{D x_u}{\lVert D x_u \rVert}, \qquad
              g_i = \frac{\sum_{v \in U_i} h_v}{\lVert \sum_{v \in U_i} h_v \rVert}, \qquad
              D_{jj} = (1 + p_j)^{-\delta / 2}

    :math:`c_{ui}`: score from content; :math:`x_u`: 0/1 row of trained items that a user took; :math:`p_j`: users who
    took a trained item; :math:`U_i`: trained users who took the new one since, :math:`n_i` of them; :math:`\bar h`:
    mean of all trained users. Without it an item with active takers is like everybody, which says nothing of the user.
    An item that nobody took has the score from content alone.

    :math:`\rho` and :math:`\kappa` that are not given are learned, see `mmgraph.cold.rehearsal`: the content method
    learns a second time without a fifth of the trained items, at most 1,000; these are scored as new ones, by it and by
    1, 2, 3, 5 and 10 of their takers, never by a pair that is judged. Of a small grid that holds :math:`\rho = 0` the
    values are chosen that have the best mean NDCG over these five, among those that are at none of them below content
    alone. There :math:`\sigma_c, \sigma_r` are found too: standard deviations within a user's list. The warm model
    knows these items, so that a content method that reads its scores is somewhat flattered.

    A user without history has the average user's; an item without content what the method gives it. The trained users'
    histories are part of the state; users who came later do not count as takers, and the content method hears of none.

    Memory: the new items' rows are sparse: what the method of content gives, and one number for each trained item that
    a taker took.

    Args:
        content: name of the method that scores content.
        settings: its hyper-parameters; its defaults where there are none.
        shrinkage: :math:`\kappa > 0`: at this number of takers their histories have half of their weight; learned by
            default.
        weight: :math:`\rho \ge 0`, their weight against content when many took the item; learned by default.
        damping: :math:`\delta \ge 0`, how far popular items count less in a history.
    """

    random = True  # the trained items that are taken for new

    strength: Tensor
    pace: Tensor
    indptr: Tensor
    indices: Tensor
    damp: Tensor
    mean: Tensor

    def __init__(self, *, content: str = "ContentProfile", settings: Mapping[str, Any] | None = None,
                 shrinkage: float | None = None, weight: float | None = None, damping: float = 0.25):
        super().__init__()
        if content == type(self).__name__:
            raise ValueError("content names the method that scores content, which cannot be WarmUp itself.")
        if (shrinkage is not None and shrinkage <= 0) or (weight is not None and weight < 0) or damping < 0:
            raise ValueError(f"shrinkage must be positive, weight and damping not negative, got {shrinkage}, {weight} "
                             f"and {damping}.")
        self.content, self.settings = content, dict(settings or {})
        self.shrinkage, self.weight, self.damping = shrinkage, weight, damping
        self.method = NEW_ITEMS.by_name(content, self.settings)

    def build(self, dims: Mapping[str, int], width: int) -> None:
        if self.method.reads_vectors and not width:
            raise TypeError(f"{self.content} reads vectors, and the warm model has none; train a model whose score is "
                            f"a dot product, such as LightGCN, or name a method that reads scores.")
        self.method.build(dims, width)
        self.width = width

    def keep(self, **learned: Tensor) -> None:
        """See `ColdStart`; what the method of content learned goes to it."""
        inner = {name.removeprefix("method."): t for name, t in learned.items() if name.startswith("method.")}
        self.method.keep(**inner)
        super().keep(**{name: tensor for name, tensor in learned.items() if not name.startswith("method.")})

    def learn(self, observed: Observed, generator: Generator) -> None:
        self.method.learn(observed, generator)
        taken = observed.graph.interactions
        damp = (1 + taken.in_degree.double())**(-self.damping / 2)
        mean = torch.from_numpy(_histories(taken.scipy(), damp).mean(axis=0)).to(damp)
        self.keep(indptr=taken.indptr, indices=taken.indices, damp=damp, mean=mean)
        trial = rehearsed(observed, generator)
        strength, pace = self._chosen(trial, *self._rehearse(trial, generator))
        self.keep(strength=damp.new_tensor(strength), pace=damp.new_tensor(pace))

    @torch.no_grad()
    def _rehearse(self, trial: Rehearsal, generator: Generator) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
        """Scores from content; and for each number of takers shown how like they are, and how many of each item."""
        nobody = next(iter(trial.shown.values()))
        nobody = nobody.kept(torch.zeros_like(nobody.indices, dtype=torch.bool))
        again = NEW_ITEMS.by_name(self.content, self.settings)
        again.build(trial.new.dims, self.width)
        with torch.enable_grad():
            again.to(self.damp.device).train().learn(trial.known, generator)
        content = products(again.eval().users(trial.known, trial.users), again.items(trial.new, nobody))
        taken = trial.known.graph.interactions
        histories = _histories(taken.scipy(), (1 + taken.in_degree.double())**(-self.damping / 2))
        mine, mean = histories[trial.users.cpu().numpy()], histories.mean(axis=0)
        alike = {}
        for k, shown in trial.shown.items():
            takers = _unit(shown.scipy().T.tocsr() @ histories)
            alike[k] = (torch.from_numpy((mine @ takers.T).toarray() - takers @ mean).to(content),
                        shown.in_degree.to(content))
        return content, alike

    def _chosen(self, trial: Rehearsal, content: Tensor,
                alike: dict[int, tuple[Tensor, Tensor]]) -> tuple[float, float]:
        """Factor and number of takers at half weight; see the class."""
        spreads = [float(x.std(1, correction=0).mean()) for x in (content, alike[max(alike)][0])]
        ratio = spreads[0] / spreads[1] if min(spreads, default=0) > 0 else 1.0
        alone = trial.worth(content)
        weights = WEIGHTS if self.weight is None else (self.weight,)
        best, found = (-np.inf, -np.inf), (0.0, 1.0)
        for weight, pace in product(weights, SHRINKAGES if self.shrinkage is None else (self.shrinkage,)):
            gains = [trial.worth(content + weight * ratio * n / (n + pace) * r) - alone for r, n in alike.values()]
            if (worth := (min(0.0, *gains), sum(gains))) > best:
                best, found = worth, (weight * ratio, pace)
        return found

    def users(self, observed: Observed, users: Int[Tensor, " batch"]) -> Float[Tensor, "batch rank"]:
        mine = F.normalize(taste(observed, users, len(self.damp), "history") * self.damp, dim=1) - self.mean
        return torch.cat([self.method.users(observed, users).double(), self.strength * mine], dim=1)

    def items(self, features: Features, takers: Relation) -> Float[Tensor, "items rank"]:
        by_item = takers.scipy()[:len(self.indptr) - 1].T.tocsr()
        taken = sp.csr_array((np.ones(len(self.indices)), self.indices.cpu().numpy(), self.indptr.cpu().numpy()),
                             shape=(by_item.shape[1], len(self.damp)))
        n = np.diff(by_item.indptr)[:, None]
        histories = _unit(by_item @ _histories(taken, self.damp)) * (n / (n + float(self.pace)))
        content = self.method.items(features, takers.kept(torch.zeros_like(takers.indices, dtype=torch.bool))).detach()
        both = sp.hstack([sp.csr_array(content.to_dense().double().cpu().numpy()), histories], format="csr")
        indptr, indices = (torch.from_numpy(a).to(self.indptr) for a in (both.indptr, both.indices))
        return csr_tensor(indptr, indices, torch.from_numpy(both.data).to(self.damp), both.shape)


def _histories(taken: sp.csr_array, damp: Float[Tensor, " known"]) -> sp.csr_array:
    """Each user's damped row, of length 1."""
    weight = damp.cpu().numpy()[taken.indices]
    return _unit(sp.csr_array((weight, taken.indices, taken.indptr), shape=taken.shape))


def _unit(rows: sp.csr_array) -> sp.csr_array:
    """Each row of length 1, but rows of zeros."""
    lengths = np.sqrt(np.maximum((rows * rows).sum(axis=1), 1e-24))
    return sp.csr_array(rows / lengths[:, None])
