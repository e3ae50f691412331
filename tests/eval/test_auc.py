import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mmgraph.eval.auc import MANY, auc

INF = float("inf")


def of(scores, positives, n_candidates=None):
    """AUC of rows of scores, where positives are sets of columns."""
    pairs = [(r, i) for r, some in enumerate(positives) for i in sorted(some)]
    rows, items = np.array(pairs, dtype=int).reshape(-1, 2).T
    scores = torch.as_tensor(scores)
    counts = (scores > -INF).sum(1) if n_candidates is None else torch.tensor(n_candidates)
    return auc(scores, torch.from_numpy(rows.copy()), torch.from_numpy(items.copy()), counts)


def test_by_hand():
    scores = [[4.0, 3, 2, 1], [4, 3, 2, 1], [1, 1, 1, 1], [2, 1, 2, 1]]
    assert of(scores, [{0}, {1, 3}, {2}, {0, 1}]).tolist() == [1, 1 / 4, 1 / 2, (1 / 2 + 1 + 0 + 1 / 2) / 4]


def test_left_out_items_are_neither_good_nor_bad():
    assert of([[-INF, 3.0, 2, -INF, 5]], [{1}]).tolist() == [1 / 2]


def test_a_candidate_of_minus_infinity_is_the_last():
    """Two of five are left out, the others are candidates: a scorer gains nothing by giving up on held-out items."""
    scores = [[-INF, -INF, -INF, 1.0, 2], [-INF, -INF, -INF, -INF, 2], [-INF, -INF, -INF, -INF, 2]]
    assert of(scores, [{0}, {0}, {0, 4}], [3, 3, 3]).tolist() == [0, 1 / 4, (1 / 2 + 1) / 2]


def test_undefined_without_both_kinds():
    assert of([[1.0, 2], [1, 2], [1, 2]], [set(), {0, 1}, {0}]).isnan().tolist() == [True, True, False]
    assert of(torch.zeros(0, 3), []).shape == (0,)
    assert of([[-INF, 1.0]], [{1}], [1]).isnan().tolist() == [True]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 10**9]), st.sampled_from([torch.float32, torch.float64]),
       st.booleans())
def test_agrees_with_sklearn(seed, n_values, dtype, many):
    rng = np.random.default_rng(seed)
    n_users, n_items = int(rng.integers(1, 6)), int(rng.integers(3, 9 if not many else 3 * MANY))
    scores = torch.from_numpy(rng.integers(0, n_values, (n_users, n_items))).to(dtype)
    relevant = rng.random((n_users, n_items)) < rng.random()
    left_out = ~relevant & (rng.random((n_users, n_items)) < 0.2)
    scores[torch.from_numpy(left_out)] = -INF
    found = of(scores, [set(row.nonzero()[0].tolist()) for row in relevant])
    for row, value in enumerate(found.tolist()):
        truth, score = relevant[row][~left_out[row]], scores[row][torch.from_numpy(~left_out[row])].numpy()
        expected = roc_auc_score(truth, score) if 0 < truth.sum() < len(truth) else np.nan
        np.testing.assert_allclose(value, expected, atol=1e-12)


def test_sorting_once_gives_the_same_as_a_pass_for_each(monkeypatch):
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.integers(0, 20, (4, 300)).astype(np.float32))
    scores[:, :50] = -INF
    positives = [set(rng.choice(range(50, 300), n, replace=False)) for n in (1, MANY - 1, MANY, 200)]
    found = of(scores, positives)
    for limit in (0, 1000):
        monkeypatch.setattr(sys.modules["mmgraph.eval.auc"], "MANY", limit)
        assert torch.equal(of(scores, positives), found)


def test_half_precision_is_read_as_it_is():
    scores = torch.tensor([[1.0, 2, 3, 2]])
    assert of(scores.bfloat16(), [{1}]).tolist() == of(scores.half(), [{1}]).tolist() == [1 / 2]


@pytest.mark.parametrize("n_candidates", [3, 4])
def test_counts_what_is_left_out_not_what_is_minus_infinite(n_candidates):
    value = of([[-INF, 1.0, 2, 3]], [{2}], [n_candidates]).item()
    assert value == pytest.approx(1 / 2 if n_candidates == 3 else 2 / 3)
