import sys
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.data import Pairs
from mmgraph.eval.rank import rank, restricted, score_blocks
from mmgraph.graph.graph import Graph
from mmgraph.models import DotScorer, Embeddings


@dataclass
class Table:
    """Scores that are written down."""

    values: torch.Tensor

    @property
    def n_items(self):
        return self.values.shape[1]

    def scores(self, users):
        return self.values[users].clone()


def seen_of(pairs, n_users, n_items):
    users, items = zip(*pairs, strict=True) if pairs else ((), ())
    return Graph.of(Pairs(np.array(users, dtype=int), np.array(items, dtype=int)), n_users, n_items).interactions


def ranked_by_hand(values, users, k, pairs=(), among=None):
    lists = []
    for user in users:
        free = [i for i in range(len(values[0])) if (user, i) not in pairs and (among is None or among[i])]
        best = sorted(free, key=lambda item, user=user: (-values[user][item], item))[:k]
        lists.append(best + [-1] * (k - len(best)))
    return lists


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_equals_a_loop(data):
    """Few distinct scores, so that most of them tie."""
    n_users, n_items = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    row = st.lists(st.integers(-2, 2), min_size=n_items, max_size=n_items)
    values = data.draw(st.lists(row, min_size=n_users, max_size=n_users))
    users = data.draw(st.lists(st.integers(0, n_users - 1), max_size=6))
    pairs = data.draw(st.sets(st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1))))
    among = data.draw(st.none() | st.lists(st.booleans(), min_size=n_items, max_size=n_items))
    k = data.draw(st.integers(1, n_items))
    lists = rank(Table(torch.tensor(values, dtype=torch.float32)), torch.tensor(users, dtype=torch.long), k,
                 seen=seen_of(pairs, n_users, n_items), candidates=None if among is None else torch.tensor(among))
    assert lists.tolist() == ranked_by_hand(values, users, k, pairs, among)


def test_ties_go_to_the_smaller_number():
    values = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0, 3.0]])
    assert rank(Table(values), torch.tensor([0]), 5).tolist() == [[1, 3, 5, 2, 4]]
    assert rank(Table(torch.zeros(1, 1000)), torch.tensor([0]), 10).tolist() == [list(range(10))]


def test_seen_items_are_left_out_of_their_users_list_only():
    values = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    assert rank(Table(values), torch.tensor([1, 0]), 2, seen=seen_of([(0, 0)], 2, 3)).tolist() == [[0, 1], [1, 2]]


def test_fewer_candidates_than_k_end_in_minus_one():
    values = torch.tensor([[3.0, 2.0, 1.0]])
    lists = rank(Table(values), torch.tensor([0]), 3, seen=seen_of([(0, 1)], 1, 3),
                 candidates=torch.tensor([False, True, True]))
    assert lists.tolist() == [[2, -1, -1]]


def test_does_not_depend_on_the_size_of_the_blocks(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    users, items = torch.randn(50, 16, generator=generator), torch.randn(30, 16, generator=generator)
    items[20:] = items[:10]  # exact ties
    scorer, seen = DotScorer(Embeddings(users, items)), seen_of([(u, u % 30) for u in range(50)], 50, 30)
    whole = rank(scorer, torch.arange(50), 30, seen=seen)
    for n_users in (1, 2, 3, 7, 49):
        monkeypatch.setattr(sys.modules["mmgraph.eval.rank"], "BLOCK", n_users * 30 + 1)
        assert len(list(score_blocks(scorer, torch.arange(50)))) == -(-50 // n_users)
        assert torch.equal(rank(scorer, torch.arange(50), 30, seen=seen), whole)
    monkeypatch.setattr(sys.modules["mmgraph.eval.rank"], "BLOCK", 1)
    assert torch.equal(rank(scorer, torch.arange(50), 30, seen=seen), whole)
    for item in range(10):
        first, second = ((whole == number).nonzero() for number in (item, item + 20))
        both = set(first[:, 0].tolist()) & set(second[:, 0].tolist())
        at = {row: place for row, place in first.tolist()}
        assert all(at[row] + 1 == place for row, place in second.tolist() if row in both)


def test_scores_are_computed_once_and_masked():
    values, calls = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), []

    class Counting(Table):
        def scores(self, users):
            calls.append(users)
            return super().scores(users)

    [(block, scores)] = score_blocks(Counting(values), torch.tensor([1, 0]), seen=seen_of([(1, 2)], 2, 3))
    assert block.tolist() == [1, 0]
    assert scores.tolist() == [[4, 5, -torch.inf], [1, 2, 3]]
    assert len(calls) == 1
    some = restricted(scores, torch.tensor([False, True, True]))
    assert some.tolist() == [[-torch.inf, 5, -torch.inf], [-torch.inf, 2, 3]]
    assert scores[0, 0] == 4
    assert restricted(scores, None) is scores


@pytest.mark.parametrize("k", [0, 4])
def test_a_list_longer_than_the_catalogue_is_refused(k):
    with pytest.raises(ValueError, match=rf"k must lie in \[1, 3\], the size of the catalogue, got {k}"):
        rank(Table(torch.zeros(1, 3)), torch.tensor([0]), k)


def test_a_score_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="1 rows of scores hold NaN; the model has diverged"):
        rank(Table(torch.tensor([[0.0, torch.nan, 1.0], [0.0, 1.0, 2.0]])), torch.tensor([0, 1]), 2)


def test_no_users_give_no_lists():
    assert rank(Table(torch.zeros(2, 3)), torch.zeros(0, dtype=torch.long), 2).shape == (0, 2)
