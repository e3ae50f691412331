"""Honest fits pass, and each leak fails in the check that is meant for it."""

from dataclasses import replace
from inspect import unwrap

import leaks
import numpy as np
import planted
import pytest
import torch

from mmgraph.cold import ContentProfile
from mmgraph.data import ColdBoth, ColdUsers, Split
from mmgraph.data.split import HISTORY, TEST, UNUSED, VALID
from mmgraph.features.features import from_arrays
from mmgraph.models import EASE, FREEDOM, VBPR, LightGCN, Trained
from mmgraph.study.claims import CLAIMS
from mmgraph.study.drawn import watched_sampler
from mmgraph.study.fit import fit
from mmgraph.study.leakage import LeakageError, check_leakage
from mmgraph.study.trace import Block, Trace, moved, moved_scores
from mmgraph.train.negatives import NegativeSampler

OF_CONTENT = {"features permuted", "features replaced", "features removed"}
OF_ITEMS = [name for name in CLAIMS if name not in ("users removed", "revealed", "validation features")]


def checked(fit_, split=None, **settings):
    features = planted.features(missing=0.2)
    return check_leakage(fit_, split or planted.split(), features, progress_bar=False, **settings)


def honest(cls, **settings):
    given = leaks.STRICT if issubclass(cls, Trained) else {}
    return lambda split, features: fit(cls, split, features, **{**given, "progress_bar": False, **settings})


# --- honest fits -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("cls", [EASE, LightGCN])
def test_an_honest_fit_passes_every_check_of_items(cls):
    report = checked(honest(cls, cold=ContentProfile() if cls is EASE else None))
    not_done = {"sampler"} if cls is EASE else set()
    assert [check.name for check in report.checks if check.passed] == [n for n in OF_ITEMS if n not in not_done]
    assert report.passed


@pytest.mark.parametrize("cls", [VBPR, FREEDOM])
def test_honest_fits_that_read_content_pass(cls):
    checked(honest(cls), only=["sampler", "features replaced", "features removed", "items removed", "company"])


@pytest.mark.parametrize("reveal", [0, 2])
def test_cold_users_are_checked_too(reveal):
    split = Split.of(planted.dataset(), ColdUsers(reveal=reveal), seed=0)
    report = checked(honest(EASE), split)
    assert report["users removed"].passed
    assert report["revealed"].passed is (True if reveal else None)
    assert report["features permuted"].passed is None
    assert "nothing to check" in str(report["features permuted"])


# --- leaks -----------------------------------------------------------------------------------------------------------

LEAKS = [
    (leaks.normalised_over_all_items, ["features replaced", "features removed", "items removed", "company"]),
    (leaks.pca_on_all_items, ["features replaced", "features removed", "items removed", "company"]),
    (leaks.features_smoothed_over_all_items, [*sorted(OF_CONTENT), "items removed", "company"]),
    (leaks.neighbours_among_all_items, ["features replaced", "features removed", "items removed", "company"]),
    (leaks.trained_on_all_rows, ["sampler", *sorted(OF_CONTENT), "items removed", "company"]),
    (leaks.negatives_from_all_items, ["sampler", "items removed", "company"]),
    (leaks.own_negatives_from_all_items, ["items removed", "company"]),
    (leaks.popularity_over_all_parts, ["takers removed", "items removed", "test removed"]),
    (leaks.new_items_centred, ["company"]),
    (leaks.new_items_by_number, ["numbers", "company"]),
    (leaks.trained_on_validation, ["sampler", "validation permuted", "validation removed"]),
    (leaks.closed_form_trained_on_validation, ["validation permuted", "validation removed"]),
    (leaks.scored_with_validation, ["validation permuted", "validation removed"]),
    (leaks.joined, ["validation permuted", "validation removed"]),
    (leaks.cold_items_scored_with_their_held_out_takers, [
        "takers permuted", "takers removed", "validation permuted", "validation removed", "test permuted",
        "test removed"]),
    (leaks.cold_items_by_held_out_popularity, ["takers removed", "test removed", "validation removed"]),
    (leaks.takers_as_content, ["takers permuted", "takers removed", "validation removed", "test permuted",
                               "test removed"]),
    (leaks.new_items_below_the_best, ["items removed", "company"]),
    (leaks.new_items_as_the_last, ["numbers", "company"])]
"""Each leak and the checks that must fail for it; others may."""


@pytest.mark.parametrize(("leak", "names"), LEAKS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_leak_fails_in_the_checks_meant_for_it(leak, names):
    report = checked(leak, only=names, strict=False)
    assert set(report.failed) == set(names), str(report)


def test_the_same_cold_items_in_validation_and_test_fail():
    split = leaks.same_items_in_validation_and_test(planted.split())
    report = checked(honest(EASE), split, only=["parts"], strict=False)
    assert report.failed == ["parts"]
    assert f"{40 - split.n_warm_items} cold items are in both" in str(report)


def test_the_same_cold_users_in_validation_and_test_fail():
    split = Split.of(planted.dataset(), ColdUsers(reveal=2), seed=0)
    assert checked(honest(EASE), split, only=["parts"])["parts"].passed
    part, cold = split.part.copy(), ~split.warm_users[split.data.user] & (split.part != HISTORY)
    part[cold] = np.where(np.arange(cold.sum()) % 2, TEST, VALID)
    report = checked(honest(EASE), replace(split, part=part), only=["parts"], strict=False)
    assert report.failed == ["parts"]
    assert f"{40 - split.n_warm_users} cold users are in both" in str(report)
    assert "cold items" not in str(report)


def test_what_a_protocol_did_not_draw_may_be_in_both_parts():
    """A warm item that lost all to the holdout, and a user who took nothing but new items."""
    split = planted.split()
    user, item = split.data.user, split.data.item
    part = np.where(user == 0, np.where(split.cold_items[item], split.part, UNUSED), split.part)
    part = np.where(item == 1, np.where(user % 4 < 2, VALID, TEST), part)
    bare = replace(split, part=part)._in_order()
    assert bare.n_warm_items == split.n_warm_items - 1
    assert bare.n_warm_users == split.n_warm_users - 1
    last = bare.n_warm_users
    assert {VALID, TEST} <= {*bare.part[bare.data.user == last].tolist()}
    assert checked(honest(EASE), bare, only=["parts"])["parts"].passed


@pytest.mark.parametrize("cold", [ColdUsers(), ColdBoth()])
def test_a_drawn_user_may_not(cold):
    split = Split.of(planted.dataset(), cold, seed=0)
    assert checked(honest(EASE), split, only=["parts"])["parts"].passed
    part = split.part.copy()
    rows = (split.data.user == split.n_warm_users).nonzero()[0]
    part[rows[:2]] = VALID, TEST
    assert "1 cold users are in both" in str(checked(honest(EASE), replace(split, part=part), only=["parts"],
                                                     strict=False))


def test_the_publishers_split_may_have_a_cold_item_in_both_and_that_is_told():
    split = replace(leaks.same_items_in_validation_and_test(planted.split()), name="Given")
    report = checked(honest(EASE), split, only=["parts"])
    assert report["parts"].passed is None
    assert f"{40 - split.n_warm_items} cold items are in both" in str(report)
    assert "as the publisher has it" in str(report)


def test_a_leak_raises_and_the_text_says_which_check_and_what_moved():
    with pytest.raises(LeakageError, match=r"1 of 1 checks failed: features replaced") as error:
        checked(leaks.normalised_over_all_items, only=["features replaced"])
    assert "training losses from epoch 1 on" in str(error.value)
    assert "item.weight (by up to" in str(error.value)
    assert "FAILED  features replaced" in str(error.value)
    assert isinstance(error.value, AssertionError)


def test_a_graph_at_scoring_leaks_into_scores_and_into_no_tensor():
    detail = checked(leaks.neighbours_among_all_items, only=["items removed"], strict=False).checks[0].detail
    assert "warm scores by up to" in detail
    assert "weight" not in detail
    assert "losses" not in detail


def test_cold_negatives_are_counted():
    detail = checked(leaks.negatives_from_all_items, only=["sampler"], strict=False)["sampler"].detail
    n_train = len(planted.split().train.users)
    assert f"of {2 * n_train:,} negatives are cold, 0 of {n_train} positives" in detail
    assert not detail.startswith("0 ")


def test_what_is_revealed_must_not_be_trained_on():
    split = Split.of(planted.dataset(), ColdUsers(reveal=2), seed=0)
    assert checked(leaks.trained_on_what_is_revealed, split, only=["revealed"], strict=False).failed == ["revealed"]


def test_a_leak_from_cold_test_users_is_found():
    split = Split.of(planted.dataset(), ColdUsers(), seed=0)
    assert checked(leaks.popularity_over_all_parts, split, strict=False).failed == [
        "validation removed", "test removed", "users removed"]


@pytest.mark.parametrize(("leak", "names"), [
    (leaks.cold_users_scored_with_what_is_held_out, ["test permuted", "test removed", "users removed"]),
    (leaks.cold_users_scored_by_their_number, ["users removed"])], ids=lambda value: getattr(value, "__name__", ""))
def test_a_leak_into_the_scores_of_cold_users_is_found_there(leak, names):
    split = Split.of(planted.dataset(), ColdUsers(reveal=2), seed=0)
    report = checked(leak, split, only=["test permuted", "test removed", "users removed"], strict=False)
    assert report.failed == names, str(report)
    assert all(report[name].detail.startswith("cold users' scores by up to") for name in names)


def test_the_takers_of_cold_items_reach_cold_scores_alone():
    report = checked(leaks.cold_items_scored_with_their_held_out_takers, only=["takers permuted"], strict=False)
    assert report["takers permuted"].detail.startswith("cold scores by up to")


# --- checks that show nothing ----------------------------------------------------------------------------------------

def test_a_sampler_that_was_not_asked_is_not_called_clean():
    report = checked(honest(EASE), only=["sampler"])
    assert report["sampler"].passed is None
    assert report.passed
    assert str(report).startswith("–")
    assert str(report).endswith("(nothing was drawn)")


def test_a_permutation_that_changes_nothing_is_not_called_passed():
    split = planted.split()
    part, rows = split.part.copy(), (split.part == TEST).nonzero()[0]
    part[rows[1:]] = UNUSED
    report = checked(honest(EASE), replace(split, part=part), only=["test permuted", "test removed"])
    assert report["test permuted"].passed is None
    assert report["test removed"].passed
    alike = from_arrays(split.data.items, {"text": np.ones((40, 3))})
    silent = replace(split, data=replace(split.data, item_content=split.data.item_content.select([])))
    report = check_leakage(honest(EASE), silent, alike, only=sorted(OF_CONTENT), progress_bar=False)
    assert [report[name].passed for name in sorted(OF_CONTENT)] == [None, True, True]


def test_a_fit_from_a_cache_is_refused():
    known = fit(EASE, planted.split(), planted.features(missing=0.2))
    with pytest.raises(ValueError, match="the fit for 'features permuted' is that of an earlier call"):
        checked(lambda split, features: known)
    with pytest.raises(ValueError, match="fit must be of the 33 items of the split that it is given, got one of 40"):
        checked(lambda split, features: known, only=["items removed"])
    with pytest.raises(ValueError, match="is that of an earlier call"):
        checked(lambda split, features: replace(known, features=features), only=["test removed"])


def test_what_a_method_learns_in_place_is_compared_with_what_it_was():
    class InPlace(ContentProfile):
        """Keeps one tensor for all that it learns."""

        kept = torch.zeros(1)

        def learn(self, observed, generator):
            super().learn(observed, generator)
            self.keep(total=self.kept.fill_(leak))

    method = InPlace()

    def in_place(split, features):
        nonlocal leak
        leak = float(len(split.data))
        return fit(EASE, split, features, cold=method)

    leak = 0.0
    report = checked(in_place, only=["test removed"], strict=False)
    assert report["test removed"].detail.startswith("method.total (by up to")


# --- selection -------------------------------------------------------------------------------------------------------

def on_cold(split, features):
    """Its epoch is chosen on cold validation items."""
    return fit(VBPR, split, features, **{**leaks.SMALL, "monitor_on": ["cold"], "max_epochs": 4, "lr": 0.002})


def test_selection_on_cold_items_is_refused_and_told_from_training():
    report = checked(on_cold, strict=False, only=["features replaced", "test permuted", "test removed"])
    assert report.failed == ["features replaced"]
    assert "validation scores by up to" in report["features replaced"].detail
    assert "training losses from" not in report["features replaced"].detail


def test_selection_on_cold_validation_items_may_be_allowed_and_test_items_still_move_nothing():
    names = ["features replaced", "takers removed", "items removed", "validation permuted", "test removed",
             "validation features"]
    report = checked(on_cold, selects_on="cold", only=names)
    assert [check.name for check in report.checks if check.passed] == names


def test_a_leak_is_found_though_selection_may_read_cold_validation_items():
    names = ["features replaced", "validation features"]
    assert checked(leaks.features_smoothed_over_all_items, selects_on="cold", only=names, strict=False).failed == names


def block(scores, users=(7,), items=(5, 6)):
    data = planted.dataset()
    return Block(torch.tensor(scores), data.users.take(np.array(users)), data.items.take(np.array(items)))


def trace(**changed):
    state = {"w": torch.tensor([1.0, 2.0]), "v": torch.ones(2, 2).to_sparse_csr()}
    given = {"state": state, "losses": [{"bpr": 0.5}, {"bpr": 0.4}], "valid": [0.25, 0.5], "warm": torch.ones(1, 3),
             "cold": block([[1.0, 2.0]]), "new": block([[3.0, 4.0]])}
    return Trace(**{**given, **changed})


def test_everything_that_moves_is_named():
    assert moved(trace(), trace()) == []
    assert moved(trace(), trace(state={**trace().state, "w": torch.tensor([1.0, 2.5])})) == ["w (by up to 0.5)"]
    assert moved(trace(), trace(state={**trace().state, "v": 2 * torch.ones(2, 2).to_sparse_csr()})) == [
        "v (by up to 1)"]
    assert moved(trace(), trace(state={"w": torch.ones(3), "v": trace().state["v"]})) == ["w ((2,) and (3,))"]
    assert moved(trace(), trace(state={"w": trace().state["w"]})) == ["v (not in both)"]
    assert moved(trace(), trace(losses=[{"bpr": 0.5}, {"bpr": 0.4 + 1e-12}])) == ["training losses from epoch 2 on"]
    assert moved(trace(), trace(valid=[0.25, 0.75])) == ["validation scores by up to 0.2"]
    assert moved(trace(), trace(warm=torch.ones(1, 3) + 2**-20)) == ["warm scores by up to 9.5e-07"]
    assert moved(trace(), trace(cold=block([[1.0, 4.0]]))) == ["cold scores by up to 2 of 2"]
    assert moved(trace(), trace(new=block([[3.0, 5.0]]))) == ["cold users' scores by up to 1 of 4"]


def test_scores_that_may_move_are_not_named_and_others_are():
    other = trace(warm=torch.zeros(1, 3), cold=block([[1.0, 4.0]]), new=block([[3.0, 5.0]]))
    assert moved(trace(), other, may_score=("warm", "cold", "new")) == []
    assert moved(trace(), other, may_score=("warm", "cold")) == ["cold users' scores by up to 1 of 4"]
    assert moved(trace(), other, may_score=("warm", "new")) == ["cold scores by up to 2 of 2"]
    assert moved(trace(), other, may_score=("cold", "new")) == ["warm scores by up to 1"]


def test_a_tie_that_rounding_decides_is_no_leak_but_other_losses_are():
    one, two = trace(valid=[0.5, 0.5]), trace(valid=[0.5, 0.5 + 1e-9], state={"w": torch.zeros(2)})
    assert (one.epoch, two.epoch) == (1, 2)
    assert moved(one, two) == []
    assert moved(one, replace(two, losses=[{"bpr": 9.0}]))
    assert moved(one, replace(two, valid=[0.5, 0.6])) == ["validation scores by up to 0.1"]


def test_selection_may_move_the_epoch_where_it_may_but_not_the_same_epochs_state():
    other = {"w": torch.zeros(2), "v": trace().state["v"]}
    assert moved(trace(), trace(valid=[0.5, 0.25], state=other, warm=torch.zeros(1, 3)), may_select=True) == []
    assert moved(trace(), trace(valid=[0.1, 0.25], state=other), may_select=True) == ["w (by up to 2)"]


def test_scores_are_compared_by_id():
    one = block([[1.0, 2.0], [3.0, 4.0]], users=(7, 8))
    assert moved_scores(one, block([[2.0, 1.0], [4.0, 3.0]], users=(7, 8), items=(6, 5)), "cold") == []
    assert moved_scores(one, block([[3.0, 4.0], [1.0, 2.0]], users=(8, 7)), "cold") == []
    assert moved_scores(one, block([[1.0, 2.0], [3.0, 4.0]], users=(7, 8), items=(6, 5)), "cold")
    assert moved_scores(one, block([[4.0]], users=(8,), items=(6,)), "cold") == []
    assert moved_scores(one, block([[4.5]], users=(8,), items=(6,)), "cold") == ["cold by up to 0.5 of 4"]
    assert moved_scores(one, one._replace(scores=one.scores * (1 + 1e-6)), "cold") == []
    assert moved_scores(one, one._replace(scores=one.scores * (1 + 1e-4)), "cold")


def test_an_infinite_score_does_not_make_all_others_alike():
    one = block([[1.0, -torch.inf]])
    assert moved_scores(one, one, "cold") == []
    assert moved_scores(one, block([[2.0, -torch.inf]]), "cold")


# --- the function itself ---------------------------------------------------------------------------------------------

def test_the_sampler_is_as_before_also_after_an_error():
    begin, draw = NegativeSampler.__init__, NegativeSampler.sample

    def broken(split, features):
        assert NegativeSampler.sample is not draw
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        checked(broken)
    assert (NegativeSampler.__init__, NegativeSampler.sample) == (begin, draw)


def test_watching_changes_no_draw():
    users, relation = planted.graph().interactions.edges[0], planted.graph().interactions
    plain = NegativeSampler(relation).sample(users, torch.Generator().manual_seed(0))
    with watched_sampler(planted.split()) as drawn:
        watched = NegativeSampler(relation).sample(users, torch.Generator().manual_seed(0))
    assert torch.equal(plain, watched)
    assert drawn.negatives == len(users)
    assert drawn.cold_negatives == (watched >= planted.split().n_warm_items).sum()


def test_the_report_is_text_with_one_line_per_check():
    report = checked(honest(EASE), only=["parts", "numbers"])
    assert str(report).splitlines() == [
        "passed  parts                no cold validation item or user is a cold test item or user",
        "passed  numbers              a cold item's score does not depend on its number"]
    with pytest.raises(KeyError):
        report["company"]


def test_only_the_fits_that_are_asked_for():
    fits = []

    def counted(split, features):
        fits.append(len(split.data.items))
        return fit(EASE, split, features)

    checked(counted, only=["parts"])
    assert fits == []
    checked(counted, only=["sampler"])
    assert fits == [40]
    checked(counted, only=["items removed"])
    assert fits[1:] == [40, planted.split().n_warm_items + 1]


def test_bad_arguments_are_refused():
    with pytest.raises(KeyError, match=r"no check \['sampling'\]; there are \['parts', 'sampler'"):
        checked(honest(EASE), only=["sampling"])
    with pytest.raises(ValueError, match="selects_on must be 'warm' or 'cold', got 'test'"):
        unwrap(check_leakage)(honest(EASE), planted.split(), selects_on="test")
    with pytest.raises(ValueError, match="a blind split has no test interactions"):
        checked(honest(EASE), planted.split().blinded())


def test_a_fit_that_reads_test_meets_a_lock():
    with pytest.raises(PermissionError, match="locked"):
        checked(lambda split, features: fit(EASE, split, features, l2=len(split.test.users)))
