from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmgraph.features.quality as quality
from mmgraph.data.dataset import Dataset
from mmgraph.data.load import load
from mmgraph.data.protocols import ColdItems
from mmgraph.features.features import Features, from_arrays
from mmgraph.features.quality import (
    alignment,
    alignment_table,
    duplicate_report,
    exact_duplicates,
    fit,
    near_duplicates,
    taken,
)

TASTES, ITEMS, USERS = 6, 240, 150


def world(strength=3.0, seed=0):
    """Users take items of one taste, whose rows lie about the taste's centre; as (data, features)."""
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, TASTES, ITEMS)
    pairs = [(u, i) for u in range(USERS) for i in rng.choice(np.flatnonzero(taste == u % TASTES), 8, replace=False)]
    data = Dataset.from_frames(pa.table({"user": [f"u{u}" for u, _ in pairs], "item": [f"i{i}" for _, i in pairs]}))
    x = strength * rng.normal(size=(TASTES, 16))[taste] + rng.normal(size=(ITEMS, 16)) + 5
    return data, from_arrays([f"i{i}" for i in range(ITEMS)], {"image": x})


def ordered(features, order):
    """The same ids with the rows of others."""
    return Features(features.ids, {m: x[order] for m, x in features.x.items()},
                    {m: p[order] for m, p in features.present.items()})


def half_shuffled(n, rng):
    order, half = np.arange(n), rng.permutation(n)[: n // 2]
    order[half] = order[rng.permutation(half)]
    return order


def test_the_statistic_by_brute_force():
    data, features = world()
    x = features.aligned(data.items).x["image"].double().numpy()
    z = x - x.mean(0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    users = [data.item[data.user == u] for u in range(len(data.users))]
    want = np.mean([np.mean([z[a] @ z[b] for a, b in combinations(items, 2)]) for items in users])
    found = alignment(features, data, permutations=5)["image"]
    assert found.observed == pytest.approx(want, abs=1e-6)


def test_fit_by_brute_force(monkeypatch):
    data, features = world()
    monkeypatch.setattr(quality, "REFERENCES", 10**6)  # all rows
    x = features.aligned(data.items).x["image"].double().numpy()
    z = x - x.mean(0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    users = [data.item[data.user == u] for u in range(len(data.users))]
    company = np.stack([np.mean([z[[j for j in items if j != i]].mean(0) for items in users if i in items], axis=0)
                        for i in range(len(data.items))])
    scores = (company - company.mean(0)) @ z.T
    own = scores.diagonal()[:, None]
    want = ((scores < own - 1e-9).sum(1) + 0.5 * (abs(scores - own) <= 1e-9).sum(1)) / len(z)
    found = fit(features, data, "image")[torch.from_numpy(features.ids.find(data.items.ids))]
    np.testing.assert_allclose(found.numpy(), want, atol=2.1 / len(z))  # float32 may swap two neighbours


def test_aligned_rows_are_in_place():
    data, features = world()
    found = alignment(features, data, permutations=60)["image"]
    assert found.p_value == pytest.approx(1 / 61)
    assert found.z > 20
    assert found.displaced < 0.05
    assert found.verdict == "rows belong to their items"


@pytest.mark.parametrize("how", ["shifted", "shuffled"])
def test_displaced_rows_are_found(how):
    data, features = world()
    order = np.roll(np.arange(ITEMS), 1) if how == "shifted" else np.random.default_rng(1).permutation(ITEMS)
    found = alignment(ordered(features, order), data, permutations=60)["image"]
    assert found.p_value > 0.02
    assert found.displaced > 0.8
    assert "no sign" in found.verdict or "no better than chance" in found.verdict


def test_half_of_the_rows_displaced_is_found_and_named():
    data, features = world()
    order = half_shuffled(ITEMS, np.random.default_rng(2))
    moved = torch.from_numpy(order != np.arange(ITEMS))
    found = alignment(ordered(features, order), data, permutations=60)["image"]
    assert found.p_value == pytest.approx(1 / 61)  # the other half still fits
    assert 0.3 < found.displaced < 0.8
    fits = fit(ordered(features, order), data, "image")
    assert fits[~moved].nanmean() > 0.85
    assert fits[moved].nanmean() < 0.65


def test_p_is_uniform_when_nothing_fits():
    data, features = world()
    rng = np.random.default_rng(3)
    p = [alignment(ordered(features, rng.permutation(ITEMS)), data, permutations=19, seed=s)["image"].p_value
         for s in range(60)]
    assert 0.4 < np.mean(p) < 0.66  # the mean of 1/20 … 20/20 is 0.525
    assert np.mean(np.array(p) <= 0.1) < 0.25
    assert max(p) > 0.9


def test_order_of_the_rows_and_foreign_rows_change_nothing():
    data, features = world()
    shuffled = features.rows(np.random.default_rng(4).permutation(ITEMS))
    a, b = (alignment(f, data, permutations=30)["image"] for f in (features, shuffled))
    assert a.observed == pytest.approx(b.observed, abs=1e-6)
    more = from_arrays([*features.ids.ids.to_pylist(), "z"], {"image": torch.cat([features.x["image"],
                                                                                  torch.full((1, 16), 1e6)])})
    assert alignment(more, data, permutations=30)["image"].observed == a.observed


def test_only_training_interactions_and_rows_are_read():
    data, features = world()
    split = data.split(ColdItems(0.2), seed=0)
    cold = torch.ones(ITEMS, dtype=torch.bool)
    cold[torch.from_numpy(features.ids.numbers(split.data.items.ids.take(np.flatnonzero(split.warm_items))))] = False
    x = features.x["image"].clone()
    x[cold] = 1e4 * torch.randn(int(cold.sum()), 16)
    changed = Features(features.ids, {"image": x}, features.present)
    assert alignment(changed, split, permutations=20) == alignment(features, split, permutations=20)


def test_absent_rows_take_no_part():
    data, features = world()
    present = torch.arange(ITEMS) % 3 > 0
    some = Features(features.ids, {"image": features.x["image"] * present[:, None]}, {"image": present})
    assert not taken(some, data, "image")[:, ~present.numpy()].nnz
    assert alignment(some, data, permutations=30)["image"].verdict == "rows belong to their items"
    assert fit(some, data, "image")[~present].isnan().all()


def test_many_interactions_are_read_by_drawn_users(monkeypatch):
    data, features = world()
    monkeypatch.setattr(quality, "MOST_READ", 400)
    a, b = (alignment(features, data, permutations=30, seed=s)["image"] for s in (0, 1))
    assert a.observed != b.observed
    assert a.observed == pytest.approx(b.observed, abs=0.1)
    assert a.p_value == b.p_value == pytest.approx(1 / 31)


def test_rows_that_are_all_the_same_say_nothing():
    data, features = world()
    same = from_arrays(features.ids, {"image": np.full((ITEMS, 3), 0.1)})
    found = alignment(same, data, permutations=10)["image"]
    assert (found.p_value, found.z, found.observed) == (1, 0, 0)
    assert "no sign" in found.verdict


def test_the_table_has_a_line_per_modality():
    data, features = world()
    both = features | from_arrays(features.ids, {"text": np.random.default_rng(5).normal(size=(ITEMS, 4))})
    lines = alignment_table(alignment(both, data, permutations=30)).splitlines()
    assert [line.split()[0] for line in lines] == ["modality", "image", "text"]
    assert "rows belong" in lines[1]
    assert "no sign" in lines[2]


def test_wrong_arguments_are_refused():
    data, features = world()
    with pytest.raises(ValueError, match="permutations must be at least 1, got 0"):
        alignment(features, data, permutations=0)
    strangers = from_arrays(["x", "y"], {"image": [[1.0], [2]]})
    with pytest.raises(ValueError, match="no user took two items that have image"):
        alignment(strangers, data)
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\], got 1.5"):
        near_duplicates(features, "image", 1.5)


def test_duplicates_by_hand():
    rows = [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0.1], [1, 0, 0], [0, 0, 2], [0, 0, -3]]
    features = from_arrays(list("abcdefgh"), {"m": rows})
    assert exact_duplicates(features, "m") == [(["a", "c", "f"], 1.0)]
    first, second = near_duplicates(features, "m", 0.99)
    assert first == (["a", "c", "f"], 1.0)
    assert second.ids == ["b", "e"]
    assert second.cosine == pytest.approx(1 / np.sqrt(1.01))
    report = duplicate_report([first, second], most=1)
    assert "2 groups, 5 items" in report
    assert "a, c, f" in report
    assert "1 more groups" in report
    assert duplicate_report([]) == "no duplicates."


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), block=st.sampled_from([1, 3, 7, 1024]), threshold=st.floats(0.5, 1))
def test_groups_are_those_of_brute_force(seed, block, threshold):
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (25, 3)).astype(np.float32)
    features = from_arrays(range(25), {"m": x})
    rows = np.flatnonzero(x.any(1))
    z = x[rows].astype(float) / np.linalg.norm(x[rows].astype(float), axis=1, keepdims=True)
    cosine = np.clip(z @ z.T, -1, 1)
    if (abs(cosine - threshold + 1e-6) < 1e-6).any():
        return  # too near to call in float32
    group = np.arange(len(rows))
    for a, b in zip(*(cosine >= threshold - 1e-6).nonzero(), strict=True):
        group[group == group[a]] = group[b]
    want = {frozenset(str(rows[i]) for i in np.flatnonzero(group == g)): g for g in set(group)}
    want = {ids: g for ids, g in want.items() if len(ids) > 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "BLOCK", block)
        found = near_duplicates(features, "m", threshold)
    assert {frozenset(g.ids) for g in found} == set(want)
    for one in found:
        inside = cosine[np.ix_(*[group == want[frozenset(one.ids)]] * 2)]
        assert one.cosine == pytest.approx(inside[inside >= threshold - 1e-6].min(), abs=1e-5)


@pytest.mark.realdata
def test_tiktok_images_belong_to_their_items(data_root):
    data = load("tiktok", data_root / "tiktok")
    vectors = data.vectors["image"]
    features = from_arrays(vectors.ids, {"image": vectors.matrix}, known=data.items)
    n, rng, split = len(features), np.random.default_rng(0), data.split(ColdItems(0.2), seed=0)
    orders = {"aligned": np.arange(n), "half": half_shuffled(n, rng), "shift": np.roll(np.arange(n), 1),
              "shuffled": rng.permutation(n)}
    found = {how: alignment(ordered(features, order), split)["image"] for how, order in orders.items()}
    assert found["aligned"].p_value < 0.01
    assert found["aligned"].displaced < 0.6
    assert found["half"].p_value < 0.01
    assert 0.7 < found["half"].displaced < 0.95
    for how in ("shift", "shuffled"):
        assert found[how].p_value > 0.05
        assert "no sign" in found[how].verdict
