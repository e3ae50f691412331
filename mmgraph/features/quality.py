"""Whether rows belong to their items, and which items are the same thing twice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import embedding_bag

from mmgraph.data.dataset import Dataset
from mmgraph.data.split import Pairs, Split
from mmgraph.data.types import Ints
from mmgraph.features.features import Features

BLOCK = 1024  # rows compared with all others at a time
MOST_READ = 2**18  # interactions that a permutation test reads, at most; beyond it users are drawn
REFERENCES = 256  # rows of other items with which each row's fit is compared
TINY = torch.finfo(torch.float32).tiny
SURE, SOME, ALL = 0.05, 0.5, 0.95  # p-value, and shares of displaced rows, beyond which a verdict warns


@dataclass(frozen=True)
class Alignment:
    """Whether the rows of a modality belong to their items, judged by what the same users take.

    Args:
        modality: the modality.
        observed: mean cosine of the (centred) rows of two items taken by the same user, each user counting once.
        null_mean: mean of the same over random permutations of the rows.
        null_sd: standard deviation of the same.
        z: (observed − null_mean) / null_sd; 0 where the null does not vary.
        p_value: probability of a value at least as large if rows and items had nothing to do with each other.
        displaced: estimated share of rows, in [0, 1], that fit no better than chance: misplaced, or saying little.
    """

    modality: str
    observed: float
    null_mean: float
    null_sd: float
    z: float
    p_value: float
    displaced: float

    @property
    def verdict(self) -> str:
        """What the numbers say, and what to do."""
        if self.p_value > SURE or self.displaced > ALL:
            return ("no sign that rows belong to their items: check that ids and rows have the same order "
                    "(contact_sheet shows it) before training on them")
        if self.displaced > SOME:
            return (f"rows fit, but about {self.displaced:.0%} of them no better than chance: weak features or a part "
                    f"displaced; look at the items with the smallest fit(...) on a contact_sheet")
        return "rows belong to their items"


class Group(NamedTuple):
    """Items with (almost) the same row, and the smallest cosine that linked two of them; 1 for equal rows."""

    ids: list[str]
    cosine: float


def alignment(features: Features, of: Split | Dataset, *, permutations: int = 100,
              seed: int = 0) -> dict[str, Alignment]:
    r"""Test by permutation whether row i belongs to item i, per modality.

    .. math:: T = \frac{1}{|U|}\sum_u \frac{\lVert\sum_{i \in u} z_i\rVert^2 - \sum_{i \in u}\lVert z_i\rVert^2}
              {n_u (n_u - 1)}, \qquad p = \frac{1 + \#\{T_\pi \ge T\}}{1 + \#\pi}

    :math:`z`: centred rows of unit length; :math:`\pi` permutes the rows among the items that have interactions and the
    modality. Exact up to `MOST_READ` interactions; beyond them, exact for users drawn at random.

    Args:
        features: of the items.
        of: a split, of which only training interactions are read, or a data set, of which all are.
        permutations: how many, at least 1; p cannot be smaller than 1 / (1 + permutations).
        seed: of permutations and draws.

    Raises:
        ValueError: if no user took two items that have the modality.

    Source: permutation p-value: Phipson & Smyth 2010, arXiv:1603.05766; share of true nulls: Storey 2002,
        doi:10.1111/1467-9868.00346.
    """
    if permutations < 1:
        raise ValueError(f"permutations must be at least 1, got {permutations}.")
    return {name: _tested(features, taken(features, of, name), name, permutations, seed) for name in features.x}


def fit(features: Features, of: Split | Dataset, modality: str, *, seed: int = 0) -> Float[Tensor, " nodes"]:
    """How well each row fits what its item is taken with: the share of (drawn) other items' rows that fit less well.

    For rows that have nothing to do with their item it is uniform in [0, 1]; NaN where the item lacks the modality or
    is never taken together with another that has it. Raises as `alignment` does.
    """
    return _fit(features, taken(features, of, modality), modality, np.random.default_rng(seed))


def taken(features: Features, of: Split | Dataset, modality: str) -> sp.csr_array:
    """User × row matrix of ones: who took which items that have the modality; only users with two, else ValueError."""
    pairs, data = (of.train, of.data) if isinstance(of, Split) else (Pairs(of.user, of.item), of)
    rows = features.ids.find(data.items.ids)[pairs.items]
    kept = (rows >= 0) & features.present[modality].cpu().numpy()[rows]
    matrix = Pairs(pairs.users[kept], rows[kept]).matrix(len(data.users), len(features))
    matrix.sum_duplicates()
    matrix = matrix[np.diff(matrix.indptr) >= 2]
    if not matrix.shape[0]:
        raise ValueError(f"no user took two {features.ids.what}s that have {modality}, so nothing says whether rows "
                         f"are in place; check that the ids of features and data are the same kind of id.")
    return matrix


def alignment_table(found: Mapping[str, Alignment]) -> str:
    """The numbers and the verdict, one line per modality."""
    return "\n".join([f"{'modality':12} {'observed':>9} {'null':>16} {'z':>8} {'p':>7} {'displaced':>9}  verdict", *(
        f"{a.modality:12} {a.observed:9.4f} {a.null_mean:8.4f}±{a.null_sd:.5f} {a.z:8.1f} {a.p_value:7.3f} "
        f"{a.displaced:9.0%}  {a.verdict}" for a in found.values())])


def exact_duplicates(features: Features, modality: str) -> list[Group]:
    """Items whose rows are equal in every value, largest group first."""
    rows = features.present[modality].nonzero()[:, 0].cpu().numpy()
    return _groups(features, rows, _first_equal(features.x[modality][rows]), np.ones(len(rows)))


def near_duplicates(features: Features, modality: str, threshold: float = 0.98) -> list[Group]:
    """Items whose rows have a cosine of at least ``threshold`` in (0, 1], largest group first; exact, rows² · width.

    Groups are chains: if a is near b and b near c, all three are one group. Rows are compared as they are: where all of
    them point the same way (values that are never negative), pass standardised features.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is a cosine and must lie in (0, 1], got {threshold}.")
    rows = features.present[modality].nonzero()[:, 0].cpu().numpy()
    x = features.x[modality][rows].cpu().float()
    distinct, number = np.unique(_first_equal(x), return_inverse=True)
    label, lowest = _linked(_unit(x[distinct]), threshold)
    return _groups(features, rows, label[number], lowest[label[number]])


def duplicate_report(groups: Iterable[Group], most: int = 20) -> str:
    """The groups as text, and what to do about them."""
    groups = list(groups)
    if not groups:
        return "no duplicates."
    lines = [f"{len(g.ids):6} items, cosine ≥ {g.cosine:.4f}: {', '.join(g.ids[:6])}{' …' if len(g.ids) > 6 else ''}"
             for g in groups[:most]]
    more = [f"… and {len(groups) - most} more groups"] if len(groups) > most else []
    advice = (f"{len(groups)} groups, {sum(len(g.ids) for g in groups)} items. Mark a large one (placeholder) missing; "
              f"merge a small one (one product, several ids), or keep it in one part of the split.")
    return "\n".join([advice, *lines, *more])


def _tested(features: Features, user_rows: sp.csr_array, name: str, permutations: int, seed: int) -> Alignment:
    rng = np.random.default_rng(seed)
    fits = _fit(features, user_rows, name, rng)
    low = 2 * float((fits < 0.5).sum() / (~fits.isnan()).sum())  # by chance half lie below the middle, else hardly any
    if user_rows.nnz > MOST_READ:
        order = rng.permutation(user_rows.shape[0])
        enough = np.searchsorted(np.diff(user_rows.indptr)[order].cumsum(), MOST_READ) + 1
        user_rows = user_rows[np.sort(order[:enough])]
    rows, columns = np.unique(user_rows.indices, return_inverse=True)
    z, indptr, at = _centred(features, name, rows), torch.from_numpy(user_rows.indptr).long(), torch.from_numpy(columns)
    observed = _together(z, at, indptr)
    null = np.array([_together(z, torch.from_numpy(rng.permutation(len(rows)))[at], indptr)
                     for _ in range(permutations)])
    sd = float(null.std())
    p = (1 + (null >= observed - 1e-7).sum()) / (1 + permutations)  # rounding must not break a tie
    return Alignment(name, observed, float(null.mean()), sd, (observed - float(null.mean())) / sd if sd > 1e-9 else 0.0,
                     float(p), min(1.0, low))


def _together(z: Tensor, rows: Int[Tensor, " taken"], indptr: Tensor) -> float:
    """Mean over users of the mean pairwise cosine of their rows."""
    total, own = torch.zeros((), dtype=torch.float64), z.square().sum(1)
    for start in range(0, len(indptr) - 1, BLOCK):
        ends = indptr[start: start + BLOCK + 1]
        some, n = rows[ends[0]: ends[-1]], ends.diff().double()
        sums = embedding_bag(some, z, ends[:-1] - ends[0], mode="sum").double().square().sum(1)
        selves = embedding_bag(some, own[:, None], ends[:-1] - ends[0], mode="sum")[:, 0].double()
        total += ((sums - selves) / (n * (n - 1))).sum()
    return float(total) / (len(indptr) - 1)


def _fit(features: Features, user_rows: sp.csr_array, name: str, rng: np.random.Generator) -> Tensor:
    """See `fit`. An item's company: the mean over its users of the mean of their other rows, less the items' mean."""
    rows = np.unique(user_rows.indices)
    z = _centred(features, name, rows)
    user_items = user_rows[:, rows]
    weight = sp.csr_array(user_items / (np.diff(user_items.indptr) - 1)[:, None])  # 1 / (n_u − 1)
    company = np.zeros(z.shape, dtype=np.float32)
    for start in range(0, weight.shape[0], 8 * BLOCK):
        block = slice(start, start + 8 * BLOCK)
        company += weight[block].T @ (user_items[block] @ z.numpy())
    company -= np.asarray(weight.sum(0))[:, None] * z.numpy()  # an item is not its own company
    around = torch.from_numpy(company / np.asarray(user_items.sum(0))[:, None])
    around -= around.mean(0)  # what popular items share says nothing about one of them
    others = z[torch.from_numpy(rng.choice(len(z), min(REFERENCES, len(z)), replace=False))]
    own, theirs = (z * around).sum(1, keepdim=True), around @ others.T
    found = torch.full((len(features),), torch.nan)
    found[rows] = ((theirs < own).float() + (theirs == own).float() / 2).mean(1)
    return found


def _centred(features: Features, name: str, rows: Ints) -> Float[Tensor, "rows dim"]:
    """These rows less their mean, to unit length; a row that equals the mean is zero."""
    x = features.x[name][torch.from_numpy(rows)].cpu().float()
    return _unit(x.sub_(x.mean(0, dtype=torch.float64).float()))


def _unit(x: Tensor) -> Tensor:
    x = x / x.abs().amax(1, keepdim=True).clamp(min=TINY)  # squares neither overflow nor vanish
    return x / x.norm(dim=1, keepdim=True).clamp(min=TINY)


def _first_equal(x: Tensor) -> Ints:
    """Number of the first row that equals each row."""
    first: dict[bytes, int] = {}
    values = x.cpu().float().numpy() + np.float32(0)  # −0.0 becomes 0.0
    return np.array([first.setdefault(row.tobytes(), n) for n, row in enumerate(values)], dtype=np.int64)


def _linked(unit: Float[Tensor, "rows dim"], threshold: float) -> tuple[Ints, np.ndarray]:
    """Group of each row, and per group the smallest cosine at or above the threshold (1 for a row alone)."""
    label, lowest, n = np.arange(len(unit)), np.ones(len(unit)), len(unit)
    for start in range(0, n, BLOCK):
        cosine = unit[start: start + BLOCK] @ unit[start:].T
        a, b = (cosine.triu(1) >= threshold - 1e-6).nonzero(as_tuple=True)
        if not len(a):
            continue
        ends, values = (label[a.numpy() + start], label[b.numpy() + start]), cosine[a, b].clamp(max=1).numpy()
        _, joined = connected_components(sp.csr_array((np.ones(len(a)), ends), shape=(n, n)), directed=False)
        smallest = np.ones(n)
        np.minimum.at(smallest, joined[np.arange(n)], lowest)
        np.minimum.at(smallest, joined[ends[0]], values)
        label, lowest = joined[label].astype(np.int64), smallest
    return label, lowest


def _groups(features: Features, rows: Ints, label: Ints, lowest: np.ndarray) -> list[Group]:
    """Rows of the same label, where there are two or more."""
    order = np.argsort(label, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    parts = sorted((p for p in parts if len(p) > 1), key=lambda p: (-len(p), p[0]))
    return [Group(features.ids.names(rows[part]), float(lowest[part[0]])) for part in parts]
