import json
from itertools import combinations
from math import log2, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmgraph.eval.exposure import (
    coverage,
    exposure,
    exposure_entropy,
    gini,
    list_matrix,
    normalised_exposure_entropy,
    personalisation,
)

REFERENCE = json.loads(Path(__file__).with_name("rectools_reference.json").read_text(encoding="utf-8"))
NOTHING = torch.full((3, 2), -1)
N, K = 9, 4
ranked = st.lists(st.permutations(range(N)).flatmap(lambda order: st.integers(0, K).map(
    lambda n: (order[:n] + [-1] * K)[:K])), min_size=1, max_size=7).map(torch.tensor)


def test_exposure_counts_lists_and_skips_places_without_item():
    lists = torch.tensor([[2, 0, -1], [2, -1, -1], [0, 2, 4]])
    assert exposure(lists, 6).tolist() == [2, 0, 3, 0, 1, 0]
    assert exposure(NOTHING, 2).tolist() == [0, 0]
    assert list_matrix(lists, 6).toarray().tolist() == [[1, 0, 1, 0, 0, 0], [0, 0, 1, 0, 0, 0], [1, 0, 1, 0, 1, 0]]


@pytest.mark.parametrize("stray", [-2, 6])
def test_what_is_no_item_is_refused(stray):
    with pytest.raises(ValueError, match=r"item numbers in \[0, 6\), or −1"):
        exposure(torch.tensor([[0, stray]]), 6)


@pytest.mark.parametrize(("counts", "expected"), [
    ([1, 1, 1, 1], 0), ([0, 0, 0, 5], 3 / 4), ([1, 3], 1 / 4), ([3, 1, 2], (-2 * 1 + 2 * 3) / (3 * 6)), ([7], 0)])
def test_gini_by_hand(counts, expected):
    assert gini(torch.tensor(counts)) == pytest.approx(expected, abs=1e-15)


def test_gini_is_half_the_mean_difference_over_the_mean():
    counts = np.random.default_rng(0).poisson(2, 50)
    expected = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
    assert gini(torch.from_numpy(counts)) == pytest.approx(expected, rel=1e-13)


def test_entropy_by_hand():
    assert exposure_entropy(torch.tensor([2, 1, 1, 0])) == pytest.approx(1.5, rel=1e-15)
    assert normalised_exposure_entropy(torch.tensor([2, 1, 1, 0])) == pytest.approx(0.75, rel=1e-15)
    assert normalised_exposure_entropy(torch.tensor([5, 5, 5])) == pytest.approx(1, rel=1e-15)
    assert exposure_entropy(torch.tensor([0, 9])) == 0
    assert exposure_entropy(torch.tensor([1, 3])) == pytest.approx(-log2(1 / 4) / 4 - 3 * log2(3 / 4) / 4, rel=1e-14)


def test_coverage_by_hand():
    assert coverage(torch.tensor([2, 0, 7, 0, 1])) == 3 / 5


def test_where_nothing_is_shown_only_coverage_is_defined():
    nothing = exposure(NOTHING, 4)
    assert coverage(nothing) == 0
    assert np.isnan([gini(nothing), exposure_entropy(nothing), normalised_exposure_entropy(nothing),
                     personalisation(NOTHING, 4)]).all()
    assert np.isnan(normalised_exposure_entropy(torch.tensor([3])))
    assert np.isnan(coverage(torch.zeros(0)))
    assert np.isnan(personalisation(torch.tensor([[0, 1], [-1, -1]]), 4))  # one list cannot differ


def test_personalisation_by_hand():
    assert personalisation(torch.tensor([[0, 1], [1, 0], [0, 1]]), 4) == pytest.approx(0, abs=1e-15)
    assert personalisation(torch.tensor([[0, 1], [2, 3]]), 4) == 1
    assert personalisation(torch.tensor([[0, 1], [1, 2], [3, 4]]), 5) == pytest.approx(1 - (1 / 2) / 3, rel=1e-15)
    short = torch.tensor([[0, 1, 2, 3], [0, -1, -1, -1], [0, -1, -1, -1]])  # equal lists overlap fully however short
    assert personalisation(short, 4) == pytest.approx(1 - (1 / 2 + 1 / 2 + 1) / 3, rel=1e-15)


def test_personalisation_of_full_lists_follows_from_the_exposure_counts():
    rng = np.random.default_rng(1)
    lists = torch.from_numpy(np.stack([rng.permutation(20)[:5] for _ in range(30)]))
    c = exposure(lists, 20)
    assert personalisation(lists, 20) == pytest.approx(1 - float((c * (c - 1)).sum()) / (5 * 30 * 29), rel=1e-14)


@given(ranked)
def test_personalisation_equals_the_loop_over_pairs(lists):
    rows = [{i for i in row if i >= 0} for row in lists.tolist()]
    overlaps = [len(a & b) / sqrt(len(a) * len(b)) for a, b in combinations([row for row in rows if row], 2)]
    found = personalisation(lists, N)
    assert found == pytest.approx(1 - np.mean(overlaps), abs=1e-14) if overlaps else np.isnan(found)


@given(ranked, st.randoms(use_true_random=False))
def test_ranges_and_neither_the_order_of_users_nor_the_names_of_items_matter(lists, random):
    shown = exposure(lists, N)
    users, items = random.sample(range(len(lists)), len(lists)), torch.tensor(random.sample(range(N), N))
    shuffled = torch.where(lists >= 0, items[lists], -1)[users]
    assert torch.equal(exposure(shuffled, N)[items], shown)
    for measure, top in ((coverage, 1), (gini, 1 - 1 / N), (exposure_entropy, log2(N)),
                         (normalised_exposure_entropy, 1)):
        value = measure(shown)
        assert np.isnan(value) or -1e-15 <= value <= top + 1e-12, measure.__name__
        np.testing.assert_allclose(measure(exposure(shuffled, N)), value, rtol=1e-12, atol=1e-14)
    value = personalisation(lists, N)
    assert np.isnan(value) or 0 <= value <= 1
    np.testing.assert_allclose(personalisation(shuffled, N), value, rtol=1e-12, atol=1e-14)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=9).filter(any))
def test_a_place_given_from_a_rich_item_to_a_poorer_one_makes_it_more_even(counts):
    rich, poor = int(np.argmax(counts)), int(np.argmin(counts))
    if counts[rich] - counts[poor] < 2:
        return
    fairer = torch.tensor(counts)
    fairer[rich] -= 1
    fairer[poor] += 1
    assert gini(fairer) < gini(torch.tensor(counts))
    assert exposure_entropy(fairer) > exposure_entropy(torch.tensor(counts))


@pytest.mark.parametrize("k", [3, 6])
def test_parity_with_rectools_and_lenskit(k):
    example = REFERENCE["example"]
    shown = exposure(torch.tensor(example["lists"])[:, :k], example["n_items"])
    assert coverage(shown) == pytest.approx(REFERENCE["rectools"][f"coverage@{k}"], abs=1e-9)
    assert gini(shown) == pytest.approx(REFERENCE["lenskit"][f"gini@{k}"], abs=1e-9)
    smoothed = REFERENCE["lenskit"][f"entropy_smoothed@{k}"]
    assert exposure_entropy(shown.double() + 1e-6) == pytest.approx(smoothed, abs=1e-9)
