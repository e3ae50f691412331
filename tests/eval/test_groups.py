from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import planted
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmgraph.data import Dataset, Pairs, Split
from mmgraph.data.split import TRAIN, VALID, SplitRule
from mmgraph.eval.exposure import exposure
from mmgraph.eval.groups import (
    Groups,
    activity_groups,
    attribute_groups,
    exposure_ratio,
    group_means,
    group_recall,
    popularity_groups,
    presence_groups,
)
from mmgraph.features.features import from_arrays
from mmgraph.graph.graph import INTERACTS
from mmgraph.graph.relation import Relation

EVEN = Groups("item parity", "item", 6, {"even": np.array([0, 2, 4]), "odd": np.array([1, 3, 5]),
                                         "small": np.array([0, 1])})
nan = float("nan")


@dataclass(frozen=True)
class Fixed(SplitRule):
    """These pairs are validation, the others training."""

    valid: frozenset[tuple[int, int]]

    def assign(self, data, rng):
        pairs = zip(data.user.tolist(), data.item.tolist(), strict=True)
        return np.array([VALID if pair in self.valid else TRAIN for pair in pairs])


def split(train, n_users, n_items, valid=(), **columns):
    """Users and items without training interaction must have the largest numbers, or they are renumbered."""
    users, items = zip(*train, *valid, strict=True)
    names = [list(map(str, range(n))) for n in (n_users, n_items)]
    data = Dataset.from_frames(pa.table({"user": users, "item": items}), pa.table({"item": names[1], **columns}),
                               pa.table({"user": names[0]}))
    return Split.of(data, Fixed(frozenset(valid)))


def relation(pairs, n_users, n_items):
    users, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Relation.of(*INTERACTS, Pairs(users, items).matrix(n_users, n_items))


def members(groups):
    return {name: numbers.tolist() for name, numbers in groups.members.items()}


SKEWED = [(u, 0) for u in range(6)] + [(u, 1) for u in range(3)] + [(0, 2), (1, 3), (2, 4)]  # 6, 3, 1, 1, 1 of 12


def test_popularity_groups_hold_equal_shares_of_the_interactions():
    skewed = split(SKEWED, 7, 8, valid=[(0, 5), (6, 7)])  # items 5 to 7 are cold
    found = popularity_groups(skewed, 2)
    assert members(found) == {"0": [5, 6, 7], "1–3": [1, 2, 3, 4], "6": [0]}  # middles at 1.5, 4.5 and 9
    assert (found.kind, found.of, found.n, len(found)) == ("item popularity", "item", 8, 3)
    assert members(popularity_groups(skewed, 3)) == {"0": [5, 6, 7], "1": [2, 3, 4], "3": [1], "6": [0]}
    assert members(popularity_groups(skewed, 1)) == {"0": [5, 6, 7], "1–6": [0, 1, 2, 3, 4]}


def test_activity_groups_hold_equal_numbers_of_users():
    train = [(0, 0), (1, 0)] + [(2, i) for i in range(2)] + [(3, i) for i in range(9)]
    found = activity_groups(split(train, 6, 9, valid=[(4, 0)]), 2)
    assert members(found) == {"0": [4, 5], "1": [0, 1], "2–9": [2, 3]}
    assert (found.kind, found.of, found.n) == ("user activity", "user", 6)


def test_there_must_be_a_group():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        popularity_groups(split(SKEWED, 6, 5), 0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60, unique=True),
       st.integers(1, 6))
def test_groups_by_counts_are_a_partition_in_ascending_order(pairs, n):
    of = split(pairs, 10, 10)
    for found, numbers in ((popularity_groups(of, n), of.train.items), (activity_groups(of, n), of.train.users)):
        count = np.bincount(numbers, minlength=10)
        assert sorted(np.concatenate([*found.members.values()])) == list(range(10))
        levels = [np.unique(count[m]) for m in found.members.values()]
        assert all(a.max() < b.min() for a, b in pairwise(levels))
        assert [(name == "0") for name in found.members] == [bool((level == 0).all()) for level in levels]
        assert len(found) <= n + (count == 0).any()


def test_attribute_groups_of_items_and_users():
    of = split(SKEWED, 6, 5, genre=[["b", "a"], ["a"], [], None, ["b"]], maker=["x", "", "y", "x", None])
    found = attribute_groups(of, "genre")
    assert members(found) == {"a": [0, 1], "b": [0, 4], "(none)": [2, 3]}
    assert (found.kind, found.of, found.n) == ("item genre", "item", 5)
    assert members(attribute_groups(of, "maker")) == {"x": [0, 3], "y": [2], "(none)": [1, 4]}
    teams = attribute_groups(planted.split(), "team", of="user")
    assert (teams.kind, teams.of, teams.n) == ("user team", "user", 40)
    assert members(teams)["a"] == [*range(0, 40, 2)]
    assert "(none)" not in teams.members
    with pytest.raises(KeyError, match="no column 'colour'"):
        attribute_groups(of, "colour")


def test_a_value_of_the_name_none_joins_those_without():
    of = split(SKEWED, 6, 5, maker=["(none)", "x", None, "x", "x"])
    assert members(attribute_groups(of, "maker")) == {"(none)": [0, 2], "x": [1, 3, 4]}


def test_presence_groups_are_aligned_by_id():
    of = split(SKEWED, 6, 5)
    features = from_arrays(["4", "0", "3"], {"image": [[1.0], [2.0], [0.0]], "text": [[1.0]] * 3})
    found = presence_groups(of, features, "image")
    assert members(found) == {"with image": [0, 4], "without image": [1, 2, 3]}
    assert (found.kind, found.of, found.n) == ("item image", "item", 5)
    full = from_arrays(map(str, range(6)), {"profile": np.ones((6, 2))}, what="user")
    assert members(presence_groups(of, full, "profile")) == {"with profile": [0, 1, 2, 3, 4, 5]}
    with pytest.raises(KeyError, match="audio"):
        presence_groups(of, features, "audio")


def test_group_recall_by_hand():
    lists = torch.tensor([[0, 5, 2], [1, -1, -1], [-1, -1, -1]])
    held = relation([(0, 0), (0, 4), (0, 5), (0, 0), (1, 3), (1, 1), (1, 5)], 3, 6)  # (0, 0) is given twice
    found = group_recall(lists, held, EVEN)
    assert list(found) == ["even", "odd", "small"]
    for name, expected in (("even", [1 / 2, nan, nan]), ("odd", [1, 1 / 3, nan]), ("small", [1, 1, nan])):
        np.testing.assert_allclose(found[name], expected, rtol=1e-15)


def test_group_recall_equals_the_loop():
    rng = np.random.default_rng(0)
    lists, held = np.stack([rng.permutation(30)[:6] for _ in range(25)]), rng.random((25, 30)) < 0.2
    groups = Groups("item x", "item", 30, {f"{g}": np.flatnonzero(rng.random(30) < 0.3) for g in range(4)})
    found = group_recall(torch.from_numpy(lists), relation(np.argwhere(held), 25, 30), groups)
    for name, of in groups.members.items():
        wanted = [set(held[u].nonzero()[0]) & set(of) for u in range(25)]
        expected = [len(w & set(row)) / len(w) if w else nan for w, row in zip(wanted, lists, strict=True)]
        np.testing.assert_array_equal(found[name], expected)


def test_group_means_leave_out_what_is_undefined():
    teams = Groups("user team", "user", 5, {"a": np.array([0, 2]), "b": np.array([1, 3]), "c": np.array([4])})
    found = group_means(np.array([0.25, nan, 0.5, 0.75]), np.array([2, 1, 3, 0]), teams)
    assert found["a"] == 0.5
    assert found["b"] == 0.5
    assert np.isnan(found["c"])
    assert group_means(torch.tensor([1.0]), np.array([4]), teams)["c"] == 1


def test_exposure_ratio_by_hand():
    shown, taken = torch.tensor([4, 0, 4, 1, 1, 0]), torch.tensor([1, 2, 1, 0, 0, 0])
    expected = {"even": 0.9 / 0.5, "odd": 0.1 / 0.5, "small": 0.4 / 0.75}
    assert exposure_ratio(shown, taken, EVEN) == pytest.approx(expected)
    assert exposure_ratio(taken, taken, EVEN) == {"even": 1, "odd": 1, "small": 1}
    nobody = Groups("item x", "item", 6, {"untaken": np.array([3, 4]), "taken": np.array([0])})
    ratio = exposure_ratio(shown, taken, nobody)
    assert np.isnan(ratio["untaken"])
    assert ratio["taken"] == pytest.approx(0.4 / 0.25)
    assert np.isnan([*exposure_ratio(torch.zeros(6), taken, EVEN).values()]).all()


@given(st.lists(st.permutations(range(6)), min_size=1, max_size=6), st.integers(0, 99))
def test_shares_of_a_partition_add_up(lists, seed):
    taken = torch.from_numpy(np.random.default_rng(seed).integers(1, 5, 6))
    parity = Groups("item parity", "item", 6, {name: EVEN.members[name] for name in ("even", "odd")})
    ratio = exposure_ratio(exposure(torch.tensor(lists)[:, :3], 6), taken, parity)
    share = {name: taken[of].sum().item() / taken.sum().item() for name, of in parity.members.items()}
    assert sum(ratio[name] * share[name] for name in share) == pytest.approx(1, rel=1e-12)


def test_groups_of_the_wrong_kind_are_refused():
    users = Groups("user team", "user", 3, {"a": np.array([0])})
    held = relation([(0, 0)], 3, 6)
    with pytest.raises(ValueError, match="takes groups of 6 items, got 'user team': groups of 3 users"):
        group_recall(torch.zeros(3, 1, dtype=torch.long), held, users)
    with pytest.raises(ValueError, match="takes groups of 6 users, got 'item parity'"):
        group_means(np.zeros(1), np.zeros(1, dtype=np.int64), EVEN)
    with pytest.raises(ValueError, match="takes groups of 5 items, got 'item parity': groups of 6"):
        exposure_ratio(torch.ones(5), torch.ones(5), EVEN)
