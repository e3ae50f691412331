"""The study on the planted world: what it chooses, what it writes, what it refuses."""

import shutil
from dataclasses import replace

import numpy as np
import planted
import pytest
from small_study import SMALL, candidates, plain_split, study

from mmgraph.eval import evaluate
from mmgraph.models import BPRMF, EASE, VBPR, Popularity
from mmgraph.study import fit
from mmgraph.study.loggers import CSVLogger
from mmgraph.study.result import per_user, read
from mmgraph.study.space import Candidate
from mmgraph.study.study import Study
from mmgraph.study.summary import summarise
from mmgraph.study.turns import cross_validation, nested_validation


def test_rows_are_one_per_model_seed_and_control(whole):
    found = [(r.kind, r.model, r.control, r.seed) for r in read(whole)]
    assert found == [("model", "BPRMF", None, 0), ("model", "BPRMF", None, 1), ("model", "VBPR", None, 0),
                     ("model", "VBPR", None, 1), ("baseline", "EASE", None, 0),
                     ("control", "VBPR", "permuted", 0), ("control", "VBPR", "noise", 0),
                     ("control", "VBPR", "permuted", 1), ("control", "VBPR", "noise", 1),
                     ("reference", "validation popularity", None, 0)]
    assert not any(r.marks for r in read(whole))


def test_the_budget_is_the_same_and_a_smaller_space_is_tried_whole(whole):
    by_model = {r.model: r.search for r in read(whole) if r.kind != "reference"}
    assert {m: s["budget"] for m, s in by_model.items()} == dict.fromkeys(by_model, 3)
    assert [len(s["trials"]) for s in by_model.values()] == [3, 2, 3]
    assert [t["settings"] for t in by_model["VBPR"]["trials"]] == [{"lr": 0.01}, {"lr": 0.1}]


def test_the_chosen_setting_is_the_best_on_validation_and_what_was_fitted(whole):
    split = planted.split()
    for r in read(whole):
        if r.kind != "model":
            continue
        best = max(r.search["trials"], key=lambda t: t["valid"])
        assert r.search["chosen"] == best["number"]
        assert r.options["lr"] == best["settings"]["lr"]
        cls = {"BPRMF": BPRMF, "VBPR": VBPR}[r.model]
        fitted = fit(cls, split, planted.features(), seed=r.seed, monitor="recall@5", progress_bar=False,
                     **candidates()[r.model].fixed, **best["settings"])
        again = evaluate(fitted, split.unlock_test(), part="test", ks=(2, 5), metrics=("recall", "auc"))
        for on in ("warm", "cold", "all"):
            assert r.metrics[on]["recall@5"] == again[on, "recall@5"]


def test_a_trials_value_is_the_monitor_on_validation(whole):
    r = next(r for r in read(whole) if r.model == "BPRMF")
    trial, split = r.search["trials"][1], planted.split()
    fitted = fit(BPRMF, split, planted.features(), seed=0, monitor="recall@5", dim=4, max_epochs=4, progress_bar=False,
                 **trial["settings"])
    found = evaluate(fitted, split, ks=[5], metrics=["recall"])
    assert trial["valid"] == np.mean([found["warm", "recall@5"], found["cold", "recall@5"]])
    assert trial["curve"] == {str(row["epoch"]): row["valid"] for row in fitted.history}


def test_values_per_user_are_kept_and_checked(whole):
    r = read(whole)[0]
    table = per_user(whole, r).to_pandas()
    cold = table[table["candidates"] == "cold"]
    assert cold["recall@5"].mean() == pytest.approx(r.metrics["cold"]["recall@5"], abs=1e-15)
    assert set(table["user"]) <= set(planted.USERS)
    assert {"novelty@5", "diversity(text)@5"} <= set(table.columns)
    copy = whole.parent / "copy"
    shutil.copytree(whole, copy)
    (copy / r.users["file"]).write_bytes(b"else")
    with pytest.raises(ValueError, match="is not the file that was written with the result of BPRMF, seed 0"):
        per_user(copy, r)


def test_content_is_worth_something_to_the_model_that_reads_it(whole):
    cold = {(r.model, r.control): r.metrics["cold"]["recall@2"] for r in read(whole) if r.seed == 0}
    assert cold["VBPR", None] > cold["VBPR", "permuted"] + 0.1
    shares = next(r.shapley for r in read(whole) if r.model == "VBPR" and not r.control)
    assert set(shares) == {"(none)", "text", "image"}
    total = next(r.metrics["all"]["recall@5"] for r in read(whole) if r.model == "VBPR" and not r.control)
    assert sum(shares.values()) == pytest.approx(total)
    assert all(not r.shapley for r in read(whole) if r.model != "VBPR" or r.control)


def test_retraining_says_so_and_uses_validation(tmp_path):
    split = plain_split()
    given = {"baselines": (), "seeds": (0,), **SMALL}
    models = {"BPRMF": candidates()["BPRMF"], "EASE": Candidate(EASE, {}, {"l2": [1.0, 10.0]})}
    plainly = Study.of(split, models, **given, trials=2).run(tmp_path / "a", progress=False)
    again = Study.of(split, models, **given, trials=2, retrain=True).run(tmp_path / "b", progress=False)
    assert [r.trained_on for r in again] == [["train", "valid"], ["train", "valid"], ["valid"]]
    assert [r.trained_on for r in plainly] == [["train"], ["train"], ["valid"]]
    trial = again[0].search["trials"][again[0].search["chosen"]]
    assert len(again[0].history) == max(trial["best_epochs"][0], 1)
    assert all("valid" not in row for row in again[0].history)
    joined = split.joined()
    by_hand = evaluate(fit(EASE, joined, l2=again[1].hyperparameters["l2"]), joined.unlock_test(), part="test",
                       ks=(2, 5), metrics=("recall",))
    assert again[1].metrics["all"]["recall@5"] == by_hand["all", "recall@5"]
    assert again[1].split["parameters"]["trains_on_valid"] is True


def test_loggers_see_every_epoch(tmp_path):
    study(models={"BPRMF": candidates()["BPRMF"]}, seeds=(0,)).run(tmp_path / "s", progress=False,
                                                                   loggers=[CSVLogger(tmp_path / "logs")])
    lines = next((tmp_path / "logs").glob("BPRMF*.csv")).read_text().splitlines()
    result = read(tmp_path / "s")[0]
    assert len(lines) == 1 + len(result.history)


@pytest.mark.parametrize("sampler", ["random", "tpe", "grid"])
def test_samplers(tmp_path, sampler):
    space = {"lr": [0.001, 0.01, 0.1], "l2": [0.0, 0.1]}
    one = Study.of(plain_split(), {"BPRMF": Candidate(BPRMF, {"dim": 4, "max_epochs": 1}, space)}, baselines=(),
                   seeds=(0,), trials=6 if sampler == "grid" else 4, sampler=sampler, **SMALL)
    trials = one.run(tmp_path / "s", progress=False)[0].search["trials"]
    tried = [tuple(sorted(t["settings"].items())) for t in trials]
    assert len(tried) == len(set(tried)) == one.trials


def test_pruning_stops_what_lags_behind(tmp_path):
    models = {"BPRMF": Candidate(BPRMF, {"dim": 8, "max_epochs": 12, "patience": 12}, {"lr": [0.05] * 5 + [1e-9]})}
    models["BPRMF"] = replace(models["BPRMF"], space={"lr": [0.05, 0.051, 0.052, 0.053, 0.054, 1e-9]})
    found = Study.of(plain_split(), models, baselines=(), seeds=(0,), trials=6, sampler="grid", prune=True,
                     **SMALL).run(tmp_path / "s", progress=False)[0].search
    assert [t["state"] for t in found["trials"]] == ["complete"] * 5 + ["pruned"]
    assert found["trials"][5]["epochs"][0] < 12
    assert found["trials"][5]["valid"] is None


def test_cross_validation_tests_every_interaction_once(tmp_path):
    data = planted.dataset()
    turns = cross_validation(data, 4, seed=1)
    tested = [pair for t in turns for s in [t.split.unlock_test()]
              for pair in zip(s.data.users.names(s.test.users), s.data.items.names(s.test.items), strict=True)]
    assert len(tested) == len(set(tested)) == len(data)
    found = Study("cv", "planted", turns, {"EASE": Candidate(EASE)}, baselines=(), seeds=(0,), **SMALL).run(
        tmp_path / "s", progress=False)
    assert [r.split["fold"] for r in found if r.model == "EASE"] == [0, 1, 2, 3]


def test_nested_validation_chooses_by_the_mean_over_inner_folds(tmp_path):
    turns = nested_validation(planted.dataset(), 3, seed=0)
    assert all(len(t.inner) == 2 for t in turns)
    found = Study("nested", "planted", turns, {"EASE": Candidate(EASE, {}, {"l2": [0.1, 1000.0]})}, baselines=(),
                  seeds=(0,), trials=2, **SMALL).run(tmp_path / "s", progress=False)
    trial = found[0].search["trials"][0]
    values = []
    for inner in turns[0].inner:
        values.append(evaluate(fit(EASE, inner, l2=0.1), inner, ks=[5], metrics=["recall"])["all", "recall@5"])
    assert trial["valid"] == np.mean(values)


@pytest.mark.parametrize(("changes", "error", "match"), [
    ({"seeds": ()}, ValueError, "distinct seeds"), ({"seeds": (1, 1)}, ValueError, "distinct seeds"),
    ({"trials": 0}, ValueError, "1 or more"), ({"baselines": ("Best",)}, KeyError, "no baseline"),
    ({"options": {"dim": 3}}, KeyError, "Hyper-parameters belong to their model"),
    ({"metrics": ("recal",)}, KeyError, "recal"), ({"ks": (99,)}, ValueError, "size of the catalogue")])
def test_a_plan_that_cannot_be_carried_out_is_refused_at_once(changes, error, match):
    with pytest.raises(error, match=match):
        study(**changes)


def test_a_grid_larger_than_the_budget_is_refused():
    with pytest.raises(ValueError, match="has 4 combinations, the budget is 3 trials"):
        Study.of(plain_split(), {"BPRMF": Candidate(BPRMF, {}, {"lr": [1e-3, 1e-2], "dim": [4, 8]})}, trials=3,
                 sampler="grid", baselines=())


def test_the_table_of_a_cross_validation_is_one(tmp_path):
    turns = cross_validation(planted.dataset(), 3, seed=0)
    one = Study("cv", "planted", turns, {"EASE": Candidate(EASE), "Popularity": Candidate(Popularity)}, baselines=(),
                seeds=(0,), **SMALL)
    (table,) = summarise(one.run(tmp_path / "s", progress=False), tmp_path / "s")
    line = next(line for line in table.lines if line.model == "EASE")
    assert line.n_runs == 3
    assert line.cells[table.headline].sd is not None


@pytest.mark.parametrize(("changes", "error", "match"), [
    ({"monitor": "recal@5"}, KeyError, "recal"),
    ({"categories": "genres"}, KeyError, "no column 'genres'"), ({"user_attributes": ("age",)}, KeyError, "no column")])
def test_a_slip_that_would_end_a_study_late_is_told_at_once(changes, error, match):
    with pytest.raises(error, match=match):
        study(**changes)

