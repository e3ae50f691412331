"""Whoever tries to cheat gets an error or a mark."""

import importlib
import json
import shutil

import planted
import pytest
from small_study import SMALL, candidates, knowing, plain_split, study

from mmgraph.data import Pairs, RandomPerUser
from mmgraph.models import EASE, Popularity
from mmgraph.study.ledger import readings
from mmgraph.study.result import read
from mmgraph.study.study import Outside, Study
from mmgraph.study.turns import Turn


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


def test_an_inner_split_that_shows_test_is_refused():
    data = planted.dataset()
    one, other = data.split(RandomPerUser(), seed=0), data.split(RandomPerUser(), seed=1)
    with pytest.raises(ValueError, match="shows interactions that"):
        Turn(one, (other,))


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


class Peeping(EASE):
    """Knows validation by heart; not one of the models."""

    secret = None

    def scorer(self, graph, features):
        return knowing(plain_split(), plain_split().valid)


def test_a_model_that_knows_validation_is_marked_though_its_graph_does_not(tmp_path):
    found = Study.of(plain_split(), {"Peeping": Peeping}, baselines=(), seeds=(0,), **SMALL).run(tmp_path / "s",
                                                                                              progress=False)
    assert "seems to have seen validation without saying so" in found[0].marks[0]


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


def test_a_model_that_was_changed_after_its_figures_were_seen_is_marked(tmp_path, monkeypatch):
    one = study(models={"EASE": EASE}, seeds=(0,), features=None)
    one.run(tmp_path / "s", progress=False)
    shutil.rmtree(tmp_path / "s")
    monkeypatch.setattr("mmgraph.study.look.code_of", lambda cls: "another solution")
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


def test_results_of_another_study_are_not_taken_for_this_ones(whole, tmp_path):
    other = study(trials=2)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "plan.json").write_text(json.dumps(other.plan))
    shutil.copy(whole / "results.jsonl", tmp_path / "s")
    with pytest.raises(ValueError, match=r"holds results of plans .* and the plan"):
        other.run(tmp_path / "s", progress=False)


def test_the_folder_of_something_else_is_refused(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "s")
    (tmp_path / "s" / "plan.json").unlink()
    with pytest.raises(ValueError, match=r"holds results of plans .* and no plan"):
        study().run(tmp_path / "s", progress=False)


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


def test_the_plan_is_what_determines_the_rows():
    assert study().plan_hash == study(jobs=2, threads=2).plan_hash
    assert study().plan_hash != study(trials=4).plan_hash
    assert study(sampler="tpe", jobs=1).plan_hash != study(sampler="tpe", jobs=2).plan_hash
    assert json.loads(json.dumps(study().plan)) == study().plan


def test_times_and_categories_belong_to_the_plan():
    one = study(categories="genre").plan
    assert {"items.genre", "interactions.time"} <= set(one["columns"])
    assert study().plan["columns"].keys() == {"interactions.time"}

