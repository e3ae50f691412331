from math import log2

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.metrics import (
    LinkPredF1,
    LinkPredHitRatio,
    LinkPredMAP,
    LinkPredMRR,
    LinkPredNDCG,
    LinkPredPrecision,
    LinkPredRecall,
)

from mmgraph.eval.metrics import METRICS, NAMES, metric_at_k

HITS = torch.tensor([[True, False, True, False], [False, False, False, False], [False, True, False, False],
                     [True, True, True, True]])
N_RELEVANT = torch.tensor([3, 2, 1, 9])
N_CANDIDATES = torch.tensor([10, 6, 5, 20])


@pytest.mark.parametrize(("name", "expected"), [
    ("recall", [2 / 3, 0, 1, 4 / 9]),
    ("precision", [1 / 2, 0, 1 / 4, 1]),
    ("hit_rate", [1, 0, 1, 1]),
    ("mrr", [1, 0, 1 / 2, 1]),
    ("map", [(1 + 2 / 3) / 3, 0, 1 / 2, 4 / 9]),
    ("map_capped", [(1 + 2 / 3) / 3, 0, 1 / 2, 1]),
    ("f1", [4 / 7, 0, 2 / 5, 8 / 13]),  # row 0: precision 1/2, recall 2/3
    ("accuracy", [(10 - 2 - 1) / 10, 0, 2 / 5, 15 / 20]),
    ("ndcg", [(1 + 1 / 2) / (1 + 1 / log2(3) + 1 / 2), 0, 1 / log2(3), 1]),
])
def test_by_hand(name, expected):
    value = metric_at_k(name, HITS, N_RELEVANT, N_CANDIDATES)
    assert value.dtype == torch.float64
    np.testing.assert_allclose(value, expected, rtol=1e-14)


@pytest.mark.parametrize("name", METRICS)
def test_a_user_without_relevant_items_counts_nowhere(name):
    none, counts = torch.zeros(2, 3, dtype=torch.bool), torch.tensor([0, 1])
    assert metric_at_k(name, none, counts, counts + 4).isnan().tolist() == [True, False]
    nobody = torch.zeros(0, dtype=torch.long)
    assert metric_at_k(name, none[:0], nobody, nobody).shape == (0,)


def test_f1_is_the_harmonic_mean_and_0_without_hits():
    precision, recall = METRICS["precision"](HITS, N_RELEVANT), METRICS["recall"](HITS, N_RELEVANT)
    some = torch.tensor([True, False, True, True])
    f1 = METRICS["f1"](HITS, N_RELEVANT)
    np.testing.assert_allclose(f1[some], (2 * precision * recall / (precision + recall))[some], rtol=1e-14)
    assert f1[1] == 0


def test_accuracy_when_all_candidates_are_listed():
    """Three candidates, one of them relevant, in a list of five places: only the relevant one is told right."""
    hits = torch.tensor([[False, True, False, False, False]])
    assert METRICS["accuracy"](hits, torch.tensor([1]), torch.tensor([3])).item() == pytest.approx(1 / 3)


def test_names_are_all_metrics_at_k_and_auc():
    assert set(NAMES) == {"recall", "ndcg", "precision", "hit_rate", "mrr", "map", "map_capped", "f1", "accuracy",
                          "auc"}
    assert tuple(METRICS) == NAMES[:-1]


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5), st.integers(0, 9))
def test_lies_in_the_unit_interval_and_is_1_for_the_perfect_list(hits, more):
    hits = torch.tensor(hits)
    n_relevant = hits.sum(1) + more
    perfect = torch.arange(6) < n_relevant[:, None]
    for name in METRICS:
        value = metric_at_k(name, hits, n_relevant, n_relevant + 6)
        assert ((value >= 0) & (value <= 1) | value.isnan()).all(), name
        better = metric_at_k(name, perfect, n_relevant, n_relevant + 6)
        assert (better >= value)[n_relevant > 0].all(), name
        if name in ("ndcg", "hit_rate", "mrr", "map_capped"):
            assert (better[n_relevant > 0] == 1).all(), name


@pytest.mark.parametrize(("name", "cls"), [("recall", LinkPredRecall), ("precision", LinkPredPrecision),
                                           ("ndcg", LinkPredNDCG), ("mrr", LinkPredMRR), ("f1", LinkPredF1),
                                           ("hit_rate", LinkPredHitRatio), ("map_capped", LinkPredMAP)])
def test_parity_with_torch_geometric(name, cls):
    """In float32."""
    rng = np.random.default_rng(0)
    lists = rng.permuted(np.tile(np.arange(100), (200, 1)), axis=1)[:, :10]
    relevant = rng.random((200, 100)) < rng.uniform(0.01, 0.2, (200, 1))
    relevant[0] = False
    n_relevant = torch.from_numpy(relevant.sum(1))
    assert n_relevant.max() > 10
    value = METRICS[name](torch.from_numpy(np.take_along_axis(relevant, lists, axis=1)), n_relevant)
    metric = cls(k=10)
    metric.update(torch.from_numpy(lists), torch.from_numpy(np.stack(relevant.nonzero())))
    assert float(metric.compute()) == pytest.approx(float(value.nanmean()), abs=1e-6)
