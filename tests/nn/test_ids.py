from inspect import unwrap

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.linear_model import Ridge

from mmgraph.data.vocabulary import Vocabulary
from mmgraph.features.features import Features, from_arrays
from mmgraph.graph.relation import Relation
from mmgraph.nn.ids import IdTable, fill_unconnected, fill_unseen

KNOWN = torch.tensor([[1.0, 10], [2, 20], [3, 30]])


def relation(cells, n_source, n_target=5, source="item"):
    dense = np.zeros((n_source, n_target), dtype=np.float32)
    for s, t, w in cells:
        dense[s, t] = w
    return Relation.of(source, "similar", "item", sp.csr_array(dense))


def test_the_trained_nodes_alone_are_the_table_itself():
    for unseen in ("zero", "neighbours", "generated"):
        assert fill_unseen(KNOWN, 3, unseen) is KNOWN


def test_zero_by_hand():
    assert fill_unseen(KNOWN, 5, "zero").tolist() == [*KNOWN.tolist(), [0, 0], [0, 0]]


def test_neighbours_by_hand():
    """Item 3 hears item 0 with weight 3 and item 2 with weight 1; item 4 hears nobody."""
    filled = fill_unseen(KNOWN, 5, "neighbours", neighbours=relation([(0, 3, 3), (2, 3, 1), (3, 0, 1)], 5))
    assert filled.tolist() == [*KNOWN.tolist(), [1.5, 15], [0, 0]]


def test_new_nodes_are_no_neighbours():
    heard = relation([(0, 3, 3), (2, 3, 1), (4, 3, 9), (3, 4, 1)], 5)
    assert fill_unseen(KNOWN, 5, "neighbours", neighbours=heard)[3:].tolist() == [[1.5, 15], [0, 0]]


def test_neighbours_of_another_type_by_hand():
    sources = torch.tensor([[4.0, 0], [8, 2]])
    heard = relation([(0, 3, 1), (1, 3, 1), (1, 4, 1), (0, 1, 1)], 2, source="user")
    filled = fill_unseen(KNOWN, 5, "neighbours", neighbours=heard, sources=sources)
    assert filled.tolist() == [*KNOWN.tolist(), [6, 1], [8, 2]]


def planted(n=40, n_known=30, absent=(), seed=0):
    """Content of two modalities and vectors that are a linear function of it, plus noise."""
    rng = np.random.default_rng(seed)
    arrays = {"text": rng.normal(size=(n, 5)) * 7, "image": rng.normal(size=(n, 3)) * 0.01}
    for name, i in absent:
        arrays[name][i] = 0
    content = np.hstack([arrays["text"] / 7, arrays["image"] * 100])
    vectors = content @ rng.normal(size=(8, 4)) + rng.normal(size=4) + 0.01 * rng.normal(size=(n, 4))
    return from_arrays(range(n), arrays), torch.from_numpy(vectors[:n_known]).float(), vectors


def expected(features, known, has):
    """Scikit-learn's ridge on the trained rows with content, the constant an ordinary column."""
    parts = [x.double().numpy() for x in features.x.values()]
    scaled = [x / np.sqrt((x[:len(known)]**2).sum(1).mean()) for x in parts]
    x = np.hstack([*scaled, np.ones((len(features), 1))]) * has[:, None]
    model = Ridge(alpha=10.0, fit_intercept=False).fit(x[:len(known)], known.double().numpy())
    return model.predict(x)


def test_generated_is_a_ridge_regression_on_content():
    features, known, _ = planted()
    filled = fill_unseen(known, 40, "generated", features=features)
    assert torch.equal(filled[:30], known)
    assert np.allclose(filled[30:], expected(features, known, np.ones(40, bool))[30:], atol=1e-4)


def test_generated_finds_a_planted_map_given_enough_items():
    features, known, vectors = planted(n=3000, n_known=2900)
    filled = fill_unseen(known, 3000, "generated", features=features)
    residual = np.square(filled[2900:].numpy() - vectors[2900:]).mean() / np.var(vectors[2900:])
    assert residual < 1e-3


def test_generated_from_what_an_item_has():
    """Items 3 and 35 have no text, 7 and 36 nothing at all."""
    absent = [("text", 3), ("text", 35), ("text", 7), ("image", 7), ("text", 36), ("image", 36)]
    features, known, _ = planted(absent=absent)
    filled, has = fill_unseen(known, 40, "generated", features=features), np.ones(40, bool)
    has[[7, 36]] = False
    assert not filled[36].any()
    assert filled[35].any()
    assert np.allclose(filled[30:], expected(features, known, has)[30:], atol=1e-4)


def test_generated_reads_nothing_of_the_new_items_but_each_ones_own_content():
    features, known, _ = planted()
    fewer = fill_unseen(known, 31, "generated", features=features.rows(np.arange(31)))
    assert torch.allclose(fewer[30], fill_unseen(known, 40, "generated", features=features)[30], atol=1e-5)


def test_generated_where_no_trained_item_has_content():
    features, known, _ = planted(absent=[(m, i) for m in ("text", "image") for i in range(30)])
    assert not fill_unseen(known, 40, "generated", features=features)[30:].any()


@pytest.mark.parametrize(("n_rows", "unseen", "message"), [
    (2, "zero", r"has 2 nodes of a type of which 3 were trained; score with the training graph or an extension of it"),
    (5, "neighbours", "the policy 'neighbours' reads a relation; pass neighbours="),
    (5, "generated", "the policy 'generated' reads content of all 5 rows, got None; pass features="),
    (5, "mean", "unseen must be 'zero', 'neighbours' or 'generated', got 'mean'")])
def test_says_what_it_lacks(n_rows, unseen, message):
    with pytest.raises(ValueError, match=message):
        unwrap(fill_unseen)(KNOWN, n_rows, unseen)  # the type check of the tests would see the misspelt policy first


def test_generated_needs_content_of_all_rows():
    no_modality, too_few = Features.empty(Vocabulary(range(5))), from_arrays(range(4), {"text": np.ones((4, 2))})
    for features in (no_modality, too_few):
        with pytest.raises(ValueError, match=r"content of all 5 rows, got Features\([45] items; .*; pass features="):
            fill_unseen(KNOWN, 5, "generated", features=features)


def test_a_table_learns_its_trained_rows_only():
    torch.manual_seed(0)
    table = IdTable(3, 2, unseen="neighbours")
    assert table.weight.abs().max() <= (6 / (3 + 2)) ** 0.5
    assert table.weight.std() > 0.1
    filled = table(5, neighbours=relation([(0, 3, 1), (1, 3, 3)], 5))
    assert torch.allclose(filled[3], (table.weight[0] + 3 * table.weight[1]) / 4)
    (filled[3] * torch.tensor([1.0, 10])).sum().backward()
    assert table.weight.grad.tolist() == [[0.25, 2.5], [0.75, 7.5], [0, 0]]
    assert [tuple(p.shape) for p in table.parameters()] == [(3, 2)]


def test_a_table_fills_by_its_policy():
    features, known, _ = planted()
    for unseen in ("zero", "generated"):
        table = IdTable(30, 4, unseen=unseen)
        table.weight.data = known
        expected = fill_unseen(known, 40, unseen, features=features)
        assert torch.equal(table(40, features=features), expected)


def test_new_users_without_interactions_get_the_average_taste():
    users = torch.tensor([[1.0, 2], [3, 4], [5, 6], [7, 8]])
    filled = fill_unconnected(users, 2, torch.tensor([True, False, True, False]))
    assert filled.tolist() == [[1, 2], [3, 4], [5, 6], [2, 3]]  # a trained user keeps what was learned
    assert users[3].tolist() == [7, 8]
