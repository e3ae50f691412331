"""The plan, the row and the ledger, fact by fact."""

import json
from dataclasses import asdict, fields, replace
from types import SimpleNamespace

import numpy as np
import planted
import pytest
import torch
from planned import MODELS, plan, searched
from study_world import Planted
from test_result import result

from mmgraph.data.split import TEST, VALID
from mmgraph.models import EASE
from mmgraph.study.ledger import FILE, Reading, readings, recorded
from mmgraph.study.look import Look, chosen, entered
from mmgraph.study.result import Result, append, digest, read
from mmgraph.study.study import Outside, Study

PLANNED = {"name": "x", "data": "x", "trials": 4, "seeds": (0, 2), "sampler": "tpe", "search_seed": 1, "prune": True,
           "monitor": "recall@2", "monitor_on": ("warm",), "ks": (2,), "metrics": ("recall",), "seen": "train",
           "categories": "genre", "user_attributes": ("team",), "options": {"patience": 2}, "content_controls": False,
           "content_shares": False, "control_seeds": 1, "retrain": True, "device": "cuda", "card": "x",
           "features": None, "models": {"BPRMF": MODELS["BPRMF"]}, "baselines": ("EASE",)}


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
    return recorded(file, split, part, "EASE", "EASE", seed, settings or {"a": 1, "b": 2}, features, plan)


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
    lines = [asdict(Reading("s", "test", "EASE", "EASE", seed, "x", "y", "one", day)) for seed, day in enumerate(days)]
    (tmp_path / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    known = readings(tmp_path / FILE)[0].features
    assert known == "y"
    look(tmp_path / FILE, plan="two")
    lines = [{**line, "features": readings(tmp_path / FILE)[-1].features} for line in lines]
    (tmp_path / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "first on 1999-01-01" in look(tmp_path / FILE, plan="two")[1][0]


def looks(one, folder, keys, **settings):
    found = searched(**settings)
    entries = [entered(one, Look(label, turn, seed, control, found, folder), chosen(one, label, found))
               for label, control, turn, seed in keys]
    return [SimpleNamespace(reading=nth, marks=tuple(marks)) for nth, marks in entries]


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
