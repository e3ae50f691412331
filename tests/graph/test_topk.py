import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmgraph.graph.topk import CHUNK, PAYS, _of_chunks, _of_rows, top_k

INF = float("inf")


def listed(scores, k):
    """The k best (value, column) of a row by value, then column; then (−∞, −1)."""
    best = sorted((c for c, v in enumerate(scores) if v > -INF), key=lambda c: (-scores[c], c))[:k]
    return [(scores[c], c) for c in best] + [(-INF, -1)] * (k - len(best))


def found(scores, k):
    values, columns = top_k(torch.as_tensor(scores), k)
    return [list(zip(v, c, strict=True)) for v, c in zip(values.tolist(), columns.tolist(), strict=True)]


def test_by_hand():
    values, columns = top_k(torch.tensor([[3.0, 9, 5, 7], [1, 2, 3, 4]]), 3)
    assert values.tolist() == [[9, 7, 5], [4, 3, 2]]
    assert columns.tolist() == [[1, 3, 2], [3, 2, 1]]
    assert (values.dtype, columns.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_ties_go_to_the_smaller_column(k):
    assert found([[2.0, 7, 7, 2, 7]], k)[0] == [(7, 1), (7, 2), (7, 4), (2, 0), (2, 3)][:k]
    assert [c for _, c in found([[0.0] * 5000], k)[0]] == list(range(k))


def test_zero_and_minus_zero_are_tied():
    assert [c for _, c in found([[-0.0, 0.0, -0.0]], 2)[0]] == [0, 1]


def test_what_is_minus_infinite_is_never_chosen():
    assert found([[-INF, 4.0, -INF, 4], [-INF] * 4, [1, -INF, -INF, -INF]], 3) == [
        [(4, 1), (4, 3), (-INF, -1)], [(-INF, -1)] * 3, [(1, 0), (-INF, -1), (-INF, -1)]]
    assert found([[-INF, 4.0]], 2) == [[(4, 1), (-INF, -1)]]


def test_plus_infinity_is_the_largest_value():
    assert found([[1.0, INF, INF]], 2) == [[(INF, 1), (INF, 2)]]


@pytest.mark.parametrize("column", [0, 2, 3])
def test_nan_is_an_error_wherever_it_stands(column):
    scores = torch.arange(12.0).view(3, 4)
    scores[1, column] = torch.nan
    with pytest.raises(ValueError, match="1 rows of scores hold NaN; the model has diverged"):
        top_k(scores, 1)


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_lies_between_one_and_the_number_of_columns(k):
    with pytest.raises(ValueError, match=rf"k must lie in \[1, 3\], the number of candidates, got {k}"):
        top_k(torch.zeros(2, 3), k)


def test_no_rows():
    values, columns = top_k(torch.zeros(0, 3), 2)
    assert values.shape == columns.shape == (0, 2)


def test_leaves_the_scores_as_they_are():
    scores = torch.tensor([[1.0, 1, 1, -INF]])
    top_k(scores, 2)
    assert scores.tolist() == [[1, 1, 1, -INF]]


@settings(max_examples=200, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 9)),
              elements=st.sampled_from([-INF, -1.5, -0.0, 0.0, 1.0, 2.0, INF])), st.data())
def test_equals_a_sorted_list(scores, data):
    k = data.draw(st.integers(1, scores.shape[1]))
    assert found(scores, k) == [listed(row, k) for row in scores.tolist()]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_long_rows_of_any_float(dtype):
    scores = torch.randint(0, 50, (20, 3000), generator=torch.Generator().manual_seed(0)).to(dtype)
    assert found(scores, 100) == [listed(row, 100) for row in scores.tolist()]


def same(first, second):
    """Equal to the last bit, signs of zeros included."""
    return all(torch.equal(a, b) and torch.equal(a.signbit(), b.signbit()) for a, b in zip(first, second, strict=True))


@settings(max_examples=150, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 5 * CHUNK)),
              elements=st.sampled_from([-INF, -INF, -1.5, -0.0, 0.0, 1.0, 2.0, INF]), fill=st.just(np.float32(0))),
       st.data())
def test_chunks_find_the_same_in_rows_of_many_ties(scores, data):
    """Any width, k up to the number of chunks, the last of which may be short."""
    n_chunks = -(-scores.shape[1] // CHUNK)
    k = data.draw(st.integers(1, n_chunks))
    scores = torch.from_numpy(scores)
    assert same(_of_chunks(scores, k), _of_rows(scores, k))
    assert found(scores, k) == [listed(row, k) for row in scores.tolist()]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(0, 3 * CHUNK), st.sampled_from([3, 60, 10**9]),
       st.sampled_from([0.0, 0.3, 0.9999]), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_wide_rows_are_cut_into_chunks_and_give_the_same(seed, k, more, n_values, left_out, dtype):
    rng, width = np.random.default_rng(seed), PAYS * CHUNK * k + more
    scores = rng.integers(0, n_values, (2, width)).astype(float)
    scores[rng.random(scores.shape) < left_out] = -INF
    scores = torch.from_numpy(scores).to(dtype)
    assert same(top_k(scores, k), _of_rows(scores, k))


def test_the_last_column_of_a_wide_row_counts():
    scores = torch.zeros(1, PAYS * CHUNK + 1)
    scores[0, -1] = 1
    assert found(scores, 1) == [[(1, PAYS * CHUNK)]]
    scores[0, -1] = -INF
    assert found(scores, 1) == [[(0, 0)]]


@pytest.mark.parametrize("column", [0, 100, PAYS * CHUNK])
def test_nan_in_a_wide_row_is_an_error_wherever_it_stands(column):
    scores = torch.zeros(3, PAYS * CHUNK + 1)
    scores[1:, column] = torch.nan
    with pytest.raises(ValueError, match="2 rows of scores hold NaN; the model has diverged"):
        top_k(scores, 1)


def test_a_wide_row_that_is_no_contiguous_memory():
    scores = torch.randint(0, 99, (2, 2 * PAYS * CHUNK + 5), generator=torch.Generator().manual_seed(0)).float()
    assert same(top_k(scores.T.contiguous().T, 2), _of_rows(scores, 2))
    assert same(top_k(scores[:, 1:], 2), _of_rows(scores[:, 1:].clone(), 2))
