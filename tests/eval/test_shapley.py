from dataclasses import replace
from itertools import permutations

import numpy as np
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgraph.data import RandomPerUser, Split
from mmgraph.eval.evaluate import evaluate
from mmgraph.eval.shapley import Shapley, modality_shapley, shapley, subsets
from mmgraph.features.controls import masked
from mmgraph.features.features import from_arrays
from mmgraph.models import EASE, FREEDOM, VBPR, ItemKNN
from mmgraph.study.fit import fit

NAMES = ("text", "image", "audio", "video", "graph", "tags")


@st.composite
def games(draw, most=4):
    names = NAMES[:draw(st.integers(1, most))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return names, {kept: rng.normal(size=3) for kept in subsets(names)}


def test_two_players_by_hand():
    worth = {"": [0.1, 0], "text": [0.5, 0], "image": [0.2, 1], "text image": [0.9, 1]}
    game = {frozenset(names.split()): np.array(v) for names, v in worth.items()}
    shares = shapley(game.__getitem__, ["text", "image"])
    assert shares.values == pytest.approx(np.array([[(0.4 + 0.7) / 2, (0.1 + 0.4) / 2], [0, 1]]))
    assert shares.none.tolist() == [0.1, 0]
    assert shares.all == pytest.approx([0.9, 1])
    assert shares.mean() == pytest.approx({"(none)": 0.05, "text": 0.275, "image": 0.625})


@settings(deadline=None)
@given(games())
def test_shares_are_the_mean_gain_over_all_orders(game):
    names, worth = game
    gains = np.zeros((3, len(names)))
    orders = list(permutations(range(len(names))))
    for order in orders:
        there = frozenset[str]()
        for player in order:
            gains[:, player] += worth[there | {names[player]}] - worth[there]
            there |= {names[player]}
    assert shapley(worth.__getitem__, names).values == pytest.approx(gains / len(orders), abs=1e-12)


@settings(deadline=None)
@given(games(most=6))
def test_efficiency(game):
    names, worth = game
    shares = shapley(worth.__getitem__, names)
    assert shares.values.sum(1) == pytest.approx(worth[frozenset(names)] - worth[frozenset()], abs=1e-12)
    assert shares.all == pytest.approx(worth[frozenset(names)], abs=1e-12)


@settings(deadline=None)
@given(games())
def test_symmetry(game):
    names, worth = game
    swap = {names[0]: names[-1], names[-1]: names[0]}
    alike = {kept: worth[kept] + worth[frozenset(swap.get(n, n) for n in kept)] for kept in worth}
    values = shapley(alike.__getitem__, names).values
    assert values[:, 0] == pytest.approx(values[:, -1], abs=1e-12)


@settings(deadline=None)
@given(games(), st.floats(-5, 5))
def test_a_player_who_adds_the_same_to_everything_gets_just_that(game, gift):
    names, worth = game
    values = shapley(lambda kept: worth[kept - {"dummy"}] + gift * ("dummy" in kept), [*names, "dummy"]).values
    assert values[:, -1] == pytest.approx([gift] * 3, abs=1e-9)
    assert values[:, :-1] == pytest.approx(shapley(worth.__getitem__, names).values, abs=1e-9)


@settings(deadline=None)
@given(games(), st.integers(0, 2**32))
def test_the_shares_of_a_sum_are_the_sum_of_the_shares(game, seed):
    names, worth = game
    rng = np.random.default_rng(seed)
    other = {kept: rng.normal(size=3) for kept in worth}
    both = shapley(lambda kept: worth[kept] + other[kept], names).values
    assert both == pytest.approx(shapley(worth.__getitem__, names).values + shapley(other.__getitem__, names).values,
                                 abs=1e-12)


@pytest.mark.parametrize("n", range(7))
def test_every_subset_is_asked_once(n):
    asked = []
    shares = shapley(lambda kept: asked.append(kept) or np.zeros(2), NAMES[:n])
    assert len(asked) == len(set(asked)) == 2**n
    assert asked[0] == frozenset()
    assert shares.values.shape == (2, n)


@pytest.mark.parametrize("names", [tuple("abcdefg"), ("text", "image", "text")])
def test_refuses_too_many_modalities_and_one_that_comes_twice(names):
    with pytest.raises(ValueError, match=f"at most 6 different modalities, got {len(names)}.*keep the ones"):
        shapley(lambda kept: np.zeros(2), names)


@pytest.mark.parametrize(("wrong", "message"), [
    (np.array([np.nan, 1.0]), r"value of \['text'\] must be finite.* got 1 NaN"),
    (np.zeros(3), r"value of \['text'\] .* shape \(3,\) after \(2,\)")])
def test_refuses_a_value_that_is_none(wrong, message):
    with pytest.raises(ValueError, match=message):
        shapley(lambda kept: wrong if kept else np.zeros(2), ["text"])


def test_a_group_has_the_mean_of_its_rows():
    shares = Shapley(("text", "image"), np.array([[1.0, 2], [3, 4], [5, 9]]), np.array([0.0, 1, 5]))
    assert shares.mean(np.array([True, False, True])) == {"(none)": 2.5, "text": 3, "image": 5.5}
    assert shares.mean(np.array([1])) == {"(none)": 1, "text": 3, "image": 4}
    with pytest.raises(ValueError, match="the group has none"):
        shares.mean(np.zeros(3, dtype=bool))


SPLIT = planted.split()


@pytest.fixture(scope="module")
def two():
    """Text says the taste, image is the same for every item."""
    text = planted.features(1)
    features = text | from_arrays(text.ids, {"image": np.ones((planted.N, 3))})
    return {cls: fit(cls, SPLIT, features, progress_bar=False, **settings_of) for cls, settings_of in (
        (ItemKNN, {"kind": "content", "k": 3}), (EASE, {}), (VBPR, {"max_epochs": 5, "lr": 0.05, "dim": 8}),
        (FREEDOM, {"max_epochs": 3, "dim": 8}))}


@pytest.mark.parametrize("cls", [ItemKNN, EASE, VBPR, FREEDOM])
@pytest.mark.parametrize("candidates", ["cold", "all"])
def test_all_modalities_together_have_the_figure_of_the_model(two, cls, candidates):
    fitted = two[cls]
    shares = modality_shapley(fitted, SPLIT, part="valid", metric="ndcg@3", candidates=candidates)
    found = evaluate(fitted, SPLIT, ks=[3])
    values = found.values[candidates, "ndcg@3"]
    assert shares.modalities == ("text", "image")
    assert shares.users == tuple(SPLIT.data.users.names(found.users[~np.isnan(values)]))
    assert shares.all == pytest.approx(values[~np.isnan(values)], abs=1e-12)
    assert sum(shares.mean().values()) == pytest.approx(found[candidates, "ndcg@3"])


def test_what_says_the_taste_gets_the_credit(two):
    mean = modality_shapley(two[ItemKNN], SPLIT, part="valid", metric="recall@2", candidates="cold").mean()
    assert mean["text"] > 0.2
    assert mean["text"] > mean["image"] + 0.2


@pytest.mark.parametrize("cls", [ItemKNN, VBPR])
def test_a_pass_is_the_model_on_masked_features(two, cls):
    fitted = two[cls]
    shares = modality_shapley(fitted, SPLIT, part="valid", metric="recall@2", candidates="cold")
    worth = {}
    for kept in subsets(["text", "image"]):
        features = masked(fitted.features, kept)
        alone = replace(fitted, graph=fitted.model.prepare(fitted.graph, features), features=features)
        values = evaluate(alone, SPLIT, ks=[2]).values["cold", "recall@2"]
        worth[kept] = values[~np.isnan(values)]
    assert np.array_equal(shapley(worth.__getitem__, ["text", "image"]).values, shares.values)
    assert np.array_equal(worth[frozenset()], shares.none)


def test_a_model_that_reads_no_content_owes_it_nothing_on_warm_items(two):
    split = Split.of(planted.dataset(), RandomPerUser(), seed=0)
    fitted = fit(EASE, split, planted.features(3))
    shares = modality_shapley(fitted, split, part="valid", metric="auc")
    assert not shares.values.any()
    assert np.array_equal(shares.none, evaluate(fitted, split, metrics=["auc"], ks=[3]).values["all", "auc"])


def test_a_locked_test_part_stays_locked(two):
    with pytest.raises(PermissionError, match="locked"):
        modality_shapley(two[EASE], SPLIT, part="test")
    assert modality_shapley(two[EASE], SPLIT.unlock_test(), part="test", metric="recall@5").users


@pytest.mark.parametrize("metric", ["recall", "recall@", "recall@all"])
def test_refuses_a_metric_without_length(two, metric):
    with pytest.raises(ValueError, match=f"such as 'recall@20', got '{metric}'"):
        modality_shapley(two[EASE], SPLIT, part="valid", metric=metric)


def test_refuses_candidates_among_which_nothing_is_held_out():
    split = Split.of(planted.dataset(), RandomPerUser(), seed=0)
    with pytest.raises(ValueError, match="no user has a held-out item among the cold candidates of the valid part"):
        modality_shapley(fit(EASE, split, planted.features()), split, part="valid", candidates="cold")
