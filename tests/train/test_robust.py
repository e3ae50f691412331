from dataclasses import asdict, replace
from itertools import islice

import numpy as np
import planted
import pytest
import torch
from torch import nn

from mmgraph.features.features import Features
from mmgraph.models import FREEDOM, GAT, LightGCN
from mmgraph.models.base import Embeddings, Trained
from mmgraph.study.compare import compare
from mmgraph.study.fit import fit
from mmgraph.train.epochs import epochs
from mmgraph.train.negatives import NegativeSampler
from mmgraph.train.robust import GroupRobust, clusters, drawn, reweighted
from mmgraph.train.train import train

FEATURES = planted.features()
GRAPH = planted.graph(ages=True)
TASTE = torch.arange(planted.N) % 2


class Linear(Trained):
    """A loss that is linear in its parameters: the mean over the batch of θ · a of the item's taste."""

    SLOPES = torch.tensor([[3.0, 4.0, 0.0], [0.0, 5.0, 12.0]])

    def __init__(self, schema):
        super().__init__(schema)
        self.theta, self.unused = nn.Parameter(torch.tensor([1.0, 0.5, 0.25])), nn.Parameter(torch.ones(1))

    def forward(self, graph, features):
        return Embeddings(torch.zeros(graph.n_users, 1), torch.zeros(graph.n_items, 1))

    def loss(self, graph, features, batch):
        return {"a": 0.5 * self.of(batch), "b": 0.5 * self.of(batch)}

    def of(self, batch):
        return (self.SLOPES[TASTE[batch.positives]] @ self.theta).mean()


def moved_once(robust):
    """Weights after one move from equal ones, in the order (even items, odd items)."""
    model, groups = Linear(GRAPH.schema()), robust.grouped(GRAPH, FEATURES, 0)
    even = groups.group[TASTE[groups.edges[1]] == 0].unique()
    assert len(even) == 1
    weight = robust.moved(groups.alike(), groups, model, GRAPH, FEATURES, NegativeSampler(GRAPH.interactions),
                          torch.Generator().manual_seed(0))
    return weight.numpy()[[int(even), 1 - int(even)]]


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def test_groups_are_clusters_of_content():
    code = clusters(FEATURES, 2, seed=0)
    assert torch.equal(code != code[0], TASTE == 1)
    none = replace(FEATURES, x={m: torch.where(TASTE[:, None] == 1, 0, x) for m, x in FEATURES.x.items()},
                   present={m: TASTE == 0 for m in FEATURES.x})
    assert len(clusters(none, 3, seed=0)[TASTE == 1].unique()) == 1


def test_periods_hold_equally_many_interactions_oldest_first():
    period = GroupRobust(trend=0.5, periods=4).grouped(GRAPH, FEATURES, 0).period
    ages = torch.tensor([float(planted.age(int(u), int(i))) for u, i in GRAPH.interactions.edges.T])
    assert period.bincount().tolist() == pytest.approx([len(period) / 4] * 4, rel=0.1)
    for e in range(3):
        assert ages[period == e].min() > ages[period == e + 1].max()


def test_weights_rise_with_the_loss_as_computed_by_hand():
    losses = Linear.SLOPES.numpy() @ np.array([1.0, 0.5, 0.25])
    assert moved_once(GroupRobust(groups=2, strength=0.3)) == pytest.approx(softmax(0.3 * losses), abs=1e-6)


def test_the_shifting_factor_is_that_computed_by_hand():
    a = Linear.SLOPES.numpy() / np.array([[5.0], [13.0]])  # the same in each period; the unused parameter adds 0
    losses, ahead = Linear.SLOPES.numpy() @ np.array([1.0, 0.5, 0.25]), a.mean(0)  # the β of the periods sum to 1
    found = moved_once(GroupRobust(groups=2, strength=0.7, trend=0.4, periods=3))
    assert found == pytest.approx(softmax(0.7 * (0.6 * losses + 0.4 * a @ ahead)), abs=1e-6)


def test_later_periods_lead_more():
    """Two groups, two periods; the old one leads along the first axis, the new one along the second."""
    d = {(0, 0): [1.0, 0.0], (0, 1): [0.6, 0.8], (1, 0): [0.8, 0.6], (1, 1): [0.0, 1.0]}
    found = GroupRobust(groups=2, trend=1.0, periods=2, steepness=2.0).shifting(
        {key: torch.tensor(v) for key, v in d.items()}, 2)
    v = {key: np.array(value) for key, value in d.items()}
    beta = softmax(np.exp(2.0 * np.arange(2)))
    ahead = beta[0] * (v[0, 0] + v[1, 0]) / 2 + beta[1] * (v[0, 1] + v[1, 1]) / 2
    expected = [(v[j, 0] + v[j, 1]) @ ahead / 2 for j in range(2)]
    assert found.numpy() == pytest.approx(np.array(expected), abs=1e-6)
    assert found[1] > found[0]


def test_reweighting_multiplies_and_sums_to_one():
    w, score = np.array([0.2, 0.5, 0.3]), np.array([1.0, -2.0, 0.5])
    by_hand = w * np.exp(0.4 * score)
    found = reweighted(torch.tensor(w), torch.tensor(score), 0.4)
    assert found.numpy() == pytest.approx(by_hand / by_hand.sum(), abs=1e-12)
    with pytest.raises(FloatingPointError, match="the losses of the groups became"):
        reweighted(torch.tensor(w), torch.tensor([1.0, float("nan"), 0.0]), 0.4)


def test_an_epoch_draws_each_group_by_its_weight_and_its_rows_equally_often():
    group = torch.tensor([0] * 10 + [1] * 30 + [2] * 60)
    rows = drawn(group, torch.tensor([0.55, 0.05, 0.4]), torch.Generator().manual_seed(0))
    assert group[rows].bincount().tolist() == [55, 5, 40]
    times = rows.bincount(minlength=100)
    assert set(times[:10].tolist()) == {5, 6}
    assert times[10:].max() == 1
    assert not torch.equal(group[rows], group[rows].sort().values)


def test_shares_as_in_the_data_draw_every_interaction_once():
    group = torch.tensor([0] * 10 + [1] * 30 + [2] * 60)
    rows = drawn(group, torch.tensor([0.1, 0.3, 0.6]), torch.Generator().manual_seed(0))
    assert torch.equal(rows.sort().values, torch.arange(100))


def build(cls=LightGCN, **hyper):
    torch.manual_seed(0)
    model = cls(GRAPH.schema(FEATURES), dim=8, **hyper)
    return model, model.prepare(GRAPH, FEATURES)


@pytest.mark.parametrize("robust", [GroupRobust(groups=3), GroupRobust(groups=2, trend=0.5)])
def test_training_draws_what_it_weighs(monkeypatch, robust):
    """Epoch by epoch: the batches hold each group in proportion to the weights after the epoch before."""
    model, graph = build()
    groups, real, seen = robust.grouped(graph, FEATURES, 0), LightGCN.loss, []
    code = torch.zeros(planted.N, dtype=torch.long).scatter(0, groups.edges[1], groups.group)

    def loss(self, graph, features, batch):
        seen.append(code[batch.positives])
        return real(self, graph, features, batch)

    monkeypatch.setattr(LightGCN, "loss", loss)
    weight, n = groups.alike(), len(groups.group)
    for epoch in islice(epochs(model, graph, FEATURES, robust=robust, batch_size=300, lr=0.01), 3):
        counts = torch.cat(seen)[:n].bincount(minlength=len(weight))
        assert (counts - n * weight).abs().max() <= 1
        assert epoch.progress.weight.sum() == pytest.approx(1)
        assert not torch.equal(epoch.progress.weight, weight)
        weight = epoch.progress.weight
        seen.clear()


@pytest.mark.parametrize(("cls", "trend"), [(LightGCN, 0.5), (FREEDOM, 0.0)])
def test_resumed_equals_uninterrupted(tmp_path, cls, trend):
    given = {"lr": 0.01, "batch_size": 300, "progress_bar": False, "robust": GroupRobust(groups=3, trend=trend)}
    straight, graph = build(cls)
    whole = train(straight, graph, FEATURES, max_epochs=4, **given)
    train(build(cls)[0], graph, FEATURES, max_epochs=2, checkpoint=tmp_path / "run", **given)
    resumed = build(cls)[0]
    run = train(resumed, graph, FEATURES, max_epochs=4, checkpoint=tmp_path / "run", **given)
    assert torch.equal(run.progress.weight, whole.progress.weight)
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), straight.parameters(), strict=True))
    for other in (None, GroupRobust(groups=4, trend=trend)):
        with pytest.raises(ValueError, match=r"another run: robust was .*'groups': 3"):
            train(build(cls)[0], graph, FEATURES, checkpoint=tmp_path / "run", **(given | {"robust": other}))


def test_fit_takes_the_times_from_the_split_and_scores_without_them():
    given = {"progress_bar": False, "max_epochs": 2, "dim": 8, "monitor_on": ["warm"]}
    robust = fit(GAT, planted.split(), FEATURES, robust=GroupRobust(groups=2, trend=0.5), **given)
    plain = fit(GAT, planted.split(), FEATURES, **given)
    everybody = torch.arange(planted.N)
    assert "age" not in robust.graph
    assert robust.scores(everybody).isfinite().all()
    assert not torch.equal(robust.scores(everybody), plain.scores(everybody))


def test_a_comparison_takes_it_as_it_is_or_by_its_fields():
    given = {"max_epochs": 2, "dim": 8, "monitor_on": ["warm"], "progress_bar": False}
    found = compare({"object": (LightGCN, {"robust": GroupRobust(groups=2), **given}),
                     "fields": (LightGCN, {"robust": {"groups": 2}, **given}), "plain": (LightGCN, given)},
                    planted.split(), FEATURES, part="valid", ks=[2])
    one, same, plain = (found.fitted[label].scores(torch.arange(planted.N)) for label in ("object", "fields", "plain"))
    assert torch.equal(one, same)
    assert not torch.equal(one, plain)
    told = {row.model: row.options.get("robust") for row in found.rows}
    assert told == {"object": asdict(GroupRobust(groups=2)), "fields": {"groups": 2}, "plain": None}


@pytest.mark.parametrize(("given", "message"), [
    ({"groups": 1}, "at least 2 groups and 1 period, got 1 and 3"), ({"periods": 0}, "at least 2 groups"),
    ({"strength": 0.0}, "strength must be positive"), ({"trend": 1.5}, r"trend lie in \[0, 1\]"),
    ({"steepness": -1.0}, "steepness be at least 0")])
def test_refuses_arguments_out_of_range(given, message):
    with pytest.raises(ValueError, match=message):
        GroupRobust(**given)


def test_refuses_what_it_cannot_group():
    with pytest.raises(ValueError, match="groups are clusters of content, and the items have none"):
        GroupRobust().grouped(GRAPH, Features.empty(FEATURES.ids), 0)
    with pytest.raises(ValueError, match="no relation 'age'; add it with with_ages"):
        GroupRobust(trend=0.1).grouped(planted.graph(), FEATURES, 0)
    other = GRAPH["age"].kept(torch.arange(GRAPH["age"].n_edges) > 0)
    with pytest.raises(ValueError, match="the ages are those of other interactions"):
        GroupRobust(trend=0.1).grouped(GRAPH.with_relation("age", other), FEATURES, 0)
