import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch

from mmgraph.data.dataset import Dataset
from mmgraph.data.protocols import ColdUsers
from mmgraph.data.split import Pairs, Split
from mmgraph.features.features import from_arrays
from mmgraph.graph.graph import INTERACTS, Graph, Schema, full_graph, train_graph
from mmgraph.graph.relation import Relation

TAKEN = Pairs(np.array([0, 0, 1]), np.array([0, 2, 2]))


def pairs(*rows):
    users, items = zip(*rows, strict=True)
    return Pairs(np.array(users), np.array(items))


@pytest.fixture
def graph():
    return Graph.of(TAKEN, 2, 4)


def similar(n=4, name="similar"):
    return Relation.of("item", name, "item", sp.csr_array(np.eye(n, k=1)))


def dense(relation):
    return relation.scipy().toarray().tolist()


def test_of_interactions(graph):
    assert (graph.n_users, graph.n_items, graph.n_nodes) == (2, 4, {"user": 2, "item": 4})
    assert dense(graph.interactions) == [[1, 0, 1, 0], [0, 0, 1, 0]]
    assert graph["interacts"] is graph.interactions
    assert graph.device == torch.device("cpu")
    assert repr(graph) == "Graph(2 users, 4 items; user —interacts→ item: 3 edges)"


def test_a_relation_more(graph):
    more = graph.with_relation("like", similar())
    assert dense(more["like"]) == np.eye(4, k=1).tolist()
    assert more["like"].name == "like"
    assert "like" in more
    assert "like" not in graph
    assert "similar" not in more
    assert list(more.relations) == [INTERACTS, ("item", "like", "item")]
    replaced = more.with_relation("like", Relation.of("item", "x", "item", sp.csr_array((4, 4))))
    assert replaced["like"].n_edges == 0
    assert len(replaced.relations) == 2


def test_a_relation_brings_its_own_node_type(graph):
    has = Relation.of("item", "has", "genre", sp.csr_array(np.ones((4, 3))))
    assert graph.with_relation("has", has).n_nodes == {"user": 2, "item": 4, "genre": 3}
    assert graph.n_nodes == {"user": 2, "item": 4}


@pytest.mark.parametrize("relation", [similar(3), Relation.of("user", "knows", "user", sp.csr_array((5, 5)))])
def test_a_relation_of_another_size_is_refused(graph, relation):
    with pytest.raises(ValueError, match=r"has \d (item|user) nodes, the graph \d; resize the relation or"):
        graph.with_relation("x", relation)


def test_a_graph_without_interactions_is_refused(graph):
    with pytest.raises(ValueError, match=r"needs the relation \('user', 'interacts', 'item'\), got only \[\]"):
        Graph({"user": 1, "item": 1}, {})
    with pytest.raises(ValueError, match=r"under key .*'liked', 'item'\) calls itself \('user', 'interacts', 'item'\)"):
        Graph(graph.n_nodes, {INTERACTS: graph.interactions, ("user", "liked", "item"): graph.interactions})


def test_a_misspelt_relation_is_an_error(graph):
    with pytest.raises(KeyError, match=r"the graph has no relation 'similr', only \['interacts', 'similar'\]; a mod"):
        graph.with_relation("similar", similar())["similr"]


def test_two_relations_of_one_name_must_be_told_apart(graph):
    knows = Relation.of("user", "similar", "user", sp.csr_array((2, 2)))
    both = graph.with_relation("similar", similar()).with_relation("similar", knows)
    with pytest.raises(KeyError, match=r"2 relations are called 'similar': .*graph.relations\[source, name, target\]"):
        both["similar"]
    assert both.relations["user", "similar", "user"].n_source == 2


def test_extended_by_nodes_alone(graph):
    more = graph.with_relation("similar", similar()).extend(users=1, items=2)
    assert more.n_nodes == {"user": 3, "item": 6}
    assert dense(more.interactions) == [[1, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0] * 6]
    assert dense(more["similar"]) == np.pad(np.eye(4, k=1), (0, 2)).tolist()
    assert graph.n_nodes == {"user": 2, "item": 4}


def test_extended_by_interactions(graph):
    more = graph.extend(users=1, interactions=pairs((2, 3), (0, 2), (1, 0)))  # (0, 2) is known already
    assert dense(more.interactions) == [[1, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    none = graph.extend(items=1, interactions=Pairs(np.array([], dtype=int), np.array([], dtype=int)))
    assert dense(none.interactions) == [[1, 0, 1, 0, 0], [0, 0, 1, 0, 0]]


def test_an_extension_refuses_interactions_of_unknown_nodes(graph):
    with pytest.raises(ValueError, match="index"):
        graph.extend(interactions=pairs((2, 0)))


def test_the_schema_holds_the_sizes(graph):
    assert graph.schema() == Schema({"user": 2, "item": 4}, {}, (INTERACTS,))
    schema = graph.with_relation("similar", similar()).schema(from_arrays(range(4), {"text": np.ones((4, 7))}))
    assert (schema.n_users, schema.n_items, schema.dims) == (2, 4, {"text": 7})
    assert schema.relations == (INTERACTS, ("item", "similar", "item"))


def test_moves_with_all_its_relations(graph):
    moved = graph.with_relation("similar", similar()).to("cpu")
    assert moved.n_nodes == graph.n_nodes
    assert dense(moved["similar"]) == np.eye(4, k=1).tolist()


def test_training_sees_warm_nodes_and_scoring_also_what_is_revealed():
    users, items = np.repeat(np.arange(10), 4), np.tile(np.arange(4), 10)
    data = Dataset.from_frames(pa.table({"user": users, "item": items}), pa.table({"item": [0, 1, 2, 3, 9]}))
    split = Split.of(data, ColdUsers(share=0.4, reveal=1, holdout=0.5))
    trained, whole = train_graph(split), full_graph(split)
    assert (trained.n_users, trained.n_items) == (6, 4)
    assert (whole.n_users, whole.n_items) == (10, 5)  # item 9 nobody took
    assert trained.interactions.n_edges == 12
    assert (whole.interactions.scipy()[:6, :4] != trained.interactions.scipy()).nnz == 0
    assert whole.interactions.out_degree.tolist() == [2] * 6 + [1] * 4
    revealed = set(zip(split.history.users.tolist(), split.history.items.tolist(), strict=True))
    assert {(u, i) for u, i in whole.interactions.edges.T.tolist() if u >= 6} == revealed
