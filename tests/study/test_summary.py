import hashlib
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmgraph.eval.bootstrap import bootstrap_interval
from mmgraph.eval.corrections import holm
from mmgraph.eval.statistics import cohens_d, paired_t, wilcoxon
from mmgraph.study.result import Result, append, read
from mmgraph.study.summary import summarise

ALL = ("all", "recall@20")
USERS = [f"u{n:02}" for n in range(60)]
BASE = np.random.default_rng(0).random(60)


class Made:
    """A folder of results that are written as a study writes them."""

    def __init__(self, folder):
        self.folder = folder
        self.n = 0

    def add(self, model, values, *, users=USERS, metric="recall@20", candidates="all", stated=None, **given):
        """One result; values per user of one metric, or of several by (candidates, metric)."""
        values = values if isinstance(values, dict) else {(candidates, metric): values}
        sets = list(dict.fromkeys(c for c, _ in values))
        columns = {m: np.concatenate([np.asarray(values[c, m], float) for c in sets]) for _, m in values}
        table = pa.table({"user": users * len(sets), "candidates": np.repeat(sets, len(users)), **columns})
        self.n += 1
        file = self.folder / f"{self.n}.parquet"
        pq.write_table(table, file)
        means = stated or {c: {m: float(np.nanmean(v)) for (d, m), v in values.items() if d == c} for c in sets}
        row = {"study": "s", "plan": "p" * 64, "kind": "model", "model": model, "cls": model, "seed": 0,
               "data": {"name": "Baby", "fingerprint": "d1"},
               "split": {"name": "PerUser", "parameters": {"share": 0.2}, "seed": 0, "fingerprint": "f0"},
               "metrics": means, "half_widths": {}, "n_users": {c: len(users) for c in sets},
               "n_candidates": dict.fromkeys(sets, 9),
               "users": {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
               "run": {"seconds": {"fit": 2.0, "search": 8.0, "read": 1.0}, "peak_mb": {"fit": 50.0, "read": 70.0}}}
        return append(self.folder, Result(**(row | given)))

    def summaries(self, **options):
        return summarise(read(self.folder), self.folder, **options)

    def summary(self, **options):
        (found,) = self.summaries(**options)
        return found


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def fold(number):
    return {"name": "PerUser", "parameters": {"share": 0.2}, "seed": 0, "fold": number, "fingerprint": f"f{number}"}


def winners(summary, column=ALL):
    return [line.model for line in summary.lines if line.cells[column].winner]


def noise(seed, size=1e-3):
    return np.random.default_rng(seed).normal(0, size, 60)


def test_seeds_are_averaged_per_user_before_the_test_and_means_after(made):
    a = [BASE + 0.1 + noise(1), BASE + 0.1 + noise(2)]
    b = [BASE + noise(3, 0.3), BASE + noise(4, 0.3)]
    for seed in (0, 1):
        made.add("A", a[seed], seed=seed)
        made.add("B", b[seed], seed=seed)
    summary = made.summary(test="t")
    first, second = summary.lines
    means = [x.mean() for x in a]
    test = paired_t((a[0] + a[1]) / 2, (b[0] + b[1]) / 2)
    assert (first.model, second.model, first.n_runs) == ("A", "B", 2)
    cell, other = first.cells[ALL], second.cells[ALL]
    assert (cell.mean, cell.sd) == (pytest.approx(np.mean(means)), pytest.approx(np.std(means, ddof=1)))
    assert cell.p == other.p == pytest.approx(test.p)
    assert cell.difference == pytest.approx(test.difference) == -other.difference
    assert cell.effect == pytest.approx(cohens_d((a[0] + a[1]) / 2, (b[0] + b[1]) / 2)) == -other.effect
    interval = bootstrap_interval((a[0] + a[1]) / 2, n=2000, seed=0)
    assert (cell.low, cell.high, cell.n_users) == (pytest.approx(interval.low), pytest.approx(interval.high), 60)
    assert "paired t-test" in summary.test
    assert "Holm" in summary.test


def test_only_a_difference_beyond_chance_wins(made):
    made.add("A", BASE + 0.1 + noise(1, 0.01))
    made.add("B", BASE + noise(2, 0.01))
    made.add("C", BASE - 0.1 + noise(3, 0.01))
    assert winners(made.summary()) == ["A"]
    made.add("D", BASE + 0.1001 + noise(4, 0.01))  # a runner-up that cannot be told from the best
    summary = made.summary()
    assert winners(summary) == []
    assert {line.model for line in summary.lines[:2]} == {"A", "D"}
    assert summary.lines[0].cells[ALL].p == summary.lines[1].cells[ALL].p > 0.05


@pytest.mark.parametrize("test", ["wilcoxon", "t", "permutation", "bootstrap"])
def test_every_test_finds_a_plain_winner_and_none_among_equals(made, test):
    made.add("A", BASE + 0.1 + noise(1, 0.01))
    made.add("B", BASE + noise(2, 0.01))
    assert winners(made.summary(test=test)) == ["A"]
    made.add("C", BASE + 0.1 + noise(1, 0.01))
    assert winners(made.summary(test=test)) == []


def test_p_values_of_a_column_are_corrected_together(made):
    values = {name: BASE + shift + noise(at, 0.2) for at, (name, shift) in enumerate(
        {"A": 0.12, "B": 0.05, "C": 0.04, "D": 0.0}.items())}
    for name, x in values.items():
        made.add(name, x)
    cells = {line.model: line.cells[ALL] for line in made.summary().lines}
    best, *rest = sorted(values, key=lambda n: -values[n].mean())
    raw = [wilcoxon(values[best], values[n]).p for n in rest]
    assert [cells[n].p for n in rest] == pytest.approx(holm(raw))
    assert cells[best].p == cells[rest[0]].p
    assert raw != pytest.approx(holm(raw))


def test_a_winner_must_beat_everybody_not_the_runner_up_only(made):
    made.add("A", BASE + 0.1 + noise(1, 0.001))
    made.add("B", BASE + noise(2, 0.001))
    made.add("C", BASE - 0.01 + noise(3, 3.0) - noise(3, 3.0).mean())  # far too noisy to tell
    summary = made.summary()
    assert [line.model for line in summary.lines] == ["A", "B", "C"]
    assert summary.lines[0].cells[ALL].p < 0.05
    assert winners(summary) == []


def test_a_rank_test_that_favours_the_lower_mean_makes_no_winner(made):
    few = np.where(np.arange(60) < 4, 30.0, -0.1)  # four users gain much, all others lose
    made.add("A", BASE + few)
    made.add("B", BASE)
    summary = made.summary()
    assert summary.lines[0].model == "A"
    assert summary.lines[0].cells[ALL].p < 0.05
    assert winners(summary) == []


def test_controls_references_and_marked_results_are_shown_but_never_win(made):
    made.add("A", BASE + noise(1, 0.01))
    made.add("B", BASE - 0.1 + noise(2, 0.01))
    made.add("oracle", BASE + 9, kind="reference", trained_on=["test"])
    made.add("B", BASE + 0.2, kind="control", control="noise")
    made.add("A", BASE + 0.3, kind="control", control="permuted")
    made.add("peeked", BASE + 0.5, marks=["tuned on test"])
    made.add("twice", BASE + 0.6, reading=2)
    summary = made.summary()
    assert [line.model for line in summary.lines] == [
        "twice, reading 2", "peeked", "A", "B", "A, features permuted", "B, features replaced by noise", "oracle"]
    assert winners(summary) == ["A"]
    assert [line.marks for line in summary.lines[:3]] == [
        ("reading 2 of the same split and seed",), ("tuned on test",), ()]
    assert [line.cells[ALL].p is None for line in summary.lines] == [True, True, False, False, True, True, True]


def test_one_marked_run_marks_the_line(made):
    for seed in (0, 1):
        made.add("A", BASE + 0.1 + noise(seed), seed=seed, marks=["changed"] if seed else [])
        made.add("B", BASE + noise(seed + 5), seed=seed)
    summary = made.summary()
    assert summary.lines[0].marks == ("changed",)
    assert winners(summary) == []


def test_alone_nobody_wins(made):
    made.add("A", BASE)
    cell = made.summary().lines[0].cells[ALL]
    assert (cell.winner, cell.p, cell.sd) == (False, None, None)


def test_folds_are_averaged_per_user_where_the_user_counts(made):
    first, second = BASE.copy(), BASE + 0.5
    first[:20] = math.nan
    for number, x in enumerate((first, second)):
        made.add("A", x + 0.1 + noise(number), split=fold(number))
        made.add("B", x + noise(number + 5), split=fold(number))
    line = made.summary(test="t").lines[0]
    a = np.where(np.isnan(first), second + noise(1), (first + noise(0) + second + noise(1)) / 2) + 0.1
    b = np.where(np.isnan(first), second + noise(6), (first + noise(5) + second + noise(6)) / 2)
    assert line.cells[ALL].difference == pytest.approx((a - b).mean())
    assert line.cells[ALL].p == pytest.approx(paired_t(a, b).p)
    assert (line.n_runs, line.cells[ALL].n_users) == (2, 60)
    assert line.cells[ALL].low == pytest.approx(bootstrap_interval(a, n=2000, seed=0).low)


def test_a_model_that_lacks_a_fold_is_marked_compared_on_the_others_and_cannot_win(made):
    for number in (0, 1):
        made.add("A", BASE + noise(number) + number, split=fold(number))
    made.add("B", BASE + 5 + noise(7), split=fold(1))
    summary = made.summary()
    assert summary.lines[0].marks == ("read on 1 of 2 splits",)
    assert winners(summary) == []


def test_users_are_matched_by_id(made):
    order = np.random.default_rng(1).permutation(60)
    a, b = BASE + 0.1 + noise(1, 0.01), BASE + noise(2, 0.01)
    made.add("A", a[order], users=[USERS[n] for n in order])
    made.add("B", b)
    assert made.summary().lines[0].cells[ALL].p == pytest.approx(wilcoxon(a, b).p)


def test_columns_are_tested_each_on_its_own_and_only_accuracy_has_winners(made):
    for name, shift in (("A", 0.1), ("B", 0.0)):
        values = {("all", "recall@20"): BASE + shift, ("all", "novelty@20"): BASE + shift,
                  ("cold", "recall@20"): BASE - shift, ("cold", "novelty@20"): np.full(60, math.nan)}
        made.add(name, values, beyond={"all": {"coverage@20": 0.7}}, stated={
            "all": {"recall@20": float((BASE + shift).mean()), "novelty@20": 3.0, "gini@20": 0.5},
            "cold": {"recall@20": float((BASE - shift).mean())}})
    summary = made.summary()
    assert summary.columns == (ALL, ("all", "novelty@20"), ("all", "gini@20"), ("cold", "recall@20"))
    assert (winners(summary), winners(summary, ("cold", "recall@20"))) == (["A"], ["B"])
    assert winners(summary, ("all", "novelty@20")) == []
    gini = summary.lines[0].cells["all", "gini@20"]
    assert (gini.mean, gini.low, gini.p, gini.n_users) == (0.5, None, None, 60)
    assert summary.lines[0].cells["all", "novelty@20"].low is not None
    assert summary.headline == ALL
    coverage = made.summary(columns=[ALL, ("all", "coverage@20")]).lines[1].cells["all", "coverage@20"]
    assert (coverage.mean, coverage.winner) == (0.7, False)


def test_the_headline_orders_the_lines_and_columns_may_be_chosen(made):
    for name, sign in (("A", 1), ("B", -1)):
        made.add(name, {("warm", "recall@10"): BASE + sign, ("warm", "recall@20"): BASE - sign,
                        ("warm", "ndcg@50"): BASE})
    first = made.summary()
    assert (first.headline, [x.model for x in first.lines]) == (("warm", "recall@20"), ["B", "A"])
    chosen = made.summary(columns=[("warm", "recall@10")], headline=("warm", "recall@10"))
    assert (chosen.columns, [x.model for x in chosen.lines]) == ((("warm", "recall@10"),), ["A", "B"])
    with pytest.raises(KeyError, match="was not measured, only"):
        made.summary(columns=[("cold", "recall@10")])
    with pytest.raises(KeyError, match="is not among the columns"):
        made.summary(columns=[("warm", "recall@10")], headline=("warm", "recall@20"))
    with pytest.raises(ValueError, match="a table needs a column"):
        made.summary(columns=[])


def test_two_splits_or_data_sets_under_one_name_are_refused(made):
    made.add("A", BASE)
    made.add("B", BASE, split=fold(0) | {"fold": None, "fingerprint": "other"})
    with pytest.raises(ValueError, match=r"PerUser\(share = 0.2\) of Baby, seed 0: fingerprints f0 and other \(B\)"):
        made.summaries()
    results = read(made.folder)
    with pytest.raises(ValueError, match="data set Baby: fingerprints d1 and d2"):
        summarise([results[0], replace(results[0], data={"name": "Baby", "fingerprint": "d2"})], made.folder)


def test_parts_protocols_and_data_are_tables_of_their_own(made):
    made.add("A", BASE)
    made.add("A", BASE, part="valid")
    made.add("A", BASE, data={"name": "Sports", "fingerprint": "d2"})
    made.add("A", BASE, split={"name": "PerUser", "parameters": {"share": 0.1}, "seed": 0, "fingerprint": "f9"})
    assert [s.title for s in made.summaries()] == [
        f"{data} · PerUser(share = {share}) · {part} · trained on train"
        for data, share, part in (("Baby", 0.2, "test"), ("Baby", 0.2, "valid"), ("Sports", 0.2, "test"),
                                  ("Baby", 0.1, "test"))]


def test_models_that_saw_validation_do_not_share_a_table_with_those_that_did_not(made):
    made.add("A", BASE, trained_on=["train"])
    made.add("A", BASE + 1, trained_on=["train", "valid"], split=fold(0) | {"fold": None})
    made.add("chance", BASE, kind="reference", trained_on=[])
    plain, more = made.summaries()
    assert more.title.endswith("trained on train + valid")
    assert plain.title.endswith("trained on train")
    assert [[x.model for x in s.lines] for s in (plain, more)] == [["A", "chance"]] * 2
    assert (plain.lines[0].n_runs, more.lines[0].n_runs) == (1, 1)


def test_two_versions_of_a_modality_do_not_share_a_table(made):
    made.add("ids", BASE)
    made.add("A", BASE, features={"image": "i1", "text": "t1"})
    made.add("B", BASE, features={"text": "t1"})
    made.add("A", BASE, features={"image": "shuffled"}, kind="control", control="permuted")
    assert len(made.summaries()) == 1
    made.add("C", BASE, features={"image": "i2", "text": "t1"})
    one, two = made.summaries()
    assert one.title.endswith("trained on train · features image i1")
    assert two.title.endswith("features image i2")
    assert {x.model for x in one.lines} == {"ids", "A", "B", "A, features permuted"}
    assert {x.model for x in two.lines} == {"ids", "B", "C"}


def test_one_label_for_two_plans_is_two_lines_and_for_two_results_an_error(made):
    made.add("A", BASE)
    made.add("A", BASE + 1, plan="q" * 64)
    assert {x.model for x in made.summary().lines} == {"A, plan pppppppp", "A, plan qqqqqqqq"}
    made.add("A", BASE + 2)
    with pytest.raises(ValueError, match="stands for several results on split f0 with seed 0"):
        made.summaries()


def test_values_that_do_not_give_the_stated_mean_are_refused(made):
    made.add("A", BASE, stated={"all": {"recall@20": float(BASE.mean()) + 0.01}})
    with pytest.raises(ValueError, match=r"the row states recall@20 0\..* its values per user have the mean"):
        made.summaries()


def test_a_changed_file_of_values_is_refused(made):
    made.add("A", BASE)
    pq.write_table(pa.table({"user": USERS, "candidates": ["all"] * 60, "recall@20": BASE + 1}),
                   made.folder / "1.parquet")
    with pytest.raises(ValueError, match="is not the file that was written"):
        made.summaries()


def test_seconds_of_a_shared_search_count_once(made):
    made.add("A", BASE, seed=0)
    made.add("A", BASE, seed=1, run={"seconds": {"fit": 4.0, "search": 8.0}, "peak_mb": {"search": 99.0}})
    made.add("A", BASE, seed=0, split=fold(1), run={"seconds": {"fit": 6.0, "search": 5.0}})
    line = made.summary().lines[0]
    assert (line.fit_seconds, line.search_seconds, line.peak_mb) == (4.0, 13.0, 99.0)


def test_other_words_are_refused(made):
    made.add("A", BASE)
    with pytest.raises((ValueError, TypeError), match="anova"):
        made.summaries(test="anova")
    with pytest.raises(ValueError, match="alpha must lie"):
        made.summaries(alpha=1.0)
    assert summarise([], made.folder) == []
