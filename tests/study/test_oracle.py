"""The oracle ratio: content beside a model that saw half of the same items' interactions."""

import planted
import pytest
import torch

from mmgraph.cold import ContentProfile
from mmgraph.data import RevealedItems
from mmgraph.eval import evaluate
from mmgraph.features import controls
from mmgraph.models import EASE, Popularity
from mmgraph.study import fit, oracle_ratio

OF_COLD = {"share": 0.4, "seed": 1, "ks": (5,), "l2": 1.0}
FEW = {**OF_COLD, "ks": (2,)}


def told(split):
    return planted.features().aligned(split.data.items)


def test_the_ratio_is_that_of_two_readings_of_the_same_half():
    found = oracle_ratio(EASE, planted.dataset(), told, cold="ContentProfile", part="test", **OF_COLD)
    nothing, half = (planted.dataset().split(RevealedItems(0.4, k=k), seed=1) for k in (0, 1000))
    half = half.with_history_trained()
    assert (half.n_warm_items, nothing.n_warm_items) == (40, 24)
    alone = evaluate(fit(EASE, nothing, told(nothing), l2=1.0, cold=ContentProfile()), nothing.unlock_test(),
                     part="test", ks=(5,), only=["cold"])
    seen = evaluate(fit(EASE, half, l2=1.0), half.unlock_test(), part="test", ks=(5,), only=["cold"])
    assert found.ratio("ndcg@5") == pytest.approx(alone["cold", "ndcg@5"] / seen["cold", "ndcg@5"])
    assert found.content.n_candidates == found.oracle.n_candidates == {"cold": 8}
    assert len(found.content.users) == len(found.oracle.users)


def test_content_that_says_nothing_is_far_below_the_oracle_and_the_taste_itself_is_level():
    def noise(split):
        return controls.noise(told(split), seed=0, n_known=split.n_warm_items)

    true, blind = (oracle_ratio(EASE, planted.dataset(), of, cold="ContentProfile", **FEW).ratio("ndcg@2")
                   for of in (told, noise))
    assert 0.95 < true < 1.15
    assert blind < 0.75


def test_the_oracle_may_be_of_another_class():
    beside, own = (oracle_ratio(EASE, planted.dataset(), told, cold="ContentProfile", oracle=cls, share=0.4, ks=(5,))
                   for cls in (Popularity, None))
    assert beside.content["cold", "ndcg@5"] == own.content["cold", "ndcg@5"]
    assert beside.oracle["cold", "ndcg@5"] < own.oracle["cold", "ndcg@5"]


def test_an_oracle_that_finds_nothing_is_no_measure():
    found = oracle_ratio(EASE, planted.dataset(), told, cold="ContentProfile", **OF_COLD)
    none = {key: torch.zeros(len(v)).numpy() for key, v in found.oracle.values.items()}
    nothing = type(found.oracle)(**{**vars(found.oracle), "values": none})
    with pytest.raises(ValueError, match=r"the oracle's ndcg@5 is 0"):
        type(found)(found.content, nothing).ratio("ndcg@5")


def test_a_share_is_a_fraction():
    with pytest.raises(ValueError, match="share is a fraction"):
        oracle_ratio(EASE, planted.dataset(), told, share=1.0)
