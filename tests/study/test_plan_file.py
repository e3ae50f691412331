"""A study from YAML, on a tiny copy of the Amazon layout."""

import json
from pathlib import Path

import numpy as np
import planted
import pytest

from mmgraph.data import ColdItems, Given
from mmgraph.data.cold_protocols import ColdBoth, ColdItemsByTime, RevealedItems
from mmgraph.features import store
from mmgraph.models import BPRMF, EASE
from mmgraph.study.plan_file import numbers, read_study, rule_of, turns_of

PLAN = """
data: ml-100k
root: files
split: {RandomPerUser: {few: 5}}
split_seed: 3
models:
  EASE: {space: {l2: [1, 10]}}
  mf: {model: BPRMF, fixed: {dim: 4}, space: {lr: {low: 1e-4, high: 1e-2, log: true}}}
trials: 2
seeds: [0, 1]
options: {max_epochs: 2}
"""


@pytest.fixture
def plan(tmp_path, monkeypatch):
    import planted

    import mmgraph.study.plan_file as plans
    asked = []
    monkeypatch.setattr(plans, "load", lambda name, root: asked.append((name, Path(root))) or planted.dataset())
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    return file, asked


def test_a_plan_is_read(plan):
    file, asked = plan
    study = read_study(file, jobs=2)
    assert asked == [("ml-100k", file.parent / "files")]
    assert (study.name, study.trials, study.seeds, study.jobs) == ("plan", 2, [0, 1], 2)
    assert study.models["EASE"].cls is EASE
    assert [type(v) for v in study.models["EASE"].space["l2"]] == [float, float]
    assert study.models["mf"].cls is BPRMF
    assert type(study.models["mf"].fixed["dim"]) is int
    assert study.models["mf"].space == {"lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    assert study.turns[0].split.parameters == {"share": 0.2, "few": 5}
    assert study.turns[0].split.seed == 3
    assert len(study.card) == 16


def test_a_switch_is_named_in_a_plan(plan):
    file, _ = plan
    told = {"PruneByDegree": {"fraction": 0.5}}
    file.write_text(PLAN.replace("fixed: {dim: 4}", f"fixed: {{dim: 4, thin: {json.dumps(told)}}}"))
    assert read_study(file).models["mf"].fixed == {"dim": 4, "thin": told}


def test_root_can_be_given(plan):
    file, asked = plan
    read_study(file, root="/elsewhere")
    assert asked[0][1] == Path("/elsewhere")


@pytest.mark.parametrize(("old", "new", "n"), [("split: {RandomPerUser: {few: 5}}", "cross_validation: 4", 4),
                                               ("split: {RandomPerUser: {few: 5}}", "nested_validation: 3", 3)])
def test_folds(plan, old, new, n):
    file, _ = plan
    file.write_text(PLAN.replace(old, new))
    turns = read_study(file).turns
    assert len(turns) == n
    assert len(turns[0].inner) == (1 if n == 4 else 2)


@pytest.mark.parametrize(("old", "new", "error", "match"), [
    ("trials:", "trails:", KeyError, "no key in .* is called 'trails'; did you mean 'trials'"),
    ("model: BPRMF", "model: BPRFM", KeyError, "no model is called 'BPRFM'; did you mean 'BPRMF'"),
    ("fixed:", "fix:", KeyError, "did you mean 'fixed'"), ("RandomPerUser", "Random", KeyError, "no protocol"),
    ("few:", "fev:", KeyError, "no parameter of RandomPerUser is called 'fev'; did you mean 'few'"),
    ("root: files", "", KeyError, "has no 'root'"), ("EASE: {space", "EASE: {spce", KeyError, "did you mean 'space'"),
    ("trials: 2", "trials: 2\ncross_validation: 3", ValueError, "exclude each other"),
    ("models:", "models: [", ValueError, "is not YAML"), (PLAN, "- a", ValueError, "must hold names and values")])
def test_a_mistake_is_named(plan, old, new, error, match):
    file, _ = plan
    file.write_text(PLAN.replace(old, new))
    with pytest.raises(error, match=match):
        read_study(file)


def test_no_file():
    with pytest.raises(FileNotFoundError):
        read_study("nowhere.yaml")


def test_numbers_that_yaml_takes_for_text():
    assert numbers({"a": ["1e-3", "x"], "b": {"c": "5E2"}}) == {"a": [0.001, "x"], "b": {"c": 500.0}}


def test_rules():
    assert rule_of("Given") == Given()
    assert rule_of({"ColdItems": {"share": "1e-1"}}) == ColdItems(share=0.1)


def test_rules_of_cold_start_and_ids_that_look_like_numbers():
    assert rule_of({"RevealedItems": {"k": 3}}) == RevealedItems(k=3)
    assert rule_of("ColdItemsByTime") == ColdItemsByTime()
    assert rule_of({"ColdBoth": {"share_users": "1e-1"}}) == ColdBoth(share_users=0.1)
    lists = rule_of({"ColdItemsListed": {"valid": ["007"], "test": ["8", 9], "holdout": "1e-1"}})
    assert (lists.valid, lists.test, lists.holdout) == (("007",), ("8", "9"), 0.1)


def test_draws_are_as_many_splits_with_seeds_from_the_given_one_on():
    data = planted.dataset()
    turns = turns_of(data, {"split": "ColdItems", "split_seed": 3, "draws": 2})
    assert [t.split.fingerprint for t in turns] == [data.split(ColdItems(), seed=seed).fingerprint for seed in (3, 4)]
    with pytest.raises(ValueError, match="draws and cross_validation exclude each other"):
        turns_of(data, {"draws": 2, "cross_validation": 3})


@pytest.mark.realdata
def test_the_plan_of_the_benchmark_is_one(data_root):
    file = Path(__file__).parents[2] / "benchmarks" / "baby.yaml"
    study = read_study(file, root=str(data_root / "amazon-mmrec" / "baby"))
    assert len(study.models) == 4
    assert (study.trials, tuple(study.seeds)) == (6, (0, 1, 2))
    assert np.bincount(study.turns[0].split.part).sum() == 160792


def test_a_plan_takes_modalities_away_and_makes_them_up(plan):
    file, _ = plan
    store.save(planted.features(), file.parent / "encoded")
    cold = PLAN.replace("{RandomPerUser: {few: 5}}", "ColdItems") + "features: encoded\n"
    file.write_text(cold + "missing: {rate: 0.5, nothing: 0, how: popularity}\n")
    study = read_study(file)
    split = study.turns[0].split
    assert study.features.ids == split.data.items
    gone = {m: [int((~p).sum()) for p in (of[:split.n_warm_items], of[split.n_warm_items:])]
            for m, of in study.features.present.items()}
    assert gone == {m: [16, 4] for m in study.features.x}
    file.write_text(cold + "missing: {rate: 0.5, nothing: 0}\ncompleted: mean\n")
    filled = read_study(file)
    assert all(p.all() for p in filled.features.present.values())
    assert filled.plan_hash != study.plan_hash
    for words, error in (("missing: {seed: 1}\n", "need a rate"), ("missing: {rate: 2}\n", "must lie in"),
                         ("completed: magic\n", "magic"), ("missing: {rate: 0.5}\ndraws: 2\n", "one split")):
        file.write_text(cold + words)
        with pytest.raises((KeyError, ValueError), match=error):
            read_study(file)
