"""The reading of test, fact by fact."""

import pickle
from dataclasses import replace

import numpy as np
import planted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from planned import SPACE, Stop, plan, searched
from study_world import Planted, tiny

from mmgraph.eval.evaluate import Evaluation, evaluate
from mmgraph.eval.groups import activity_groups
from mmgraph.eval.shapley import Shapley
from mmgraph.models import EASE, GAT, VBPR
from mmgraph.study import reading, warm
from mmgraph.study.by_group import by_group
from mmgraph.study.look import Look
from mmgraph.study.provenance import fingerprints
from mmgraph.study.space import Candidate


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

    monkeypatch.setattr(warm, "fit", fit)
    one = plan(retrain=retrain)
    for seed in (3, 4):
        with pytest.raises(Stop):
            reading.looked(one, Look("VBPR", 0, seed, control, searched(lr=0.5), tmp_path))
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


def coded(split):
    """The split with a code per item: its parity."""
    codes = pa.array([[str(int(i) % 2), f"{int(i) % 2}.{i}"] for i in split.data.items.ids.to_pylist()])
    return replace(split, data=replace(split.data, item_content=split.data.item_content.append_column("code", codes)))


@pytest.mark.parametrize("retrain", [False, True])
@pytest.mark.parametrize("control", [None, "permuted", "noise"])
def test_a_control_gets_the_attributes_of_other_items_too(monkeypatch, tmp_path, control, retrain):
    calls = []

    def fit(cls, split, features, **given):
        calls.append((split, features))
        raise Stop

    monkeypatch.setattr(warm, "fit", fit)
    one = plan(split=coded(planted.split()), models={"GAT": Candidate(GAT, {"dim": 4, "attributes": ["code"]}, SPACE)},
               retrain=retrain)
    with pytest.raises(Stop):
        reading.looked(one, Look("GAT", 0, 3, control, searched(lr=0.5), tmp_path))
    split, features = calls[0]
    whole = one.turns[0].split.joined() if retrain else one.turns[0].split
    codes, genres = (split.data.item_content[name].to_pylist() for name in ("code", "genre"))
    real = whole.data.item_content["code"].to_pylist()
    assert split.fingerprint == whole.fingerprint
    assert split.blind
    assert genres == whole.data.item_content["genre"].to_pylist(), "not used, not touched"
    n = split.n_warm_items
    assert n == whole.n_warm_items
    for rows in (slice(0, n), slice(n, None)):
        assert sorted(codes[rows]) == sorted(real[rows])
        assert {a == b for a, b in zip(codes[rows], real[rows], strict=True)} == {control is None}
    if control == "permuted":  # an item gets content and codes of the same other item
        old = one.features.aligned(whole.data.items).x["text"]
        assert torch.equal(features.x["text"], old[[real.index(code) for code in codes]])


def test_a_model_that_lives_on_codes_loses_them_in_its_control(tmp_path):
    given = {"dim": 8, "attributes": ["code"], "max_epochs": 8, "heads": 2}
    split = coded(planted.split())
    one = plan(split=split, features=None, models={"GAT": Candidate(GAT, given, SPACE)}, monitor="recall@2", ks=(2,))
    real, control = (reading.looked(one, Look("GAT", 0, 0, damage, searched(lr=0.05), tmp_path / "results"))
                     for damage in (None, "permuted"))
    assert (real.split, real.data) == (control.split, control.data)
    assert (control.control, control.kind) == ("permuted", "control")
    assert real.metrics["cold"]["recall@2"] > control.metrics["cold"]["recall@2"] + 0.2


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
    assert groups["item popularity"]["0"]["exposure share@3"] == pytest.approx(shown)
    assert groups["item popularity"]["0"]["held-out share"] == pytest.approx(np.isin(held, cold).mean())


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


def test_a_control_of_data_without_columns_is_made_in_another_process_too():
    """A table of pyarrow that has no columns has no rows after the way there."""
    split = planted.split()
    bare = replace(split, data=replace(split.data, item_content=split.data.item_content.select([])))
    there = pickle.loads(pickle.dumps(bare))
    assert there.data.item_content.num_rows == 0
    assert reading.exchanged(there, (), 0).fingerprint == split.fingerprint
