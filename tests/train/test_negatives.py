import numpy as np
import planted
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from mmgraph.data import Pairs
from mmgraph.graph.graph import Graph
from mmgraph.train.negatives import NegativeSampler


def interactions(histories, n_items):
    users = [u for u, history in enumerate(histories) for _ in history]
    items = [i for history in histories for i in history]
    return Graph.of(Pairs(np.array(users, dtype=int), np.array(items, dtype=int)), len(histories), n_items).interactions


def sample_at(sampler, user, uniform, monkeypatch):
    """What the sampler draws for a user from these uniform numbers."""
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: torch.tensor(uniform, dtype=torch.float64))
    drawn = sampler.sample(torch.full((len(uniform),), user), torch.Generator())
    monkeypatch.undo()
    return drawn.tolist()


@pytest.mark.parametrize("histories", [
    [[0]], [[3]], [[0, 1, 2]], [[1, 3]], [[]], [[0, 2], [1, 2, 3], [], [0, 3], [1]], [[0, 1], [], [0, 1, 2], [3, 2, 1]],
])
def test_the_rth_free_item_is_the_rth_outside_the_history(histories, monkeypatch):
    sampler = NegativeSampler(interactions(histories, 4))
    for user, history in enumerate(histories):
        free = [item for item in range(4) if item not in history]
        middles = [(r + 0.5) / len(free) for r in range(len(free))]
        assert sample_at(sampler, user, middles, monkeypatch) == free


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 9).flatmap(lambda n: st.lists(st.sets(st.integers(0, n - 1), max_size=n - 1), min_size=1,
                                                    max_size=6).map(lambda histories: (n, histories))))
def test_the_rth_free_item_whatever_the_histories(world):
    n, histories = world
    sampler = NegativeSampler(interactions(histories, n))
    with pytest.MonkeyPatch.context() as patch:
        for user, history in enumerate(histories):
            free = [item for item in range(n) if item not in history]
            middles = [(r + 0.5) / len(free) for r in range(len(free))]
            assert sample_at(sampler, user, middles, patch) == free


def test_the_ends_of_the_unit_interval_stay_inside(monkeypatch):
    sampler = NegativeSampler(interactions([[0, 4]], 5))
    assert sample_at(sampler, 0, [0.0, float(np.nextafter(1, 0)), 1.0], monkeypatch) == [1, 3, 3]


def test_never_draws_a_taken_item():
    graph = planted.graph()
    sampler, generator = NegativeSampler(graph.interactions), torch.Generator().manual_seed(0)
    users = torch.arange(planted.N).repeat(500)
    drawn = sampler.sample(users, generator)
    assert not set(zip(users.tolist(), drawn.tolist(), strict=True)) & set(planted.TAKEN)
    assert drawn.min() >= 0
    assert drawn.max() < planted.N


def test_draws_each_free_item_equally_often():
    sampler = NegativeSampler(interactions([[1, 2, 5], [0], []], 7))
    generator = torch.Generator().manual_seed(3)
    for user, free in enumerate([[0, 3, 4, 6], [1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6]]):
        drawn = sampler.sample(torch.full((20000,), user), generator).numpy()
        counts = np.bincount(drawn, minlength=7)
        assert set(counts.nonzero()[0]) == set(free)
        assert chisquare(counts[free]).pvalue > 0.001


def test_a_user_who_took_everything_is_refused():
    with pytest.raises(ValueError, match=r"1 users have taken all 3 items, e.g. numbers \[1\]; .* leave them out"):
        NegativeSampler(interactions([[0], [0, 1, 2], []], 3))


def test_the_same_generator_draws_the_same():
    sampler, users = NegativeSampler(planted.graph().interactions), torch.arange(planted.N)
    first, second = (sampler.sample(users, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, sampler.sample(users, torch.Generator().manual_seed(6)))
