from dataclasses import replace

import pytest
from made_results import BUCKETS, USERS, chained, rows
from test_page import shown

from mmgraph.study.pages.beyond import HIGHER, LOWER, MEASURES, Column, beyond_accuracy, fairest, measure, served


@pytest.fixture(scope="module")
def results():
    return chained(rows(n_trials=2, n_epochs=2))


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    return shown(tmp_path_factory.mktemp("beyond"), results, [])


def of(page, head):
    """The table one of whose columns has this head."""
    return next(t for t in page.tables if any(cell["text"].startswith(head) for cell in t[0][0]))


def test_measures_are_means_over_seeds_of_the_competitors(results):
    found = beyond_accuracy(results)
    table, = found.tables
    assert list(table.rows) == ["FREEDOM", "VBPR", "LightGCN", "Popularity", "EASE"]
    each = [r.beyond["cold"]["novelty@10"] for r in results if r.model == "VBPR" and r.control is None]
    mean, sd = table.rows["VBPR"][Column("novelty", "@10", "cold", HIGHER)]
    assert mean == pytest.approx(sum(each) / 3)
    assert sd == pytest.approx((sum((x - sum(each) / 3) ** 2 for x in each) / 2) ** 0.5)
    assert (found.metric, found.candidates) == ("@20", "all")
    assert (found.metrics, found.sets) == (["@10", "@20"], ["warm", "cold", "all"])


def test_what_is_undefined_for_all_is_no_column(results):
    heads = {(c.head, c.candidates) for c in beyond_accuracy(results).tables[0].columns}
    assert ("popularity_lift", "warm") in heads
    assert ("popularity_lift", "cold") not in heads


def test_every_measure_says_what_is_better(results):
    for name in ("coverage", "novelty", "diversity(image)", "personalisation", "serendipity", "exposure_entropy"):
        assert measure("all", f"{name}@5") == (name, "@5", "all", HIGHER)
    for name in ("gini", "popularity_lift", "average_popularity", "calibration(genre)"):
        assert measure("all", f"{name}@5").better == LOWER
    assert measure("all", "unheard of") == ("unheard of", "", "all", "")
    assert list(beyond_accuracy(results).explained) == list(MEASURES)


def test_the_page_shows_them_sorted_by_what_is_better_first(page, results):
    table = of(page, "coverage")
    heads = table[0][0]
    assert [h["text"].split()[0] for h in heads[1:4]] == ["coverage", "coverage", "gini"]
    assert len(heads) == 1 + 2 * (12 + 11 + 12)
    for cell in heads[1:]:
        assert ("lower is better" in cell["text"]) == ("cost" in cell["class"].split())
        assert ("lower is better" in cell["text"]) != ("higher is better" in cell["text"])
    gini = beyond_accuracy(results).tables[0].rows["EASE"][Column("gini", "@20", "all", LOWER)][0]
    row = next(row for row in table[1] if row[0]["text"] == "EASE")
    cell = next(c for h, c in zip(heads, row, strict=True) if h["text"].startswith("gini") and
                (c["data-metric"], c["data-set"]) == ("@20", "all"))
    assert cell["data-value"] == str(gini)
    assert f"{gini:.4f}" in cell["text"]
    assert "Beyond accuracy" in page.text
    assert MEASURES["gini"][1] in page.text


def test_groups_of_users_and_of_items_each_have_a_table(results):
    users, items = served(results, "user", "recall@20"), served(results, "item", "exposure ratio@20")
    assert [t.title.partition(":")[0] for t in users.tables] == list(USERS)
    assert [t.title.partition(":")[0] for t in items.tables] == ["item popularity", "item image", "item text"]
    rows_ = [r.groups["user gender"]["M"]["recall@20"] for r in results if r.model == "EASE"]
    assert users.tables[1].rows["EASE"][Column("M", "recall@20")][0] == pytest.approx(sum(rows_) / 3)
    assert items.tables[0].rows["VBPR"][Column(BUCKETS[0], "exposure ratio@20")] == pytest.approx((0.2, 0))
    assert (users.metric, items.metric) == ("recall@20", fairest(results))
    assert served(results, "user", "auc").metric == "recall@10"


def test_modalities_share_out_users_only_where_the_model_reads_content(page):
    table = of(page, "4–5")
    columns = [(h["text"].split()[0], h["data-metric"]) for h in table[0][0][1:]]
    at = columns.index(("4–5", "shapley text")) + 1
    values = {row[0]["text"]: row[at]["data-value"] for row in table[1]}
    assert values["EASE"] == ""
    assert float(values["VBPR"]) > 0


def test_a_kind_with_a_single_group_compares_nothing(results):
    one = [replace(r, groups={"item text": {"with text": {"recall@20": 0.1, "exposure ratio@20": 1.0}}})
           for r in results]
    assert served(one, "item", "recall@20") is None


def test_rows_without_them_have_no_section(results, tmp_path):
    bare = [replace(r, beyond={}, groups={}) for r in results]
    found = shown(tmp_path, bare, [])
    assert "Beyond accuracy" not in found.text
    assert "Who is served" not in found.text
    assert beyond_accuracy(bare) is served(bare, "user", "x") is served(bare, "item", "x") is None
    assert fairest(bare) == ""
    some = shown(tmp_path, [replace(r, groups={"user activity": r.groups["user activity"]}, beyond={})
                            for r in results], [])
    assert "Users" in some.text
    assert "exposure ratio" not in some.text


def test_several_data_sets_have_a_table_each(results):
    other = [replace(r, data={**r.data, "name": "sports"}) for r in results]
    assert [t.title.partition(",")[0] for t in beyond_accuracy([*results, *other]).tables] == ["baby", "sports"]
    assert len(served([*results, *other], "user", "recall@20").tables) == 4
