import json

import numpy as np
import pytest
import torch

from mmgraph.data.split import Pairs
from mmgraph.features.features import Features, from_arrays
from mmgraph.graph.graph import Graph
from mmgraph.graph.relation import Relation
from mmgraph.graph.sample import drop_edges, prune_by_degree, sample_neighbours
from mmgraph.graph.switches import (
    DropEdges,
    MaskItems,
    PrincipalEdges,
    PruneByDegree,
    principal_edges,
    switch_by_name,
    switch_words,
    with_virtual_edges,
)
from mmgraph.models.late_propagation import propagated
from mmgraph.models.scorers import DotScorer, Embeddings

R = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 1], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1.0]])


def graph(matrix=R):
    return Graph.of(Pairs(*np.nonzero(matrix)), *np.shape(matrix))


def dense(made):
    return made.interactions.scipy().toarray()


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9])
def test_principal_edges_by_hand(rank, fraction):
    scaled = R / np.sqrt(np.outer(R.sum(1), R.sum(0)))
    u, s, v = np.linalg.svd(scaled)
    quotient = ((u[:, :rank] * s[:rank]) @ v[:rank])[R > 0] / scaled[R > 0]
    n_kept = 13 - int(13 * fraction)
    kept = np.zeros(13, dtype=bool)
    kept[np.argsort(-quotient.round(9), kind="stable")[:n_kept]] = True
    made = principal_edges(graph(), fraction, rank)
    assert (dense(made)[R > 0] == kept).all()
    assert made.interactions.n_edges == n_kept
    assert (dense(made)[R == 0] == 0).all()


def test_a_stray_edge_between_two_circles_goes_first():
    two = np.kron(np.eye(2), np.ones((4, 4)))
    two[0, 6] = 1
    made = principal_edges(graph(two), 1 / 33, 2)
    assert (dense(made) == np.kron(np.eye(2), np.ones((4, 4)))).all()


def test_principal_edges_refuse():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\), rank must be at least 1; got 1.0 and 2"):
        principal_edges(graph(), 1.0, 2)
    with pytest.raises(ValueError, match="rank must be at least 1"):
        principal_edges(graph(), 0.5, 0)


ANGLES = np.radians([0, 10, 30, 180, 200, 5])  # item 5 is new
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1) * [[1], [1], [9], [3], [1], [1]]
TAKEN = np.zeros((3, 6))
TAKEN[0, 0] = TAKEN[1, 3] = TAKEN[1, 5] = 1  # user 1 also took the new item; user 2 nothing


def content(**arrays):
    return from_arrays(range(6), arrays or {"text": CIRCLE})


def test_virtual_edges_by_hand():
    made = dense(with_virtual_edges(graph(TAKEN), content(), 2, 0.25, n_known=5))
    # user 0: 10° and 30° from 0°; user 1: 20° from 180°, all others point away, and the new item counts for nothing
    assert made.tolist() == [[1, 0.25, 0.25, 0, 0, 0], [0, 0, 0, 1, 0.25, 1], [0] * 6]
    one = dense(with_virtual_edges(graph(TAKEN), content(), 1, 0.25, n_known=5))
    assert one[0].tolist() == [1, 0.25, 0, 0, 0, 0]  # the item at 30° is longer, not nearer


def test_virtual_edges_add_up_over_modalities_and_items():
    taken = np.zeros((1, 6))
    taken[0, :2] = 1
    other = np.array([[1.0, 0], [0, 1], [0, 0], [1, 0], [3, 4], [0, 0]])
    made = dense(with_virtual_edges(graph(taken), content(text=CIRCLE, image=other), 1, 1.0, n_known=5))
    text, image = (np.nan_to_num(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
                   for x in (CIRCLE, other))
    sums = sum(x[:2].sum(0) @ x.T for x in (text, image))[2:5]
    assert made[0, 2:].tolist() == [*(sums == sums.max()).astype(float), 0.0]


def test_virtual_edges_ignore_new_items_and_users_are_independent():
    few, many = graph(TAKEN[:, :5]), graph(TAKEN)
    small = with_virtual_edges(few, content().rows(slice(0, 5)), 3, 0.5, n_known=5).interactions.scipy().toarray()
    large = dense(with_virtual_edges(many, content(), 3, 0.5, n_known=5))
    assert (small == large[:, :5]).all()
    alone = dense(with_virtual_edges(graph(TAKEN[1:]), content(), 3, 0.5, n_known=5))
    assert (alone == large[1:]).all()


def test_without_content_nothing_is_added():
    text = CIRCLE.copy()
    text[1] = 0
    made = dense(with_virtual_edges(graph(TAKEN), content(text=text), 4, 0.5, n_known=5))
    assert made[:, 1].tolist() == [0, 0, 0]
    none = with_virtual_edges(graph(TAKEN), Features.empty(content().ids), 2, 0.5, n_known=5)
    assert (dense(none) == TAKEN).all()


@pytest.mark.parametrize(("k", "weight", "n_known"), [(0, 1.0, 5), (6, 1.0, 5), (2, 0.0, 5), (2, 1.0, 7)])
def test_virtual_edges_refuse(k, weight, n_known):
    with pytest.raises(ValueError, match=f"got k {k} and weight {weight}"):
        with_virtual_edges(graph(TAKEN), content(), k, weight, n_known=n_known)


def vectors(n_users, n_items):
    generator = torch.Generator().manual_seed(0)
    return Embeddings(torch.randn(n_users, 3, generator=generator), torch.randn(n_items, 3, generator=generator))


def test_propagated_by_hand():
    before, weights = vectors(5, 5), (0.5, 0.3, -0.1)
    a = np.block([[np.zeros((5, 5)), R], [R.T, np.zeros((5, 5))]])
    a /= np.sqrt(np.outer(a.sum(1), a.sum(1)))
    e = np.concatenate([*before])
    expected = 0.5 * e + 0.3 * a @ e - 0.1 * a @ a @ e
    after = propagated(DotScorer(before), graph(), weights)
    np.testing.assert_allclose(np.concatenate([*after.embeddings]), expected, atol=1e-6)
    np.testing.assert_allclose(after.scores(torch.tensor([2])), expected[2:3] @ expected[5:].T, atol=1e-5)


def test_who_has_no_interaction_keeps_their_vector_and_moves_nobody():
    before = vectors(6, 7)
    known = propagated(DotScorer(Embeddings(before.users[:5], before.items[:5])), graph(), [1.0, 0.5]).embeddings
    after = propagated(DotScorer(before), graph().extend(users=1, items=2), [1.0, 0.5]).embeddings
    assert torch.equal(after.users[5:], 1.5 * before.users[5:])
    longer = known.items.norm(dim=1).mean() / before.items[:5].norm(dim=1).mean()
    torch.testing.assert_close(after.items[5:], longer * before.items[5:])
    assert torch.equal(after.users[:5], known.users)
    assert torch.equal(after.items[:5], known.items)


def test_one_weight_changes_nothing_and_misfits_are_refused():
    before = DotScorer(vectors(5, 5))
    assert torch.equal(propagated(before, graph(), [1.0]).embeddings.items, before.embeddings.items)
    with pytest.raises(ValueError, match="no entry"):
        propagated(before, graph(), [])
    with pytest.raises(ValueError, match="has 5 users and 5 items, the graph 6 and 5"):
        propagated(before, graph().extend(users=1), [1.0])


def test_a_new_item_is_as_long_as_the_others_whatever_the_weights():
    """Layers of a graph make vectors that point in all directions much shorter; the new one's shall not tower."""
    before = vectors(5, 6)
    for weights in ([0.0, 1.0], [1.0, 1.0, 1.0], [-1.0, 0.25]):
        after = propagated(DotScorer(before), graph().extend(items=1), weights).embeddings.items
        ratio = after[:5].norm(dim=1).mean() / before.items[:5].norm(dim=1).mean()
        expected = ratio * before.items[5] * (-1 if sum(weights) < 0 else 1)
        torch.testing.assert_close(after[5], expected)


SWITCHES = {
    "DropEdges(fraction=0.5)": (DropEdges(0.5), lambda g, random: drop_edges(g, 0.5, random)),
    "PruneByDegree(fraction=0.5)": (PruneByDegree(0.5), lambda g, random: prune_by_degree(g, 0.5, random)),
    "PrincipalEdges(fraction=0.5, rank=2)": (PrincipalEdges(0.5, 2), lambda g, random: principal_edges(g, 0.5, 2))}


@pytest.mark.parametrize("name", SWITCHES)
def test_switches_with_a_name_do_what_their_functions_do(name):
    switch, function = SWITCHES[name]
    made, expected = (each(graph(), torch.Generator().manual_seed(3)) for each in (switch, function))
    assert repr(switch) == name
    assert (dense(made) == dense(expected)).all()
    assert 0 < made.interactions.n_edges < 13


@pytest.mark.parametrize("switch", [DropEdges(0.1), PruneByDegree(0.2), PrincipalEdges(0.3, 4), MaskItems(0.5)])
def test_a_switch_comes_back_from_its_words(switch):
    assert switch_by_name(json.loads(json.dumps(switch_words(switch)))) == switch


@pytest.mark.parametrize(("words", "error", "match"), [
    ({"DropEdge": {"fraction": 0.1}}, ValueError, r"one of DropEdges, PruneByDegree, PrincipalEdges, MaskItems with"),
    ({}, ValueError, r"such as \{'DropEdges': \{'fraction': 0.2\}\}; got \{\}"),
    ({"DropEdges": {"fraction": 0.1}, "MaskItems": {"fraction": 0.1}}, ValueError, "thin is one of"),
    ({"DropEdges": 0.1}, ValueError, r"got \{'DropEdges': 0.1\}"),
    ({"DropEdges": {"fraction": 0.1, "share": 0.1}}, TypeError, "share"),
    ({"PrincipalEdges": {"fraction": 0.1}}, TypeError, "rank"),
    ({"MaskItems": {"fraction": 1.0}}, ValueError, r"must lie in \[0, 1\)")])
def test_words_that_name_no_switch_are_refused(words, error, match):
    with pytest.raises(error, match=match):
        switch_by_name(words)


@pytest.mark.parametrize("made", [lambda: DropEdges(1.0), lambda: PruneByDegree(-0.1), lambda: PrincipalEdges(1.0, 2),
                                  lambda: MaskItems(1.0)])
def test_switches_refuse_fractions(made):
    with pytest.raises(ValueError, match=r"fraction is dropped and must lie in \[0, 1\)"):
        made()
    with pytest.raises(ValueError, match=r"rank must be at least 1; got 0.5 and 0"):
        PrincipalEdges(0.5, 0)


@pytest.mark.parametrize("change", [*(switch for switch, _ in SWITCHES.values()),
                                    lambda g, random: with_virtual_edges(g, content(), 2, 0.25, n_known=5)])
def test_what_is_said_back_follows_the_interactions_if_it_is_there(change):
    matrix = np.pad(R, [(0, 0), (0, 1)])
    plain = graph(matrix)
    both = plain.with_relation("taken_by", plain.interactions.reversed("taken_by"))
    made, alone = (change(g, torch.Generator().manual_seed(0)) for g in (both, plain))
    assert (dense(made) != matrix).any()
    assert (dense(made) == dense(alone)).all()
    assert (made["taken_by"].scipy().toarray() == dense(made).T).all()
    assert "taken_by" not in alone


def test_what_is_learned_are_the_interactions_unless_it_is_said():
    whole, part = graph(), DropEdges(0.5)(graph(), torch.Generator().manual_seed(0))
    assert whole.learned is whole.interactions
    both = part.with_relation("learned", whole.interactions)
    assert (both.learned.scipy().toarray() == R).all()
    sampled = sample_neighbours(both, 1, torch.Generator().manual_seed(0))
    assert (sampled.learned.scipy().toarray() == R).all(), "nobody hears it"
    assert (sampled.interactions.in_degree <= 1).all()


def test_masked_items_are_cut_off_and_the_others_keep_all():
    random = torch.Generator().manual_seed(1)
    drawn = [dense(MaskItems(0.5)(graph(), random)) for _ in range(20)]
    masked = [frozenset(np.flatnonzero(each.sum(0) == 0)) for each in drawn]
    for each, some in zip(drawn, masked, strict=True):
        assert len(some) == 2  # ⌊0.5 · 5⌋, and every item has been taken
        left = [i for i in range(5) if i not in some]
        assert (each[:, left] == R[:, left]).all()
    assert frozenset.union(*masked) == set(range(5))
    assert len(set(masked)) > 5
    assert (dense(MaskItems(0.0)(graph(), random)) == R).all()


def test_masked_items_tell_nobody_and_hear_what_new_items_hear():
    plain = graph()
    similar = Relation.from_edges("item", "similar", "item", 5, 5, torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]]))
    whole = plain.with_relation("similar", similar).with_relation("taken_by", plain.interactions.reversed("taken_by"))
    made = MaskItems(0.4)(whole, torch.Generator().manual_seed(0))
    masked = np.flatnonzero(dense(made).sum(0) == 0)
    heard = made["similar"].scipy().toarray()
    assert len(masked) == 2
    assert (made["taken_by"].scipy().toarray() == dense(made).T).all()
    assert (heard[masked] == 0).all()
    others = [i for i in range(5) if i not in masked]
    assert (heard[others] == similar.scipy().toarray()[others]).all()
    assert heard[:, masked].any()


def test_what_masked_items_were_taken_by_is_learned_still():
    both = graph().with_relation("learned", graph().interactions)
    made = MaskItems(0.4)(both, torch.Generator().manual_seed(0))
    assert made.interactions.in_degree.count_nonzero() == 3
    assert (made.learned.scipy().toarray() == R).all()
