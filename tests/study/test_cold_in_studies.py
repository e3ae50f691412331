"""Cold-start methods take part in studies, comparisons and plan files by name."""

import planted
import pytest
import torch
from small_study import SMALL, study

from mmgraph.cold import ContentProfile
from mmgraph.data import ColdBoth
from mmgraph.models import BPRMF, EASE, VBPR
from mmgraph.study.compare import compare
from mmgraph.study.fit import fit
from mmgraph.study.plan_file import candidate
from mmgraph.study.result import read
from mmgraph.study.space import Candidate
from mmgraph.study.study import Study
from mmgraph.study.summary import summarise
from mmgraph.study.warm import fitted_by

PROFILE = {"cold": "ContentProfile"}
SOME = [0.5, 2.0]


def test_a_study_searches_the_settings_of_a_cold_start_method(tmp_path):
    given = {**PROFILE, "cold.weights.image": 1.0}
    models = {"EASE": Candidate(EASE), "EASE with profile": Candidate(EASE, given, {"cold.weights.text": SOME})}
    found = {r.model: r for r in study(models=models, trials=2, baselines=(), content_controls=False).run(
        tmp_path / "one", progress=False)}
    row = found["EASE with profile"]
    assert row.cls == "EASE+ContentProfile"
    assert sorted(t["settings"]["cold.weights.text"] for t in row.search["trials"]) == SOME
    assert row.hyperparameters["cold.weights"] in [{"image": 1.0, "text": w} for w in SOME]
    assert row.metrics["warm"] == found["EASE"].metrics["warm"]


def test_entries_of_a_mapping_may_be_given_one_by_one():
    everybody, given = torch.arange(planted.N), {"cold.weights.image": 1.0, "cold.weights.text": 2.0}
    by_name = fit(EASE, planted.split(), planted.features(), **PROFILE, **given)
    whole = fit(EASE, planted.split(), planted.features(), cold=ContentProfile(weights={"text": 2.0, "image": 1.0}))
    assert torch.equal(by_name.scores(everybody), whole.scores(everybody))


def test_a_method_brings_content_controls_but_no_seeds_to_a_closed_form(tmp_path):
    done = study(models={"E": Candidate(EASE, PROFILE)}, trials=1, baselines=("EASE",), seeds=(0, 1)).run(
        tmp_path / "one", progress=False)
    assert [(r.model, r.control, r.seed) for r in done if r.competitor or r.control] == [
        ("E", None, 0), ("EASE", None, 0), ("E", "permuted", 0), ("E", "noise", 0)]
    by = {(r.model, r.control): r.metrics["cold"]["recall@2"] for r in read(tmp_path / "one")}
    assert by["E", None] > by["E", "noise"]


def test_content_controls_take_as_many_seeds_as_asked_for(tmp_path):
    planned = study(models={"VBPR": Candidate(VBPR, {"max_epochs": 1})}, trials=1, baselines=(), seeds=(3, 1),
                    control_seeds=1)
    done = planned.run(tmp_path / "one", progress=False)
    assert [(r.control, r.seed) for r in done if r.model == "VBPR"] == [
        (None, 3), (None, 1), ("permuted", 3), ("noise", 3)]
    (table,) = summarise(done, tmp_path / "one")
    assert {line.model: line.n_runs for line in table.lines if line.model.startswith("VBPR")} == {
        "VBPR": 2, "VBPR, features permuted": 1, "VBPR, features replaced by noise": 1}
    with pytest.raises(ValueError, match="control_seeds are 1 or more"):
        Study.of(planted.split(), {"VBPR": VBPR}, control_seeds=0)


def test_the_epoch_of_a_model_with_a_method_is_chosen_on_warm_items():
    planned = study(models={"plain": Candidate(BPRMF), "cold": Candidate(BPRMF, PROFILE)})
    assert planned.watched_by("plain") == ("warm", "cold")
    assert planned.watched_by("cold") == ("warm",)
    only_cold = study(models={"cold": Candidate(BPRMF, PROFILE)}, monitor_on=["cold"])
    assert only_cold.watched_by("cold") == ("warm",)
    given = {"dim": 4, "max_epochs": 4, "lr": 0.1, "progress_bar": False}
    for on in (["cold"], ["all"], None):
        with_method = fit(BPRMF, planted.split(), planted.features(), monitor_on=on, cold=ContentProfile(), **given)
        plain = fit(BPRMF, planted.split(), planted.features(), monitor_on=["warm"], **given)
        assert [row["valid"] for row in with_method.history] == [row["valid"] for row in plain.history]


@pytest.mark.parametrize(("fixed", "space", "error", "words"), [
    ({"cold.weights": None}, {}, TypeError, "without cold=… there is no cold-start method"),
    (PROFILE, {"cold.depth": [1]}, TypeError, "ContentProfile has no hyper-parameter 'depth'; it has weights"),
    ({"cold": "Magic"}, {}, ValueError, "no cold-start method is called 'Magic'"),
    ({"cold": ContentProfile()}, {}, TypeError, "is given by name here"),
    ({}, {"cold": ["ContentProfile"]}, ValueError, "let each take part under a label of its own"),
    ({"new_users": "ProfileRidge"}, {"new_users.depth": [1]}, TypeError, "ProfileRidge has no hyper-parameter 'depth'"),
    ({"new_users": "Magic"}, {}, ValueError, "no user-start method is called 'Magic'")])
def test_what_cannot_be_is_refused_before_anything_is_trained(fixed, space, error, words):
    with pytest.raises(error, match=words):
        Candidate(EASE, fixed, space)


def test_the_warm_model_is_fitted_once_for_many_settings_of_the_method(monkeypatch):
    calls, split, features = [], planted.split(), planted.features()
    monkeypatch.setattr("mmgraph.study.warm.fit", lambda *args, **given: calls.append(given) or fit(*args, **given))
    settings = {"dim": 4, "max_epochs": 2, "progress_bar": False, **PROFILE, "cold.weights.text": 1.0}
    first, second = (fitted_by(BPRMF, split, features, seed=0, settings={**settings, "cold.weights.image": w})
                     for w in (0.0, 1.0))
    assert len(calls) == 1
    everybody, n = torch.arange(planted.N), split.n_warm_items
    assert not torch.equal(first.scores(everybody)[:, n:], second.scores(everybody)[:, n:])
    for changed in ({"seed": 1}, {"features": planted.features(seed=1)}, {"split": planted.split(seed=1)},
                    {"settings": {**settings, "dim": 8}}):
        given = {"split": split, "features": features, "seed": 0, "settings": settings, **changed}
        again = fitted_by(BPRMF, given.pop("split"), given.pop("features"), **given)
        assert torch.equal(again.scores(everybody), fit(
            BPRMF, changed.get("split", split), changed.get("features", features), seed=given["seed"],
            **given["settings"]).scores(everybody))
    assert len(calls) == 5


def test_compare_takes_a_method_and_names_it():
    found = compare({"E": (EASE, {**PROFILE, "cold.weights": {"text": 1.0}})}, planted.split(), planted.features(),
                    ks=SMALL["ks"], part="valid")
    assert {row.cls for row in found.rows} == {"EASE+ContentProfile"}
    assert found.rows[0].hyperparameters["cold.weights"] == {"text": 1.0}
    with pytest.raises(TypeError, match="ContentProfile has no hyper-parameter 'depth'"):
        compare({"E": (EASE, {**PROFILE, "cold.depth": 2})}, planted.split(), planted.features())


def test_a_plan_file_names_a_method():
    read_from = candidate("E", {"model": "EASE", "fixed": {"cold": "ContentProfile", "l2": 3}})
    assert read_from.name == "EASE+ContentProfile"
    assert read_from.fixed == {"cold": "ContentProfile", "l2": 3.0}


def test_a_study_with_methods_for_new_items_and_new_users(tmp_path):
    both = {**PROFILE, "new_users": "ProfileRidge", "attributes": ["team"]}
    models = {"plain": Candidate(EASE), "both": Candidate(EASE, both, {"new_users.l2": {"low": 1.0, "high": 2.0}})}
    assert models["both"].name == "EASE+ContentProfile+ProfileRidge"
    split = planted.dataset().split(ColdBoth(), seed=0)
    planned = Study.of(split, models, features=planted.features(), trials=1, seeds=(0,), baselines=(), **SMALL,
                       monitor_on=["cold"], content_controls=False)
    found = {r.model: r for r in planned.run(tmp_path / "one", progress=False)}
    assert found["both"].cls == "EASE+ContentProfile+ProfileRidge"
    assert 1 <= found["both"].hyperparameters["new_users.l2"] <= 2
    assert found["both"].metrics["cold"]["recall@2"] > found["plain"].metrics["cold"]["recall@2"]
