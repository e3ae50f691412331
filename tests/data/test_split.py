import logging
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from mmgraph.data.dataset import Dataset
from mmgraph.data.protocols import ColdItems, ColdUsers, GlobalTime
from mmgraph.data.split import HISTORY, TEST, TRAIN, UNUSED, VALID, Pairs, Split, SplitRule

ROWS = {"user": [1, 1, 2, 3, 3, 3], "item": [10, 20, 20, 30, 40, 20], "time": [6, 5, 4, 3, 2, 1]}
CONTENT = {"item": [10, 20, 30, 40, 50], "text": ["ten", "twenty", "thirty", "forty", "fifty"]}


class Listed(SplitRule):
    """The parts as they are written down here, in the order of (user, item)."""

    __dataclass_fields__ = {}  # noqa: RUF012

    def __init__(self, *parts):
        self.parts = parts

    def assign(self, data, rng):
        return np.array(self.parts)


def data():
    return Dataset.from_frames(pa.table(ROWS), pa.table(CONTENT), pa.table({"user": [1, 2, 3], "age": [11, 22, 33]}),
                               time="time")


def ids(split, pairs):
    """Interactions by id."""
    users, items = split.data.users.names(pairs.users), split.data.items.names(pairs.items)
    return sorted(zip(map(int, users), map(int, items), strict=True))


@pytest.fixture
def split():
    """Trained: (3, 40) and (3, 30); user 1 and items 10, 20, 50 are cold."""
    return Split.of(data(), Listed(VALID, TEST, UNUSED, HISTORY, TRAIN, TRAIN), seed=5)


def test_warm_users_and_items_come_first_in_their_own_order(split):
    assert split.data.users.ids.to_pylist() == ["3", "1", "2"]
    assert split.data.items.ids.to_pylist() == ["30", "40", "10", "20", "50"]
    assert (split.n_warm_users, split.n_warm_items) == (1, 2)
    assert split.warm_users.tolist() == [True, False, False]
    assert split.warm_items.tolist() == [True, True, False, False, False]


def test_every_part_holds_its_own_interactions_by_id(split):
    assert ids(split, split.train) == [(3, 30), (3, 40)]
    assert ids(split, split.history) == [(3, 20)]
    assert ids(split, split.valid) == [(1, 10)]
    assert ids(split, split.unlock_test().test) == [(1, 20)]


def test_content_moves_with_its_item_and_times_with_their_interaction(split):
    names = {"10": "ten", "20": "twenty", "30": "thirty", "40": "forty", "50": "fifty"}
    assert split.data.item_content["text"].to_pylist() == [names[id_] for id_ in split.data.items.ids.to_pylist()]
    assert split.data.user_content["age"].to_pylist() == [33, 11, 22]
    users, items, times = zip(*sorted(zip(*ROWS.values(), strict=True)), strict=True)
    assert split.data.interactions["time"].to_pylist() == list(times) == [6, 5, 4, 1, 3, 2]
    assert split.data.users.names(split.data.user) == [str(u) for u in users]
    assert split.data.items.names(split.data.item) == [str(i) for i in items]


def test_a_data_set_is_not_changed_by_its_split():
    whole = data()
    before = whole.fingerprint
    Split.of(whole, Listed(VALID, TEST, TRAIN, TRAIN, TRAIN, TRAIN))
    assert whole.fingerprint == before
    assert whole.items.ids.to_pylist() == ["10", "20", "30", "40", "50"]


def test_held_out_items_do_not_say_which_are_in_test(split):
    assert split.data.items.names(split.held_out_items) == ["10", "20"]


def test_the_test_part_is_locked(split, caplog):
    with pytest.raises(PermissionError, match=r"the test part is locked, .* read it once: split.unlock_test\(\).test"):
        _ = split.test
    with caplog.at_level(logging.INFO):
        unlocked = split.unlock_test()
    assert f"test part of split {split.fingerprint} unlocked" in caplog.text
    assert len(unlocked.test.users) == 1
    assert not split.unlocked
    with pytest.raises(PermissionError):
        _ = split.test
    caplog.clear()
    with caplog.at_level(logging.INFO):
        unlocked.unlock_test()
    assert not caplog.text


def test_no_training_interaction_is_an_error():
    with pytest.raises(ValueError, match="leaves no training interaction of 6; hold out less"):
        Split.of(data(), Listed(VALID, TEST, TEST, TEST, TEST, HISTORY))


def test_says_what_it_is(split):
    assert repr(split) == ("Split(Listed, seed 5: train 2, history 1, valid 1, test 1 interactions; 1 of 3 users and "
                           "2 of 5 items are warm)")
    made = Split.of(data(), ColdUsers(0.4, reveal=1, holdout=0.0), seed=3)
    assert (made.name, made.parameters, made.seed) == ("ColdUsers", {"share": 0.4, "reveal": 1, "holdout": 0}, 3)


def test_a_data_set_splits_itself():
    assert data().split(ColdItems(0.4), seed=3).fingerprint == Split.of(data(), ColdItems(0.4), seed=3).fingerprint


class ListedElsewhere(Listed):
    """The same assignment by another protocol."""


def test_the_fingerprint_tells_data_rule_parameters_seed_and_assignment_apart():
    parts = [TRAIN, TRAIN, TRAIN, TRAIN, VALID, TEST]
    renamed = Dataset.from_frames(pa.table(ROWS | {"user": [1, 1, 2, 4, 4, 4]}), pa.table(CONTENT), time="time")
    one, other = Split.of(data(), GlobalTime(0.2, 0.2)), Split.of(data(), GlobalTime(0.2, 0.21))
    assert (one.part == other.part).all()
    base = Split.of(data(), Listed(*parts))
    others = [Split.of(data(), Listed(*parts), seed=1), Split.of(data(), Listed(*parts[:4], TEST, VALID)),
              Split.of(data(), ListedElsewhere(*parts)), Split.of(renamed, Listed(*parts)), one, other]
    assert len({base.fingerprint, *(s.fingerprint for s in others)}) == 7
    assert Split.of(data(), Listed(*parts)).fingerprint == base.fingerprint
    assert base.unlock_test().fingerprint == base.fingerprint


def test_the_fingerprint_does_not_depend_on_the_order_of_the_rows():
    order = [4, 2, 0, 5, 1, 3]
    shuffled = Dataset.from_frames(pa.table(ROWS).take(order), pa.table(CONTENT).take([3, 1, 4, 0, 2]), time="time")
    straight = Dataset.from_frames(pa.table(ROWS), pa.table(CONTENT), time="time")
    unsorted = replace(straight, interactions=straight.interactions.take(order))
    rule = GlobalTime(0.2, 0.2)
    assert Split.of(shuffled, rule).fingerprint == Split.of(straight, rule).fingerprint
    assert Split.of(unsorted, rule).part.tolist() != Split.of(straight, rule).part.tolist()
    assert Split.of(unsorted, rule).fingerprint == Split.of(straight, rule).fingerprint


def test_pairs_as_a_matrix_of_users_and_items():
    matrix = Pairs(np.array([2, 0, 2]), np.array([1, 0, 3])).matrix(3, 5)
    assert matrix.toarray().tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0]]
    assert matrix.dtype == np.float32


def test_blinded_has_no_test_interaction_and_the_same_numbers(split):
    blind = split.blinded()
    assert (blind.part != TEST).all()
    assert len(blind.data.interactions) == int((split.part != TEST).sum())
    assert blind.data.items.ids.equals(split.data.items.ids)
    assert blind.data.users.ids.equals(split.data.users.ids)
    for name in ("train", "history", "valid"):
        for one, other in zip(getattr(blind, name), getattr(split, name), strict=True):
            assert np.array_equal(one, other)
    assert np.array_equal(blind.held_out_items, split.held_out_items)
    assert (blind.fingerprint, blind.n_warm_items, blind.n_warm_users) == (
        split.fingerprint, split.n_warm_items, split.n_warm_users)


def test_blinded_cannot_be_unlocked_even_if_the_whole_was(split):
    for one in (split, split.unlock_test()):
        blind = one.blinded()
        with pytest.raises(PermissionError, match="locked"):
            _ = blind.test
        with pytest.raises(PermissionError, match="this split is blind"):
            blind.unlock_test()
        with pytest.raises(PermissionError, match="this split is blind"):
            replace(blind, seed=3).unlock_test()


def test_joined_trains_on_valid_and_says_so():
    split = Split.of(data(), Listed(TRAIN, VALID, TRAIN, TEST, VALID, TRAIN), seed=0)
    joined = split.joined()
    assert ids(joined, joined.train) == sorted(ids(split, split.train) + ids(split, split.valid))
    assert len(joined.valid.users) == 0
    assert ids(joined, joined.unlock_test().test) == ids(split, split.unlock_test().test)
    assert (split.n_warm_items, joined.n_warm_items) == (3, 4)
    assert joined.trains_on_valid
    assert not split.trains_on_valid
    assert joined.fingerprint != split.fingerprint
    assert set(joined.train.items) == set(range(joined.n_warm_items))
