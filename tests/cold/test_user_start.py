"""What every user-start method keeps, beside a warm model with vectors and one without, and with new items as well."""

from dataclasses import dataclass, replace

import numpy as np
import planted
import pyarrow as pa
import pytest
import torch

from mmgraph.cold import ContentProfile
from mmgraph.cold.calibrations import Scale
from mmgraph.cold.group_popularity import GroupPopularity
from mmgraph.data import ColdItems, ColdUsers, Pairs, Split
from mmgraph.data.split import SplitRule
from mmgraph.models import EASE, GAT, LightGCN
from mmgraph.models.method import method_defaults
from mmgraph.models.saved import load_model, save_model
from mmgraph.models.user_start import UserStart
from mmgraph.serve import Recommender
from mmgraph.study.fit import calibrated, fit, with_cold_start, with_user_start

METHODS = tuple(cls for cls in UserStart.__subclasses__() if cls.__module__.startswith("mmgraph."))
GIVEN = {GroupPopularity: {"column": "team"}}
TRAINING = {EASE: {}, LightGCN: {"dim": 8, "max_epochs": 15, "lr": 0.05, "batch_size": 256}}
TEAM = ["team"]


@dataclass(frozen=True)
class Both(SplitRule):
    """Items and users are cold; of the cold users nothing is revealed."""

    def assign(self, data, rng):
        return np.maximum(ColdItems(holdout=0.0).assign(data, rng), ColdUsers(holdout=0.0).assign(data, rng))


@pytest.fixture(params=METHODS, ids=lambda cls: cls.__name__)
def method(request):
    return request.param


@pytest.fixture(params=[EASE, LightGCN], ids=lambda cls: cls.__name__)
def warm(request):
    return request.param


def split(rule=None):
    return Split.of(planted.dataset(), rule or ColdUsers(share=0.3, holdout=0.1), seed=0)


def made(method):
    return method(**GIVEN.get(method, {}))


def fitted(warm, method, of=None, **settings):
    settings = {"progress_bar": False, "attributes": TEAM, **TRAINING[warm], **settings}
    return fit(warm, of or split(), planted.features(), new_users=method and made(method), **settings)


def everybody(of):
    return torch.arange(len(of.users))


def test_warm_users_keep_the_scores_of_the_model_alone(method, warm):
    of = split()
    found, alone = fitted(warm, method), fitted(warm, None, attributes=[])
    some = torch.arange(of.n_warm_users)
    assert torch.equal(found.scores(some), alone.scores(some))
    assert not torch.equal(found.scores(everybody(found)), alone.scores(everybody(found)))


def test_new_users_with_history_keep_their_fold_in(method, warm):
    of = split(ColdUsers(share=0.3, reveal=2, holdout=0.1))
    found, alone = fitted(warm, method, of), fitted(warm, None, of)
    assert torch.equal(found.scores(everybody(found)), alone.scores(everybody(found)))


def test_new_users_are_ranked_by_the_taste_that_their_profile_tells(method, warm):
    of = split()
    found, n = fitted(warm, method), of.n_warm_users
    scores = found.scores(torch.arange(n, planted.N))
    items = torch.tensor([int(i) % 2 for i in of.data.items.ids.to_pylist()])
    users = torch.tensor([int(u) % 2 for u in of.data.users.ids.to_pylist()])[n:]
    for row, taste in zip(scores, users, strict=True):
        assert (row[items == taste][:, None] > row[items != taste]).float().mean() > 0.95


def test_what_a_user_gets_depends_on_that_user_alone(method, warm):
    found = fitted(warm, method)
    new = torch.arange(split().n_warm_users, planted.N)
    together = found.scores(new)
    for place, user in enumerate(new):
        torch.testing.assert_close(found.scores(user[None])[0], together[place], rtol=1e-6, atol=1e-7)


def test_nothing_that_is_learned_depends_on_new_users(method, warm):
    of = split()
    teams = of.data.user_content["team"].to_pylist()
    strange = [t if u < of.n_warm_users else ["b", f"only {u}"] for u, t in enumerate(teams)]
    other = replace(of, data=replace(of.data, user_content=pa.table({"team": strange})))
    one, two = fitted(warm, method), fitted(warm, method, other)
    assert one.model.state_dict().keys() == two.model.state_dict().keys()
    assert all(torch.equal(tensor, two.model.state_dict()[name]) for name, tensor in one.model.state_dict().items())
    some = torch.arange(of.n_warm_users)
    assert torch.equal(one.scores(some), two.scores(some))


def test_saved_and_loaded_with_a_cold_start_method_or_without(method, warm, tmp_path):
    for name, settings in {"alone": {}, "both": {"cold": ContentProfile()}}.items():
        found = fitted(warm, method, split(Both()), **settings)
        save_model(found.model, tmp_path / name)
        read = load_model(tmp_path / name)
        assert read.hyperparameters() == found.model.hyperparameters()
        assert torch.equal(read.scorer(found.graph, found.features).scores(everybody(found)),
                           found.scores(everybody(found)))


def test_who_took_only_new_items_is_scored_by_profile(method, warm):
    """They say too little of a user; one trained item more, and it is the warm model's answer."""
    of = split(Both())
    found = fitted(warm, method, of)
    n, n_items, alone = of.n_warm_users, of.n_warm_items, found.model.warm
    expected = found.scores(torch.tensor([n]))
    for items in ([n_items], [n_items, 0]):
        graph = found.graph.extend(interactions=Pairs(np.full(len(items), n), np.array(items)))
        scores = [m.scorer(m.prepare(graph, found.features), found.features).scores(torch.tensor([n]))
                  for m in (found.model, alone)]
        assert torch.equal(scores[0][:, :n_items], expected[:, :n_items]) is (items == [n_items])
        assert torch.equal(*scores) is (items != [n_items])


def test_refuses_fewer_attributes_than_those_of_the_fit_and_takes_more(method):
    of = split()
    found = fit(EASE, of, attributes=["genre", *TEAM])
    with pytest.raises(ValueError, match=r"attributes lack \['genre'\], with which EASE was fitted"):
        with_user_start(found, of, made(method), attributes=TEAM)
    with_user_start(found, of, made(method), attributes=["genre", *TEAM])
    reads = fit(GAT, of, planted.features(), attributes=["genre"], max_epochs=1, progress_bar=False, dim=8)
    more, warm_users = with_user_start(reads, of, made(method), attributes=["genre", *TEAM]), torch.arange(10)
    assert torch.equal(more.scores(warm_users), reads.scores(warm_users))


def test_new_items_of_new_users_are_scored_too(method, warm):
    """In the right order: three in four pairs."""
    of = split(Both())
    found = fitted(warm, method, of, cold=ContentProfile())
    scores = found.scores(torch.arange(of.n_warm_users, planted.N))[:, of.n_warm_items:]
    items = torch.tensor([int(i) % 2 for i in of.data.items.ids.to_pylist()])[of.n_warm_items:]
    users = torch.tensor([int(u) % 2 for u in of.data.users.ids.to_pylist()])[of.n_warm_users:]
    right = [(row[items == t][:, None] > row[items != t]).float().mean() for row, t in zip(scores, users, strict=True)]
    assert torch.stack(right).mean() > 0.75


def test_a_method_can_be_given_to_a_model_that_is_fitted_without_its_attributes(method, warm):
    plain = fit(warm, split(), planted.features(), progress_bar=False, **TRAINING[warm])
    joined = with_user_start(plain, split(), made(method), attributes=TEAM)
    again = with_user_start(joined, split(), made(method), attributes=TEAM)
    expected = fitted(warm, method).scores(everybody(plain))
    assert torch.equal(joined.scores(everybody(plain)), expected)
    assert torch.equal(again.scores(everybody(plain)), expected)


def test_methods_for_items_and_users_join_in_any_order(method, warm):
    of = split(Both())
    at_once = calibrated(fitted(warm, method, of, cold=ContentProfile()), Scale(2.0))
    later = with_cold_start(fitted(warm, method, of), of, ContentProfile(), attributes=TEAM)
    later = calibrated(later, Scale(2.0))
    assert torch.equal(at_once.scores(everybody(later)), later.scores(everybody(later)))
    assert later.model.hyperparameters()["new_users"] == method.__name__


def test_by_name_with_hyperparameters(method):
    name, given = method.__name__, {f"new_users.{key}": value for key, value in made(method).hyperparameters().items()}
    found = fit(EASE, split(), planted.features(), attributes=TEAM, new_users=name, **given)
    assert torch.equal(found.scores(everybody(found)), fitted(EASE, method).scores(everybody(found)))
    assert all(f"{name}: " in (method.__doc__ or "") for name in method_defaults(method))
    with pytest.raises(TypeError, match=f"{name} has no hyper-parameter 'depth9'"):
        fit(EASE, split(), attributes=TEAM, new_users=name, **{"new_users.depth9": 1})


def test_refusals(method):
    with pytest.raises(TypeError, match=r"without new_users=… there is no user-start method, which has no"):
        fit(EASE, split(), **{"new_users.l2": 1.0})
    with pytest.raises(ValueError, match="no user-start method is called 'Ridge9'"):
        fit(EASE, split(), new_users="Ridge9")
    with pytest.raises(KeyError, match="pass attributes="):
        fit(EASE, split(), new_users=made(method))


def test_users_added_to_a_recommender_with_a_profile_without_one_and_after_it_was_saved(method, warm, tmp_path):
    of = split()
    found = fitted(warm, method)
    before = Recommender.of(found, planted.dataset())
    before.save(tmp_path / "bundle")
    like = of.data.users.ids.to_pylist()[of.n_warm_users]
    team = planted.dataset().user_content["team"].to_pylist()[planted.USERS.index(like)]
    profiles = pa.table({"user": ["twin", "odd one"], "team": [team, ["of nobody"]]})
    more = [r.add_users({"blank": [], "twin": [], "odd one": []}, profiles).add_users({"late": []})
            for r in (before, Recommender.load(tmp_path / "bundle"))]
    alone = Recommender.of(fitted(warm, None), planted.dataset()).add_users({"blank": []})
    for after in more:
        assert torch.equal(after.fitted.scores(torch.tensor([planted.N])),
                           alone.fitted.scores(torch.tensor([planted.N])))
        blank, twin, odd, late = after.fitted.scores(torch.arange(planted.N, planted.N + 4))
        torch.testing.assert_close(twin, found.scores(torch.tensor([of.n_warm_users]))[0], rtol=1e-6, atol=1e-7)
        assert torch.equal(blank, odd)
        assert torch.equal(blank, late)
        assert not torch.equal(blank, twin)
    assert torch.equal(*(after.fitted.scores(torch.arange(planted.N + 4)) for after in more))
