"""Selection of feature columns, fitted on training items and applied to all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from mmgraph.data.dataset import Dataset
from mmgraph.data.split import Split
from mmgraph.data.types import Bools, Ints
from mmgraph.features.features import Features
from mmgraph.features.normalise import fit_rows, mapped, moments
from mmgraph.features.quality import taken

BINS = 8  # quantile bins per column
PAIRS = 2**16  # pairs of items that are drawn
BLOCK = 64  # columns looked at together


@dataclass(frozen=True)
class Columns:
    """Chosen columns per modality. Serves items that did not exist when they were chosen.

    Args:
        name: how they were chosen, noted in the meta of the features it makes.
        kept: modality → numbers of the columns, ascending.
        width: modality → number of columns before.
    """

    name: str
    kept: Mapping[str, Int[Tensor, " _"]]
    width: Mapping[str, int]

    def apply(self, features: Features) -> Features:
        """Only these columns; absent rows stay zero, a present row left with zeros gets `normalise.FAINT` entries.

        Raises:
            KeyError: for a modality that was not fitted.
            ValueError: for a modality of another width.
        """
        if unknown := set(features.x) - set(self.kept):
            raise KeyError(f"{self.name} was not fitted on {sorted(unknown)}, only on {sorted(self.kept)}; "
                           f"choose with features.only(...).")
        return mapped(features, self.name, self._map)

    def _map(self, modality: str, x: Tensor) -> Tensor:
        if x.shape[1] != self.width[modality]:
            raise ValueError(f"{self.name} was fitted on {self.width[modality]}-d {modality} features, got "
                             f"{x.shape[1]}-d; use the same encoder for both.")
        return x[:, self.kept[modality].to(x.device)]

    def state(self) -> dict[str, Tensor]:
        """All that was learned, as tensors by name, for safetensors."""
        return {**{f"kept/{m}": kept for m, kept in self.kept.items()},
                **{f"width/{m}": torch.tensor(width) for m, width in self.width.items()}}

    @classmethod
    def from_state(cls, name: str, state: Mapping[str, Tensor]) -> "Columns":
        """The inverse of `state`."""
        def part(of: str) -> dict[str, Tensor]:
            return {key.removeprefix(f"{of}/"): t for key, t in state.items() if key.startswith(f"{of}/")}
        return cls(name, part("kept"), {m: int(width) for m, width in part("width").items()})


def by_variance(features: Features, keep: int | float, fit_on: Iterable[object] | Bools | Tensor) -> Columns:
    """Choose the columns whose values vary most. Depends on their scale: pass features of one scale, not standardised.

    Args:
        features: of any nodes.
        keep: how many columns of each modality, or the fraction of them in (0, 1].
        fit_on: ids, or a bool mask over the rows: the training nodes. Rows of others are never read.

    Raises:
        KeyError: for an unknown id.
        ValueError: if no row to fit on has a modality, or ``keep`` is out of range.
    """
    scores = {}
    for name, x, rows in fit_rows(features, fit_on):
        _, squares = moments(x, rows, lambda centred: centred.square().sum(0))
        scores[name] = squares.cpu()
    return _best(f"variance({keep})", scores, keep)


def by_mutual_information(features: Features, of: Split | Dataset, keep: int | float, *, seed: int = 0) -> Columns:
    """Choose the columns that say most about what is taken together; see `mutual_information`.

    Args:
        features: of the items.
        of: a split, of which only training interactions and their items are read, or a data set, of which all are.
        keep: how many columns of each modality, or the fraction of them in (0, 1].
        seed: of the draws.

    Raises:
        ValueError: if no user took two items that have a modality, or ``keep`` is out of range.
    """
    return _best(f"mutual_information({keep})", mutual_information(features, of, seed=seed), keep)


def mutual_information(features: Features, of: Split | Dataset, *, seed: int = 0) -> dict[str, Float[Tensor, " _"]]:
    r"""What a column tells of two items about whether they are taken together, in nats, in [0, ln 2].

    .. math:: I(S; C) = H\left(\tfrac{p_1 + p_0}{2}\right) - \tfrac{1}{2} H(p_1) - \tfrac{1}{2} H(p_0)

    :math:`S`: both items lie in the same quantile bin of the column; :math:`C`: the same user took both;
    :math:`p_1, p_0`: the share of :math:`S` among pairs with and without :math:`C`; :math:`H`: the entropy of a coin.
    Plug-in estimate from `PAIRS` pairs of either kind: a user at random, then two of their items; and the same items
    paired anew at random, so that popularity alone informs about nothing. A column without any relation gets about
    1 / (4 · PAIRS), a constant one −1.

    Raises:
        ValueError: if no user took two items that have a modality.

    Source: mutual information as a filter: Battiti 1994, doi:10.1109/72.298224.
    """
    return {name: _informative(features, taken(features, of, name), name, seed) for name in features.x}


def _informative(features: Features, user_rows: sp.csr_array, name: str, seed: int) -> Float[Tensor, " _"]:
    rows, at = np.unique(user_rows.indices, return_inverse=True)
    together, apart = _pairs(at, user_rows.indptr, np.random.default_rng(seed))
    x, scores = features.x[name], []
    index = torch.from_numpy(rows)[:, None].to(x.device)
    for columns in torch.arange(x.shape[1]).split(BLOCK):
        bins = _binned(x[index, columns.to(x.device)].cpu().float().T.contiguous())
        p1, p0 = ((bins[:, a] == bins[:, b]).double().mean(1) for a, b in (together, apart))
        score = _entropy((p1 + p0) / 2) - (_entropy(p1) + _entropy(p0)) / 2
        scores.append(score.clamp(min=0).masked_fill((bins == bins[:, :1]).all(1), -1))
    return torch.cat(scores).float()


def _pairs(items: Ints, indptr: Ints, rng: np.random.Generator) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Pairs taken by one user, and the same items paired at random; no item with itself."""
    user = rng.integers(0, len(indptr) - 1, PAIRS)
    n = np.diff(indptr)[user]
    one, other = rng.integers(0, n), rng.integers(0, n - 1)
    other += other >= one
    a, b = items[indptr[user] + one], items[indptr[user] + other]
    anew = rng.permutation(b)
    differ = a != anew
    pairs = [torch.from_numpy(v) for v in (a, b, a[differ], anew[differ])]
    return (pairs[0], pairs[1]), (pairs[2], pairs[3])


def _binned(values: Float[Tensor, "columns rows"]) -> UInt8[Tensor, "columns rows"]:
    """The quantile bin of each value. The least value has a bin of its own, so that a mostly zero column has two."""
    quantiles = torch.linspace(0, values.shape[1] - 1, BINS + 1)[:-1].long()
    edges = values.sort(dim=1).values[:, quantiles].contiguous()
    return torch.searchsorted(edges, values).to(torch.uint8)


def _entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p) - torch.xlogy(1 - p, 1 - p)


def _best(name: str, scores: Mapping[str, Tensor], keep: int | float) -> Columns:
    """The columns of the largest scores, ties to the smaller number."""
    kept = {}
    for modality, score in scores.items():
        n = _count(keep, len(score), modality)
        kept[modality] = score.sort(descending=True, stable=True).indices[:n].sort().values
    return Columns(name, kept, {modality: len(score) for modality, score in scores.items()})


def _count(keep: int | float, width: int, modality: str) -> int:
    if isinstance(keep, bool) or not 0 < keep <= (1 if isinstance(keep, float) else width):
        raise ValueError(f"keep must be a number of columns in [1, {width}] ({modality} has {width}) or a fraction in "
                         f"(0, 1], got {keep!r}.")
    return max(1, round(keep * width)) if isinstance(keep, float) else keep
