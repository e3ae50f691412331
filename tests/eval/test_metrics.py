from math import log2

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.metrics import (
    LinkPredHitRatio,
    LinkPredMAP,
    LinkPredMRR,
    LinkPredNDCG,
    LinkPredPrecision,
    LinkPredRecall,
)

from mmgraph.eval.metrics import METRICS

HITS = torch.tensor([[True, False, True, False], [False, False, False, False], [False, True, False, False],
                     [True, True, True, True]])
N_RELEVANT = torch.tensor([3, 2, 1, 9])


@pytest.mark.parametrize(("name", "expected"), [
    ("recall", [2 / 3, 0, 1, 4 / 9]),
    ("precision", [1 / 2, 0, 1 / 4, 1]),
    ("hit_rate", [1, 0, 1, 1]),
    ("mrr", [1, 0, 1 / 2, 1]),
    ("map", [(1 + 2 / 3) / 3, 0, 1 / 2, 4 / 9]),
    ("ndcg", [(1 + 1 / 2) / (1 + 1 / log2(3) + 1 / 2), 0, 1 / log2(3), 1]),
])
def test_by_hand(name, expected):
    value = METRICS[name](HITS, N_RELEVANT)
    assert value.dtype == torch.float64
    np.testing.assert_allclose(value, expected, rtol=1e-14)


@pytest.mark.parametrize("name", METRICS)
def test_a_user_without_relevant_items_counts_nowhere(name):
    value = METRICS[name](torch.zeros(2, 3, dtype=torch.bool), torch.tensor([0, 1]))
    assert value.isnan().tolist() == [True, False]
    assert METRICS[name](torch.zeros(0, 3, dtype=torch.bool), torch.zeros(0, dtype=torch.long)).shape == (0,)


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=5), st.integers(0, 9))
def test_lies_in_the_unit_interval_and_is_1_for_the_perfect_list(hits, more):
    hits = torch.tensor(hits)
    n_relevant = hits.sum(1) + more
    perfect = torch.arange(6) < n_relevant[:, None]
    for name, metric in METRICS.items():
        value = metric(hits, n_relevant)
        assert ((value >= 0) & (value <= 1) | value.isnan()).all(), name
        better = metric(perfect, n_relevant)
        assert (better >= value)[n_relevant > 0].all(), name
        if name in ("ndcg", "hit_rate", "mrr"):
            assert (better[n_relevant > 0] == 1).all(), name


@pytest.fixture(scope="module")
def random_run():
    """200 users, 100 items, scores without ties, 1 to 15 relevant items each; lists of 10."""
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(100.0), (200, 1)), axis=1)
    relevant = np.zeros((200, 100), dtype=bool)
    for user in range(200):
        relevant[user, rng.choice(100, rng.integers(1, 16), replace=False)] = True
    lists = np.argsort(-scores, axis=1)[:, :10]
    hits = np.take_along_axis(relevant, lists, axis=1)
    ours = {name: metric(torch.from_numpy(hits), torch.from_numpy(relevant.sum(1))) for name, metric in METRICS.items()}
    qrels = {str(u): {f"i{i}": 1 for i in relevant[u].nonzero()[0]} for u in range(200)}
    run = {str(u): {f"i{i}": float(scores[u, i]) for i in range(100)} for u in range(200)}
    return ours, lists, relevant, qrels, run


def test_parity_with_ir_measures(random_run):
    import ir_measures
    from ir_measures import AP, RR, P, R, Success, nDCG
    ours, _, _, qrels, run = random_run
    pairs = {"recall": R @ 10, "precision": P @ 10, "ndcg": nDCG @ 10, "mrr": RR @ 10, "map": AP @ 10,
             "hit_rate": Success @ 10}
    theirs = {(m.measure, m.query_id): m.value for m in ir_measures.iter_calc(list(pairs.values()), qrels, run)}
    for name, measure in pairs.items():
        expected = [theirs[measure, str(user)] for user in range(200)]
        np.testing.assert_allclose(ours[name], expected, atol=1e-9, rtol=0, err_msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unsafe cast")
def test_parity_with_ranx(random_run):
    from ranx import Qrels, Run, evaluate
    ours, _, _, qrels, run = random_run
    names = list(METRICS)
    theirs = evaluate(Qrels(qrels), Run(run), [f"{name}@10" for name in names], return_mean=False)
    for name in names:
        by_user = dict(zip(sorted(qrels), theirs[f"{name}@10"], strict=True))
        np.testing.assert_allclose(ours[name], [by_user[str(user)] for user in range(200)], atol=1e-9, rtol=0,
                                   err_msg=name)


@pytest.mark.parametrize(("name", "cls"), [("recall", LinkPredRecall), ("precision", LinkPredPrecision),
                                           ("ndcg", LinkPredNDCG), ("mrr", LinkPredMRR),
                                           ("hit_rate", LinkPredHitRatio), ("map", LinkPredMAP)])
def test_parity_with_torch_geometric(random_run, name, cls):
    """Their MAP divides by min(k, relevant), ours by all relevant; all else is defined alike, in float32."""
    ours, lists, relevant, *_ = random_run
    metric = cls(k=10)
    metric.update(torch.from_numpy(lists), torch.from_numpy(np.stack(relevant.nonzero())))
    n_relevant = torch.from_numpy(relevant.sum(1))
    value = ours[name] * n_relevant / n_relevant.clamp(max=10) if name == "map" else ours[name]
    assert (n_relevant > 10).any()
    assert float(metric.compute()) == pytest.approx(float(value.mean()), abs=1e-6)
