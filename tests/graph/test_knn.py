import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from mmgraph.data.split import Pairs
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.features.features import Features, from_arrays
from mmgraph.graph import knn
from mmgraph.graph.graph import Graph
from mmgraph.graph.knn import knn_graph, nearest, with_neighbours_of_new


def edges(relation):
    """(source, target) → weight."""
    return {(s, t): w for s, t, w in zip(*relation.edges.tolist(), relation.weight.tolist(), strict=True)}


def of(*modalities, n=None, **named):
    arrays = {f"m{i}": m for i, m in enumerate(modalities)} | named
    return from_arrays(range(n or len(modalities[0])), arrays)


ANGLES = np.deg2rad([0, 10, 30, 90])  # nearest by angle: 0→1, 1→0, 2→1, 3→2
FOUR = of(np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1) * [[1], [5], [0.1], [2]])


def cos(degrees):
    return pytest.approx(np.cos(np.deg2rad(degrees)), abs=1e-6)


def test_by_hand_source_is_the_neighbour_and_target_the_item():
    relation = knn_graph(FOUR, 1)
    assert (relation.source, relation.name, relation.target) == ("item", "similar", "item")
    assert edges(relation) == {(1, 0): cos(10), (0, 1): cos(10), (1, 2): cos(20), (2, 3): cos(60)}
    assert relation.in_degree.gt(0).tolist() == [True] * 4
    assert relation.out_degree.gt(0).tolist() == [True, True, True, False]


def test_two_neighbours_by_hand():
    assert edges(knn_graph(FOUR, 2)) == {(1, 0): cos(10), (2, 0): cos(30), (0, 1): cos(10), (2, 1): cos(20),
                                         (1, 2): cos(20), (0, 2): cos(30), (2, 3): cos(60), (1, 3): cos(80)}


def test_only_known_items_send():
    assert edges(knn_graph(FOUR, 1, n_known=2)) == {(1, 0): cos(10), (0, 1): cos(10), (1, 2): cos(20), (1, 3): cos(80)}
    assert edges(knn_graph(FOUR, 1, n_known=2, new_only=True)) == {(1, 2): cos(20), (1, 3): cos(80)}


def test_a_new_item_receives_from_known_ones_in_the_graph():
    graph = with_neighbours_of_new(Graph.of(Pairs(np.array([0]), np.array([0])), 1, 4), FOUR, 1, n_known=3)
    received = graph["similar"].transposed @ torch.eye(4)
    assert received[3].tolist() == [0, 0, cos(60), 0]
    assert not received[:3].any()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_ties_go_to_the_smaller_number(k):
    same = of(np.ones((6, 3)) * np.arange(1, 7)[:, None])
    sources = {t: [s for s, t_ in edges(knn_graph(same, k)) if t_ == t] for t in range(6)}
    assert sources == {t: [s for s in range(6) if s != t][:k] for t in range(6)}


def test_absent_rows_neither_send_nor_receive():
    relation = knn_graph(of([[1, 0], [0, 0], [1, 1], [1, 0.1]]), 3)
    assert 1 not in relation.edges
    assert relation.n_edges == 6


def test_opposite_and_orthogonal_rows_are_no_neighbours():
    assert knn_graph(of([[1, 0], [-1, 0], [0, 1]]), 2).n_edges == 0


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_length_does_not_matter(scale):
    scaled = Features(FOUR.ids, {"m": FOUR.x["m0"] * scale}, {"m": FOUR.present["m0"]})
    assert edges(knn_graph(scaled, 2)) == edges(knn_graph(FOUR, 2))


def test_modalities_are_averaged_by_hand():
    features = of([[1, 0], [1, 0], [0, 1]], [[1, 0], [0, 1], [1, 1]])  # m0: 0↔1; m1: 2→0, 2→1, 0→2 (tie)
    half = pytest.approx(0.5)
    slant = cos(45)
    assert edges(knn_graph(features, 1)) == {(1, 0): half, (0, 1): half, (2, 0): pytest.approx(0.5**0.5 / 2),
                                             (2, 1): pytest.approx(0.5**0.5 / 2), (0, 2): pytest.approx(0.5**0.5 / 2)}
    assert edges(knn_graph(features, 1, weights={"m1": 7.0})) == {(2, 0): slant, (2, 1): slant, (0, 2): slant}
    weighted = knn_graph(features, 1, weights={"m0": 1.0, "m1": 3.0}, binary=True)
    assert edges(weighted) == {(1, 0): 0.25, (0, 1): 0.25, (2, 0): 0.75, (2, 1): 0.75, (0, 2): 0.75}


def test_binary_by_hand():
    assert edges(knn_graph(FOUR, 1, binary=True)) == {(1, 0): 1, (0, 1): 1, (1, 2): 1, (2, 3): 1}


@pytest.mark.parametrize("n_known", [100, 60])
def test_agrees_with_sklearn(n_known):
    rng = np.random.default_rng(0)
    x = rng.random((100, 8)).astype(np.float32)  # positive: all cosines are
    found = NearestNeighbors(n_neighbors=6, metric="cosine", algorithm="brute").fit(x[:n_known]).kneighbors(x)
    want = {(s, t): 1 - d for t in range(100) for s, d in [(s, d) for s, d in zip(found[1][t], found[0][t], strict=True)
                                                           if s != t][:5]}
    got = edges(knn_graph(of(x), 5, n_known=n_known))
    assert got.keys() == want.keys()
    np.testing.assert_allclose([got[e] for e in want], list(want.values()), atol=1e-5)


def brute(x, present, k, n_known):
    """Written out: a loop over items, a sort by (-cosine, number)."""
    x, found = x.double().numpy(), {}
    for t in range(len(x)):
        near = []
        for s in range(n_known):
            if present[t] and present[s] and s != t:
                cosine = np.float32(x[s] @ x[t] / np.sqrt((x[s] @ x[s]) * (x[t] @ x[t])))
                near.append((-round(float(cosine), 5), s))
        found |= {(s, t): -c for c, s in sorted(near)[:k] if c < -1e-5}
    return found


@settings(deadline=None, max_examples=60)
@given(data=st.data(), n=st.integers(1, 12), k=st.integers(1, 5), block=st.sampled_from([1, 7, 30, 2**23]),
       sparse=st.sampled_from([-1.0, 1.0]))
def test_equals_a_loop_for_any_block_size_by_dense_and_by_sparse_products(data, n, k, block, sparse):
    n_known = data.draw(st.integers(0, n))
    x = torch.tensor(data.draw(st.lists(st.tuples(*[st.integers(-1, 2)] * 3), min_size=n, max_size=n)))
    features = from_arrays(range(n), {"m": x.numpy()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "BLOCK", block)
        patch.setattr(knn, "SPARSE", sparse)
        got = edges(knn_graph(features, k, n_known=n_known))
    want = brute(features.x["m"], features.present["m"], k, n_known)
    assert got.keys() == want.keys()
    assert all(got[e] == pytest.approx(want[e], abs=2e-5) for e in want)


@pytest.mark.parametrize("sparse", [-1.0, 1.0])
def test_block_size_changes_no_bit_even_among_equal_rows(monkeypatch, sparse):
    monkeypatch.setattr(knn, "SPARSE", sparse)
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(100, 384, generator=generator)
    x = base[torch.randint(0, 100, (300,), generator=generator)]  # equal rows: float32 products break such ties at will
    found = []
    for block in (1, 300 * 7, 2**23):
        monkeypatch.setattr(knn, "BLOCK", block)
        found.append(nearest(x, torch.ones(300, dtype=torch.bool), 5, 250))
    assert all(a.equal(b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_new_items_change_no_edge_into_known_ones():
    x = np.random.default_rng(0).normal(size=(40, 16))
    small, large = knn_graph(of(x[:30]), 4), knn_graph(of(x), 4, n_known=30)
    assert edges(small) == {e: w for e, w in edges(large).items() if e[1] < 30}
    assert max(s for s, _ in edges(large)) < 30


def test_without_known_rows_or_modalities_there_are_no_edges():
    nothing = of([[0.0], [1.0]])
    for relation in (knn_graph(nothing, 3, n_known=1), knn_graph(nothing, 3, n_known=0),
                     knn_graph(Features.empty(Vocabulary(range(2))), 3)):
        assert (relation.n_source, relation.n_target, relation.n_edges) == (2, 2, 0)


def test_users_are_as_good_as_items():
    features = from_arrays([1, 2], {"profile": [[1.0], [2.0]]}, what="user")
    assert knn_graph(features, 1).source == knn_graph(features, 1).target == "user"


@pytest.mark.parametrize(("k", "options", "message"), [
    (0, {}, r"k must be at least 1 .* got 0"),
    (1, {"n_known": 5}, r"n_known lie in \[0, 4\].* got 1 and 5"),
    (1, {"n_known": -1}, "got 1 and -1"),
    (1, {"weights": {"sound": 1.0}}, r"name modalities of \['m0'\]; got .'sound'"),
    (1, {"weights": {"m0": -1.0}}, "non-negative"),
    (1, {"weights": {"m0": 0.0}}, "not all zero"),
    (1, {"weights": {}}, "not all zero"),
])
def test_errors(k, options, message):
    with pytest.raises(ValueError, match=message):
        knn_graph(FOUR, k, **options)


def test_negative_weights_are_refused_even_where_the_sum_is_positive():
    with pytest.raises(ValueError, match="non-negative"):
        knn_graph(of([[1.0], [1.0]], [[1.0], [1.0]]), 1, weights={"m0": -1.0, "m1": 3.0})
