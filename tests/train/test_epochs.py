from itertools import islice

import numpy as np
import planted
import pytest
import torch

from mmgraph.data import Pairs
from mmgraph.graph.graph import Graph
from mmgraph.models import FREEDOM, GAT, LightGCN, Triples
from mmgraph.train.epochs import epochs

FEATURES = planted.features(missing=0.3)
GRAPH = planted.graph()


def build(cls, **hyperparameters):
    torch.manual_seed(0)
    model = cls(GRAPH.schema(FEATURES), dim=8, **hyperparameters)
    return model, model.prepare(GRAPH, FEATURES)


def train(cls, n, **arguments):
    model, graph = build(cls)
    return model, list(islice(epochs(model, graph, FEATURES, **arguments), n))


def same(model, other):
    return all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def unthinned(graph, model, generator):
    return graph


def pruned(graph, model, generator):
    """The pruning of FREEDOM, one edge at a time."""
    draws = torch.empty(len(planted.TAKEN)).exponential_(generator=generator)
    n_u, n_i = np.bincount([u for u, _ in planted.TAKEN]), np.bincount([i for _, i in planted.TAKEN])
    arrival = [float(draws[e]) * float(n_u[u] * n_i[i]) ** 0.5 for e, (u, i) in enumerate(planted.TAKEN)]
    n_kept = len(planted.TAKEN) - int(model.prune * len(planted.TAKEN))
    kept = sorted(range(len(arrival)), key=lambda e: arrival[e])[:n_kept]
    users, items = zip(*(planted.TAKEN[e] for e in kept), strict=True)
    thin = Graph.of(Pairs(np.array(users), np.array(items)), planted.N, planted.N)
    return thin.with_relation("similar", graph["similar"])


def trained_by_hand(cls, thinned, n_epochs, lr, batch_size, seed):
    """Training as a plain loop."""
    model, full = build(cls)
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    losses = []
    for _ in range(n_epochs):
        graph, totals = thinned(full, model, generator), []
        order = torch.randperm(len(planted.TAKEN), generator=generator).tolist()
        for start in range(0, len(order), batch_size):
            users, positives = zip(*(planted.TAKEN[row] for row in order[start:start + batch_size]), strict=True)
            draws = torch.rand(len(users), dtype=torch.float64, generator=generator).tolist()
            negatives = []
            for user, draw in zip(users, draws, strict=True):
                free = [item for item in range(planted.N) if (user, item) not in TAKEN]
                negatives.append(free[int(draw * len(free))])
            batch = Triples(*(torch.tensor(column) for column in (users, positives, negatives)))
            adam.zero_grad()
            terms = model.loss(graph, FEATURES, batch)
            sum(terms.values()).backward()
            adam.step()
            totals.append({name: term.item() for name, term in terms.items()})
        losses.append({name: np.mean([t[name] for t in totals]) for name in totals[0]})
    return model, losses


TAKEN = set(planted.TAKEN)


@pytest.mark.parametrize(("cls", "thinned"), [(LightGCN, unthinned), (FREEDOM, pruned)])
def test_two_epochs_equal_a_loop_written_out_exactly(cls, thinned):
    model, done = train(cls, 2, lr=0.01, batch_size=300, seed=4)
    expected, losses = trained_by_hand(cls, thinned, 2, 0.01, 300, 4)
    assert same(model, expected)
    for epoch, by_hand in zip(done, losses, strict=True):
        assert epoch.losses == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"lr": 0.02}, {"batch_size": 299}])
def test_another_seed_rate_or_batch_gives_other_parameters(changed):
    given = {"lr": 0.01, "batch_size": 300, "seed": 0}
    assert same(train(LightGCN, 1, **given)[0], train(LightGCN, 1, **given)[0])
    assert not same(train(LightGCN, 1, **given)[0], train(LightGCN, 1, **(given | changed))[0])


def test_each_epoch_is_numbered_and_timed():
    _, done = train(LightGCN, 3)
    assert [epoch.number for epoch in done] == [1, 2, 3]
    assert all(epoch.seconds > 0 for epoch in done)
    assert set(done[0].losses) == {"bpr", "l2"}


@pytest.mark.parametrize("cls", [LightGCN, FREEDOM, GAT])
def test_goes_on_from_progress_bit_for_bit(cls):
    straight, whole = train(cls, 5, lr=0.01, batch_size=300)
    stopped, first = train(cls, 2, lr=0.01, batch_size=300)
    model, graph = build(cls)
    model.load_state_dict(stopped.state_dict())
    rest = list(islice(epochs(model, graph, FEATURES, lr=0.01, batch_size=300, progress=first[-1].progress), 3))
    assert [epoch.number for epoch in rest] == [3, 4, 5]
    assert [epoch.losses for epoch in rest] == [epoch.losses for epoch in whole[2:]]
    assert same(model, straight)


def test_progress_does_not_change_afterwards():
    model, graph = build(LightGCN)
    source = epochs(model, graph, FEATURES, batch_size=300)
    progress = next(source).progress
    before = {name: tensor.clone() for name, tensor in progress.optimizer.items()}
    generator = progress.generator.clone()
    next(source)
    assert set(before) == {f"{side}.weight.{key}" for side in ("user", "item")
                           for key in ("step", "exp_avg", "exp_avg_sq")}
    assert all(torch.equal(before[name], tensor) for name, tensor in progress.optimizer.items())
    assert torch.equal(generator, progress.generator)


def test_trains_in_training_mode_even_after_a_validation():
    model, graph = build(LightGCN)
    for _ in islice(epochs(model, graph, FEATURES), 2):
        assert model.training
        model.eval()


def test_a_loss_that_is_not_a_number_stops_naming_term_and_epoch(monkeypatch):
    model, graph = build(LightGCN)
    real, calls = model.loss, []

    def loss(graph, features, batch):
        calls.append(batch)
        terms = real(graph, features, batch)
        return terms | {"l2": terms["l2"] * float("nan")} if len(calls) == 5 else terms  # 3 batches an epoch

    monkeypatch.setattr(model, "loss", loss)
    with pytest.raises(FloatingPointError, match=r"loss term 'l2' of LightGCN became nan in epoch 2; lower lr"):
        list(islice(epochs(model, graph, FEATURES, batch_size=300), 3))
    assert len(calls) == 6


@pytest.mark.parametrize("arguments", [{"lr": 0.0}, {"batch_size": 0}])
def test_refuses_arguments_out_of_range(arguments):
    model, graph = build(LightGCN)
    with pytest.raises(ValueError, match="batch_size must be at least 1 and lr positive"):
        next(epochs(model, graph, FEATURES, **arguments))
