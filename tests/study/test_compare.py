import dataclasses
import logging
import math
import sys

import pytest
import torch
from study_world import Planted, tiny

from mmgraph.data.split import Split
from mmgraph.eval.evaluate import evaluate
from mmgraph.features.features import from_arrays
from mmgraph.graph import DropEdges
from mmgraph.models.bprmf import BPRMF
from mmgraph.models.itemknn import ItemKNN
from mmgraph.models.popularity import Popularity
from mmgraph.study.compare import compare
from mmgraph.study.fit import fit

module = sys.modules[compare.__module__]  # the package has a function of the same name
POP = {"pop": (Popularity, {})}
QUICK = {"progress_bar": False, "max_epochs": 1, "monitor": "recall@3"}


def recall_by_loop(scores, held, known, candidates, k):
    found = []
    for user, relevant in held.items():
        relevant = {i for i in relevant if i in candidates}
        if relevant:
            ranked = sorted(candidates - known.get(user, set()), key=lambda i: (-float(scores[user][i]), i))
            found.append(len(relevant & set(ranked[:k])) / len(relevant))
    return found


def test_figures_of_a_planted_scorer_equal_a_loop(split):
    scores = torch.rand(5, 10, generator=torch.Generator().manual_seed(1))
    c = compare(POP, split, ks=(2,), metrics=("recall",), extra={"planted": Planted(scores)})
    held = {0: [5, 7], 1: [3], 2: [7, 1], 3: [0]}
    known = {0: {0, 1, 2, 3, 4, 8}, 1: {0, 1, 4, 2}, 2: {0, 2, 5, 6, 8}, 3: {1, 6}, 4: {0}}
    for row in (row for row in c.rows if row.model == "planted"):
        candidates = {"warm": set(range(7)), "cold": {7, 9}, "all": set(range(10))}[row.candidates]
        expected = recall_by_loop(scores, held, known, candidates, 2)
        assert row.n_candidates == len(candidates)
        assert row.n_users == len(expected)
        mean = sum(expected) / len(expected)
        assert row.mean == pytest.approx(mean, abs=1e-12)
        spread = math.sqrt(sum((x - mean) ** 2 for x in expected) / (len(expected) - 1))
        assert row.half_width == pytest.approx(1.96 * spread / math.sqrt(len(expected)), abs=1e-12)


def test_each_model_is_what_fit_and_evaluate_make_of_it(split):
    models = {"pop": (Popularity, {}), "small": (BPRMF, {"dim": 4}), "large": (BPRMF, {"dim": 8, "lr": 0.1})}
    c = compare(models, split, seed=3, ks=(1, 3), **QUICK)
    for label, (cls, given) in models.items():
        alone = evaluate(fit(cls, split, seed=3, **{**QUICK, **given}), split.unlock_test(), part="test", ks=(1, 3))
        mine = [row for row in c.rows if row.model == label]
        assert [(r.candidates, r.metric, r.mean, r.n_users) for r in mine] == \
            [(r["candidates"], r["metric"], r["mean"], r["n_users"]) for r in alone.rows()]
        assert {(r.cls, r.competitor, r.seed, r.part, r.split) for r in mine} == \
            {(cls.__name__, True, 3, "test", split.fingerprint)}


def test_features_reach_the_models(split):
    """A cold item is liked as its neighbour by content is: i7 looks like i0, i9 like i6, i8 like none."""
    looks = torch.eye(10)
    looks[7], looks[9] = looks[0], looks[6]
    c = compare({"pop": (Popularity, {"k": 1})}, split, from_arrays(split.data.items.ids, {"image": looks}), ks=(1,))
    assert c.fitted["pop"].scores(torch.tensor([0]))[0].tolist() == [4, 3, 2, 1, 1, 1, 1, 4, 0, 1]
    assert c.provenance["features"] == "Features(10 items; image: 10-d on 10)"


def test_the_test_part_is_unlocked_once_after_the_last_fit(split, monkeypatch):
    events, unlock = [], Split.unlock_test
    monkeypatch.setattr(module, "fit", lambda cls, split, *a, **o: events.append("fit") or fit(cls, split, *a, **o))
    monkeypatch.setattr(module, "evaluate", lambda *a, **o: events.append("evaluate") or evaluate(*a, **o))
    monkeypatch.setattr(Split, "unlock_test", lambda self: events.append("unlock") or unlock(self))
    c = compare({"a": (Popularity, {}), "b": (ItemKNN, {"kind": "collaborative"})}, split, ks=(1,))
    assert events == ["fit", "fit", "unlock", "evaluate", "evaluate"]
    assert c.split.unlocked
    assert not split.unlocked
    assert c.provenance["test part"] == "locked until all models were fitted"


def test_a_split_that_was_open_before_is_reported(split):
    c = compare(POP, split.unlock_test(), ks=(1,))
    assert c.provenance["test part"] == "already unlocked when the comparison began"


def test_on_validation_the_test_part_stays_locked(split):
    c = compare(POP, split, part="valid", ks=(1,))
    with pytest.raises(PermissionError):
        _ = c.split.test
    assert {row.part for row in c.rows} == {"valid"}
    assert c.provenance["test part"] == "not read"


def test_settings_are_recorded(split):
    models = {"pop": (Popularity, {}), "a": (BPRMF, {"dim": 4, "lr": 0.5}), "b": (BPRMF, {"max_epochs": 2, "dim": 4})}
    c = compare(models, split, seed=7, ks=(1,), metrics=("recall",), extra={"x": Planted(torch.zeros(5, 10))}, **QUICK,
                patience=9)
    by = {row.model: row for row in c.rows}
    assert by["a"].hyperparameters == {**by["b"].hyperparameters} == c.fitted["a"].model.hyperparameters()
    assert by["a"].hyperparameters["dim"] == 4
    assert by["a"].options == {"max_epochs": 1, "monitor": "recall@3", "patience": 9, "lr": 0.5}
    assert by["b"].options == {"max_epochs": 2, "monitor": "recall@3", "patience": 9}
    assert by["pop"].options == {}
    assert [by[label].epochs for label in ("pop", "a", "b", "x")] == [0, 1, 2, None]
    assert by["a"].seconds == c.fitted["a"].seconds > 0
    assert (by["x"].competitor, by["x"].seconds, by["x"].cls) == (False, None, "Planted")
    assert c.provenance["seed"] == "7"


def test_functions_that_thin_a_graph_are_recorded_by_what_they_say(split):
    given = {"name": {"DropEdges": {"fraction": 0.5}}, "switch": DropEdges(0.5), "function": kept}
    c = compare({label: (BPRMF, {"dim": 4, "thin": thin}) for label, thin in given.items()}, split, ks=(1,), **QUICK)
    of = {row.model: row.options["thin"] for row in c.rows}
    assert of["name"] == of["switch"] == {"DropEdges": {"fraction": 0.5}}
    assert of["function"].startswith("<function kept at")


def kept(graph, generator):
    return graph


def test_provenance_names_data_and_split(split, caplog):
    with caplog.at_level(logging.INFO):
        c = compare(POP, split, ks=(1,))
    assert c.provenance["data"] == repr(split.data)
    assert c.provenance["data fingerprint"] == split.data.fingerprint
    assert c.provenance["split fingerprint"] == split.fingerprint
    assert c.provenance["split"] == repr(split)
    assert c.provenance["protocol parameters"] == "valid = 0.0"
    assert c.provenance["torch"].startswith(torch.__version__.split("+")[0])
    assert c.provenance["features"] == "none"
    assert all(isinstance(value, str) and value for value in c.provenance.values())
    assert "fitted pop in" in caplog.text


def test_a_set_in_which_nothing_is_held_out_has_no_mean():
    split = tiny(valid={"u0": "4"}, test={"u1": "3", "u2": "6"})
    c = compare(POP, split, ks=(1,), metrics=("recall",))
    by = {row.candidates: row for row in c.rows}
    assert (by["cold"].mean, by["cold"].half_width, by["cold"].n_users) == (None, None, 0)
    assert by["warm"].mean is not None
    assert by["cold"].n_candidates == 3


@pytest.mark.parametrize(("arguments", "error", "match"), [
    ({"models": {}}, ValueError, "no model to compare"),
    ({"models": POP, "extra": {"pop": Planted(torch.zeros(5, 10))}}, ValueError, r"\['pop'\] name a model and"),
    ({"models": POP, "extra": {"x": Planted(torch.zeros(5, 9))}}, ValueError, "x ranks 9 items, the split has 10"),
    ({"models": POP, "dim": 3}, TypeError, "fit has no option 'dim'; it has attributes,.*belong to their model"),
    ({"models": POP, "checkpoint": "here"}, TypeError, "one checkpoint cannot hold several models"),
    ({"models": {**POP, "b": (BPRMF, {"dimension": 3})}}, TypeError, "BPRMF has no hyper-parameter 'dimension'"),
    ({"models": {**POP, "b": (BPRMF, {"seed": 3})}}, TypeError, "BPRMF has no hyper-parameter 'seed'"),
    ({"models": POP, "metrics": ("recal",)}, KeyError, "no metric .*recal"),
    ({"models": POP, "metrics": ()}, ValueError, "must be a metric"),
    ({"models": POP, "ks": (5, 11)}, ValueError, r"every k must lie in \[1, 10\].*\[5, 11\]"),
    ({"models": POP, "ks": (0,)}, ValueError, r"every k must lie in \[1, 10\]"),
    ({"models": POP, "ks": ()}, ValueError, r"every k must lie in \[1, 10\]"),
])
def test_what_cannot_succeed_is_refused_before_anything_is_fitted(split, monkeypatch, arguments, error, match):
    monkeypatch.setattr(module, "fit", lambda *_, **__: pytest.fail("fitted"))
    with pytest.raises(error, match=match):
        compare(split=split, **{"ks": (1,), **arguments})


def test_an_empty_part_is_refused(monkeypatch):
    monkeypatch.setattr(module, "fit", lambda *_, **__: pytest.fail("fitted"))
    with pytest.raises(ValueError, match=r"the test part of Split.* is empty"):
        compare(POP, tiny(test={}))


def test_rows_are_frozen(split):
    row = compare(POP, split, ks=(1,)).rows[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.mean = 1.0
