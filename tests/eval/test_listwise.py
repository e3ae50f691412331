import json
from itertools import combinations
from math import log, log2
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmgraph.data import Pairs
from mmgraph.eval.listwise import (
    average_popularity,
    calibration,
    diversity,
    novelty,
    popularity_lift,
    serendipity,
)
from mmgraph.graph.graph import INTERACTS
from mmgraph.graph.relation import Relation

REFERENCE = json.loads(Path(__file__).with_name("rectools_reference.json").read_text(encoding="utf-8"))
POPULARITY = torch.tensor([8, 4, 4, 1, 0])
LISTS = torch.tensor([[0, 3, -1], [4, 1, 2], [-1, -1, -1]])
nan = float("nan")


def relation(pairs, n_users, n_items):
    users, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Relation.of(*INTERACTS, Pairs(users, items).matrix(n_users, n_items))


def assert_equal(found, expected, tolerance=1e-14):
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_novelty_by_hand():
    assert_equal(novelty(LISTS, POPULARITY, 8), [(0 + 3) / 2, (3 + 1 + 1) / 3, nan])  # item 4 counts as if taken once


def test_average_popularity_by_hand():
    assert_equal(average_popularity(LISTS, POPULARITY), [9 / 2, 8 / 3, nan])


def test_popularity_lift_by_hand():
    profiles = relation([(0, 3), (0, 1), (1, 1), (2, 0)], 3, 5)
    assert_equal(popularity_lift(LISTS, profiles, POPULARITY), [4.5 / 2.5 - 1, (8 / 3) / 4 - 1, nan])
    cold = relation([(1, 4)], 3, 5)  # no item; only an item without training interaction; no item
    assert popularity_lift(LISTS, cold, POPULARITY).isnan().all()


def test_popularity_lift_is_zero_for_the_profile_itself_whatever_the_weights():
    profiles = relation([(0, 0), (0, 0), (0, 3), (1, 1), (1, 2), (1, 4), (2, 0)], 3, 5)
    lists = torch.tensor([[0, 3, -1], [4, 1, 2], [0, -1, -1]])
    assert_equal(popularity_lift(lists, profiles, POPULARITY), [0, 0, 0])


def test_diversity_by_hand():
    x = torch.tensor([[2.0, 0], [0, 3], [-1, 0], [5, 0], [0, 0], [7, 7]])
    present = torch.tensor([True, True, True, True, True, False])
    lists = torch.tensor([[0, 1, -1], [0, 2, -1], [0, 3, -1], [0, 1, 2], [0, 5, 1], [0, 5, -1], [0, 4, 1], [3, -1, -1]])
    assert_equal(diversity(lists, x, present), [1, 2, 0, (1 + 2 + 1) / 3, 1, nan, 1, nan])


def test_diversity_equals_the_loop_over_pairs():
    rng = np.random.default_rng(0)
    x, present = rng.normal(1, 1, (30, 130)).astype(np.float32), rng.random(30) < 0.7
    lists = np.stack([rng.permutation(30)[:6] for _ in range(20)])
    lists[rng.random(lists.shape) < 0.2] = -1
    z = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    pairs = [[(i, j) for i, j in combinations(row, 2) if min(i, j) >= 0 and present[i] and present[j]] for row in lists]
    expected = [np.mean([1 - z[i] @ z[j] for i, j in of]) if of else nan for of in pairs]
    assert_equal(diversity(torch.from_numpy(lists), torch.from_numpy(x), torch.from_numpy(present)), expected, 1e-12)


def test_serendipity_by_hand():
    held = relation([(0, 3), (0, 0), (1, 4), (1, 2)], 3, 5)
    # ranks by popularity 1, 2, 2, 3 of 5 items: shown by popularity with 5/5, 4/5, 4/5, 3/5, and 0 for the last
    first = (max(5 / 5 - 5 / 5, 0) + max(4 / 5 - 3 / 5, 0)) / 2
    second = (5 / 5 - 0 + 0 + max(3 / 5 - 4 / 5, 0)) / 3
    assert_equal(serendipity(LISTS, held, POPULARITY), [first, second, nan])
    assert serendipity(LISTS, relation([(0, 3)], 3, 5), POPULARITY).isnan().tolist() == [False, True, True]


def kl_by_hand(history, listed, shares, alpha):
    """Steck's formula, one category at a time."""
    p, q = (np.mean([shares[i] for i in items if shares[i].any()], axis=0) for items in (history, listed))
    return sum(a * log(a / ((1 - alpha) * b + alpha * a)) for a, b in zip(p, q, strict=True) if a > 0)


def test_calibration_by_hand():
    categories = relation([(0, 0), (1, 1), (2, 0), (2, 1)], 4, 2)  # item 3 has none
    profiles = relation([(0, 0), (0, 1), (1, 0), (2, 3)], 3, 4)
    lists = torch.tensor([[2, 3], [1, -1], [0, -1]])
    same, opposite, without = calibration(lists, profiles, categories).tolist()
    assert same == pytest.approx(0, abs=1e-15)
    assert opposite == pytest.approx(-log(0.01), rel=1e-14)
    assert np.isnan(without)
    assert calibration(torch.tensor([[0], [3], [0]]), profiles, categories).isnan().tolist() == [False, True, True]
    half = calibration(torch.tensor([[0], [0], [0]]), profiles, categories, alpha=0.5)[0]
    assert float(half) == pytest.approx(0.5 * log(0.5 / 0.75) + 0.5 * log(0.5 / 0.25), rel=1e-14)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_calibration_needs_smoothing(alpha):
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 1\)"):
        calibration(torch.tensor([[0]]), relation([], 1, 1), relation([], 1, 1), alpha=alpha)


def test_calibration_equals_the_loop_over_categories():
    rng = np.random.default_rng(0)
    has = rng.random((30, 7)) < 0.3
    shares = has / np.maximum(has.sum(1, keepdims=True), 1)
    taken = rng.random((20, 30)) < 0.2
    taken[:, has.any(1).argmax()] = True
    lists = np.stack([rng.permutation(has.any(1).nonzero()[0])[:6] for _ in range(20)])
    expected = [kl_by_hand(taken[u].nonzero()[0], lists[u], shares, 0.01) for u in range(20)]
    profiles, categories = relation(np.argwhere(taken), 20, 30), relation(np.argwhere(has), 30, 7)
    found = calibration(torch.from_numpy(lists), profiles, categories)
    assert_equal(found, expected, 1e-12)


ITEMS = 7
ranked = st.lists(st.permutations(range(ITEMS)).flatmap(lambda order: st.integers(0, 4).map(
    lambda n: (order[:n] + [-1] * 4)[:4])), min_size=1, max_size=5).map(torch.tensor)


@given(ranked, st.integers(0, 1000), st.randoms(use_true_random=False))
def test_ranges_and_a_value_belongs_to_its_user(lists, seed, random):
    rng, n = np.random.default_rng(seed), len(lists)
    popularity = torch.from_numpy(rng.integers(0, 10, ITEMS))
    x, present = torch.from_numpy(rng.normal(size=(ITEMS, 3))).float(), torch.from_numpy(rng.random(ITEMS) < 0.8)
    taken = relation(np.argwhere(rng.random((n, ITEMS)) < 0.5), n, ITEMS)
    genres = relation(np.argwhere(rng.random((ITEMS, 3)) < 0.5), ITEMS, 3)
    order = random.sample(range(n), n)
    measures = {
        novelty: (0, log2(9), lambda lists, taken: novelty(lists, popularity, 9)),
        average_popularity: (0, 9, lambda lists, taken: average_popularity(lists, popularity)),
        popularity_lift: (-1, np.inf, lambda lists, taken: popularity_lift(lists, taken, popularity)),
        diversity: (0, 2, lambda lists, taken: diversity(lists, x, present)),
        serendipity: (0, 1, lambda lists, taken: serendipity(lists, taken, popularity)),
        calibration: (0, -log(0.01), lambda lists, taken: calibration(lists, taken, genres))}
    for measure, (low, high, of) in measures.items():
        value = of(lists, taken)
        assert ((value >= low) & (value <= high + 1e-12) | value.isnan()).all(), measure.__name__
        assert value[(lists < 0).all(1)].isnan().all(), measure.__name__
        np.testing.assert_allclose(of(lists[order], taken.rows(torch.tensor(order))), value[order], rtol=1e-12,
                                   atol=1e-14, err_msg=measure.__name__)


def test_no_users_give_no_values():
    lists, none = torch.zeros(0, 3, dtype=torch.long), relation([], 0, 5)
    for value in (novelty(lists, POPULARITY, 8), average_popularity(lists, POPULARITY),
                  popularity_lift(lists, none, POPULARITY), serendipity(lists, none, POPULARITY),
                  diversity(lists, torch.ones(5, 2), torch.ones(5, dtype=torch.bool)),
                  calibration(lists, none, relation([(0, 0)], 5, 1))):
        assert value.shape == (0,)


@pytest.mark.parametrize("k", [3, 6])
def test_parity_with_rectools(k):
    example, expected = REFERENCE["example"], REFERENCE["rectools"]
    n_users, n_items = example["n_users"], example["n_items"]
    lists = torch.tensor(example["lists"])[:, :k]
    popularity = torch.from_numpy(np.bincount([i for _, i in example["train"]], minlength=n_items))
    held, present = relation(example["held"], n_users, n_items), torch.tensor(example["present"])
    found = {"novelty": novelty(lists, popularity, len({u for u, _ in example["train"]})),
             "average_popularity": average_popularity(lists, popularity),
             "serendipity": serendipity(lists, held, popularity),
             "diversity": diversity(lists, torch.tensor(example["x"]), present)}
    for name, values in found.items():
        theirs = np.array([expected[f"{name}@{k}"].get(str(user), nan) for user in range(n_users)])
        undefined = values.isnan().numpy()
        assert undefined.sum() < n_users / 3
        assert (np.isnan(theirs) | (theirs == 0))[undefined].all()  # where we say undefined, they say nothing or 0
        np.testing.assert_allclose(values[~undefined], theirs[~undefined], rtol=0, atol=1e-9, err_msg=name)
