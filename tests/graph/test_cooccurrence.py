import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.data.split import Pairs
from mmgraph.graph.cooccurrence import cooccurrence
from mmgraph.graph.graph import Graph


def edges(relation):
    return {(s, t): w for s, t, w in zip(*relation.edges.tolist(), relation.weight.tolist(), strict=True)}


def taken(*pairs, n_users=4, n_items=4):
    users, items = np.array(pairs).T
    return Graph.of(Pairs(users, items), n_users, n_items).interactions


# items 0 and 1 share users 0 and 1; items 1 and 2 share user 1; item 3 and user 3 have nobody
SMALL = taken((0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 2))


def test_counts_by_hand():
    items = cooccurrence(SMALL, "item", cosine=False)
    assert (items.source, items.target, items.n_source, items.n_target) == ("item", "item", 4, 4)
    assert edges(items) == {(0, 1): 2, (1, 0): 2, (1, 2): 1, (2, 1): 1, (0, 2): 1, (2, 0): 1}
    assert edges(cooccurrence(SMALL, "user", cosine=False)) == {(0, 1): 2, (1, 0): 2, (1, 2): 1, (2, 1): 1}


def test_cosine_and_shrink_by_hand():
    got = edges(cooccurrence(SMALL, "item"))  # degrees 2, 2, 2, 0
    assert got == pytest.approx({(0, 1): 1, (1, 0): 1, (1, 2): 0.5, (2, 1): 0.5, (0, 2): 0.5, (2, 0): 0.5})
    assert edges(cooccurrence(SMALL, "user"))[0, 1] == pytest.approx(2 / (2 * 3) ** 0.5)
    assert edges(cooccurrence(SMALL, "item", shrink=2.0))[1, 2] == pytest.approx(1 / 4)


def test_top_k_is_per_target_and_ties_go_to_the_smaller_number():
    # item 0 is with everybody, items 1, 2, 3 with nobody else: each of them hears 0, and 0 hears only 1
    star = taken((0, 0), (0, 1), (1, 0), (1, 2), (2, 0), (2, 3))
    assert edges(cooccurrence(star, "item", k=1, cosine=False)) == {(0, 1): 1, (0, 2): 1, (0, 3): 1, (1, 0): 1}
    assert edges(cooccurrence(star, "item", k=2, cosine=False)) == {(0, 1): 1, (0, 2): 1, (0, 3): 1, (1, 0): 1,
                                                                    (2, 0): 1}


@settings(deadline=None, max_examples=40)
@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1), st.sampled_from(["user", "item"]),
       st.sampled_from([None, 1, 2, 9]), st.sampled_from([1, 6, 13, 2**24]))
def test_equals_a_loop_for_any_block_size(pairs, side, k, block):
    relation = taken(*sorted(pairs), n_users=6, n_items=5)
    sets = [{i for u, i in pairs if u == n} for n in range(6)] if side == "user" else [
        {u for u, i in pairs if i == n} for n in range(5)]
    want = {}
    for t, mine in enumerate(sets):
        near = [(-len(mine & theirs) / (len(mine) * len(theirs)) ** 0.5, s) for s, theirs in enumerate(sets)
                if s != t and mine & theirs]
        want |= {(s, t): -w for w, s in sorted((round(w, 6), s) for w, s in near)[:k]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[cooccurrence.__module__], "BLOCK", block)
        got = edges(cooccurrence(relation, side, k=k))
    assert got.keys() == want.keys()
    assert all(got[e] == pytest.approx(want[e], abs=2e-6) for e in want)


def test_a_message_arrives_at_the_target():
    received = cooccurrence(taken((0, 0), (0, 1), n_items=2), "item", k=1).transposed @ torch.tensor([[5.0], [7.0]])
    assert received.tolist() == [[7], [5]]
