"""The recorded benchmarks: what is measured again, what is never mixed, and tables that follow from rows."""

import importlib
import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from study.made_results import rows as made
from study.made_results import written

from mmgraph.data import Dataset, RandomPerUser, cards
from mmgraph.study.result import append, read

SCRIPTS = Path(__file__).parents[1] / "benchmarks"
NAMES = ("_cold_tables", "_rows", "_zoo", "accuracy", "report", "speed")
FAST = {"ItemKNN", "Popularity", "RP3beta", "EASE"}


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """The scripts by name, their results in an empty folder."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    found = {name: importlib.import_module(name) for name in NAMES}
    for module in found.values():
        if hasattr(module, "RESULTS"):
            monkeypatch.setattr(module, "RESULTS", tmp_path)
    yield found
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def commit(bench, monkeypatch):
    """Says at which commit the code is."""
    def be_at(name):
        monkeypatch.setattr(bench["_rows"], "provenance", lambda: {"commit": name, "hardware": "this"})

    return be_at


def studied(place, results):
    """Rows in a folder, without values per user."""
    for one in results:
        append(place, replace(one, split={**one.split, "fold": 0}, search=one.search or {"budget": 8},
                              options={**one.options, "seen": "train"}))
    return read(place)


def few(seeds=(0, 1)):
    return [replace(r, run={**r.run, "hardware": "made up"}) for r in made(
        {"VBPR": "model", "Popularity": "baseline", "validation popularity": "reference"}, seeds=seeds)]


def small(n_users=40, n_items=30, seed=0):
    rng = np.random.default_rng(seed)
    taken = [(f"u{u}", f"i{i}") for u in range(n_users) for i in rng.choice(n_items, 8, replace=False)]
    numbers = range(n_items)
    items = pa.table({"item": [f"i{i}" for i in numbers], "text": [f"word{i % 3} word{i}" for i in numbers]})
    return Dataset.from_frames(pa.table({"user": [u for u, _ in taken], "item": [i for _, i in taken]}), items)


def test_a_row_counts_only_for_the_commit_and_machine_it_was_measured_at(bench, commit):
    key = {"what": "step", "runs": 3, "quick": False}
    for at, row in (("aaa", key), ("bbb", {**key, "quick": True}), ("", key), ("ccc+changes", key)):
        bench["_rows"].append("speed", {**row, "commit": at, "hardware": "this"})
    bench["_rows"].append("speed", {**key, "commit": "ddd", "hardware": "another"})
    there = []
    for at in ("aaa", "bbb", "", "ccc+changes", "ddd"):
        commit(at)
        there.append(bool(bench["_rows"].at_this_commit("speed", key)))
    assert there == [True, False, False, False, False]


def test_speed_measures_once_per_commit(bench, commit, monkeypatch):
    commit("aaa")
    monkeypatch.setattr(bench["speed"], "provenance", bench["_rows"].provenance)
    generator = FewRows()
    monkeypatch.setattr(bench["speed"].np.random, "default_rng", lambda seed: generator)
    for _ in range(2):
        bench["speed"].million_rows(1, quick=True)
    assert len(bench["_rows"].rows("rows")) == 1
    bench["speed"].million_rows(1, quick=False)
    assert [row["quick"] for row in bench["_rows"].rows("rows")] == [True, False]


class FewRows:
    """Draws as a generator does, but fewer and smaller numbers."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def pareto(self, a, n):
        return self.rng.pareto(a, 2_000) / 300


def test_quick_speed_rows_stand_in_no_table(bench):
    row = {"what": "step", "data": "gowalla", "ours_s": 1.0, "theirs_s": 4.0, "ratio": 0.25, "bar": 0.5, "met": True,
           "commit": "aaa", "hardware": "this"}
    bench["_rows"].append("speed", row)
    bench["_rows"].append("speed", {**row, "quick": True, "ratio": 0.125})
    text = bench["report"].speed()
    assert "0.250" in text
    assert "0.125" not in text


def test_every_data_set_has_a_card_and_a_folder_of_its_own_for_quick_results(bench):
    of = bench["accuracy"]
    assert set(of.TASKS) <= set(cards())
    folders = [of.folder(name, quick) for name in of.TASKS for quick in (False, True)]
    assert len(set(folders)) == 2 * len(of.TASKS)
    assert len({folder.parent for folder in folders}) == 1  # one ledger of readings for all


def test_a_quick_study_is_of_other_data_than_the_full_one(bench, monkeypatch):
    of, data = bench["accuracy"], small()
    monkeypatch.setitem(of.TASKS, "ml-1m", of.Task(RandomPerUser(), 25, content=True))
    full = of.planned("ml-1m", data, of.Effort(2, [0], 2))
    quick = of.planned("ml-1m", data, of.Effort(2, [0], 2, quick=True))
    assert len(quick.turns[0].split.data.users) == 25
    assert quick.turns[0].split.fingerprint != full.turns[0].split.fingerprint
    assert quick.data != full.data
    assert set(full.candidates) == set(quick.candidates) == {*of.MODELS, *of.READING, "EASE", "RP3beta", "Popularity"}
    with pytest.raises(ValueError, match="all of them"):
        of.sampled(data, 40)


def test_ease_is_left_out_of_large_data_and_runs_alone_where_two_would_not_fit(bench, monkeypatch):
    of, data = bench["accuracy"], small()
    monkeypatch.setitem(of.TASKS, "gowalla", of.Task(RandomPerUser(), 25))
    effort = of.Effort(2, [0], 2)
    monkeypatch.setattr(of, "MEMORY", 2 * 32 * 30**2 - 1)
    alone = of.planned("gowalla", data, effort, jobs=2, threads=1)
    assert (alone.jobs, alone.threads) == (1, 2)
    monkeypatch.setattr(of, "DENSE", 29)
    without = of.planned("gowalla", data, effort, jobs=2, threads=1)
    assert "EASE" not in without.candidates
    assert (without.jobs, without.threads) == (2, 1)


def test_a_finished_study_is_not_run_again_and_another_plan_is_refused(bench, monkeypatch, tmp_path):
    of, data = bench["accuracy"], small()
    monkeypatch.setitem(of.TASKS, "gowalla", of.Task(RandomPerUser(), 25))
    monkeypatch.setattr(of, "MODELS", {"ItemKNN": of.MODELS["ItemKNN"]})
    study, place = of.planned("gowalla", data, of.Effort(1, [0], 2)), tmp_path / "there"
    of.carried_out(study, place)
    lines = (place / "results.jsonl").read_text()
    assert {r.model for r in read(place)} == FAST | {"validation popularity"}
    (place / "trials.db").unlink()  # as after a fresh checkout
    of.carried_out(study, place)
    assert (place / "results.jsonl").read_text() == lines
    assert not (place / "trials.db").exists()
    with pytest.raises(ValueError, match="another plan"):
        of.carried_out(of.planned("gowalla", data, of.Effort(2, [0], 2)), place)


def test_a_table_counts_only_for_the_rows_it_was_made_of(bench, tmp_path):
    of, place = bench["accuracy"], tmp_path / "ml-1m"
    assert of.table(place) is None
    written(place, few()[:-1])
    (place / "table.md").write_text(f"{of.stamp(read(place))}\n| **won** |")
    assert of.table(place) == "| **won** |"
    append(place, few()[-1])
    assert of.table(place) is None


def test_accuracy_section_follows_from_rows_alone(bench):
    results = studied(bench["accuracy"].folder("ml-1m", False), few())
    text = bench["report"].accuracy()
    mine = [r.metrics["all"]["recall@20"] for r in results if r.model == "VBPR" and r.control is None]
    [line] = [line for line in text.splitlines() if line.startswith("| VBPR |")]
    assert line.split("|")[3].strip() == f"{sum(mine) / 2:.4f} ± 0.0040"
    order = re.findall(r"^\| (\*?[\w ]+)", text, re.M)
    places = [order.index(name) for name in ("VBPR ", "Popularity ", "*VBPR", "*validation popularity")]
    assert places == sorted(places)
    assert "split seed 0" in text
    assert "seeds 0, 1 " in text
    assert "commit 0123456789abcdef, made up" in text
    assert "a user's training items left out" in text
    assert "Without EASE" in text
    share = [r.shapley["text"] for r in results if r.shapley]
    assert f"text {sum(share) / 2:.4f}" in text
    assert not re.search(r"\|[^|]*\*\*[^|]*\|", text), "nothing is bold without a test"


def test_quick_and_full_studies_have_sections_of_their_own(bench):
    of, report = bench["accuracy"], bench["report"]
    studied(of.folder("tiktok", True), few())
    assert report.accuracy() == ""
    assert "quick" in report.accuracy(quick=True)
    assert "seeds 0, 1 " in report.accuracy(quick=True)


def test_a_valid_table_is_taken_over_with_its_winner_and_a_stale_one_is_not(bench):
    of, report = bench["accuracy"], bench["report"]
    place = of.folder("tiktok", False)
    results = studied(place, few())
    (place / "table.md").write_text(f"{of.stamp(results)}\n| EASE | **0.5000** |\n")
    assert "| EASE | **0.5000** |" in report.accuracy()
    (place / "table.md").write_text(f"{of.stamp(results[:-1])}\n| EASE | **0.5000** |\n")
    assert "0.5000" not in report.accuracy()
    assert "| Popularity |" in report.accuracy()


def test_changed_rows_are_not_reported(bench):
    place = bench["accuracy"].folder("tiktok", False)
    one, *more = [asdict(r) for r in studied(place, few())]
    one["metrics"]["all"]["recall@20"] = 0.9
    (place / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (one, *more)))
    with pytest.raises(ValueError, match="line 1"):
        bench["report"].accuracy()


def test_audit_section_names_warnings_and_the_gain_from_validation(bench):
    finding = {"name": "valid and test popularity", "value": 0.93, "threshold": 0.5, "worse": "above", "flagged": True,
               "text": "They move together."}
    at = {"commit": "aaa", "hardware": "this"}
    for verdict in ("an older one", "1 of 2 checks warn: valid and test popularity."):
        bench["_rows"].append("audit", {"what": "diagnosis", "data": "tiktok", "split": "abc", "protocol": "Given()",
                                        "verdict": verdict, "findings": [finding, {**finding, "flagged": False,
                                                                                   "name": "harmless"}], **at})
    for on, recall in (("train", 0.08), ("train and valid", 0.09)):
        bench["_rows"].append("audit", {"what": "trained on", "data": "amazon-baby", "model": "EASE", "trained on": on,
                                        "metrics": {"recall@20": recall, "ndcg@20": 0.04}, **at})
    text = bench["report"].audit()
    assert "* valid and test popularity: 0.93, warns above 0.5. They move together." in text
    assert "harmless" not in text
    assert "an older one" not in text
    assert "| amazon-baby | EASE | train and valid | 0.0900 | 0.0400 | +12.5% | commit aaa, this |" in text
    assert "| amazon-baby | EASE | train | 0.0800 | 0.0400 | – |" in text


def test_ranking_section_shows_the_latest_row_of_each_opponent_and_memory_by_block(bench):
    row = {"what": "RecBole, the same metrics", "data": "gowalla", "users": 29858, "items": 40981, "k": 50,
           "ours_s": 2.0, "theirs_s": 10.0, "times": 5.0, "bar": 10, "met": False, "commit": "aaa", "hardware": "this"}
    bench["_rows"].append("ranking", row)
    bench["_rows"].append("ranking", {**row, "theirs_s": 30.0, "times": 15.0, "met": True, "commit": "bbb"})
    for block, grown in ((2**21, 20.4), (2**24, 130.0)):
        bench["_rows"].append("ranking", {"what": "peak memory", "data": "gowalla", "users": "all",
                                          "block_scores": block, "block_mb": block * 4 / 2**20, "grown_mb": grown,
                                          "commit": "bbb", "hardware": "this"})
    text = bench["report"].ranking()
    assert "29,858 × 40,981, 50 | 2.00 s | 30.00 s | 15.0 | 10 | commit bbb, this |" in text
    assert "aaa" not in text
    assert "20 MB with blocks of 8 MB" in text
    assert "130 MB with blocks of 64 MB" in text


def test_sections_without_rows_are_empty(bench):
    of = bench["report"]
    assert not any((of.accuracy(), of.accuracy(quick=True), of.audit(), of.ranking(), of.speed()))


@pytest.mark.slow
@pytest.mark.realdata
def test_quick_accuracy_on_movielens(bench, data_root, monkeypatch):
    monkeypatch.setenv("MMGRAPH_DATA", str(data_root))
    of = bench["accuracy"]
    of.main(["ml-100k"], of.Effort(1, [0], 5, quick=True), 1, 1)
    place = of.folder("ml-100k", True)
    means = {r.model: r.metrics["all"]["recall@20"] for r in read(place)}
    assert set(means) == FAST | {"BPRMF", "LightGCN", "RecentPopularity", "validation popularity"}
    assert means["EASE"] > means["Popularity"]
    assert of.table(place)
    assert "500 of its users" in bench["report"].accuracy(quick=True)


def test_pairs_that_leak_are_named_those_refused_counted_and_the_latest_row_counts(bench):
    def row(model, method, **found):
        bench["_rows"].append("leakage", {"model": model, "method": method, "users": 5, "items": 6, "commit": "c",
                                          "hardware": "h", **found})

    row("EASE", None, passed=["a", "b"], failed={})
    row("EASE", "GAR", refused="no vectors")
    row("MF", None, passed=["a", "b", "c"], failed={})
    row("MF", "GAR", passed=["a"], failed={"b": "old words"})
    assert "3 of 4 pairs were fitted, each more than a dozen times, and 2 pass all" in bench["_cold_tables"].leakage()
    row("MF", "GAR", passed=["a", "b"], failed={"c": "moved"})
    text = bench["_cold_tables"].leakage()
    assert "Failed: MF with GAR (c: moved). At an earlier commit failed: MF with GAR (b: old words)." in text
    assert "| EASE | 2 | – |" in text
    assert "| MF | 3 | **c** |" in text
    row("MF", "GAR", passed=["a", "b", "c"], failed={})
    text = bench["_cold_tables"].leakage()
    assert "and 3 pass all of their 2 to 3 checks; the other 1 are refused" in text
    assert " Failed: " not in text
