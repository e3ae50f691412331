from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.data.dataset import Dataset
from mmgraph.data.protocols import ColdItems, ColdUsers, Fold, Given, GlobalTime, LeaveLastOut, RandomPerUser
from mmgraph.data.raw import Raw
from mmgraph.data.split import HISTORY, TEST, TRAIN, VALID, Split

RULES = [RandomPerUser(), LeaveLastOut(), GlobalTime(), ColdItems(), ColdUsers(), ColdUsers(reveal=2), Fold()]


def of(users, items=None, **columns):
    items = range(len(users)) if items is None else items
    return Dataset.from_frames(pa.table({"user": users, "item": items, **columns}), **{name: name for name in columns})


def random_data(seed=0, n=500, n_users=30, n_items=40):
    rng = np.random.default_rng(seed)
    pairs = np.unique(rng.integers(0, [n_users, n_items], (n, 2)), axis=0)
    return of(pairs[:, 0], pairs[:, 1], time=rng.integers(0, 30, len(pairs)))


def assigned(rule, data, seed=0):
    return rule.assign(data, np.random.default_rng(seed))


def by_id(data, part, *kinds):
    """The (user, item) ids of these parts."""
    rows = np.isin(part, kinds)
    return set(zip(data.users.names(data.user[rows]), data.items.names(data.item[rows]), strict=True))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_interaction_has_one_part_and_the_seed_decides(rule):
    data = random_data()
    part = assigned(rule, data)
    assert part.shape == (len(data),)
    assert set(part) <= {TRAIN, HISTORY, VALID, TEST}
    assert {TRAIN, VALID, TEST} <= set(part)
    assert (part == assigned(rule, data)).all()
    drawn = not isinstance(rule, GlobalTime)
    assert (part != assigned(rule, data, seed=1)).any() == drawn
    assert Split.of(data, rule, 0).fingerprint == Split.of(data, rule, 0).fingerprint
    assert Split.of(data, rule, 0).fingerprint != Split.of(data, rule, 1).fingerprint


@pytest.mark.parametrize(("n", "valid", "test"), [(1, 0, 0), (2, 0, 0), (3, 1, 1), (9, 1, 1), (10, 1, 1), (14, 1, 1),
                                                  (15, 1, 2), (20, 2, 2), (25, 2, 3), (35, 3, 4)])
def test_the_benchmarks_rule_per_user(n, valid, test):
    part = assigned(RandomPerUser(), of(["a"] * n))
    assert ((part == VALID).sum(), (part == TEST).sum()) == (valid, test)
    assert (part == TRAIN).sum() == n - valid - test


def test_share_and_few_of_the_random_rule():
    users = np.repeat(["a", "b", "c"], [4, 3, 9])
    part = assigned(RandomPerUser(share=0.5, few=4), of(users))
    assert {u: (int((part[users == u] == VALID).sum()), int((part[users == u] == TEST).sum())) for u in "abc"} == {
        "a": (1, 1), "b": (1, 1), "c": (2, 2)}


def test_the_random_rule_holds_out_every_interaction_alike():
    data, counts = of(["a"] * 10), np.zeros((10, 5))
    for seed in range(1000):
        counts[np.arange(10), assigned(RandomPerUser(), data, seed)] += 1
    assert abs(counts[:, [VALID, TEST]] - 100).max() < 40  # four standard deviations


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "train", "valid", "test"), [("baby", 118551, 20559, 21682),
                                                              ("sports", 218409, 37899, 40029)])
def test_the_benchmarks_rule_gives_the_released_counts(data_root, name, train, valid, test):
    folder = data_root / "amazon-mmrec" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    users, items = np.hstack([np.load(folder / f"{p}.npy", allow_pickle=False) for p in ("train", "valid", "test")])
    assert Counter(assigned(RandomPerUser(), of(users, items)).tolist()) == {TRAIN: train, VALID: valid, TEST: test}


def test_leave_last_out_by_hand():
    data = of(["a", "a", "a", "a", "b", "b", "c", "c", "c"], time=[3, 1, 4, 2, 1, 2, 9, 8, 7])
    assert assigned(LeaveLastOut(), data).tolist() == [VALID, TRAIN, TEST, TRAIN, TRAIN, TRAIN, TEST, VALID, TRAIN]


def test_leave_last_out_draws_among_interactions_of_one_second():
    data = of(["a"] * 4, time=[5, 5, 5, 1])
    drawn = [assigned(LeaveLastOut(), data, seed).tolist() for seed in range(60)]
    assert {part.index(TEST) for part in drawn} == {part.index(VALID) for part in drawn} == {0, 1, 2}
    assert all(sorted(part) == [TRAIN, TRAIN, VALID, TEST] for part in drawn)


def test_global_time_by_hand():
    data = of(range(10), time=[9, 1, 2, 0, 4, 3, 6, 5, 8, 7])
    part = assigned(GlobalTime(valid=0.2, test=0.1), data)
    assert data.interactions["time"].to_numpy()[part == TEST].tolist() == [9]
    assert sorted(data.interactions["time"].to_numpy()[part == VALID]) == [7, 8]


@pytest.mark.parametrize(("valid", "test"), [(0.0, 0.2), (0.2, 0.0), (0.0, 0.0), (0.1, 0.1), (0.3, 0.5)])
@pytest.mark.parametrize("n", [10, 20, 100])
def test_global_time_gives_the_shares_where_no_two_share_a_second(valid, test, n):
    part = assigned(GlobalTime(valid, test), of(range(n), time=np.random.default_rng(0).permutation(n) * 3))
    assert ((part == VALID).sum(), (part == TEST).sum()) == (round(valid * n), round(test * n))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.sampled_from([0.0, 0.1, 0.3]),
       st.sampled_from([0.0, 0.1, 0.3]))
def test_global_time_orders_the_parts_and_never_divides_a_second(times, valid, test):
    part, time = assigned(GlobalTime(valid, test), of(range(len(times)), time=times)), np.array(times)
    seconds = [set(time[part == p].tolist()) for p in (TRAIN, VALID, TEST)]
    for earlier, later in ((0, 1), (1, 2), (0, 2)):
        assert max(seconds[earlier], default=-1) < min(seconds[later], default=99)
    assert (part == TEST).sum() >= round(test * len(times))


@pytest.mark.parametrize("rule", [GlobalTime(), LeaveLastOut()])
def test_without_times_there_is_no_order(rule):
    with pytest.raises(ValueError, match=r"needs the time of each interaction, .*\(..., time='timestamp'\)"):
        assigned(rule, of(["a", "a"]))


def test_cold_items_are_cold_and_disjoint():
    split = Split.of(random_data(), ColdItems(share=0.3, holdout=0.2), seed=2).unlock_test()
    train, valid, test = (set(pairs.items.tolist()) for pairs in (split.train, split.valid, split.test))
    cold_valid, cold_test = valid - train, test - train
    assert (len(cold_valid), len(cold_test)) == (6, 6)  # of 40 items
    assert not cold_valid & cold_test
    assert split.n_warm_items == len(train) == 28
    assert all(len(set(split.part[split.data.item == i])) == 1 for i in cold_valid | cold_test)


def test_beside_cold_items_warm_interactions_are_held_out():
    data = of(np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20))
    part = assigned(ColdItems(share=0.2, holdout=0.25), data)
    cold = np.array([set(part[data.item == i]) in ({VALID}, {TEST}) for i in range(10)])
    warm = ~cold[data.item]
    assert cold.sum() == 2
    for user in range(20):  # of the 8 warm ones two, one and one
        assert Counter(part[warm & (data.user == user)].tolist()) == {TRAIN: 6, VALID: 1, TEST: 1}
    assert set(assigned(ColdItems(share=0.2, holdout=0.0), data)[warm]) == {TRAIN}


@pytest.mark.parametrize(("share", "valid", "test"), [(0.0, 0, 0), (0.05, 0, 0), (0.1, 0, 1), (0.3, 1, 2)])
def test_few_cold_items_and_an_odd_one_goes_to_test(share, valid, test):
    data = of(np.repeat(np.arange(5), 10), np.tile(np.arange(10), 5))
    part = assigned(ColdItems(share=share, holdout=0.0), data)
    assert (len(set(data.item[part == VALID])), len(set(data.item[part == TEST]))) == (valid, test)


def published(timed):
    """Interactions as in a file, most users with several in one second, and a publisher's own parts."""
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, [30, 40], (500, 2)), axis=0)
    table = pa.table({"user": pairs[:, 0].astype(str), "item": pairs[:, 1].astype(str),
                      "part": rng.choice(["train", "test"], len(pairs), p=[0.8, 0.2])})
    return table.append_column("time", pa.array(rng.integers(0, 4, len(pairs)))) if timed else table


def repeated(table):
    """The file with a third of its rows once more, at its end and later."""
    more = table.slice(0, len(table) // 3)
    if "time" in table.column_names:
        later = pc.add(more["time"], 50)
        more = more.set_column(more.schema.get_field_index("time"), "time", later)
    return pa.concat_tables([table, more])


ALL_RULES = [*RULES, ColdItems(holdout=0.0), ColdUsers(holdout=0.0), Given(), Given(valid=0.3)]
UNTIMED = [rule for rule in ALL_RULES if not isinstance(rule, LeaveLastOut | GlobalTime)]


@pytest.mark.parametrize(("rule", "timed"), [*((r, True) for r in ALL_RULES), *((r, False) for r in UNTIMED)], ids=str)
def test_a_shuffled_file_gives_the_same_split(rule, timed):
    table = published(timed)
    a, rng = Split.of(Dataset.from_raw(Raw(table)), rule, seed=3), np.random.default_rng(1)
    for rows in (table, repeated(table)):
        for order in (np.arange(len(rows))[::-1], rng.permutation(len(rows)), rng.permutation(len(rows))):
            b = Split.of(Dataset.from_raw(Raw(rows.take(order))), rule, seed=3)
            assert a.fingerprint == b.fingerprint
            assert a.part.tolist() == b.part.tolist()
            assert a.data.interactions == b.data.interactions
            for part in (TRAIN, HISTORY, VALID, TEST):
                assert by_id(a.data, a.part, part) == by_id(b.data, b.part, part)


@pytest.mark.parametrize("rule", [r for r in ALL_RULES if r not in (
    GlobalTime(), Given(), ColdItems(holdout=0.0), ColdUsers(holdout=0.0))], ids=str)
def test_only_the_sorting_makes_it_so_because_parts_are_drawn_by_row(rule):
    data = Dataset.from_raw(Raw(published(timed=True)))
    other = replace(data, interactions=data.interactions.take(np.random.default_rng(1).permutation(len(data))))
    assert other.fingerprint == data.fingerprint
    assert Split.of(other, rule, seed=3).fingerprint != Split.of(data, rule, seed=3).fingerprint


def test_cold_users_are_cold_and_disjoint():
    split = Split.of(random_data(), ColdUsers(share=0.2, holdout=0.2), seed=2).unlock_test()
    train, valid, test = (set(pairs.users.tolist()) for pairs in (split.train, split.valid, split.test))
    assert (len(valid - train), len(test - train)) == (3, 3)  # of 30 users
    assert not (valid - train) & (test - train)
    assert split.n_warm_users == len(train) == 24
    assert len(split.history.users) == 0


def test_the_first_interactions_of_a_cold_user_by_time_are_revealed():
    rng = np.random.default_rng(0)
    data = of(np.repeat(np.arange(10), 6), np.tile(np.arange(6), 10), time=rng.permutation(60))
    part, time = assigned(ColdUsers(share=0.4, reveal=2, holdout=0.0), data), data.interactions["time"].to_numpy()
    cold = [user for user in range(10) if TRAIN not in part[data.user == user]]
    assert len(cold) == 4
    for user in cold:
        mine = data.user == user
        assert set(time[mine & (part == HISTORY)]) == set(np.sort(time[mine])[:2])
        assert len(set(part[mine])) == 2
    assert all(HISTORY not in part[data.user == user] for user in set(range(10)) - set(cold))


def test_without_times_the_revealed_interactions_are_drawn():
    data = of(np.repeat(np.arange(10), 6), np.tile(np.arange(6), 10))
    drawn = [assigned(ColdUsers(share=0.4, reveal=2, holdout=0.0), data, seed) for seed in range(30)]
    assert all(sorted(Counter(data.user[part == HISTORY]).values()) == [2] * 4 for part in drawn)
    assert set(np.concatenate([data.item[part == HISTORY] for part in drawn])) == set(range(6))


def test_more_revealed_interactions_than_there_are():
    part = assigned(ColdUsers(share=0.5, reveal=9, holdout=0.0), of(["a"] * 3 + ["b"] * 3))
    assert sorted([set(part[:3]) == {HISTORY}, set(part[3:]) == {HISTORY}]) == [False, True]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.sampled_from([0.0, 0.2, 0.5, 0.9, 0.99]))
def test_holding_out_leaves_every_warm_user_something_to_learn_from(sizes, holdout):
    users = np.repeat(np.arange(len(sizes)), sizes)
    part = assigned(ColdUsers(share=0.0, holdout=holdout), of(users))
    for user, n in enumerate(sizes):
        counts = Counter(part[users == user].tolist())
        assert abs(counts[VALID] - counts[TEST]) <= 1
        whole = int(holdout * n + 1e-6)
        assert min(whole, n - 1) <= counts[VALID] + counts[TEST] <= min(whole + 1, n - 1)
        assert counts[TRAIN] >= 1


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_short_histories_are_held_out_like_long_ones_and_validation_is_like_test(n):
    users = np.repeat(np.arange(4000), n)
    part = assigned(ColdUsers(share=0.0, holdout=0.3), of(users))
    for of_part in (VALID, TEST):
        assert (part == of_part).mean() == pytest.approx(0.15, abs=0.006 if n > 2 else 0.01)
    together = np.bincount(users, weights=part != TRAIN).astype(int)
    assert set(together) <= {int(0.3 * n), int(0.3 * n) + 1}


def test_given_parts_and_a_share_of_training_for_validation():
    parts = ["train"] * 100 + ["test"] * 2
    data = Dataset.from_raw(Raw(pa.table({"user": ["a"] * 102, "item": [str(i) for i in range(102)], "part": parts})))
    assert assigned(Given(), data).tolist() == [TRAIN] * 100 + [TEST] * 2
    part = assigned(Given(valid=0.29), data)
    assert Counter(part.tolist()) == {TRAIN: 71, VALID: 29, TEST: 2}
    assert (part[100:] == TEST).all()
    assert (part != assigned(Given(valid=0.29), data, seed=1)).any()


def test_given_parts_are_read_as_they_are_or_refused():
    def data(*parts):
        return Dataset.from_raw(Raw(pa.table({"user": ["a"] * len(parts), "item": [str(i) for i in range(len(parts))],
                                              "part": list(parts)})))

    assert assigned(Given(), data("valid", "train", "test")).tolist() == [VALID, TRAIN, TEST]
    with pytest.raises(ValueError, match=r"parts must be 'train', 'valid' or 'test', got \['dev'\]"):
        assigned(Given(), data("train", "dev", "test"))
    with pytest.raises(ValueError, match="has a validation part of its own; leave valid at 0"):
        assigned(Given(valid=0.1), data("train", "valid"))
    with pytest.raises(ValueError, match="no column 'part', so there is no given split; choose a protocol"):
        assigned(Given(), of(["a"]))


@pytest.mark.parametrize("rule", [RandomPerUser(share=1.0), GlobalTime(valid=-0.1), GlobalTime(test=1.5),
                                  ColdItems(1.0), GlobalTime(valid=0.5, test=0.5), ColdItems(holdout=1.0),
                                  ColdUsers(share=-1.0), ColdUsers(holdout=2.0), Given(valid=1.0)], ids=str)
def test_a_share_must_be_a_fraction(rule):
    data = Dataset.from_raw(Raw(pa.table({"user": ["a"], "item": ["b"], "time": [1], "part": ["train"]})))
    with pytest.raises(ValueError, match=r"is a fraction and must lie in \[0, 1\), got -?\d"):
        assigned(rule, data)


def test_reveal_must_be_a_number():
    with pytest.raises(ValueError, match="reveal is a number of interactions, 0 or more, got -1"):
        assigned(ColdUsers(reveal=-1), random_data())


def test_a_user_with_exactly_few_interactions_gives_the_share():
    table = pa.table({"user": ["u"] * 6 + ["v"] * 5, "item": [*"abcdef", *"abcde"]})
    split = Split.of(Dataset.from_frames(table), RandomPerUser(share=0.5, few=6), 0)
    held = [np.bincount(part.users, minlength=2).tolist() for part in (split.valid, split.unlock_test().test)]
    assert held == [[1, 1], [2, 1]], "u has 6, half of them; v has fewer, one and one"


def test_folds_deal_every_interaction_once_and_evenly():
    data = random_data()
    parts = [assigned(Fold(4, k, (k + 1) % 4), data) for k in range(4)]
    tested = [by_id(data, part, TEST) for part in parts]
    assert sum(map(len, tested)) == len(set.union(*tested)) == len(data)
    for k in range(4):
        assert by_id(data, parts[k], VALID) == tested[(k + 1) % 4]
        sizes = Counter(user for user, _ in tested[k])
        total = Counter(data.users.names(data.user))
        assert all(abs(sizes[user] - n / 4) < 1 for user, n in total.items())
    assert max(map(len, tested)) - min(map(len, tested)) < len(data) / 10  # no fold is always the larger one


@pytest.mark.parametrize("rule", [Fold(2, 0, 1), Fold(4, 1, 1), Fold(4, 4, 0), Fold(4, 0, -1)])
def test_a_fold_that_is_none_is_refused(rule):
    with pytest.raises(ValueError, match="a fold needs n of 3 or more"):
        assigned(rule, random_data())
