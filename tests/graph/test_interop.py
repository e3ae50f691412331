import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import HeteroData
from torch_geometric.nn import SimpleConv

from mmgraph.data.split import Pairs
from mmgraph.features.features import from_arrays
from mmgraph.graph.graph import INTERACTS, Graph
from mmgraph.graph.interop import from_networkx, from_pyg, from_scipy, to_networkx, to_pyg, to_scipy
from mmgraph.graph.relation import Relation

SIMILAR = ("item", "similar", "item")


def world(seed=0, n_users=4, n_items=5, density=0.4):
    """Weights no text can hold exactly; the last of each type is isolated; one relation is empty."""
    rng = np.random.default_rng(seed)

    def relation(key, n, m):
        dense = rng.normal(size=(n, m)) * (rng.random((n, m)) < density)
        dense[-1:], dense[:, -1:] = 0, 0
        return Relation.of(*key, sp.csr_array(dense))

    relations = {INTERACTS: relation(INTERACTS, n_users, n_items), SIMILAR: relation(SIMILAR, n_items, n_items),
                 ("item", "has_tag", "tag"): relation(("item", "has_tag", "tag"), n_items, 3),
                 ("tag", "tag_of", "item"): Relation.of("tag", "tag_of", "item", sp.csr_array((3, n_items)))}
    return Graph({"user": n_users, "item": n_items, "tag": 3, "unused": 2, "nobody": 0}, relations)


def same(a, b):
    def bits(r):
        return r.n_source, r.n_target, r.indptr.tolist(), r.indices.tolist(), r.weight.view(torch.int32).tolist()
    return dict(a.n_nodes) == dict(b.n_nodes) and {k: bits(r) for k, r in a.relations.items()} == {
        k: bits(r) for k, r in b.relations.items()}


TRIPS = {"scipy": lambda g: from_scipy(to_scipy(g), g.n_nodes), "pyg": lambda g: from_pyg(to_pyg(g)),
         "networkx": lambda g: from_networkx(to_networkx(g))}


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), n_users=st.integers(1, 6), n_items=st.integers(1, 6), density=st.floats(0, 1))
@pytest.mark.parametrize("trip", TRIPS.values(), ids=TRIPS)
def test_round_trip_is_exact(trip, seed, n_users, n_items, density):
    graph = world(seed, n_users, n_items, density)
    assert same(trip(graph), graph)


def test_the_test_can_fail():
    assert not same(world(0), world(1))


def test_scipy_by_hand():
    graph = Graph.of(_pairs((0, 1), (1, 0)), 2, 3)
    matrices = to_scipy(graph)
    assert matrices[INTERACTS].toarray().tolist() == [[0, 1, 0], [1, 0, 0]]
    matrices[INTERACTS].data[:] = 9
    assert graph.interactions.weight.tolist() == [1, 1]
    back = from_scipy(matrices)
    matrices[INTERACTS].data[:] = 8
    assert back.interactions.weight.tolist() == [9, 9]
    assert back.n_nodes == {"user": 2, "item": 3}


def _pairs(*pairs):
    return Pairs(*np.array(pairs).T)


def test_scipy_shapes_must_agree():
    matrices = {INTERACTS: sp.csr_array((2, 3)), SIMILAR: sp.csr_array((4, 4))}
    with pytest.raises(ValueError, match="has 3 item nodes, the graph 4"):
        from_scipy(matrices)


def test_pyg_by_hand():
    graph = world()
    data = to_pyg(graph)
    assert [data[kind].num_nodes for kind in ("user", "unused", "nobody")] == [4, 2, 0]
    edge_index = data[INTERACTS].edge_index
    assert edge_index.dtype == torch.int64
    dense = graph.interactions.scipy().toarray()
    assert all(dense[u, i] == w for u, i, w in zip(*edge_index.tolist(), data[INTERACTS].edge_weight.tolist(),
                                                   strict=True))


def test_pyg_passes_messages_as_we_do():
    graph = world(density=0.8)
    users = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    store = to_pyg(graph)[INTERACTS]
    theirs = SimpleConv("sum")((users, torch.zeros(5, 6)), store.edge_index, store.edge_weight)
    torch.testing.assert_close(theirs, graph.interactions.transposed @ users)


def test_pyg_gets_the_features_of_their_nodes():
    features = from_arrays(range(5), {"text": np.eye(5)[:, :2]})
    data = to_pyg(world(), features)
    assert data["item"].x_text.equal(features.x["text"])
    assert data["item"].present_text.tolist() == [True, True, False, False, False]
    assert data["item"].num_nodes == 5
    with pytest.raises(ValueError, match="there are features of 4 items, the graph has 5; align"):
        to_pyg(world(), features.rows(slice(0, 4)))
    with pytest.raises(ValueError, match="features of 5 shops, the graph has None"):
        to_pyg(world(), from_arrays(range(5), {"text": np.eye(5)}, what="shop"))


def test_pyg_without_weights_or_counts():
    data = HeteroData()
    data["user"].num_nodes = 2
    data["item"].num_nodes = 2
    data[INTERACTS].edge_index = torch.tensor([[1, 0, 1], [0, 1, 0]])
    assert from_pyg(data).interactions.scipy().toarray().tolist() == [[0, 1], [2, 0]]
    data["shop"].name = "corner"
    with pytest.raises(ValueError, match=r"the number of \['shop'\] nodes is not known; set data\['shop'\].num_nodes"):
        from_pyg(data)


def test_networkx_by_hand():
    made = to_networkx(Graph.of(_pairs((0, 1), (1, 0)), 2, 3))
    assert set(made.nodes) == {("user", 0), ("user", 1), ("item", 0), ("item", 1), ("item", 2)}
    assert list(made.edges(keys=True, data="weight")) == [(("user", 0), ("item", 1), "interacts", 1.0),
                                                          (("user", 1), ("item", 0), "interacts", 1.0)]


def test_networkx_two_relations_between_the_same_nodes():
    graph = world(density=1).with_relation("alike", world(seed=1, density=1)["similar"])
    assert same(from_networkx(to_networkx(graph)), graph)


def test_networkx_made_elsewhere():
    made = nx.MultiDiGraph()
    made.add_edge(("user", 0), ("item", 1), "interacts")
    made.add_edge(("user", 0), ("item", 0), "interacts", weight=0.5)
    assert from_networkx(made).interactions.scipy().toarray().tolist() == [[0.5, 1]]
    made.add_node(("item", 7))
    with pytest.raises(ValueError, match="the item nodes must be numbered 0 … 2, got"):
        from_networkx(made)


@pytest.mark.parametrize("back", [lambda: from_networkx(nx.MultiDiGraph()), lambda: from_scipy({}),
                                  lambda: from_pyg(HeteroData())])
def test_a_graph_needs_interactions(back):
    with pytest.raises(ValueError, match="a graph needs the relation"):
        back()
