import numpy as np
import pytest
import scipy.sparse as sp
import torch

from mmgraph.data.split import Pairs
from mmgraph.graph.graph import Graph
from mmgraph.graph.relation import Relation
from mmgraph.graph.sample import prune_by_degree, sample_neighbours, sample_sources

DEGREES = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def graph(matrix=DEGREES):
    return Graph.of(Pairs(*np.nonzero(matrix)), *matrix.shape)


def edge_set(relation):
    return {(s, t) for s, t in relation.edges.T.tolist()}


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.8, 0.99])
def test_prunes_exactly_this_fraction_and_only_known_edges(fraction):
    whole = graph()
    pruned = prune_by_degree(whole, fraction, seeded())
    assert pruned.interactions.n_edges == 11 - int(fraction * 11)
    assert edge_set(pruned.interactions) <= edge_set(whole.interactions)
    assert pruned.interactions.weight.eq(1).all()
    assert pruned.n_nodes == whole.n_nodes
    assert whole.interactions.n_edges == 11


def test_prunes_by_the_generator_alone():
    same = [edge_set(prune_by_degree(graph(), 0.5, seeded(7)).interactions) for _ in range(3)]
    assert same[0] == same[1] == same[2]
    assert len({frozenset(edge_set(prune_by_degree(graph(), 0.5, seeded(s)).interactions)) for s in range(20)}) > 10


def test_pruning_leaves_other_relations_alone():
    similar = Relation.of("item", "similar", "item", sp.csr_array(np.ones((6, 6))))
    pruned = prune_by_degree(graph().with_relation("similar", similar), 0.9, seeded())
    assert pruned["similar"].n_edges == 36
    assert pruned.interactions.n_edges == 11 - 9


@pytest.mark.slow
def test_a_single_kept_edge_is_drawn_in_proportion_to_its_weight():
    """The chance of each edge to be the one that stays is 1/√(d_u d_i) over the sum of all."""
    relation, n = graph().interactions, 6000
    users, items = np.nonzero(DEGREES)
    chance = 1 / np.sqrt(DEGREES.sum(1)[users] * DEGREES.sum(0)[items])
    chance /= chance.sum()
    generator, count = seeded(), np.zeros(DEGREES.shape)
    for _ in range(n):
        (s, t), = edge_set(prune_by_degree(graph_once, 0.95, generator).interactions)
        count[s, t] += 1
    frequency = count[users, items] / n
    assert relation.n_edges == len(users)
    assert abs(frequency - chance).max() < 4 * np.sqrt(0.25 / n)
    assert np.corrcoef(frequency, chance)[0, 1] > 0.98


graph_once = graph()


def test_edges_between_popular_nodes_go_first():
    kept = sum(prune_by_degree(graph_once, 0.5, seeded(s)).interactions.scipy().toarray() for s in range(1500)) / 1500
    degree = np.outer(DEGREES.sum(1), DEGREES.sum(0))
    by_degree = [kept[(degree == d) & (DEGREES > 0)].mean() for d in sorted(set(degree[DEGREES > 0]))]
    assert len(by_degree) > 4
    assert by_degree == sorted(by_degree, reverse=True)
    assert kept[DEGREES > 0].mean() == pytest.approx(6 / 11)


def test_at_most_n_sources_per_target():
    dense = np.array([[1, 0, 2, 0], [3, 0, 4, 0], [5, 6, 7, 0], [8, 0, 9, 0], [10, 0, 0, 0]], dtype=np.float32)
    relation = Relation.of("a", "b", "c", sp.csr_array(dense))
    for n, expected in ((1, [1, 1, 1, 0]), (2, [2, 1, 2, 0]), (4, [4, 1, 4, 0]), (9, [5, 1, 4, 0])):
        sampled = sample_sources(relation, n, seeded())
        assert (sampled.scipy().toarray() > 0).sum(0).tolist() == expected
        s, t = sampled.edges
        assert sampled.weight.tolist() == dense[s, t].tolist()
        assert repr(sampled).startswith("a —b→ c:")
        assert (sampled.n_source, sampled.n_target) == (5, 4)


def test_every_source_is_drawn_alike():
    dense, n = np.array([[1, 0], [9, 1], [1, 1], [0.1, 1], [1, 0]], dtype=np.float32), 4000
    relation, generator = Relation.of("a", "b", "c", sp.csr_array(dense)), seeded()
    share = sum((sample_sources(relation, 2, generator).scipy().toarray() > 0).astype(int) for _ in range(n)) / n
    assert abs(share[:, 0] - 2 / 5).max() < 0.035
    assert abs(share[1:4, 1] - 2 / 3).max() < 0.035


def test_sampling_is_decided_by_the_generator_alone():
    relation = graph().interactions
    assert edge_set(sample_sources(relation, 1, seeded(3))) == edge_set(sample_sources(relation, 1, seeded(3)))
    assert len({frozenset(edge_set(sample_sources(relation, 1, seeded(s)))) for s in range(10)}) > 1


def test_an_empty_relation_stays_empty():
    empty = Relation.of("a", "b", "c", sp.csr_array((3, 2)))
    assert sample_sources(empty, 2, seeded()).n_edges == 0


def test_sampling_neighbours_thins_every_relation():
    similar = Relation.of("item", "similar", "item", sp.csr_array(np.ones((6, 6))))
    whole = graph().with_relation("similar", similar)
    thin = sample_neighbours(whole, 2, seeded())
    assert thin.n_nodes == whole.n_nodes
    assert list(thin.relations) == list(whole.relations)
    assert thin["similar"].in_degree.tolist() == [2] * 6
    assert thin.interactions.in_degree.tolist() == [2, 2, 2, 1, 1, 2]
