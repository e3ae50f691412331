import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.nn.loss import bpr_loss, l2_loss, sampled_softmax_loss


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softplus(x):
    return math.log1p(math.exp(x))


USERS = torch.tensor([[1.0, 2], [0, 1], [3, 0]])
GOOD = torch.tensor([[1.0, 0], [0, 4], [1, 1]])  # scores 1, 4, 3
BAD = torch.tensor([[0.0, 1], [5, 1], [1, 7]])   # scores 2, 1, 3


def test_bpr_by_hand():
    assert bpr_loss(USERS, GOOD, BAD).item() == pytest.approx((softplus(1) + softplus(-3) + math.log(2)) / 3, rel=1e-6)


@pytest.mark.parametrize(("counts", "expected"), [
    ([True, False, True], (softplus(1) + math.log(2)) / 2), ([False, True, False], softplus(-3)),
    ([True] * 3, (softplus(1) + softplus(-3) + math.log(2)) / 3), ([False] * 3, 0.0)])
def test_bpr_of_the_triples_that_count(counts, expected):
    users = USERS.clone().requires_grad_()
    loss = bpr_loss(users, GOOD, BAD, torch.tensor(counts))
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert users.grad.isfinite().all()
    assert users.grad.any(1).tolist() == counts


def test_bpr_falls_when_the_positive_rises_and_stays_finite():
    assert bpr_loss(USERS, GOOD * 2, BAD) < bpr_loss(USERS, GOOD, BAD) < bpr_loss(USERS, GOOD, BAD * 2)
    assert bpr_loss(USERS * 1e4, BAD, GOOD).isfinite()
    assert torch.autograd.gradcheck(bpr_loss, tuple(randn(4, 3, seed=s).requires_grad_() for s in range(3)))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.floats(0.05, 5), st.booleans(), st.integers(0, 1000))
def test_sampled_softmax_is_the_cross_entropy_of_explicit_logits(batch, samples, temperature, corrected, seed):
    users, positives = randn(batch, 4, seed=seed), randn(batch, 4, seed=seed + 1)
    negatives = randn(samples, 4, seed=seed + 2)
    log_q = randn(samples, seed=seed + 3) if corrected else None
    logits = torch.empty(batch, samples + 1, dtype=torch.float64)
    for b in range(batch):
        logits[b, 0] = users[b].dot(positives[b]) / temperature
        for j in range(samples):
            logits[b, j + 1] = users[b].dot(negatives[j]) / temperature - (log_q[j] if corrected else 0)
    expected = F.cross_entropy(logits, torch.zeros(batch, dtype=torch.int64))
    found = sampled_softmax_loss(users, positives, negatives, temperature=temperature, log_q=log_q)
    assert torch.allclose(found, expected)


def test_sampled_softmax_by_hand():
    """Scores 1 against 0 and 0, temperature 0.5: −ln(e² / (e² + 2)); each negative drawn twice: −ln(e² / (e² + 1))."""
    user, good, bad = torch.tensor([[1.0, 0]]), torch.tensor([[1.0, 5]]), torch.tensor([[0.0, 1], [0, -3]])
    found = sampled_softmax_loss(user, good, bad, temperature=0.5).item()
    assert found == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-5)
    twice = torch.tensor([2.0, 2]).log()
    found = sampled_softmax_loss(user, good, bad, temperature=0.5, log_q=twice).item()
    assert found == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)
    assert sampled_softmax_loss(user * 1e4, bad[:1], good).isfinite()


def test_l2_by_hand():
    """Half the squares of all vectors over the size of the batch."""
    a, b = torch.tensor([[3.0, 4], [0, 1]]), torch.tensor([[1.0, 1], [0, 0]])
    assert l2_loss(a, b).item() == pytest.approx((25 + 1 + 2) / 4)
    assert l2_loss(a).item() == pytest.approx(26 / 4)
    a.requires_grad_()
    l2_loss(a, b).backward()
    assert a.grad.tolist() == (a / 2).tolist()
