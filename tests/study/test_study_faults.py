"""Small facts of the study's core, each of which a fault of one line would break unseen by whole runs."""

import importlib
import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import planted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from study_world import Planted, tiny
from test_result import result

from mmgraph.data import Dataset, Fold, RandomPerUser
from mmgraph.data.protocols import Given
from mmgraph.data.raw import Raw
from mmgraph.data.split import TEST, UNUSED, VALID, Split
from mmgraph.eval.evaluate import Evaluation, evaluate
from mmgraph.eval.groups import activity_groups
from mmgraph.eval.shapley import Shapley
from mmgraph.features.store import save
from mmgraph.models import BPRMF, EASE, VBPR, Popularity
from mmgraph.study import reading, run, search
from mmgraph.study.by_group import by_group
from mmgraph.study.ledger import FILE, Reading, readings, recorded
from mmgraph.study.plan_file import read_study
from mmgraph.study.pool import Pool
from mmgraph.study.provenance import fingerprints
from mmgraph.study.result import Result, append, digest, read
from mmgraph.study.space import Candidate
from mmgraph.study.storage import finished_trial, open_trials, proposals
from mmgraph.study.study import BASELINES, Outside, Study
from mmgraph.study.suspicion import both
from mmgraph.study.turns import Turn, cross_validation, nested_validation
from mmgraph.study.yardsticks import validation_popularity

SPACE = {"lr": {"low": 1e-3, "high": 1e-1, "log": True}}
MODELS = {"BPRMF": Candidate(BPRMF, {"dim": 4, "max_epochs": 2}, SPACE),
          "VBPR": Candidate(VBPR, {"dim": 4, "max_epochs": 1}, {"lr": [0.01, 0.1]})}


def plan(**changes):
    given = {"features": planted.features(), "models": MODELS, "trials": 3, "seeds": (0, 1), "baselines": (),
             "ks": (2, 5), "monitor": "recall@5", "threads": 1, **changes}
    return Study.of(given.pop("split", planted.split()), given.pop("models"), **given)


def searched(best_epochs=(1,), **settings):
    trial = {"settings": settings, "best_epochs": list(best_epochs), "seconds": 1.0, "peak_mb": None}
    return {"chosen": 0, "trials": [trial]}


class Stop(Exception):
    """Ends what is being watched."""


# The plan, the row and the ledger

PLANNED = {"name": "x", "data": "x", "trials": 4, "seeds": (0, 2), "sampler": "tpe", "search_seed": 1, "prune": True,
           "monitor": "recall@2", "monitor_on": ("warm",), "ks": (2,), "metrics": ("recall",), "seen": "train",
           "categories": "genre", "user_attributes": ("team",), "options": {"patience": 2}, "content_controls": False,
           "retrain": True, "device": "cuda", "card": "x", "features": None, "models": {"BPRMF": MODELS["BPRMF"]},
           "baselines": ("EASE",)}


def test_all_that_determines_the_rows_is_in_the_plan():
    assert {f.name for f in fields(Study)} == {*PLANNED, "turns", "jobs", "threads"}
    hashes = {name: plan(**{name: value}).plan_hash for name, value in PLANNED.items()}
    hashes |= {"split": plan(split=planted.split(seed=1)).plan_hash, "none": plan().plan_hash,
               "content": plan(features=planted.features(seed=1)).plan_hash}
    fixed = replace(MODELS["BPRMF"], fixed={"dim": 5, "max_epochs": 2})
    hashes |= {"fixed": plan(models={**MODELS, "BPRMF": fixed}).plan_hash,
               "space": plan(models={**MODELS, "VBPR": replace(MODELS["VBPR"], space={"lr": [0.01]})}).plan_hash}
    split = planted.split()
    part = split.part.copy()
    part[np.flatnonzero(part == VALID)[0]] = TEST  # the same data in the same order
    hashes["part"] = plan(split=replace(split, part=part)).plan_hash
    assert len(set(hashes.values())) == len(hashes)


def test_what_runs_side_by_side_is_in_the_plan_where_trials_learn_from_earlier_ones():
    assert plan(jobs=1).plan_hash == plan(jobs=2).plan_hash
    assert plan(prune=True, jobs=1).plan_hash != plan(prune=True, jobs=2).plan_hash


@pytest.mark.parametrize("name", sorted({f.name for f in fields(Result)} - {"hash"}))
def test_the_hash_of_a_row_covers_every_field(name):
    row = asdict(result())
    assert digest(row) != digest({**row, name: "changed"})


def test_the_hash_of_a_row_covers_what_stands_in_it(tmp_path):
    append(tmp_path, result())
    file = tmp_path / "results.jsonl"
    file.write_text(file.read_text().replace('"fit": 1.0', '"fit": 1.5'))
    with pytest.raises(ValueError, match=r"line 1 of .* is not as it was written"):
        read(tmp_path)


def look(file, plan="one", seed=0, settings=None, split="s", part="test", features=None):
    return recorded(file, split, part, "EASE", seed, settings or {"a": 1, "b": 2}, features, plan)


def test_a_look_at_other_content_or_another_part_is_not_a_second_one(tmp_path):
    look(tmp_path / FILE)
    for other in ({"features": {"text": "f"}}, {"part": "valid"}):
        assert look(tmp_path / FILE, plan="two", settings={"a": 3}, **other) == (1, [])
    assert look(tmp_path / FILE, plan="three", settings={"a": 4})[0] == 2


def test_the_order_of_settings_makes_no_second_look(tmp_path):
    look(tmp_path / FILE)
    assert look(tmp_path / FILE, plan="two", settings={"b": 2, "a": 1}) == (1, [])


def test_the_seeds_of_one_plan_are_one_look(tmp_path):
    assert [look(tmp_path / FILE, seed=seed) for seed in (0, 1, 2)] == [(1, [])] * 3


def test_a_mark_tells_the_day_of_the_first_look(tmp_path):
    days = ["2001-02-03T00:00:00+00:00", "1999-01-01T00:00:00+00:00"]
    lines = [asdict(Reading("s", "test", "EASE", seed, "x", "y", "one", day)) for seed, day in enumerate(days)]
    (tmp_path / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    known = readings(tmp_path / FILE)[0].features
    assert known == "y"
    look(tmp_path / FILE, plan="two")
    lines = [{**line, "features": readings(tmp_path / FILE)[-1].features} for line in lines]
    (tmp_path / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "first on 1999-01-01" in look(tmp_path / FILE, plan="two")[1][0]


def looks(one, folder, keys, **settings):
    found = {(label, 0): searched(**settings) for label in one.candidates}
    return list(run.looks(one, keys, found, folder, None))


def test_a_control_is_recorded_as_other_content(tmp_path):
    looks(plan(), tmp_path / "s", [("VBPR", None, 0, 0), ("VBPR", "permuted", 0, 0), ("VBPR", "noise", 0, 0)], lr=0.1)
    assert len({r.features for r in readings(tmp_path / FILE)}) == 3


@pytest.mark.parametrize("changes", [{"monitor": "recall@2"}, {"seen": "train"}, {"retrain": True},
                                     {"monitor_on": ("warm",)}])
def test_the_same_settings_chosen_or_read_otherwise_are_a_second_look(tmp_path, changes):
    key = [("BPRMF", None, 0, 0)]
    (first,), (same,) = looks(plan(), tmp_path / "a", key), looks(plan(name="b"), tmp_path / "b", key)
    assert (first.marks, same.marks, same.reading) == ((), (), 1)
    (again,) = looks(plan(**changes), tmp_path / "c", key)
    assert again.reading == 3
    assert "this is no first look" in again.marks[0]


def test_a_closed_form_watches_no_epoch_so_another_monitor_is_no_second_look(tmp_path):
    key, models = [("EASE", None, 0, 0)], {"EASE": EASE}
    looks(plan(models=models), tmp_path / "a", key)
    assert looks(plan(models=models, monitor="recall@2"), tmp_path / "b", key)[0].marks == ()


def test_a_scorer_from_outside_has_a_label_of_its_own(tmp_path):
    with pytest.raises(ValueError, match="BPRMF is the label of a model and of a scorer from outside"):
        plan().run(tmp_path / "s", references={"BPRMF": Outside(Planted(torch.zeros(40, 40)))}, progress=False)


# Splits and turns

def small(train, valid, test):
    user, item, part = zip(*[(*pair, name) for name, pairs in (("train", train), ("valid", valid), ("test", test))
                             for pair in pairs], strict=True)
    return Split.of(Dataset.from_raw(Raw(pa.table({"user": user, "item": item, "part": part}))), Given())


def test_joined_numbers_users_and_items_anew():
    split = small([("b", "y")], [("a", "x")], [("0", "y"), ("0", "w"), ("b", "x")])
    assert (split.n_warm_users, split.n_warm_items) == (1, 1)
    joined = split.joined()
    assert (joined.n_warm_users, joined.n_warm_items) == (2, 2)
    assert set(joined.data.users.ids.to_pylist()[:2]) == {"a", "b"}
    assert set(joined.data.items.ids.to_pylist()[:2]) == {"x", "y"}
    assert joined.fingerprint != split.fingerprint


def dealt(fold, seed, data):
    part = fold.assign(data, np.random.default_rng(seed))
    return frozenset(np.flatnonzero(part == TEST).tolist())


def test_a_deal_is_random_and_begins_anywhere():
    lone = Dataset.from_raw(Raw(pa.table({"user": [f"{u:02d}" for u in range(60)], "item": ["i"] * 60})))
    assert all(8 <= len(dealt(Fold(3, k, (k + 1) % 3), 0, lone)) <= 32 for k in range(3))
    one = Dataset.from_raw(Raw(pa.table({"user": ["u"] * 9, "item": [f"{i}" for i in range(9)]})))
    decks = {frozenset(dealt(Fold(3, k, (k + 1) % 3), seed, one) for k in range(3)) for seed in range(5)}
    assert len(decks) == 5


def test_the_fold_after_the_tested_one_is_validation_and_chooses_the_epoch():
    data = planted.dataset()
    for turns in (cross_validation(data, 4, seed=2), nested_validation(data, 4, seed=2)):
        assert [(t.split.parameters["test"], t.split.parameters["valid"]) for t in turns] == [
            (0, 1), (1, 2), (2, 3), (3, 0)]
        assert {t.split.seed for t in turns} == {2}
    assert [[i.parameters["valid"] for i in t.inner] for t in turns] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


def test_a_turn_that_could_cheat_is_refused():
    split = planted.dataset().split(RandomPerUser(), seed=0)
    with pytest.raises(PermissionError, match="a study starts from a locked split"):
        Turn(split, (split, split.unlock_test()))
    with pytest.raises(ValueError, match="needs a validation part"):
        Turn(split.joined(), (split,))
    with pytest.raises(ValueError, match="needs a validation part"):
        Turn(split, ())
    tested = np.flatnonzero(split.part == TEST)
    part = split.part.copy()
    part[tested] = 0  # the inner split trains on all that is tested, and validates on what it may
    with pytest.raises(ValueError, match="shows interactions that"):
        Turn(split, (replace(split, part=part),))
    part[tested] = UNUSED
    with pytest.raises(ValueError, match="shows interactions that"):
        Turn(split, (replace(split, part=part),))


# What the study decides

def test_what_was_found_goes_before_what_a_model_fixes_and_that_before_the_options_of_all():
    one = plan(options={"lr": 1.0, "max_epochs": 9, "patience": 7})
    assert one.settings("BPRMF", {"lr": 0.5}) == {"lr": 0.5, "max_epochs": 2, "patience": 7, "dim": 4}


def test_a_baseline_joins_unless_a_model_of_its_class_takes_part():
    models = {"mine": EASE, "RP3beta": Candidate(BPRMF)}
    one = plan(models=models, baselines=tuple(BASELINES))
    assert list(one.candidates) == ["mine", "RP3beta", "Popularity", "RecentPopularity"]
    assert [one.kind(label) for label in one.candidates] == ["model", "model", "baseline", "baseline"]
    untimed = plan(models=models, split=tiny(), features=None, baselines=tuple(BASELINES), ks=(2,))
    assert list(untimed.candidates) == ["mine", "RP3beta", "Popularity"]


def test_pruning_over_several_inner_splits_is_refused():
    turns = nested_validation(planted.dataset(), 3)
    with pytest.raises(ValueError, match="pruning compares learning curves on one validation part"):
        Study("n", "d", turns, {"EASE": Candidate(EASE)}, prune=True)


def test_popularity_of_validation_counts_validation_alone():
    split = tiny()
    (outside,) = validation_popularity(plan(split=split, features=None, ks=(2,))).values()
    names, scores = split.data.items.ids.to_pylist(), outside.scorer.scores(torch.arange(5))
    counts = {name: {"i4": 1, "i8": 2, "i2": 1, "i6": 1}.get(name, 0) for name in names}
    assert scores.tolist() == [list(counts.values())] * 5
    assert outside.trained_on == ("valid",)


def test_whoever_ranks_validation_first_pays_for_it_on_test():
    scores = torch.zeros(5, 10)
    split = tiny().unlock_test()
    user, = split.data.users.numbers(["u0"])
    scores[user, split.data.items.numbers(["i4"])], scores[user, split.data.items.numbers(["i5"])] = 2.0, 1.0
    valid, test = both(Planted(scores), split, 1)
    assert (valid[user], test[user]) == (0.5, 0.0)


# The search

def trial(valid, state="complete", epochs=(1,)):
    about = {"epochs": list(epochs), "best_epochs": [1], "seconds": 0.0, "peak_mb": None, "error": ""}
    return finished_trial({}, {}, state, valid, {}, about)


@pytest.mark.parametrize(("trials", "number"), [
    ([trial(0.1), trial(0.3), trial(0.2)], 1), ([trial(0.1), trial(0.3), trial(0.3)], 1),
    ([trial(None, "failed"), trial(-1.0), trial(9.0, "pruned")], 1), ([trial(0.0), trial(None, "failed")], 0)])
def test_the_best_is_chosen_and_of_equals_the_first(trials, number):
    found = search.record(plan(), trials, len(trials))
    assert found["chosen"] == number
    assert [t["number"] for t in found["trials"]] == list(range(len(trials)))


def attempt(valid=0.5, **changes):
    return search.Attempt(**{"state": "complete", "valid": valid, "curve": {1: valid}, "epochs": [1],
                             "best_epochs": [1], "seconds": 0.0, "peak_mb": None, **changes})


@pytest.fixture
def watched(monkeypatch):
    """Every (study, trial) that a search tries, without training; and what is read is nothing."""
    tried = []
    monkeypatch.setattr(search, "attempted", lambda s, t: tried.append((s, t)) or attempt(t.settings["lr"]))
    return tried


def test_a_search_gets_a_blind_study_and_each_trial_a_folder_of_its_own(watched, monkeypatch, tmp_path):
    seen = []

    def looked(one, look):
        seen.append((one, look))
        assert len(readings(tmp_path / FILE)) >= len(seen)  # recorded before it is read
        raise Stop

    monkeypatch.setattr(run, "looked", looked)
    with pytest.raises(Stop):
        plan(models={**MODELS, "second": MODELS["BPRMF"]}).run(tmp_path / "s", progress=False)
    assert [(t.label, t.number) for _, t in watched] == [("BPRMF", 0), ("BPRMF", 1), ("BPRMF", 2), ("VBPR", 0),
                                                         ("VBPR", 1), ("second", 0), ("second", 1), ("second", 2)]
    for one, _ in watched:
        assert all(s.blind and not (s.part == TEST).any() for t in one.turns for s in (t.split, *t.inner))
    assert len({t.folder for _, t in watched}) == len(watched)
    (one, look), = seen
    assert not one.turns[0].split.blind
    assert look.search["chosen"] == max(range(3), key=lambda n: watched[n][1].settings["lr"])


def settings_of(tried):
    return [trial.settings for _, trial in tried]


def test_what_a_search_proposes_is_decided_by_its_seed(watched, tmp_path):
    found = []
    for n, seed in enumerate((0, 0, 1)):
        watched.clear()
        one = plan(search_seed=seed).blinded()
        with Pool(one, 1, None) as pool:
            list(search.search(one, pool, "BPRMF", 0, tmp_path / str(n)))
        found.append(settings_of(watched))
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert len({s["lr"] for s in found[0]}) == 3


class Serial(Pool):
    """Runs one after the other what a study with two jobs would run side by side."""

    def __init__(self, context):
        super().__init__(context, 1, None)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_batch_that_was_torn_by_a_kill_is_completed_as_it_was_begun(watched, monkeypatch, tmp_path, sampler):
    """With two jobs, after trial 12 was kept and 13 was not; the parzen estimator starts to learn after ten."""
    one = plan(jobs=2, trials=16, sampler=sampler).blinded()
    list(search.search(one, Serial(one), "BPRMF", 0, tmp_path / "whole"))
    whole = list(watched)
    watched.clear()
    opened = open_trials(tmp_path / "torn", "BPRMF, turn 0")
    opened.add_trials(open_trials(tmp_path / "whole", "BPRMF, turn 0").get_trials()[:13])
    list(search.search(one, Serial(one), "BPRMF", 0, tmp_path / "torn"))
    assert [(t.number, t.settings, t.earlier) for _, t in watched] == [
        (t.number, t.settings, t.earlier) for _, t in whole[13:]]


def test_nothing_is_proposed_twice_where_there_is_a_choice():
    space = Candidate(BPRMF, {}, {"dim": [2, 4, 8]}).distributions
    for seed in range(5):
        assert sorted(s["dim"] for s in proposals([], space, "random", str(seed), 3)) == [2, 4, 8]
    assert len({s["lr"] for s in proposals([], MODELS["BPRMF"].distributions, "random", "0", 25)}) == 25


def test_every_inner_split_is_trained_with_the_search_seed_and_its_own_folder(monkeypatch, tmp_path):
    calls, real = [], search.fit(EASE, planted.split())

    def fit(cls, split, features, **given):
        calls.append((split, given))
        given["on_epoch"]({"epoch": 1, "valid": len(calls) / 10})
        return replace(real, history=[{"epoch": e, "valid": v} for e, v in ((1, 0.1), (2, 0.4), (3, 0.4))])

    monkeypatch.setattr(search, "fit", fit)
    monkeypatch.setattr(search, "validation", lambda study, fitted, turn, inner: [0.2, 0.6][inner])
    turns = nested_validation(planted.dataset(), 3, seed=0)
    one = Study("n", "d", turns, MODELS, search_seed=7, monitor="recall@5", monitor_on=("all",), threads=1)
    found = search.attempted(one, search.Trial("BPRMF", 1, 4, {"lr": 0.1}, (), tmp_path))
    assert [split for split, _ in calls] == list(turns[1].inner)
    assert [g["seed"] for _, g in calls] == [7, 7]
    assert len({g["checkpoint"] for _, g in calls}) == 2
    assert all((g["monitor"], g["monitor_on"], g["lr"]) == ("recall@5", ("all",), 0.1) for _, g in calls)
    assert (found.valid, found.curve) == (pytest.approx(0.4), {1: 0.1})
    assert (found.epochs, found.best_epochs) == ([3, 3], [2, 2])


# The reading

@pytest.mark.parametrize(("best", "epochs"), [((3, 7), 5), ((4,), 4), ((0,), 1)])
def test_a_retraining_runs_the_mean_of_the_epochs_that_validation_chose(best, epochs):
    found = searched(best, lr=0.1)
    assert reading.chosen(plan(retrain=True), "BPRMF", found)["max_epochs"] == epochs
    assert reading.chosen(plan(), "BPRMF", found) == {"dim": 4, "max_epochs": 2, "lr": 0.1}
    assert reading.chosen(plan(models={"EASE": EASE}, retrain=True), "EASE", searched(best)) == {}


@pytest.mark.parametrize("retrain", [False, True])
@pytest.mark.parametrize("control", [None, "permuted", "noise"])
def test_the_final_training_is_blind_and_a_control_gets_damaged_content(monkeypatch, tmp_path, control, retrain):
    calls = []

    def fit(cls, split, features, **given):
        calls.append((cls, split, features, given))
        raise Stop

    monkeypatch.setattr(reading, "fit", fit)
    one = plan(retrain=retrain)
    for seed in (3, 4):
        with pytest.raises(Stop):
            reading.looked(one, reading.Look("VBPR", 0, seed, control, searched(lr=0.5), 1, (), tmp_path))
    assert calls[0][3]["seed"] == 3
    assert len({c[3]["checkpoint"] for c in calls}) == 2
    (cls, split, features, given), other = calls[0], calls[1][2].aligned(calls[0][1].data.items)
    assert cls is VBPR
    assert split.blind
    assert split.trains_on_valid == retrain
    assert given["lr"] == 0.5
    real, damaged, n = one.features.aligned(split.data.items), features.aligned(split.data.items), split.n_warm_items
    same = torch.equal(real.x["text"], damaged.x["text"])
    assert same == (control is None) == torch.equal(damaged.x["text"], other.x["text"])
    if control == "permuted":
        for rows in (slice(0, n), slice(n, None)):  # warm and cold rows are moved among themselves
            assert torch.equal(real.x["text"][rows].sort(dim=0)[0], damaged.x["text"][rows].sort(dim=0)[0])
    if control == "noise":
        assert not torch.equal(real.x["text"].sort(dim=0)[0], damaged.x["text"].sort(dim=0)[0])


def test_means_half_widths_and_counts_by_hand():
    some = np.array([np.nan, np.nan, 1, np.nan])
    values = {("all", "recall@2"): np.array([0.0, 1, 1, 1]), ("cold", "recall@2"): some}
    found = reading.figures(Evaluation(np.arange(4), values, {"all": 9, "cold": 2}, "test", "s"))
    assert found["metrics"] == {"all": {"recall@2": 0.75}, "cold": {"recall@2": 1.0}}
    assert found["half_widths"] == {"all": {"recall@2": pytest.approx(1.96 * 0.5 / 2)}, "cold": {"recall@2": None}}
    assert (found["n_users"], found["n_candidates"]) == ({"all": 4, "cold": 1}, {"all": 9, "cold": 2})


@pytest.fixture
def ranked():
    split = tiny().unlock_test()
    scores = torch.rand(5, 10, generator=torch.Generator().manual_seed(0))
    return split, evaluate(Planted(scores), split, part="test", ks=(1, 3), metrics=("recall", "ndcg"))


def test_the_values_per_user_are_those_of_each_candidate_set(ranked, tmp_path):
    split, found = ranked
    names = split.data.users.names(found.users)
    shares = Shapley(("text", "image"), np.arange(2.0 * len(names)).reshape(-1, 2), np.full(len(names), 0.5), (*names,))
    users = reading.write_users(tmp_path, "x", found, split, {on: {} for on in found.n_candidates}, shares)
    table = pq.read_table(tmp_path / users["file"]).to_pandas()
    assert set(table["candidates"]) == {"warm", "cold", "all"}
    for (on, metric), values in found.values.items():
        rows = table[table["candidates"] == on]
        assert rows["user"].tolist() == split.data.users.names(found.users)
        np.testing.assert_array_equal(rows[metric], values)
    table = pq.read_table(tmp_path / "users" / "x.shapley.parquet").to_pandas()
    assert table["image"].tolist() == shares.values[:, 1].tolist()
    assert (table["user"].tolist(), set(table["(none)"])) == (names, {0.5})


def test_groups_are_those_of_the_part_that_was_read(ranked):
    split, found = ranked
    groups = by_group(found, split, None, (), None)
    where = activity_groups(split)
    assert set(groups["user activity"]) == set(where.members)
    for name, users in where.members.items():
        values = found.values["all", "recall@3"][np.isin(found.users, users)]
        expected = pytest.approx(values.mean()) if len(values) else None
        assert groups["user activity"][name]["recall@3"] == expected
    held = split.test.items
    cold = np.flatnonzero(np.bincount(split.train.items, minlength=10) == 0)
    hits = [item in found.lists["all"][np.searchsorted(found.users, user)]
            for user, item in zip(split.test.users, held, strict=True) if item in cold]
    assert groups["item popularity"]["0"]["recall@3"] == pytest.approx(np.mean(hits))
    shown = np.isin(found.lists["all"], cold).mean()
    assert groups["item popularity"]["0"]["exposure ratio@3"] == pytest.approx(shown / np.isin(held, cold).mean())


def test_the_fingerprint_of_features_covers_every_value():
    split, features = planted.split(), planted.features()
    first = fingerprints(features, split)
    assert set(first) == {"text", "image"}
    assert fingerprints(features.rows(np.arange(planted.N)[::-1].copy()), split) == first
    assert fingerprints(features, planted.split(seed=3)) == first  # no matter how a split numbers the items
    text = features.x["text"].clone()
    text[5, 0] += 1e-4
    changed = fingerprints(replace(features, x={**features.x, "text": text}), split)
    assert (changed["text"] != first["text"], changed["image"]) == (True, first["image"])


# Processes and files

def test_threads_are_those_of_the_study_and_those_of_before_afterwards():
    before = torch.get_num_threads()
    with Pool(None, 1, before + 1) as pool:
        assert list(pool.map(lambda context, task: torch.get_num_threads(), [0])) == [before + 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("jobs", "threads", "expected"), [(2, 3, 3), (2, None, 2), (4, None, 1), (9, None, 1)])
def test_worker_processes_get_their_threads(monkeypatch, jobs, threads, expected):
    pool, started = importlib.import_module("mmgraph.study.pool"), []

    class Executor:
        def __init__(self, *given):
            started.append(given)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(pool, "ProcessPoolExecutor", Executor)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    with Pool("context", jobs, threads):
        pass
    assert (started[0][0], started[0][3]) == (jobs, ("context", expected))


@pytest.fixture
def file(tmp_path, monkeypatch):
    import mmgraph.study.plan_file as plans
    monkeypatch.setattr(plans, "load", lambda name, root: planted.dataset())

    def written(**given):
        base = {"data": "ml-100k", "root": "files", "models": {"Popularity": None}, "cross_validation": 3, **given}
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(base))
        return tmp_path / "plan.yaml"
    return written


def test_the_seed_of_the_folds_is_that_of_the_file(file):
    assert {t.split.seed for t in read_study(file(split_seed=5)).turns} == {5}


def test_a_core_of_the_data_and_features_beside_the_file(file, monkeypatch):
    monkeypatch.chdir(Path("/"))
    place = file(k_core=19, features="encoded")
    save(planted.features(), place.parent / "encoded")
    one = read_study(place)
    assert one.models["Popularity"].cls is Popularity
    assert one.contents == fingerprints(planted.features(), one.turns[0].split)
    with pytest.raises(ValueError, match="20"):
        read_study(file(k_core=20))
    assert VALID in one.turns[0].split.part
