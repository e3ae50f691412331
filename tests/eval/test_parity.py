"""Every accuracy metric against two libraries, on 200 random runs in one call of each.

Exceptions: ir-measures has no F1, no MAP capped at min(k, n) and no accuracy at k; ranx has no MAP capped, no accuracy
and no AUC, and gives 0, not NaN, to a user without held-out items; ir-measures leaves such a user out. AUC is compared
with scikit-learn in test_auc.py, MAP capped with PyG in test_metrics.py, accuracy with a loop in test_evaluate.py.
"""

import numpy as np
import pytest
import torch

from mmgraph.eval.metrics import METRICS
from mmgraph.graph.topk import top_k

KS = (1, 5, 40)  # 40 is beyond the end of every list
N_RUNS = 200


@pytest.fixture(scope="module")
def runs():
    """Ours for each "run/user"; their judgements, and their scores: minus the rank, after ties are broken by number."""
    rng = np.random.default_rng(0)
    ours, qrels, lists = {}, {}, {}
    for run in range(N_RUNS):
        n_users, n_items = int(rng.integers(1, 8)), int(rng.integers(2, 35))
        scores = torch.from_numpy(rng.integers(0, rng.choice([2, 5, 10**6]), (n_users, n_items)).astype(float))
        relevant = rng.random((n_users, n_items)) < rng.choice([0.02, 0.2, 0.7])
        order = top_k(scores, n_items)[1].numpy()
        hits, n_relevant = np.take_along_axis(relevant, order, axis=1), torch.from_numpy(relevant.sum(1))
        padded = torch.zeros(n_users, max(KS), dtype=torch.bool)
        padded[:, :n_items] = torch.from_numpy(hits)
        for name, metric in METRICS.items():
            if name not in ("accuracy", "map_capped"):
                for k in KS:
                    for user, value in enumerate(metric(padded[:, :k], n_relevant).tolist()):
                        ours.setdefault(f"{name}@{k}", {})[f"{run}/{user}"] = value
        for user in range(n_users):
            query = f"{run}/{user}"
            qrels[query] = {f"i{item}": int(relevant[user, item]) for item in range(n_items)}
            lists[query] = {f"i{item}": float(-place) for place, item in enumerate(order[user])}
    return ours, qrels, lists


def test_the_runs_hold_ties_empty_users_and_short_lists(runs):
    ours, qrels, lists = runs
    empty = sum(not any(judged.values()) for judged in qrels.values())
    assert 50 < empty < len(qrels) / 2
    assert all(np.isnan(list(values.values())).sum() == empty for values in ours.values())
    assert max(map(len, lists.values())) < 40
    assert len({query.partition("/")[0] for query in qrels}) == N_RUNS


def test_agrees_with_ir_measures(runs):
    import ir_measures
    from ir_measures import AP, RR, P, R, Success, nDCG
    ours, qrels, lists = runs
    measures = {f"{name}@{k}": measure @ k for k in KS for name, measure in {
        "recall": R, "precision": P, "ndcg": nDCG, "mrr": RR, "map": AP, "hit_rate": Success}.items()}
    judged = {query: of for query, of in qrels.items() if any(of.values())}
    theirs = {(m.measure, m.query_id): m.value for m in ir_measures.iter_calc(
        list(measures.values()), judged, {query: lists[query] for query in judged})}
    for name, measure in measures.items():
        np.testing.assert_allclose([ours[name][query] for query in judged],
                                   [theirs[measure, query] for query in judged], atol=1e-9, rtol=0, err_msg=name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unsafe cast")
def test_agrees_with_ranx(runs):
    """Slow because ranx compiles itself."""
    from ranx import Qrels, Run, evaluate
    ours, qrels, lists = runs
    names = [f"{name}@{k}" for k in KS for name in ("recall", "precision", "ndcg", "mrr", "map", "hit_rate", "f1")]
    assert set(names) == set(ours)
    theirs = evaluate(Qrels(qrels), Run(lists), names, return_mean=False)
    for name in names:
        by_query = dict(zip(sorted(qrels), theirs[name], strict=True))
        judged = [query for query in qrels if any(qrels[query].values())]
        np.testing.assert_allclose([ours[name][query] for query in judged], [by_query[query] for query in judged],
                                   atol=1e-9, rtol=0, err_msg=name)
        assert all(by_query[query] == 0 for query in qrels if query not in judged)
