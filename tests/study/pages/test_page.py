import json
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from made_results import KINDS, METRICS, chained, rows, summary, written

from mmgraph.study.pages.checks import checks
from mmgraph.study.pages.page import figure, words, write_page
from mmgraph.study.pages.ranks import ranked
from mmgraph.study.pages.views import by_world, gains, searches

EVIL = '<script>alert("x")</script> & "co"'
VOID = {"meta", "use", "path", "input", "br", "img"}


class Page(HTMLParser):
    """Tags with attributes; tables as bodies of rows of cells, each with its text."""

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.words, self.open, self.tables = html, [], [], [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag in ("thead", "tbody"):
            self.tables[-1].append([])
        elif tag == "tr":
            self.tables[-1][-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1][-1].append({"text": "", **given})

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert tag not in VOID
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)
            if {"td", "th"} & set(self.open):
                self.tables[-1][-1][-1][-1]["text"] += data

    def of(self, tag):
        return [given for name, given in self.tags if name == tag]


@dataclass
class Finding:
    name: str
    value: float | None
    threshold: float | None
    flagged: bool
    text: str


FOUND = [Finding("popularity", 0.93, 0.8, True, "drawn in <b>another</b> way"),
         Finding("time", None, None, False, "none")]


def bold(table):
    return [row[0]["text"] for body in table[1:] for row in body for c in row if "winner" in c.get("class", "").split()]


def shown(folder, results, summaries, **more):
    write_page(results, summaries, folder / "page.html", **more)
    return Page((folder / "page.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results():
    made = [replace(r, marks=(f"read before by {EVIL}",), reading=2) if r.model == "EASE" and r.seed == 1 else r
            for r in rows()]
    made = [replace(r, groups={**r.groups, f"user {EVIL}": {EVIL: {EVIL: 0.5}, "b": {EVIL: 0.25}}}) for r in made]
    return chained([replace(r, model=EVIL, cls=EVIL) if r.model == "LightGCN" else r for r in made])


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    table = summary(results, winner="FREEDOM", marks={"EASE": [f"read before by {EVIL}"]})
    ranks = [ranked(f"users of {EVIL}", "users", pd.DataFrame([[3.0, 2, 1]] * 9, columns=[EVIL, "b", "c"]),
                    ("all", "recall@20"))]
    return shown(tmp_path_factory.mktemp("page"), results, [table], findings=FOUND, ranks=ranks)


def test_is_one_file_that_needs_no_other(page):
    assert not page.open
    assert not re.search(r"https?://|//[a-z]+\.", page.html)
    for tag, given in page.tags:
        assert not {"src", "srcset", "data"} & set(given), tag
        assert all(value.startswith("#") for name, value in given.items() if name.endswith("href"))
    assert "@import" not in page.html
    assert "url(" not in re.sub(r"url\(#", "", page.html)
    policy = next(given["content"] for given in page.of("meta") if "http-equiv" in given)
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_no_label_becomes_a_tag_and_the_only_script_is_our_own(page):
    assert len(page.of("script")) == 1
    assert "alert(" in page.text
    assert not re.search(r"<script>\s*alert", page.html)
    assert "<b>another" not in page.html
    assert "drawn in <b>another</b> way" in page.text


def test_ids_are_unique_and_what_refers_to_them_finds_them(page):
    ids = [given["id"] for _, given in page.tags if "id" in given]
    assert len(ids) == len(set(ids))
    wanted = {word for _, given in page.tags for word in given.get("aria-labelledby", "").split()}
    wanted |= {given["href"][1:] for _, given in page.tags if given.get("href", "").startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]*)\)", page.html))
    assert wanted
    assert wanted <= set(ids)


def test_every_sortable_header_is_a_button_and_says_how_it_is_sorted(page):
    heads = [cell for table in page.tables for cell in table[0][0]]
    assert heads
    assert all(head["aria-sort"] == "none" and head["scope"] == "col" for head in heads)
    assert len(page.of("button")) == len(heads)
    assert all(given["type"] == "button" for given in page.of("button"))
    boxes = [given for given in page.of("div") if given.get("class") == "scroll"]
    assert len(boxes) == len(page.tables)
    assert all(given["tabindex"] == "0" and given["role"] == "region" and given["aria-label"] for given in boxes)
    assert all(given["role"] == "img" for given in page.of("svg"))


def test_each_row_has_as_many_cells_as_the_head(page):
    for table in page.tables:
        for row in [row for body in table[1:] for row in body]:
            assert sum(int(cell.get("colspan", 1)) for cell in row) == len(table[0][0])


def test_the_table_shows_what_the_summary_holds_and_keeps_kinds_apart(page):
    table = page.tables[0]
    assert [body[0][0]["text"].split(":")[0] for body in table[1:]] == ["competitors", "controls", "references"]
    assert [len(body) - 1 for body in table[1:]] == [5, 4, 1]
    first = table[1][1]
    assert first[0]["text"] == "FREEDOM"
    cell = next(c for c in first if (c.get("data-set"), c.get("data-metric")) == ("all", "recall@20"))
    mean = float(cell["data-value"])
    assert f"{mean:.4f}" in cell["text"]
    assert f"{mean - 0.004:.4f}\xa0…\xa0{mean + 0.004:.4f}" in cell["text"]
    assert "sd" in cell["text"]
    assert {(c.get("data-set"), c.get("data-metric")) for c in first if "data-metric" in c} == \
        {(s, m) for s in ("warm", "cold", "all") for m in METRICS}


def test_bold_only_where_the_summary_says_so(page, results, tmp_path):
    assert bold(page.tables[0]) == ["FREEDOM"] * 3
    none = shown(tmp_path, results, [summary(results)])
    assert bold(none.tables[0]) == []
    assert "highest, but not the best beyond chance" in none.text


def test_ranks_have_a_chart_a_caption_and_a_table(page):
    assert "chart-ranks" in [given.get("id") for given in page.of("figure")]
    assert f"users of {EVIL}: 9 users as blocks, recall@20, all items" in page.text
    table = next(t for t in page.tables if t[0][0][-1]["text"].strip() == "average rank")
    assert [(row[0]["text"], row[1]["data-value"]) for row in table[1]] == [(EVIL, "1.0"), ("b", "2.0"), ("c", "3.0")]


def test_marks_are_warnings_with_their_text(page):
    assert f"⚠ EASE: read before by {EVIL}" in page.text
    row = next(row for row in page.tables[0][1] if row[0]["text"].startswith("EASE"))
    assert "⚠ see warning" in row[0]["text"]
    assert "EASE seed 1 (reading 2)" in page.text


def test_findings_are_listed_with_value_and_threshold(page):
    assert "1 of 2 checks warn" in page.text
    assert "popularity: 0.93 (warning at 0.8)" in page.text.replace("popularity :", "popularity:")
    assert re.search(r"time\s?: cannot be told", page.text)


def test_the_gain_is_the_mean_difference_over_seeds(page, results):
    found = gains(results, "recall@20")
    assert set(found) == {"FREEDOM", "VBPR"}
    by_seed = {(r.control, r.seed): r.metrics["cold"]["recall@20"] for r in results if r.model == "VBPR"}
    each = [by_seed[None, s] - by_seed["noise", s] for s in range(3)]
    gain = found["VBPR"]["cold", "noise"]
    assert gain.difference == pytest.approx(sum(each) / 3)
    assert gain.sd == pytest.approx((sum((e - sum(each) / 3) ** 2 for e in each) / 2) ** 0.5)
    assert gain.n_runs == 3
    assert figure(gain.difference, signed=True) in page.text


def test_a_run_without_its_control_does_not_count():
    made = [r for r in rows(seeds=(0, 1)) if (r.control, r.seed) != ("noise", 1)]
    assert gains(made, "recall@20")["VBPR"]["cold", "noise"].n_runs == 1
    assert gains(made, "recall@20")["VBPR"]["cold", "noise"].sd is None
    assert gains([r for r in made if r.control is None], "recall@20") == {}


def test_every_trial_and_the_origin_of_every_row_is_there(page, results):
    assert all(r.hash in page.text for r in results)
    for fact in ("0123456789abcdef", "torch 2.11.0", "x86_64, 2 cores", "5" * 16, "dim 64", "9f2c41d07ab35e68"):
        assert page.text.count(fact) >= len(results)
    trials = searches(results)["VBPR"]["trials"]
    table = next(t for t in page.tables if t[0][0][0]["text"].strip() == "trial" and len(t[1]) == len(trials))
    assert [row[0]["data-value"] for row in table[1]] == [str(t["number"]) for t in trials]
    assert sum("chosen" in row[2]["text"] for row in table[1]) == 1


def test_the_checks_of_an_honest_study_are_good():
    assert [c.good for c in checks(chained(rows()))] == [True] * 5


@pytest.mark.parametrize(("change", "says"), [
    (lambda r: [replace(r[0], reading=2), *r[1:]], "read more than once by FREEDOM seed 0"),
    (lambda r: [*r, replace(r[-1], model="other", search={**r[0].search, "budget": 99})], "not tuned alike"),
    (lambda r: r[1:], "fewer runs than the others: FREEDOM 2"),
    (lambda r: [replace(r[0], marks=("careful",)), *r[1:]], "1 of 30 rows carry a warning")])
def test_each_departure_is_named(change, says):
    bad = [c.text for c in checks(chained(change(rows()))) if not c.good]
    assert len(bad) == 1 or "not tuned" in says
    assert any(says in text for text in bad)


def test_a_changed_row_and_a_missing_row_are_told_apart():
    whole = chained(rows())
    changed = [*whole[:3], replace(whole[3], seed=7), *whole[4:]]
    assert "row 4 does not fit" in checks(changed)[-1].text
    assert "missing before row 4" in checks([*whole[:3], *whole[4:]])[-1].text
    assert checks(whole)[-1].good


def test_rows_read_from_a_folder_hold(tmp_path):
    found = written(tmp_path, rows({"FREEDOM": "model"}, seeds=(0,), n_trials=2, n_epochs=2))
    assert checks(found)[-1].good


def test_worlds_are_kept_apart_but_folds_are_not():
    one = rows({"VBPR": "model"}, seeds=(0,))
    other = [replace(r, trained_on=("train", "valid")) for r in one]
    folds = [replace(r, split={**r.split, "fold": k, "parameters": {"n": 2, "test": k}}) for r in one for k in (0, 1)]
    assert list(by_world(one + other)) == ["baby, ColdItems(share=0.2), test",
                                           "baby, ColdItems(share=0.2), test, trained on train + valid"]
    assert list(by_world(folds)) == ["baby, ColdItems(n=2), test"]


def test_the_least_that_can_be_shown(tmp_path):
    bare = [replace(r, search={}, history=(), groups={}, shapley={}, beyond={}) for r in
            rows({"Popularity": "baseline"}, seeds=(0,), sets={"all": 10})]
    found = shown(tmp_path, chained(bare), [])
    assert not found.tables
    assert not found.of("svg")
    assert "warm" not in found.text
    with pytest.raises(ValueError, match="no results"):
        write_page([], [], tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_missing_values_are_dashes_without_a_number_to_sort_by(results, tmp_path):
    table = summary(results)
    bare = replace(table.lines[0], cells={}, fit_seconds=None, search_seconds=None, peak_mb=None)
    found = shown(tmp_path, results, [replace(table, lines=(*table.lines[1:5], bare))])
    row = found.tables[0][1][-1]
    assert [c["text"] for c in row[1:]] == ["–"] * 12 + ["3"] + ["–"] * 3
    assert {c["data-value"] for c in row[1:13]} == {""}


@pytest.mark.slow
def test_twenty_models_stay_below_three_megabytes(tmp_path):
    kinds = {f"{'MODEL' if n < 5 else 'Model'}-{n} " + "of many words " * 4: "model" for n in range(20)}
    metrics = [f"{name}@{k}" for name in ("recall", "ndcg", "precision", "hit_rate", "mrr", "map") for k in (10, 20)]
    many = chained(rows(kinds, metrics=metrics, n_trials=20, n_epochs=60))
    write_page(many, [summary(many)], tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 3e6


def test_values_in_words():
    assert words({"lr": 0.001, "sets": ["warm", None], "on": True}) == "lr 0.001, sets warm, –, on true"
    assert words({"deep": {}}) == "deep –"
    assert words(json.loads("3")) == "3"
    assert [figure(None), figure(-0.5), figure(0.25, 2, True), figure(1234.5, 1)] == ["–", "−0.5000", "+0.25", "1234.5"]


def test_kinds_and_sets_are_explained_in_words(page):
    for kind in set(KINDS.values()) | {"control"}:
        assert kind in page.text
    assert "only new items, which nobody took in training" in page.text
