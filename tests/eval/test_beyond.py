import re

import numpy as np
import planted
import pytest
import torch
from planted import N

from mmgraph.data import ColdUsers, Pairs
from mmgraph.eval.beyond import beyond
from mmgraph.eval.exposure import exposure, gini, personalisation
from mmgraph.eval.listwise import calibration, diversity, novelty, popularity_lift, serendipity
from mmgraph.graph.graph import INTERACTS
from mmgraph.graph.relation import Relation

SPLIT = planted.split()
POPULARITY = torch.from_numpy(np.bincount(SPLIT.train.items, minlength=N))
CATALOGUE = ["coverage", "gini", "exposure_entropy", "normalised_exposure_entropy", "personalisation"]
PER_USER = ["novelty", "average_popularity", "popularity_lift"]


def lists(n_users=N, k=6, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([rng.permutation(N)[:k] for _ in range(n_users)]))


def relation(pairs, split, users):
    matrix = pairs.matrix(len(split.data.users), len(split.data.items))
    return Relation.of(*INTERACTS, matrix).rows(torch.from_numpy(users))


def test_without_more_only_what_needs_no_more():
    found = beyond(lists(), SPLIT)
    assert list(found.catalogue) == [f"{name}@6" for name in CATALOGUE]
    assert list(found.per_user) == [f"{name}@6" for name in PER_USER]
    assert all(isinstance(value, float) for value in found.catalogue.values())
    assert all(isinstance(value, np.ndarray) and value.shape == (N,) for value in found.per_user.values())


def test_everything_that_can_be_named():
    found = beyond(lists(), SPLIT, part="valid", features=planted.features(2), ks=(2, 5), categories="genre")
    more = ["serendipity", "diversity(text)", "diversity(image)", "calibration(genre)"]
    assert set(found.catalogue) == {f"{name}@{k}" for name in CATALOGUE for k in (2, 5)}
    assert set(found.per_user) == {f"{name}@{k}" for name in [*PER_USER, *more] for k in (2, 5)}


def test_equals_the_functions_for_some_users_and_candidates():
    users, mask = np.array([7, 3, 21]), torch.arange(N) < 30
    rows = torch.tensor([[5, 6, 20, 1], [0, 5, 29, -1], [9, 1, 6, 2]])
    x = planted.features(1, missing=0.3, seed=1)
    found = beyond(rows, SPLIT, users=users, candidates=mask, part="valid", features=x, ks=(3,), categories="genre")
    train, held, cut = relation(SPLIT.train, SPLIT, users), relation(SPLIT.valid, SPLIT, users), rows[:, :3]
    aligned = x.aligned(SPLIT.data.items)
    kinds = [row["genre"] for row in SPLIT.data.item_content.to_pylist()]
    names = sorted({name for of in kinds for name in of})
    genres = Relation.of("item", "has", "genre", Pairs(*np.array(
        [(i, names.index(name)) for i, of in enumerate(kinds) for name in of]).T).matrix(N, len(names)))
    expected = {"novelty": novelty(cut, POPULARITY, SPLIT.n_warm_users),
                "popularity_lift": popularity_lift(cut, train, POPULARITY),
                "serendipity": serendipity(cut, held, POPULARITY),
                "calibration(genre)": calibration(cut, train, genres),
                "diversity(text)": diversity(cut, aligned.x["text"], aligned.present["text"])}
    for name, values in expected.items():
        np.testing.assert_allclose(found.per_user[f"{name}@3"], values, rtol=1e-12, err_msg=name)
    assert found.catalogue["coverage@3"] == 7 / 30
    assert found.catalogue["gini@3"] == gini(exposure(cut, N)[mask])
    assert found.catalogue["personalisation@3"] == personalisation(cut, N)


def test_a_revealed_history_belongs_to_the_profile():
    for reveal in (0, 2):
        split = planted.dataset().split(ColdUsers(reveal=reveal), seed=0)
        lift = beyond(lists(), split).per_user["popularity_lift@6"]
        assert not np.isnan(lift[split.warm_users]).any()
        assert (np.isnan(lift[~split.warm_users]) == (reveal == 0)).all()


def test_popularity_is_a_share_of_the_users_in_training():
    split = planted.dataset().split(ColdUsers(), seed=0)
    popularity = torch.from_numpy(np.bincount(split.train.items, minlength=N))
    expected = novelty(lists(), popularity, len(np.unique(split.train.users)))
    np.testing.assert_array_equal(beyond(lists(), split).per_user["novelty@6"], expected)


def test_features_are_aligned_by_id():
    shuffled = planted.features(1).rows(np.random.default_rng(0).permutation(N))
    one, other = (beyond(lists(), SPLIT, features=of).per_user for of in (shuffled, planted.features(1)))
    np.testing.assert_array_equal(one["diversity(text)@6"], other["diversity(text)@6"])


def test_the_lists_of_one_taste_are_less_diverse_and_better_calibrated_than_mixed_ones():
    even, odd = (np.array([n for n, id_ in enumerate(SPLIT.data.items.ids.to_pylist()) if int(id_) % 2 == parity])
                 for parity in (0, 1))
    own = torch.from_numpy(np.stack([(odd if u % 2 else even)[:8] for u in range(N)]))
    mixed = torch.from_numpy(np.stack([np.concatenate([even[:4], odd[:4]])] * N))
    taste, noise = (beyond(of, SPLIT, features=planted.features(1), categories="genre").per_user for of in (own, mixed))
    assert (taste["diversity(text)@8"] < noise["diversity(text)@8"] - 0.5).all()
    assert (taste["calibration(genre)@8"] < noise["calibration(genre)@8"]).all()


def test_the_test_part_stays_locked():
    with pytest.raises(PermissionError, match="locked"):
        beyond(lists(), SPLIT, part="test")
    assert "serendipity@6" in beyond(lists(), SPLIT.unlock_test(), part="test").per_user


@pytest.mark.parametrize(("rows", "arguments", "words"), [
    (lists(3), {}, "3 lists of 40 users; say whose"),
    (lists(), {"ks": (7,)}, "ks must be lengths in [1, 6]"), (lists(), {"ks": (0, 3)}, "ks must be lengths in [1, 6]"),
    (lists(), {"ks": ()}, "ks must be lengths"),
    (lists(), {"candidates": torch.arange(N) < 9}, "are no candidates"),
    (lists(), {"candidates": torch.ones(9, dtype=torch.bool)}, "mask over the split's 40 items, got 9"),
    (lists()[:, [0, 1, 0]], {}, "hold an item twice"), (lists() + 1, {}, "item numbers in [0, 40)"),
])
def test_what_does_not_fit_is_refused(rows, arguments, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        beyond(rows, SPLIT, **arguments)


def test_an_unknown_category_is_refused():
    with pytest.raises(KeyError, match="no column 'colour'"):
        beyond(lists(), SPLIT, categories="colour")
