"""The study on the planted world: what it chooses, what it writes, how it goes on, and what it refuses."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import planted
import pytest
import torch
from filelock import FileLock

from mmgraph.data import Pairs, RandomPerUser
from mmgraph.eval import evaluate
from mmgraph.models import BPRMF, EASE, VBPR, Popularity, TableScorer
from mmgraph.study import fit
from mmgraph.study.ledger import readings
from mmgraph.study.loggers import CSVLogger
from mmgraph.study.result import per_user, read
from mmgraph.study.space import Candidate
from mmgraph.study.study import Outside, Study
from mmgraph.study.summary import summarise
from mmgraph.study.turns import Turn, cross_validation, nested_validation

SMALL = {"ks": (2, 5), "monitor": "recall@5", "threads": 1}


def candidates():
    return {"BPRMF": Candidate(BPRMF, {"dim": 4, "max_epochs": 4}, {"lr": {"low": 1e-3, "high": 1e-1, "log": True}}),
            "VBPR": Candidate(VBPR, {"dim": 4, "max_epochs": 3}, {"lr": [0.01, 0.1]})}


def study(**changes):
    given = {"features": planted.features(), "trials": 3, "seeds": (0, 1), "baselines": ("EASE",), **SMALL, **changes}
    return Study.of(planted.split(), given.pop("models", candidates()), **given)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that ran without a break, and its folder."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    study().run(folder, progress=False)
    return folder


def rows(folder):
    return [result.repeatable() for result in read(folder)]


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


def test_a_finished_study_does_nothing(whole):
    before = (whole / "results.jsonl").read_bytes()
    study().run(whole, progress=False)
    assert (whole / "results.jsonl").read_bytes() == before
    assert not (whole / "running").exists()


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_study_that_broke_off_goes_on_and_ends_with_the_same_rows(whole, tmp_path, monkeypatch, after):
    import mmgraph.study.search as searching
    real, calls = searching.validation, []

    def breaks(*args):
        calls.append(args)
        if len(calls) == after:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(searching, "validation", breaks)
    with pytest.raises(KeyboardInterrupt):
        study().run(tmp_path / "s", progress=False)
    monkeypatch.undo()
    study().run(tmp_path / "s", progress=False)
    assert rows(tmp_path / "s") == rows(whole)


def environment():
    """Where another process finds this checkout and these tests."""
    here = Path(__file__).parent
    places = os.pathsep.join(map(str, (here, here.parent, here.parents[1])))
    return {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}


SCRIPT = """
import sys
import time
sys.path[:0] = [sys.argv[1]]
from test_study import study
if __name__ == "__main__":
    study(jobs=int(sys.argv[3])).run(sys.argv[2], progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_again_and_again_it_ends_with_the_same_rows(whole, tmp_path, jobs):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(Path(__file__).parent), str(tmp_path / "s"), str(jobs)]
    killed, seconds = 0, 3.0
    while True:
        process = subprocess.Popen(command, env=environment(), start_new_session=True)
        try:
            process.wait(seconds)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed, seconds = killed + 1, seconds + 1.5
            assert killed < 20
    assert process.returncode == 0
    assert killed >= 1
    assert rows(tmp_path / "s") == rows(whole)


def test_a_second_plan_in_the_folder_is_refused(whole):
    with pytest.raises(ValueError, match=r"another plan, and 10 results were read on test.*seeds: \[0, 1\] → \[7, 8\]"):
        study(seeds=(7, 8)).run(whole, progress=False)


def test_other_seeds_after_test_was_read_are_marked(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "first")
    shutil.copy(whole.parent / "readings.jsonl", tmp_path)
    study(seeds=(7,), models={"BPRMF": candidates()["BPRMF"]}, content_controls=False).run(tmp_path / "second",
                                                                                          progress=False)
    marked, same, reference = read(tmp_path / "second")
    assert marked.reading == 2
    assert "was read before for BPRMF with seeds 0, 1" in marked.marks[0]
    assert same.model == "EASE"
    assert (same.reading, same.seed) == (1, 7)  # nothing in a closed form is random
    assert not reference.marks


def test_one_of_several_seeds_picked_after_test_was_read_is_marked(whole, tmp_path):
    shutil.copy(whole.parent / "readings.jsonl", tmp_path)
    study(name="lucky", seeds=(1,), content_controls=False).run(tmp_path / "again", progress=False)
    marks = {r.model: r.marks for r in read(tmp_path / "again")}
    assert "was read before for BPRMF with seeds 0 (plan" in marks["BPRMF"][0]
    assert not marks["EASE"]  # the same settings, and no seed to pick
    assert len({r.plan for r in readings(tmp_path / "readings.jsonl")}) == 2


def test_an_unlocked_split_is_refused():
    with pytest.raises(PermissionError, match="a study starts from a locked split"):
        Study.of(planted.split().unlock_test(), candidates())


def test_a_search_cannot_reach_test():
    blind = study().blinded()
    split = blind.turns[0].split
    held = planted.split().unlock_test()
    ids = {(u, i) for u, i in zip(held.data.users.names(held.test.users), held.data.items.names(held.test.items),
                                  strict=True)}
    seen = set(zip(split.data.users.names(split.data.user), split.data.items.names(split.data.item), strict=True))
    assert not ids & seen
    with pytest.raises(PermissionError, match="this split is blind"):
        split.unlock_test()
    assert split.fingerprint == held.fingerprint


def plain_split():
    return planted.dataset().split(RandomPerUser(), seed=0)


def knowing(split, *parts):
    table = torch.rand(len(split.data.users), len(split.data.items), generator=torch.Generator().manual_seed(0))
    for part in parts:
        table[part.users, part.items] += 1
    return TableScorer(table)


def test_a_scorer_that_saw_validation_is_marked_unless_it_says_so(tmp_path):
    split = plain_split()
    opened = split.unlock_test()
    outside = {"secret": Outside(knowing(split, split.valid)), "frank": Outside(knowing(split, split.valid),
                                                                              ("train", "valid")),
               "chance": Outside(knowing(split)), "oracle": Outside(knowing(split, split.valid, opened.test))}
    found = Study.of(split, {"Popularity": Popularity}, baselines=(), seeds=(0,), **SMALL).run(
        tmp_path / "s", references=outside, progress=False)
    marks = {r.model: r.marks for r in found}
    assert "seems to have seen validation without saying so" in marks["secret"][0]
    assert not marks["frank"]
    assert not marks["chance"]
    assert not marks["oracle"]
    assert marks["validation popularity"] == []


def test_a_model_whose_graph_holds_validation_is_marked(monkeypatch, tmp_path):
    fitting = importlib.import_module("mmgraph.study.fit")
    real = fitting.full_graph
    monkeypatch.setattr(fitting, "full_graph", lambda split: real(split).extend(
        interactions=Pairs(split.valid.users, split.valid.items)))
    found = Study.of(plain_split(), {"EASE": EASE}, baselines=(), seeds=(0,), **SMALL).run(tmp_path / "s",
                                                                                        progress=False)
    assert f"holds {len(plain_split().valid.users)} validation interactions" in found[0].marks[0]


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


def test_side_by_side_gives_the_same_rows(whole, tmp_path):
    study(jobs=2).run(tmp_path / "s", progress=False, loggers=[CSVLogger(tmp_path / "logs")])
    assert rows(tmp_path / "s") == rows(whole)
    assert len(list((tmp_path / "logs").glob("*.csv"))) == 8  # the closed form has no epoch


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


def test_a_failed_trial_is_kept_and_never_chosen(tmp_path):
    models = {"BPRMF": Candidate(BPRMF, {"dim": 4, "max_epochs": 2}, {"lr": [1e30, 0.01]})}
    found = Study.of(plain_split(), models, baselines=(), seeds=(0,), trials=2, **SMALL).run(tmp_path / "s",
                                                                                         progress=False)[0].search
    assert [t["state"] for t in found["trials"]] == ["failed", "complete"]
    assert "FloatingPointError" in found["trials"][0]["error"]
    assert found["chosen"] == 1
    with pytest.raises(RuntimeError, match="all 1 trials failed or were pruned"):
        Study.of(plain_split(), {"BPRMF": Candidate(BPRMF, {"dim": 4, "lr": 1e30})}, baselines=(), seeds=(0,),
                 **SMALL).run(tmp_path / "t", progress=False)


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


def test_an_inner_split_that_shows_test_is_refused():
    data = planted.dataset()
    one, other = data.split(RandomPerUser(), seed=0), data.split(RandomPerUser(), seed=1)
    with pytest.raises(ValueError, match="shows interactions that"):
        Turn(one, (other,))


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


def test_the_folder_of_something_else_is_refused(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "s")
    (tmp_path / "s" / "plan.json").unlink()
    with pytest.raises(ValueError, match=r"holds results of plans .* and no plan"):
        study().run(tmp_path / "s", progress=False)


def test_the_plan_is_what_determines_the_rows():
    assert study().plan_hash == study(jobs=2, threads=2).plan_hash
    assert study().plan_hash != study(trials=4).plan_hash
    assert study(sampler="tpe", jobs=1).plan_hash != study(sampler="tpe", jobs=2).plan_hash
    assert json.loads(json.dumps(study().plan)) == study().plan


def test_two_processes_do_not_work_on_one_folder(tmp_path):
    (tmp_path / "s").mkdir()
    with FileLock(tmp_path / "s" / ".lock"), pytest.raises(RuntimeError, match="another process is working on"):
        study().run(tmp_path / "s", progress=False)
    study(models={"EASE": EASE}, seeds=(0,)).run(tmp_path / "s", progress=False)


def test_a_worker_ends_with_its_parent(tmp_path):
    """Else it would write checkpoints beside the run that takes the place of a killed one."""
    script = tmp_path / "script.py"
    script.write_text(WORKER)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment())
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not alive(worker):
            break
        time.sleep(0.1)
    assert not alive(worker)


WORKER = """
import os, time
from mmgraph.study.pool import Pool

def work(context, task):
    if task == 1:
        time.sleep(60)
    return os.getpid()

if __name__ == "__main__":
    with Pool(None, 2, 1) as pool:
        for pid in pool.map(work, [0, 1]):
            print(pid, flush=True)
"""


def alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_results_of_another_study_are_not_taken_for_this_ones(whole, tmp_path):
    other = study(trials=2)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "plan.json").write_text(json.dumps(other.plan))
    shutil.copy(whole / "results.jsonl", tmp_path / "s")
    with pytest.raises(ValueError, match=r"holds results of plans .* and the plan"):
        other.run(tmp_path / "s", progress=False)


def test_rows_that_were_removed_at_the_end_are_missed(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "s")
    lines = (whole / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "s" / "results.jsonl").write_text("".join(lines[:3]))
    with pytest.raises(ValueError, match=r"has 3 rows, but head\.json beside it says that there were 10"):
        read(tmp_path / "s")


def test_a_ledger_that_was_removed_is_missed(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "s")
    with pytest.raises(ValueError, match=r"readings.jsonl lacks the readings of BPRMF, EASE, VBPR"):
        study(name="another").run(tmp_path / "t", progress=False)


def test_a_model_that_was_changed_after_its_figures_were_seen_is_marked(tmp_path, monkeypatch):
    one = study(models={"EASE": EASE}, seeds=(0,), features=None)
    one.run(tmp_path / "s", progress=False)
    shutil.rmtree(tmp_path / "s")
    monkeypatch.setattr("mmgraph.study.reading.code_of", lambda cls: "another solution")
    again = one.run(tmp_path / "s", progress=False)[0]
    assert again.reading == 2
    assert "was read before for EASE with other settings or seeds" in again.marks[0]


def test_another_scorer_under_an_old_label_is_refused(tmp_path):
    one, split = study(models={"EASE": EASE}, seeds=(0,), features=None), planted.split()
    first, second = Outside(knowing(split)), Outside(knowing(split, split.valid))
    found = one.run(tmp_path / "s", references={"mine": first}, progress=False)
    assert one.run(tmp_path / "s", references={"mine": first}, progress=False) == found
    with pytest.raises(ValueError, match="another scorer called 'mine'; results are never replaced"):
        one.run(tmp_path / "s", references={"mine": second}, progress=False)
    assert "outside mine" in {r.cls for r in readings(tmp_path / "readings.jsonl")}


class Peeping(EASE):
    """Knows validation by heart; not one of the models."""

    secret = None

    def scorer(self, graph, features):
        return knowing(plain_split(), plain_split().valid)


def test_a_model_that_knows_validation_is_marked_though_its_graph_does_not(tmp_path):
    found = Study.of(plain_split(), {"Peeping": Peeping}, baselines=(), seeds=(0,), **SMALL).run(tmp_path / "s",
                                                                                              progress=False)
    assert "seems to have seen validation without saying so" in found[0].marks[0]


def test_a_training_that_fails_at_the_end_loses_no_other(tmp_path, monkeypatch):
    import mmgraph.study.reading as reading
    real = reading.fit
    monkeypatch.setattr(reading, "fit", lambda cls, *args, **given: real(
        cls, *args, **{**given, **({"lr": 1e30} if given["seed"] == 0 and cls is BPRMF else {})}))
    one = study(models={"BPRMF": candidates()["BPRMF"]}, features=None)
    with pytest.raises(RuntimeError, match=r"1 final trainings failed, all else is in .*BPRMF-turn-0-seed-0"):
        one.run(tmp_path / "s", progress=False)
    assert [(r.model, r.seed) for r in read(tmp_path / "s")][:2] == [("BPRMF", 1), ("EASE", 0)]
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "s" / "running")  # its checkpoint belongs to the other learning rate
    assert {(r.model, r.seed) for r in one.run(tmp_path / "s", progress=False)} >= {("BPRMF", 0), ("BPRMF", 1)}


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


def test_times_and_categories_belong_to_the_plan():
    one = study(categories="genre").plan
    assert {"items.genre", "interactions.time"} <= set(one["columns"])
    assert study().plan["columns"].keys() == {"interactions.time"}


def test_each_reading_is_in_the_ledger_before_it_happens_and_not_earlier(tmp_path, monkeypatch):
    import mmgraph.study.reading as reading
    real, seen = reading.evaluate, []

    def evaluated(*args, **given):
        seen.append([(r.cls, r.seed) for r in readings(tmp_path / "readings.jsonl")])
        return real(*args, **given)

    monkeypatch.setattr(reading, "evaluate", evaluated)
    study(models={"BPRMF": candidates()["BPRMF"]}, features=None).run(tmp_path / "s", progress=False)
    order = [("BPRMF", 0), ("BPRMF", 1), ("EASE", 0)]
    assert seen == [order[:1], order[:2], order]
