import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.graph.relation import Relation

DENSE = np.array([[0, 2, 0, 1], [0, 0, 0, 0], [3, 0, 0, 0.5]], dtype=np.float32)


def of(dense=DENSE):
    return Relation.of("user", "takes", "item", sp.csr_array(np.array(dense, dtype=np.float32)))


def dense(relation):
    return relation.scipy().toarray()


@st.composite
def matrices(draw):
    n, m = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    cells = st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.5, 0.25])
    return np.array(draw(st.lists(st.lists(cells, min_size=m, max_size=m), min_size=n, max_size=n)), dtype=np.float32)


def test_rows_are_sources_and_columns_are_targets():
    relation = of()
    assert (relation.n_source, relation.n_target, relation.n_edges) == (3, 4, 4)
    assert relation.indptr.tolist() == [0, 2, 2, 4]
    assert relation.indices.tolist() == [1, 3, 0, 3]
    assert relation.weight.tolist() == [2, 1, 3, 0.5]
    assert relation.edges.tolist() == [[0, 0, 2, 2], [1, 3, 0, 3]]
    assert relation.edges.dtype == torch.int64
    assert relation.out_degree.tolist() == [3, 0, 3.5]
    assert relation.in_degree.tolist() == [3, 2, 0, 1.5]
    assert repr(relation) == "user —takes→ item: 4 edges"


def test_the_matrix_and_its_transpose():
    assert of().matrix.to_dense().tolist() == DENSE.tolist()
    assert of().transposed.to_dense().tolist() == DENSE.T.tolist()
    assert of().matrix.layout == of().transposed.layout == torch.sparse_csr


@settings(max_examples=50, deadline=None)
@given(matrices())
def test_every_view_is_of_the_same_matrix(cells):
    relation = of(cells)
    assert (relation.matrix.to_dense().numpy() == cells).all()
    assert (relation.transposed.to_dense().numpy() == cells.T).all()
    assert (dense(relation) == cells).all()
    assert (dense(relation.reversed("back")) == cells.T).all()
    assert relation.out_degree.tolist() == cells.sum(1).tolist()
    assert relation.in_degree.tolist() == cells.sum(0).tolist()
    for s in range(relation.n_source):
        for t in range(relation.n_target):
            assert relation.contains(torch.tensor([s]), torch.tensor([[t]])).item() == (cells[s, t] != 0)


def test_from_edges_sums_duplicates_and_takes_any_order():
    edges = torch.tensor([[2, 0, 2, 0], [3, 3, 3, 1]])
    assert dense(Relation.from_edges("a", "b", "c", 3, 4, edges)).tolist() == [[0, 1, 0, 1], [0] * 4, [0, 0, 0, 2]]
    weighted = Relation.from_edges("a", "b", "c", 3, 4, edges, torch.tensor([1.0, 2, 3, 0.5]))
    assert dense(weighted).tolist() == [[0, 0.5, 0, 2], [0] * 4, [0, 0, 0, 4]]
    assert (weighted.source, weighted.name, weighted.target) == ("a", "b", "c")
    assert Relation.from_edges("a", "b", "c", 3, 4, edges[:, :0]).n_edges == 0


@pytest.mark.parametrize("edges", [[[3], [0]], [[0], [4]], [[-1], [0]], [[0], [-2]]])
def test_from_edges_refuses_numbers_out_of_range(edges):
    with pytest.raises(ValueError, match=r"relation 'b': [ac] numbers must lie in \[0, [34]\), got -?\d … -?\d"):
        Relation.from_edges("a", "b", "c", 3, 4, torch.tensor(edges))


def test_indices_ascend_though_they_did_not_before():
    matrix = sp.csr_array((np.array([1, 2, 3], np.float32), np.array([3, 0, 2]), np.array([0, 3])), shape=(1, 4))
    assert Relation.of("a", "b", "c", matrix).indices.tolist() == [0, 2, 3]


def test_shares_nothing_with_the_matrix_that_it_was_made_of():
    arrays = np.array([1, 2, 3, 4], np.float32), np.array([2, 0, 2, 1]), np.array([0, 3, 4])
    matrix = sp.csr_array(arrays, shape=(2, 3))
    relation = Relation.of("a", "b", "c", matrix)
    assert relation.weight.tolist() == [2, 4, 4]
    assert [matrix.data.tolist(), matrix.indices.tolist(), matrix.indptr.tolist()] == [a.tolist() for a in arrays]
    clean = sp.csr_array(DENSE)
    relation = Relation.of("a", "b", "c", clean)
    clean.data[:], clean.indices[:] = 9, 0
    assert dense(relation).tolist() == DENSE.tolist()


@pytest.mark.parametrize(("indptr", "indices", "weight", "message"), [
    ([0, 1], [0], [1.0], r"indptr must rise from 0 with 2 \+ 1 entries, got 2 entries"),
    ([1, 1, 1], [0], [1.0], "indptr must rise from 0"),
    ([0, 2, 1], [0], [1.0], "indptr must rise from 0"),
    ([0, 1, 2], [0], [1.0], "indptr ends at 2, but there are 1 indices and 1 weights"),
    ([0, 1, 2], [0, 3], [1.0, 1], r"targets must lie in \[0, 3\), got 0 … 3"),
    ([0, 1, 2], [0, -1], [1.0, 1], r"targets must lie in \[0, 3\), got -1 … 0"),
    ([0, 1, 2], [0, 1], [1.0, torch.nan], "1 weights are NaN or infinite"),
    ([0, 1, 2], [0, 1], [torch.inf, -torch.inf], "2 weights are NaN or infinite")])
def test_refuses_what_is_no_matrix(indptr, indices, weight, message):
    with pytest.raises(ValueError, match="relation a → b → c: " + message):
        Relation("a", "b", "c", 2, 3, torch.tensor(indptr), torch.tensor(indices), torch.tensor(weight))


def test_refuses_another_number_of_weights_than_of_edges():
    with pytest.raises((ValueError, TypeError), match="weight"):  # the type check of the tests may see it first
        Relation("a", "b", "c", 2, 3, torch.tensor([0, 1, 2]), torch.tensor([0, 1]), torch.tensor([1.0]))


def test_symmetric_by_hand():
    out, into = [3, 0, 3.5], [3, 2, 0, 1.5]
    expected = [[w / np.sqrt(out[s] * into[t]) if w else 0 for t, w in enumerate(row)] for s, row in enumerate(DENSE)]
    assert np.allclose(dense(of().symmetric), expected, atol=1e-7)


def test_symmetric_of_ones_is_one_over_the_root_of_both_counts():
    relation = of([[1, 1, 0], [1, 0, 0]])
    assert dense(relation.symmetric).ravel().tolist() == pytest.approx([0.5, 2**-0.5, 0, 2**-0.5, 0, 0])


def test_averaging_by_hand():
    assert np.allclose(dense(of().averaging), [[0, 1, 0, 2 / 3], [0, 0, 0, 0], [1, 0, 0, 1 / 3]])
    heard = of().averaging.transposed @ torch.tensor([[10.0], [20], [40]])
    assert heard.ravel().tolist() == pytest.approx([40, 10, 0, 20])


def test_resized_has_the_same_edges_and_nothing_at_the_new_nodes():
    larger = of().resized(5, 6)
    assert (larger.n_source, larger.n_target) == (5, 6)
    assert (dense(larger) == np.pad(DENSE, ((0, 2), (0, 2)))).all()
    assert (dense(of().resized(3, 4)) == DENSE).all()
    for shape in ((2, 4), (3, 3)):
        with pytest.raises(ValueError, match=rf"cannot shrink from 3 × 4 to {shape[0]} × {shape[1]}"):
            of().resized(*shape)


def test_kept_edges_by_hand():
    kept = of().kept(torch.tensor([False, True, True, False]))
    assert dense(kept).tolist() == [[0, 0, 0, 1], [0] * 4, [3, 0, 0, 0]]
    assert kept.indptr.dtype == of().indptr.dtype
    assert of().kept(torch.zeros(4, dtype=torch.bool)).n_edges == 0


def test_edges_into_some_targets_by_hand():
    assert dense(of().into(2)).tolist() == [[0, 1], [0, 0], [0, 0.5]]
    assert dense(of().into(0, 2)).tolist() == [[0, 2], [0, 0], [3, 0]]
    assert of().into(4).n_target == of().into(4).n_edges == 0


def test_rows_in_the_order_given_also_twice():
    rows = of().rows(torch.tensor([2, 1, 2, 0]))
    assert dense(rows).tolist() == DENSE[[2, 1, 2, 0]].tolist()
    assert (rows.n_source, rows.n_target) == (4, 4)
    assert of().rows(torch.tensor([], dtype=torch.int64)).n_edges == 0


def test_contains_says_no_to_absent_targets_and_in_an_empty_relation():
    targets = torch.tensor([[1, 0, -1, 3], [0, 1, 2, -1], [0, -1, 3, 1]])
    assert of().contains(torch.tensor([0, 1, 2]), targets).tolist() == [
        [True, False, False, True], [False] * 4, [True, False, True, False]]
    last = of([[0, 1], [1, 0]])  # −1 of source 1 would be the key of the last target of source 0
    assert last.contains(torch.tensor([1]), torch.tensor([[-1]])).tolist() == [[False]]
    assert of(np.zeros((3, 4))).contains(torch.tensor([0, 1, 2]), targets).sum() == 0


def test_reversed_turns_ends_and_name_round():
    back = of().reversed("taken_by")
    assert (back.source, back.name, back.target) == ("item", "taken_by", "user")
    assert (back.n_source, back.n_target) == (4, 3)
    assert back.indices.tolist() == [2, 0, 0, 2]  # ascending in each row


def test_other_weights_forget_what_was_computed_before():
    relation = of()
    assert relation.symmetric.n_edges == relation.matrix.values().numel() == 4
    doubled = relation.weighted(relation.weight * 2)
    assert doubled.out_degree.tolist() == [6, 0, 7]
    assert (doubled.matrix.to_dense().numpy() == 2 * DENSE).all()
    assert (doubled.transposed.to_dense().numpy() == 2 * DENSE.T).all()
    assert relation.out_degree.tolist() == [3, 0, 3.5]


def test_keeps_double_weights():
    relation = of().weighted(of().weight.double() / 3)
    assert relation.transposed.dtype == relation.matrix.dtype == torch.float64
    assert (relation.transposed.to_dense() == relation.matrix.to_dense().T).all()
