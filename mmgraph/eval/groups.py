"""Groups of items and of users, and whether a ranking serves them alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from mmgraph.data.split import Split
from mmgraph.data.types import Floats, Ints
from mmgraph.eval.exposure import list_matrix
from mmgraph.features.features import Features
from mmgraph.graph.attributes import memberships
from mmgraph.graph.relation import Relation

Node = Literal["item", "user"]
NONE = "(none)"  # the group of those without a value


@dataclass(frozen=True)
class Groups:
    """Named sets of items or of users, which may overlap.

    Args:
        kind: what they go by, the node type first, such as ``item popularity``.
        of: what the members are.
        n: number of items, or users, of the split.
        members: name → their numbers in the split, ascending.
    """

    kind: str
    of: Node
    n: int
    members: Mapping[str, Ints]

    def __len__(self) -> int:
        return len(self.members)

    def matrix(self) -> sp.csc_array:
        """Node × group matrix of ones (float64)."""
        numbers = [*self.members.values()]
        starts = np.cumsum([0, *map(len, numbers)])
        rows = np.concatenate([np.empty(0, np.int64), *numbers])
        return sp.csc_array((np.ones(len(rows)), rows, starts), shape=(self.n, len(numbers)))


def popularity_groups(split: Split, n: int = 5) -> Groups:
    """Items by their number of training interactions, each group with about 1/n of all interactions.

    Items of equal number are never torn apart, so there may be fewer than n groups. Names say the range: ``1–4``; the
    cold items are the group ``0``.
    """
    count = np.bincount(split.train.items, minlength=len(split.data.items))
    return Groups("item popularity", "item", len(count), _buckets(count, n, weight=count))


def activity_groups(split: Split, n: int = 5) -> Groups:
    """Users by their number of training interactions, each group with about 1/n of the warm users.

    Users of equal number are never torn apart, so there may be fewer than n groups. Names say the range: ``1–4``; the
    cold users are the group ``0``.
    """
    count = np.bincount(split.train.users, minlength=len(split.data.users))
    return Groups("user activity", "user", len(count), _buckets(count, n, weight=np.ones_like(count)))


def attribute_groups(split: Split, column: str, of: Node = "item") -> Groups:
    """Items, or users, by the value of a column of strings or lists of strings; ``(none)`` are those without a value.

    Raises:
        KeyError: if there is no such column.
        TypeError: if it holds something else.
    """
    content = split.data.item_content if of == "item" else split.data.user_content
    rows, numbers, values = memberships(content, column, content.num_rows)
    members = {name: rows[numbers == number] for number, name in enumerate(values.ids.to_pylist())}
    without = np.setdiff1d(np.arange(content.num_rows), rows)
    if len(without):
        members[NONE] = np.union1d(members.get(NONE, without), without)
    return Groups(f"{of} {column}", of, content.num_rows, members)


def presence_groups(split: Split, features: Features, modality: str) -> Groups:
    """The split's items (or users, if the features are theirs) with and without a modality; aligned by id.

    Raises:
        KeyError: if the features have no such modality.
    """
    of: Node = "user" if features.ids.what == "user" else "item"
    nodes = split.data.users if of == "user" else split.data.items
    present = features.only(modality).aligned(nodes).present[modality].cpu().numpy()
    members = {f"with {modality}": present.nonzero()[0], f"without {modality}": (~present).nonzero()[0]}
    return Groups(f"{of} {modality}", of, len(nodes), {name: m for name, m in members.items() if len(m)})


def group_recall(lists: Int[Tensor, "users k"], held: Relation,
                 groups: Groups) -> dict[str, Float[Tensor, " users"]]:
    """Recall of the held-out items of each group of items: those in the list over all, one number per user.

    Args:
        lists: item numbers, best first, −1 for none.
        held: held-out interactions, one row per list.
        groups: of items.

    Returns:
        Group → values in [0, 1]; NaN for a user without held-out items in the group.

    Raises:
        ValueError: if the groups are of users, see `group_means`.
    """
    _check(groups, "item", held.n_target)
    relevant = held.scipy().astype(bool).astype(np.float64)
    member = groups.matrix()
    hits, wanted = ((m @ member).tocsc() for m in (relevant.multiply(list_matrix(lists, held.n_target)), relevant))
    return {name: torch.from_numpy(_ratio(*(m[:, [g]].toarray()[:, 0] for m in (hits, wanted)))).to(lists.device)
            for g, name in enumerate(groups.members)}


def group_means(values: Float[Tensor, " users"] | Floats, users: Ints, groups: Groups) -> dict[str, float]:
    """Mean of a per-user value over each group of users, NaN values left out; NaN where none is left.

    Args:
        values: one per user.
        users: number of the user of each value.
        groups: of users.

    Raises:
        ValueError: if the groups are of items, see `group_recall`.
    """
    _check(groups, "user", groups.n)
    value = np.full(groups.n, np.nan)
    value[users] = np.asarray(values)
    known = {name: value[members][~np.isnan(value[members])] for name, members in groups.members.items()}
    return {name: float(found.mean()) if len(found) else float("nan") for name, found in known.items()}


def exposure_ratio(exposure: Real[Tensor, " items"], interactions: Real[Tensor, " items"],
                   groups: Groups) -> dict[str, float]:
    """Share of the exposure that each group of items gets, over its share of the interactions.

    Args:
        exposure: of every item, see `mmgraph.eval.exposure`.
        interactions: held-out (or training) interactions of every item: the exposure that it deserves.
        groups: of items.

    Returns:
        Group → value of at least 0: 1 is fair, below 1 the group is shown too little; NaN for a group without
        interactions, and for all if nothing is shown.

    Source: Singh & Joachims 2018, doi:10.1145/3219819.3220088 (exposure over merit).
    Deviation: every place in a list counts alike.
    """
    _check(groups, "item", len(exposure))
    shown, deserved = (t.cpu().double().numpy() for t in (exposure, interactions))
    shares = (_ratio(of @ groups.matrix(), np.full(len(groups), of.sum())) for of in (shown, deserved))
    return dict(zip(groups.members, _ratio(*shares).tolist(), strict=True))


def _buckets(count: Ints, n: int, weight: Ints) -> dict[str, Ints]:
    """Nodes by count; the group of a count is the n-th part of the total weight in which its middle lies."""
    if n < 1:
        raise ValueError(f"the number of groups must be at least 1, got {n}.")
    level = np.unique(count[count > 0], return_inverse=True)[1]
    mass = np.bincount(level, weights=weight[count > 0])
    middle = (mass.cumsum() - mass / 2) / mass.sum()
    bucket = np.full(len(count), -1)
    bucket[count > 0] = (middle * n).astype(np.int64)[level]
    members = (np.flatnonzero(bucket == b) for b in np.unique(bucket))
    return {_range(count[m]): m for m in members}


def _range(count: Ints) -> str:
    low, high = count.min(), count.max()
    return f"{low}" if low == high else f"{low}–{high}"


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _check(groups: Groups, of: Node, n: int) -> None:
    if groups.of != of or groups.n != n:
        raise ValueError(f"this takes groups of {n} {of}s, got {groups.kind!r}: groups of {groups.n} {groups.of}s; "
                         f"group_recall and exposure_ratio are for items, group_means for users.")
