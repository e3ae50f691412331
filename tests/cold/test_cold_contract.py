"""What every cold-start method keeps, beside a warm model with vectors and one without."""

from dataclasses import replace

import numpy as np
import planted
import pytest
import torch

from mmgraph.cold import ContentProfile
from mmgraph.data import RevealedItems, Split, Vocabulary
from mmgraph.features.features import from_arrays
from mmgraph.models import EASE, FREEDOM, LightGCN
from mmgraph.models.cold_start import Calibration
from mmgraph.models.method import method_defaults
from mmgraph.models.saved import load_model, save_model
from mmgraph.serve import Recommender
from mmgraph.study.fit import calibrated, fit, with_cold_start

EVERYBODY = torch.arange(planted.N)
TRAINING = {EASE: {}, LightGCN: {"dim": 8, "max_epochs": 30, "lr": 0.05, "batch_size": 256}}


def fitted(warm, method, features=None, split=None, **settings):
    """A warm model with a method."""
    features = planted.features() if features is None else features
    return fit(warm, split or planted.split(), features, progress_bar=False, cold=method(**settings), **TRAINING[warm])


def test_scores_every_pair_with_a_finite_number_and_warm_items_as_the_warm_model(method, warm):
    found = fitted(warm, method)
    n, alone = found.model.schema.n_items, fit(warm, planted.split(), planted.features(), progress_bar=False,
                                               monitor_on=["warm"], **TRAINING[warm])
    assert found.scores(EVERYBODY).isfinite().all()
    assert torch.equal(found.scores(EVERYBODY)[:, :n], alone.scores(EVERYBODY)[:, :n])


def test_recovers_the_planted_taste_of_new_items(method, warm):
    """Three in four pairs of a liked and a disliked new item are in the right order."""
    found, split = fitted(warm, method), planted.split()
    n = split.n_warm_items
    taste = torch.tensor([int(i) % 2 for i in split.data.items.ids.to_pylist()])[n:]
    parity = torch.tensor([int(u) % 2 for u in split.data.users.ids.to_pylist()])
    likes = parity[:, None] == taste
    scores = found.scores(EVERYBODY)[:, n:]
    right = [(scores[u][likes[u]][:, None] > scores[u][~likes[u]]).float().mean() for u in range(planted.N)]
    assert torch.stack(right).mean() > 0.75


def test_what_is_learned_does_not_depend_on_the_content_of_new_items(method, warm):
    split = planted.split()
    features = planted.features(missing=0.2).aligned(split.data.items)
    known = (torch.arange(planted.N) < split.n_warm_items)[:, None]
    other = replace(features, x={m: torch.where(known, x, -7 * x) for m, x in features.x.items()})
    one, two = (fitted(warm, method, f, split).model.state_dict() for f in (features, other))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_new_item_is_scored_alike_alone_and_among_others_wherever_it_stands(method, warm):
    split, features = planted.split(), planted.features(missing=0.2)
    found = fitted(warm, method, features, split)
    n, model = split.n_warm_items, found.model
    order = [*range(n), planted.N - 1, n + 2]
    some = found.features.rows(np.array(order))
    graph = found.graph.extend()
    fewer = model.prepare(replace(graph, n_nodes={**graph.n_nodes, "item": len(order)},
                                  relations={("user", "interacts", "item"): shrunk(graph.interactions, len(order))}),
                          some)
    scores = model.scorer(fewer, some).scores(EVERYBODY)
    assert torch.equal(scores[:, :n], found.scores(EVERYBODY)[:, :n])
    torch.testing.assert_close(scores[:, n:], found.scores(EVERYBODY)[:, [planted.N - 1, n + 2]], rtol=1e-5, atol=1e-6)


def shrunk(relation, n):
    return replace(relation, n_target=n)


def test_new_items_may_lack_some_or_all_content(method, warm):
    split = planted.split()
    names = split.data.items.names(np.arange(split.n_warm_items + 1))
    features = planted.features(4, missing=0.4)
    found = fitted(warm, method, features.rows(features.ids.numbers(names[:-1])), split)
    assert found.scores(EVERYBODY).isfinite().all()


def test_is_the_same_twice_and_after_it_was_saved(method, warm, tmp_path):
    found, again = fitted(warm, method), fitted(warm, method)
    assert torch.equal(found.scores(EVERYBODY), again.scores(EVERYBODY))
    save_model(found.model, tmp_path / "model")
    read = load_model(tmp_path / "model")
    assert torch.equal(read.scorer(found.graph, found.features).scores(EVERYBODY), found.scores(EVERYBODY))
    assert read.hyperparameters() == found.model.hyperparameters()


def test_what_is_not_marked_as_random_does_not_depend_on_the_seed(method, warm):
    if method.random:
        pytest.skip("random")
    plain = fit(warm, planted.split(), planted.features(), progress_bar=False, monitor_on=["warm"], **TRAINING[warm])
    one, two = (with_cold_start(plain, planted.split(), method(), seed=seed).scores(EVERYBODY) for seed in (0, 1))
    assert torch.equal(one, two)


def test_the_signature_is_the_configuration(method):
    given = method_defaults(method)
    assert method(**{name: value for name, value in given.items()}).hyperparameters().keys() == given.keys()
    assert all(f"{name}: " in (method.__doc__ or "") for name in given)
    with pytest.raises(TypeError, match="has no hyper-parameter 'depth9'"):
        fit(EASE, planted.split(), planted.features(), cold=method.__name__, **{"cold.depth9": 1})
    own = next(iter(given), "l2")
    with pytest.raises(TypeError, match=f"'{own}': {method.__name__} is made already; give its hyper-parameters where"):
        fit(EASE, planted.split(), planted.features(), cold=method(), **{f"cold.{own}": 1})
    with pytest.raises(TypeError, match="without cold=… there is no cold-start method, which has no hyper-parameter"):
        fit(EASE, planted.split(), planted.features(), **{f"cold.{own}": 1})


def test_a_batch_of_no_users_at_all_has_no_scores(method, warm):
    assert fitted(warm, method).scores(EVERYBODY[:0]).shape == (0, planted.N)


def test_users_without_history_are_scored(method, warm):
    found = fitted(warm, method)
    more = Recommender.of(found, planted.dataset()).add_users({"newcomer": [], "other": [planted.ITEMS[2]]})
    scores = more.fitted.scores(torch.tensor([planted.N, planted.N + 1]))
    assert scores.isfinite().all()


def test_items_added_to_a_recommender_are_scored_and_others_stay(method, warm):
    found = fitted(warm, method)
    before = Recommender.of(found, planted.dataset())
    rows = planted.features(n=planted.N + 3).rows(slice(planted.N, None))
    new = from_arrays(Vocabulary(["a", "b", "c"]), {m: x for m, x in rows.x.items()})
    after = before.add_items(new)
    assert torch.equal(after.fitted.scores(EVERYBODY)[:, :planted.N], before.fitted.scores(EVERYBODY))
    assert after.fitted.scores(EVERYBODY).isfinite().all()


def test_a_method_can_be_given_to_a_model_that_is_fitted(method, warm):
    found = fitted(warm, method)
    plain = fit(warm, planted.split(), planted.features(), progress_bar=False, monitor_on=["warm"], **TRAINING[warm])
    joined = with_cold_start(plain, planted.split(), method())
    assert torch.equal(joined.scores(EVERYBODY), found.scores(EVERYBODY))


def test_what_reads_vectors_refuses_a_model_without(method):
    if method.reads_vectors:
        with pytest.raises(TypeError, match="reads vectors, and EASE has none"):
            fitted(EASE, method)


def test_a_calibration_needs_a_method():
    with pytest.raises(TypeError, match="scores new items by itself"):
        calibrated(fit(EASE, planted.split(), planted.features()), None)


def test_a_calibration_moves_new_items_alone():
    class Doubled(Calibration):
        def __call__(self, new, warm):
            return 2 * new

    found = fitted(EASE, ContentProfile)
    twice, n = calibrated(found, Doubled()), found.model.schema.n_items
    assert torch.equal(twice.scores(EVERYBODY)[:, :n], found.scores(EVERYBODY)[:, :n])
    assert torch.equal(twice.scores(EVERYBODY)[:, n:], 2 * found.scores(EVERYBODY)[:, n:])



def test_neighbours_of_added_items_are_not_looked_for_where_nobody_hears_them():
    before = Recommender.of(fitted(LightGCN, ContentProfile), planted.dataset())
    rows = planted.features(n=planted.N + 1).rows(slice(planted.N, None))
    after = before.add_items(from_arrays(Vocabulary(["a"]), dict(rows.x)))
    assert before.fitted.graph["similar"].n_edges
    assert not after.fitted.graph["similar"].n_edges
    assert after.fitted.scores(EVERYBODY)[:, -1].any()


@pytest.mark.parametrize("warm", [EASE, LightGCN, FREEDOM])
def test_warm_items_keep_the_scores_of_the_model_alone_where_new_items_were_taken(warm):
    split = Split.of(planted.dataset(), RevealedItems(0.2, k=3), seed=0)
    options = {"dim": 8, "max_epochs": 3, "progress_bar": False} if warm is not EASE else {}
    alone, joined = (fit(warm, split, planted.features(), monitor_on=["warm"], cold=cold, **options)
                     for cold in (None, ContentProfile()))
    again = joined.model.scorer(joined.model.prepare(joined.graph, joined.features), joined.features)
    for scorer in (joined, again):
        assert torch.equal(scorer.scores(EVERYBODY)[:, :split.n_warm_items],
                           alone.scores(EVERYBODY)[:, :split.n_warm_items])
