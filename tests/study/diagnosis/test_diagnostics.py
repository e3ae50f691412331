import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.data import load
from mmgraph.data.dataset import Dataset
from mmgraph.data.protocols import ColdItems, ColdUsers, Given, GlobalTime, LeaveLastOut, RandomPerUser
from mmgraph.data.raw import Raw
from mmgraph.data.split import TEST, TRAIN, VALID, Split
from mmgraph.features.features import Features, from_arrays
from mmgraph.study.diagnosis.check_parts import equal_rows
from mmgraph.study.diagnosis.check_popularity import boxes, pearson, standard_error
from mmgraph.study.diagnosis.check_time import before
from mmgraph.study.diagnosis.diagnostics import diagnose
from mmgraph.study.diagnosis.findings import Finding, Thresholds, number


def dataset(rows, **more):
    user, item = zip(*rows, strict=True)
    return Dataset.from_frames(pa.table({"user": user, "item": item, **more}), **{name: name for name in more})


def given_split(rows):
    user, item, part = zip(*rows, strict=True)
    return Split.of(Dataset.from_raw(Raw(pa.table({"user": user, "item": item, "part": part}))), Given())


def crowd(n_users=300, n_items=80, n_each=8, seed=0):
    """Users who take popular items more often, each item once."""
    rng = np.random.default_rng(seed)
    weight = 1 / np.arange(1, n_items + 1)
    rows = [(f"u{u}", f"i{i}") for u in range(n_users)
            for i in rng.choice(n_items, n_each, replace=False, p=weight / weight.sum())]
    return dataset(rows, time=rng.permutation(len(rows)))


@pytest.fixture(scope="module")
def people():
    return crowd()


def test_a_random_split_has_no_warning_and_stays_locked(people):
    split = people.split(RandomPerUser())
    found = diagnose(split, thresholds=Thresholds(half_width=0.1))
    assert found.warnings == ()
    assert found.verdict.startswith("No warning in ")
    assert not split.unlocked
    with pytest.raises(PermissionError):
        _ = split.test


def test_says_in_the_log_that_test_was_read(people, caplog):
    split = people.split(RandomPerUser())
    with caplog.at_level("INFO"):
        diagnose(split)
    assert f"test part of split {split.fingerprint} unlocked" in caplog.text


@pytest.mark.parametrize("rule", [ColdItems(), ColdUsers(), LeaveLastOut(), GlobalTime()], ids=repr)
def test_what_a_protocol_does_by_design_is_no_warning(people, rule):
    found = diagnose(people.split(rule), thresholds=Thresholds(half_width=0.5))
    assert found.warnings == ()
    assert found["cold items"].state == ("noted" if isinstance(rule, ColdItems) else "fine")
    assert found["cold users"].state == ("noted" if isinstance(rule, ColdUsers) else "fine")


def test_counts_by_hand():
    split = given_split([("a", "x", "train"), ("a", "y", "train"), ("b", "x", "train"), ("c", "x", "valid"),
                         ("a", "z", "valid"), ("b", "z", "test"), ("b", "y", "test"), ("a", "w", "test")])
    found = diagnose(split)
    assert found.sizes == {"users": 3, "items": 4, "train": 3, "history": 0, "valid": 2, "test": 3, "unused": 0}
    items, users = found["cold items"], found["cold users"]
    assert (items.detail["valid rows"], items.detail["test rows"], items.detail["test items"]) == (1, 2, 2)
    assert items.value == pytest.approx(2 / 3)
    assert items.flagged
    assert (users.detail["valid"], users.detail["test"]) == (0.5, 0)
    assert found["users without test"].detail == {"users": 3, "with valid": 2, "with test": 2, "with both": 1}
    assert found["users without test"].value == pytest.approx(1 / 3)
    assert found["users per part"].value == pytest.approx(1.96 * 0.5 / 2 ** 0.5)
    assert found["users per part"].flagged


def twice(split, row, part):
    """The split with one of its interactions once more, in another part."""
    data = split.data
    table = pa.concat_tables([data.interactions, data.interactions.slice(row, 1)])
    return replace(split, data=replace(data, interactions=table), part=np.append(split.part, part))


@pytest.mark.parametrize(("of", "into", "name"), [(VALID, TRAIN, "valid in train"), (TEST, TRAIN, "test in train"),
                                                  (TEST, VALID, "test in valid")])
def test_a_held_out_pair_in_another_part_is_a_leak(people, of, into, name):
    split = people.split(RandomPerUser())
    found = diagnose(twice(split, int((split.part == of).argmax()), into))["pairs in two parts"]
    assert found.flagged
    assert {key: n for key, n in found.detail.items() if n} == {name: 1}


def test_a_repeated_interaction_is_no_leak_but_repeated(people):
    split = people.split(RandomPerUser())
    found = diagnose(twice(split, int((split.part == TRAIN).argmax()), TRAIN))
    assert found["repeated interactions"].flagged
    assert found["repeated interactions"].detail["repeated"] == 1
    assert not found["pairs in two parts"].flagged


@pytest.mark.parametrize(("rule", "what", "column"), [(ColdItems(), "item", "item"), (ColdUsers(), "user", "user")])
def test_a_cold_protocol_that_trains_on_the_cold_is_flagged(people, rule, what, column):
    split = people.split(rule)
    assert not diagnose(split)[f"cold {what}s in training"].flagged
    n_warm = split.n_warm_items if what == "item" else split.n_warm_users
    part = split.part.copy()
    part[(getattr(split.data, column) == n_warm).argmax()] = TRAIN  # the first cold one; its numbers stay dense
    found = diagnose(replace(split, part=part))[f"cold {what}s in training"]
    assert found.flagged
    assert found.detail["cold"] == found.detail["promised"] - 1


def test_twins_are_users_with_the_same_items():
    rows = [(u, i) for u in "abc" for i in "vwxyz"] + [("d", i) for i in "vwxy"] + [("e", i) for i in "vw"] \
        + [("f", i) for i in "vw"]
    found = diagnose(dataset(rows).split(RandomPerUser()))
    assert found["twin users"].detail == {"same": 3, "compared": 4}  # e and f are too short to count
    assert found["twin users"].flagged
    assert found["twin items"].detail == {"same": 4, "compared": 4}  # v and w, x and y; z has three users


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40), st.integers(1, 3))
def test_equal_rows_as_sets(pairs, least):
    sets = {}
    for a, b in pairs:
        sets.setdefault(a, set()).add(b)
    long = [frozenset(s) for s in sets.values() if len(s) >= least]
    assert equal_rows(*np.array(pairs).T, least) == (len(long), sum(long.count(s) > 1 for s in long))


# Popularity


def skewed():
    """Training as it comes; validation and test share favourites that training hardly has."""
    split = crowd(n_items=400, n_each=12).split(RandomPerUser())
    data, held = split.data, split.part != TRAIN
    other = np.where(held, len(data.items) - 1 - data.item, data.item)
    table = data.interactions.set_column(1, "item", pa.array(other))
    return replace(split, data=replace(data, interactions=table))


def test_favourites_that_training_lacks_are_flagged():
    found = diagnose(skewed())
    for name in ("train and test popularity", "train and valid popularity", "popularity gap", "validation popularity"):
        assert found[name].flagged, name
    gap = found["popularity gap"]
    assert gap.value == pytest.approx(gap.detail["valid and test"] - gap.detail["train and test"])
    assert found["train and test popularity"].value == pytest.approx(gap.detail["train and test"])


def test_correlations_are_those_of_numpy(people):
    split = people.split(RandomPerUser()).unlock_test()
    n = len(split.data.items)
    count = {p: np.bincount(getattr(split, p).items, minlength=n) for p in ("train", "valid", "test")}
    found = diagnose(split)
    assert found["train and test popularity"].value == pytest.approx(np.corrcoef(count["train"], count["test"])[0, 1])
    assert found["popularity gap"].detail["valid and test"] == pytest.approx(
        np.corrcoef(count["valid"], count["test"])[0, 1])
    assert found == diagnose(split)  # the random dealing starts from a fixed seed


def test_validation_popularity_by_hand():
    rows = [(f"u{u}", "a", "train") for u in range(6)] + [("v", f"b{n}", "train") for n in range(30)]
    rows += [(f"u{u}", "z", "valid") for u in range(3)] + [(f"u{u}", "z", "test") for u in range(3, 6)]
    rows += [("u0", "b29", "test")]
    found = diagnose(given_split(rows))["validation popularity"]
    # validation lists z, then a to b18 by number; training lists b0 … before b29 and z, which it has not: no hit
    assert found.detail["valid recall@20"] == pytest.approx(3 / 4)
    assert found.detail["valid ndcg@20"] == pytest.approx(3 / 4)
    assert found.detail["train recall@20"] == 0
    # users differ by 1, 1, 1, 0: standard error 0.25
    assert found.threshold == pytest.approx(0.5)
    assert found.flagged


def test_pearson_boxes_and_standard_error_by_hand():
    assert pearson(np.array([1.0, 2, 3]), np.array([2.0, 4, 6])) == pytest.approx(1)
    assert np.isnan(pearson(np.ones(3), np.arange(3.0)))
    assert standard_error(np.array([1.0, 0, np.nan])) == pytest.approx(0.5)
    item = np.repeat([0, 1, 2, 0, 1], [1, 4, 7, 2, 3])
    part = np.repeat([TRAIN, TEST], [12, 5])
    cells = boxes(item, part, 4, "train", "test", 0.5, np.array([0.25, 0.75]))
    assert cells.boxes == ((0, 0, 1), (1, 2, 1), (3, 0, 1), (3, 2, 1))
    assert (cells.r, cells.expected) == (0.5, 0.5)


def test_without_validation_the_rest_is_still_checked(people):
    split = people.split(RandomPerUser()).joined()
    found = diagnose(split)
    assert found["train and test popularity"].state == "fine"
    assert found["validation popularity"].state == "not checked"
    assert found["popularity gap"].state == "not checked"
    assert [cells.y for cells in found.popularity] == ["test"]


# Time


def timed(rule_name):
    rows = [("a", "x", 1), ("a", "y", 2), ("a", "z", 3), ("b", "x", 4), ("b", "y", 5), ("b", "z", 6)]
    user, item, time = zip(*rows, strict=True)
    data = dataset(list(zip(user, item, strict=True)), time=time)
    return replace(data.split(LeaveLastOut()), name=rule_name)


@pytest.mark.parametrize("name", ["LeaveLastOut", "GlobalTime", "RandomPerUser"])
def test_time_leaks_by_hand(name):
    split = timed(name)
    clean = diagnose(split)["time order per user"]
    assert (clean.value, clean.state) == (0, "noted" if name == "RandomPerUser" else "fine")
    found = diagnose(split)["time order of all users"]
    assert found.detail == {"later": 1, "train": 2}  # a's test row is of second 3, b's training row of second 4
    assert found.flagged == (name == "GlobalTime")
    part = split.part.copy()
    rows = split.data.user == 0
    part[rows] = part[rows][[2, 1, 0]]  # the last becomes training, the first test
    leak = diagnose(replace(split, part=part))["time order per user"]
    assert leak.detail == {"valid before train": 1, "test before train": 1, "test before valid": 1, "held out": 4}
    assert leak.value == pytest.approx(2 / 4)
    assert leak.flagged == (name != "RandomPerUser")


def test_the_same_second_is_no_leak():
    user, time = np.array([0, 0, 1]), np.array([5, 5, 1])
    assert not before(user, time, np.array([True, False, False])).any()
    assert before(user, np.array([6, 5, 1]), np.array([True, False, False])).tolist() == [False, True, False]


def test_without_times_it_cannot_be_checked():
    found = diagnose(given_split([("a", "x", "train"), ("a", "y", "valid"), ("a", "z", "test")]))
    for name in ("time order per user", "time order of all users"):
        assert (found[name].value, found[name].state, found[name].flagged) == (None, "not checked", False)
        assert "have no time" in found[name].text


# Content


def vectors(data, change, seed=0):
    x = np.random.default_rng(seed).normal(size=(len(data.items), 16))
    change(x)
    return from_arrays(data.items.ids, {"image": x})


def test_a_cold_item_whose_double_is_warm_is_flagged(people):
    split = people.split(ColdItems())
    n, n_warm = len(split.data.items), split.n_warm_items

    def double(x):
        x[n - 1] = x[0]
        x[1] = x[2]

    shuffled = vectors(split.data, double).rows(np.random.default_rng(1).permutation(n))
    found = diagnose(split, shuffled)["near duplicates of cold items"]
    assert found.detail == {"cold": n - n_warm, "by image": 1}
    assert found.flagged
    assert not diagnose(split, vectors(split.data, lambda x: None))["near duplicates of cold items"].flagged


def test_a_double_in_the_own_history_is_counted():
    split = given_split([("a", "x", "train"), ("b", "y", "train"), ("a", "y", "valid"), ("b", "z", "valid"),
                         ("b", "x", "test"), ("a", "w", "test"), ("b", "w", "train")])
    x = np.eye(4)[split.data.items.numbers(["x", "y", "z", "w"])]
    x[split.data.items.numbers(["y"])] = x[split.data.items.numbers(["x"])]
    found = diagnose(split, from_arrays(split.data.items.ids, {"text": x}))["near duplicates in histories"]
    assert found.detail == {"held out": 4, "by text": 2}  # (a, y) and (b, x), each after the other one of the pair
    assert found.flagged


def test_a_modality_that_cannot_tell_items_apart_finds_no_duplicates(people):
    split = people.split(ColdItems())

    def same(x):
        x[20:] = x[0]

    found = diagnose(split, vectors(split.data, same))["near duplicates of cold items"]
    assert (found.value, found.flagged) == (0, False)
    assert "61 items in chains too long to be duplicates by image" in found.text


def test_absent_content_and_no_features():
    split = given_split([("a", "x", "train"), ("a", "y", "valid"), ("a", "z", "test")])
    ids = split.data.items.ids
    blank = Features(split.data.items, {"image": torch.zeros(3, 2)}, {"image": torch.zeros(3, dtype=torch.bool)})
    assert diagnose(split, blank)["near duplicates of cold items"].value == 0
    one = from_arrays(ids, {"image": np.array([[1.0, 0], [0, 0], [0, 0]])})
    assert diagnose(split, one)["near duplicates of cold items"].value == 0
    for features in (None, Features.empty(split.data.items)):
        assert diagnose(split, features)["near duplicates of cold items"].state == "not checked"


# What is handed over


def test_a_finding_warns_beyond_its_threshold_only():
    def finding(value, threshold, worse="above"):
        return Finding("n", value, threshold, "t", "w", "a", worse)

    assert [finding(v, 0.5).flagged for v in (0.4, 0.5, 0.6)] == [False, False, True]
    assert [finding(v, 0.5, "below").flagged for v in (0.4, 0.5, 0.6)] == [True, False, False]
    assert [finding(*f).state for f in ((1, 0.5), (0, 0.5), (1, None), (None, 0.5))] == [
        "warning", "fine", "noted", "not checked"]


def test_row_is_plain_json_and_names_no_user_or_item(people):
    split = people.split(ColdItems())
    row = diagnose(split, vectors(split.data, lambda x: None)).row()
    text = json.dumps(row, allow_nan=False)
    assert json.loads(text) == row
    assert '"u1"' not in text
    assert '"i1"' not in text
    assert row["split"] == split.fingerprint


def test_text_and_unknown_names():
    found = diagnose(skewed())
    assert "the test part was read for this" in str(found)
    assert f"{len(found.warnings)} of " in found.verdict
    with pytest.raises(KeyError, match="no finding 'nothing'; there are"):
        _ = found["nothing"]
    assert [number(v) for v in (None, 0.12345, 12345)] == ["–", "0.123", "12,345"]


def test_thresholds_can_be_chosen(people):
    split = people.split(RandomPerUser())
    assert diagnose(split, thresholds=Thresholds(half_width=0.01))["users per part"].flagged
    assert not diagnose(split, thresholds=Thresholds(half_width=0.2))["users per part"].flagged


def test_a_blind_split_cannot_be_diagnosed(people):
    with pytest.raises(PermissionError, match="blind"):
        diagnose(people.split(RandomPerUser()).blinded())


@pytest.mark.realdata
def test_tiktok_is_flagged(data_root):
    split = Split.of(load("tiktok", root=data_root / "tiktok"), Given())
    features = Features.empty(split.data.items)
    for name, rows in split.data.vectors.items():
        features = features | from_arrays(rows.ids, {name: rows.matrix})
    found = diagnose(split, features)
    assert {"train and test popularity", "popularity gap", "validation popularity", "cold items"} <= {
        f.name for f in found.warnings}
    gap = found["popularity gap"].detail
    assert gap["train and test"] == pytest.approx(0.357, abs=5e-4)
    assert gap["valid and test"] == pytest.approx(0.930, abs=5e-4)
    assert found["validation popularity"].value == pytest.approx(0.1768, abs=5e-5)
    assert found["cold items"].detail["test items"] == 340


@pytest.mark.realdata
def test_tiktok_with_the_two_small_parts_exchanged_has_the_known_figures(data_root):
    split = Split.of(load("tiktok", root=data_root / "tiktok"), Given())
    part = np.choose(split.part, [TRAIN, 1, TEST, VALID])
    found = diagnose(replace(split, part=part))
    gap = found["popularity gap"].detail
    assert (round(gap["train and test"], 2), round(gap["valid and test"], 2)) == (0.35, 0.93)
    # known: .1806 and .0841 under another rule for ties
    assert found["validation popularity"].detail["valid recall@20"] == pytest.approx(0.1806, abs=0.0015)
    assert found["validation popularity"].detail["valid ndcg@20"] == pytest.approx(0.0841, abs=0.0005)


@pytest.mark.realdata
def test_baby_is_not_flagged(data_root):
    split = Split.of(load("amazon-baby", root=data_root / "amazon-mmrec" / "baby"), Given())
    assert diagnose(split).warnings == ()
