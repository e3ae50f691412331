from dataclasses import replace

import numpy as np
import planted
import pytest
import torch

from mmgraph.data import ColdItems, ColdUsers, RandomPerUser, Split
from mmgraph.data.split import TEST, TRAIN
from mmgraph.eval.evaluate import evaluate
from mmgraph.graph import DropEdges
from mmgraph.models import BPRMF, EASE, FREEDOM, GAT, LightGCN
from mmgraph.study.fit import Validation, default_monitor, fit

SPLIT = planted.split()
FEATURES = planted.features()
EVERYBODY = torch.arange(planted.N)


def fitted(cls=BPRMF, split=SPLIT, features=FEATURES, **arguments):
    given = {"max_epochs": 2, "progress_bar": False, "monitor": "recall@5"} | arguments
    return fit(cls, split, features, **(given if cls is EASE else {"dim": 8} | given))


def same(one, other):
    a, b = one.model.state_dict(), other.model.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_early_stopping_picks_the_best_epoch():
    done = fitted(max_epochs=60, patience=4, lr=0.03)
    valid = [row["valid"] for row in done.history]
    best = int(np.argmax(valid)) + 1
    assert 1 < best == len(valid) - 4 < 56
    assert same(done, fitted(max_epochs=best, patience=60, lr=0.03))
    assert not same(done, fitted(max_epochs=best - 1, patience=60, lr=0.03))


def test_the_selected_epoch_scores_what_its_history_says():
    done = fitted(max_epochs=30, patience=3, lr=0.03)
    found = evaluate(done, SPLIT, ks=[5], metrics=["recall"])
    best = max(row["valid"] for row in done.history)
    assert (found["warm", "recall@5"] + found["cold", "recall@5"]) / 2 == pytest.approx(best, abs=1e-12)


def test_nothing_global_changes():
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fitted(GAT, seed=3)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002


@pytest.mark.parametrize("cls", [FREEDOM, GAT])
def test_the_same_seed_gives_the_same_model(cls):
    torch.manual_seed(1)
    first = fitted(cls, seed=5)
    torch.manual_seed(2)
    assert same(first, fitted(cls, seed=5))
    assert not same(first, fitted(cls, seed=6))


def test_the_order_of_the_feature_rows_does_not_matter():
    shuffled = FEATURES.rows(np.random.default_rng(0).permutation(planted.N))
    first, second = fitted(FREEDOM), fitted(FREEDOM, features=shuffled)
    assert same(first, second)
    assert torch.equal(first.scores(EVERYBODY), second.scores(EVERYBODY))


def test_trains_on_warm_rows_only():
    split = Split.of(planted.dataset(), ColdItems(0.3), seed=2)
    done = fitted(split=split)
    assert (done.model.schema.n_items, done.n_items) == (28, 40)
    assert len(done.model.item.weight) == 28
    assert done.items == split.data.items
    assert done.features.ids == split.data.items
    assert done.graph.interactions.n_edges == len(split.train.users)


def test_attributes_become_nodes():
    done = fitted(GAT, attributes=["genre", "team"])
    assert done.graph.n_nodes["genre"] == done.graph.n_nodes["team"] == 6
    assert {"has_genre", "genre_of", "has_team", "team_of"} <= {name for _, name, _ in done.graph.relations}
    assert done.graph["has_genre"].out_degree[SPLIT.n_warm_items:].sum() == 0
    assert (done.graph["genre_of"].in_degree == 2).all()


def test_an_unknown_attribute_is_named():
    with pytest.raises(KeyError, match=r"no attribute \['colour'\]; items have \['text', 'genre'\], users \['team'\]"):
        fitted(GAT, attributes=["genre", "colour"])


def test_a_closed_form_is_solved_on_the_training_part():
    done = fitted(EASE, l2=2.0)
    n_users, n_items = SPLIT.n_warm_users, SPLIT.n_warm_items
    x = SPLIT.train.matrix(n_users, n_items).toarray().astype(float)
    inverse = np.linalg.inv(x.T @ x + 2 * np.eye(n_items))
    expected = np.eye(n_items) - inverse / np.diag(inverse)
    np.testing.assert_allclose(done.model.weight, expected, atol=1e-5)
    assert list(done.history) == []
    assert done.seconds > 0


def test_a_user_without_training_interaction_is_scored_as_the_average_user():
    split = Split.of(planted.dataset(), ColdUsers(0.2), seed=0)
    done, n = fitted(LightGCN, split, monitor_on=["all"]), split.n_warm_users
    assert n == 32
    users = done.scorer.embeddings.users
    torch.testing.assert_close(users[n:], users[:n].mean(0).expand(planted.N - n, -1))


def test_a_revealed_history_is_used_for_scoring_and_not_for_training():
    hidden, revealed = (Split.of(planted.dataset(), ColdUsers(0.2, reveal=n), seed=0) for n in (0, 3))
    assert len(revealed.history.users) == 24
    done = fitted(LightGCN, revealed, max_epochs=1, monitor_on=["all"])
    assert same(done, fitted(LightGCN, hidden, max_epochs=1, monitor_on=["all"]))
    n = hidden.n_warm_users
    assert done.graph.interactions.n_edges == len(revealed.train.users) + 24
    assert not torch.equal(done.scores(EVERYBODY)[n], done.scores(EVERYBODY)[n + 1])


@pytest.mark.parametrize(("rule", "expected"), [
    (ColdItems(0.2), ("warm", "cold")), (ColdItems(0.0), ("all",)), (ColdItems(0.2, holdout=0.0), ("cold",))])
def test_the_default_monitor_looks_at_cold_items_where_there_are_some(rule, expected):
    split = Split.of(planted.dataset(), rule, seed=0)
    assert default_monitor(split) == expected
    assert len(fitted(split=split).history) == 2


def test_the_monitor_is_the_mean_over_its_candidate_sets():
    done = fitted()
    validation = Validation(SPLIT, done.graph, done.features, "ndcg@3", ("warm", "all"))
    found = evaluate(done, SPLIT, ks=[3], metrics=["ndcg"])
    assert validation(done.model) == pytest.approx((found["warm", "ndcg@3"] + found["all", "ndcg@3"]) / 2, abs=1e-12)


@pytest.mark.parametrize("monitor", ["recall", "recall@", "recall@five"])
def test_a_monitor_without_length_is_refused(monitor):
    with pytest.raises(ValueError, match="a metric and a length such as 'recall@20', got 'recall"):
        fitted(monitor=monitor)


def test_a_monitor_that_does_not_exist_is_refused():
    with pytest.raises(KeyError, match=r"no metric \['recal'\]"):
        fitted(monitor="recal@5")


def test_a_validation_part_that_selects_nothing_is_refused():
    warm_only = Split.of(planted.dataset(), RandomPerUser(), seed=0)
    with pytest.raises(ValueError, match="no user has a validation interaction with cold items, so no epoch can be"):
        fitted(split=warm_only, monitor_on=["cold"])
    all_train = Split(planted.dataset(), np.full(len(planted.TAKEN), TRAIN), "all", {}, 0)
    with pytest.raises(ValueError, match=r"the valid part of .* is empty"):
        fitted(split=all_train)


def test_the_test_part_is_not_touched():
    """Without half of the test interactions, nothing that is trained or selected is another."""
    keep = np.ones(len(SPLIT.part), dtype=bool)
    keep[(SPLIT.part == TEST).nonzero()[0][::2]] = False
    without = replace(SPLIT, part=SPLIT.part[keep],
                      data=replace(SPLIT.data, interactions=SPLIT.data.interactions.filter(keep)))
    first, second = fitted(FREEDOM, monitor_on=["warm"]), fitted(FREEDOM, split=without, monitor_on=["warm"])
    assert same(first, second)
    assert [row["valid"] for row in first.history] == [row["valid"] for row in second.history]


def test_a_checkpoint_of_another_split_is_refused(tmp_path):
    """Two splits can have the same sizes; going on would train on the other's test part."""
    fitted(checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r"belongs to another run: split was '[0-9a-f]+', now '[0-9a-f]+'"):
        fitted(split=planted.split(seed=1), checkpoint=tmp_path / "run")


def test_resumed_equals_uninterrupted(tmp_path):
    fitted(FREEDOM, max_epochs=2, checkpoint=tmp_path / "run")
    resumed = fitted(FREEDOM, max_epochs=4, checkpoint=tmp_path / "run")
    assert same(resumed, fitted(FREEDOM, max_epochs=4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("cls", [BPRMF, EASE, FREEDOM, GAT, LightGCN])
def test_on_a_gpu_the_scores_are_those_of_the_cpu(cls, tmp_path):
    there, here = fitted(cls, device="cuda", max_epochs=1), fitted(cls, max_epochs=1)
    assert there.graph.device.type == "cuda"
    torch.testing.assert_close(there.scores(EVERYBODY).cpu(), here.scores(EVERYBODY), atol=1e-3, rtol=1e-3)
    fitted(cls, device="cuda", checkpoint=tmp_path / "run")
    fitted(cls, device="cuda", max_epochs=3, checkpoint=tmp_path / "run")


def test_the_device_is_passed_on():
    assert fitted(device="cpu").graph.device == torch.device("cpu")
    with pytest.raises(RuntimeError):
        fitted(device="no such device")


@pytest.mark.parametrize(("cls", "warned"), [(BPRMF, True), (GAT, False)])
def test_attributes_that_nobody_reads_are_warned_of(cls, warned, caplog):
    fitted(cls, attributes=["genre"], max_epochs=1)
    assert ("BPRMF reads no attributes, so that ['genre'] change nothing" in caplog.text) == warned


def test_a_switch_by_its_name_is_the_switch():
    plain, switch, name = (fitted(LightGCN, thin=thin) for thin in (None, DropEdges(0.5),
                                                                   {"DropEdges": {"fraction": 0.5}}))
    assert same(switch, name)
    assert not same(plain, name)
