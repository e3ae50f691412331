import base64
import io
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from study_world import TEST, TRAIN, Planted, tiny
from test_comparison import comparison as made_up

from mmgraph.data.split import HISTORY, UNUSED, VALID
from mmgraph.models.popularity import Popularity
from mmgraph.study.compare import compare
from mmgraph.study.fit import fit
from mmgraph.study.pages.comparison_page import contrast, drawn, write_report

POP, BPR = "Pop <b>", "BPRMF"


class Page(HTMLParser):
    """Tags with attributes, text, and the lists of items with what stands in them."""

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.words, self.lists, self.open = html, [], [], [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        self.open.append(tag)
        if tag in ("ol", "ul"):
            self.lists.append([])
        if "data-item" in given:
            self.lists[-1].append({"id": given["data-item"], "class": given.get("class"), "text": "", "inside": []})
        elif self.lists and self.lists[-1]:
            self.lists[-1][-1]["inside"].append((tag, given))

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)
        if self.lists and self.lists[-1] and "li" in self.open:
            self.lists[-1][-1]["text"] += data

    def items(self, number):
        return [item["id"] for item in self.lists[number]]

    def of(self, tag):
        return [given for name, given in self.tags if name == tag]


@pytest.fixture
def page(comparison, tmp_path):
    write_report(comparison, tmp_path / "report.html", compare_two=(POP, BPR), users=["u0"], k=4)
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


# Lists on the page: 0 the tiles, 1 what u0 took, 2 recommendations of Popularity, 3 of BPRMF.
# Popularity counts i0…i6: 4 3 2 1 1 1 1; cold items have no content and get 0. Known of u0: i0–i4 and i8.


def test_recommendations_are_the_best_of_all_that_is_not_known(page):
    assert page.items(2) == ["i5", "i6", "i7", "i9"]
    assert set(page.items(3)) == {"i5", "i6", "i7", "i9"}
    assert [item["text"].split()[-1] for item in page.lists[2]] == ["1", "1", "0", "0"]


def test_hits_and_new_items_are_marked(page):
    for items in page.lists[2:4]:
        assert {item["id"] for item in items if item["class"] == "hit"} == {"i5", "i7"}
        assert {item["id"] for item in items if "✓ hit" in item["text"]} == {"i5", "i7"}
        assert {item["id"] for item in items if "new" in item["text"].split()} == {"i7", "i9"}
    assert "Pop <b> recommends: 2 of 4 are hits (2 items are held out, 1 of them new)" in page.text


def test_what_they_took_is_what_was_trained_on(page):
    assert page.items(1) == ["i0", "i1", "i2", "i3"]
    assert "Took 4 items" in page.text
    assert not any("hit" in item["text"] for item in page.lists[1])


def test_a_long_history_is_sampled_from_one_end_to_the_other(comparison, tmp_path):
    write_report(comparison, tmp_path / "page.html", users=["u0"], k=3)
    page = Page((tmp_path / "page.html").read_text())
    assert page.items(1) == ["i0", "i1", "i3"]
    assert "Took 4 items, among them" in page.text


def test_what_is_revealed_of_a_new_item_counts_as_taken(comparison, tmp_path):
    data = comparison.split.data
    part = np.where((data.user == 0) & (data.item == 8), HISTORY, comparison.split.part)
    write_report(replace(comparison, split=replace(comparison.split, part=part)), tmp_path / "page.html", users=["u0"])
    page = Page((tmp_path / "page.html").read_text())
    assert page.items(1) == ["i0", "i1", "i2", "i3", "i8"]
    assert [item["id"] for item in page.lists[1] if "new" in item["text"].split()] == ["i8"]
    assert "i8" not in page.items(2)


def test_lists_are_those_that_were_evaluated(comparison, tmp_path):
    """Recall@3 on all items, counted on the page, is the recall in the table."""
    write_report(comparison, tmp_path / "page.html", compare_two=(POP, BPR), users=list(TEST), k=3)
    page = Page((tmp_path / "page.html").read_text())
    column = {c.candidates: c for c in comparison.columns("recall@3")}["all"]
    for label, first in ((POP, 2), (BPR, 3)):
        hits = [sum(item["class"] == "hit" for item in page.lists[first + 3 * n]) for n in range(len(TEST))]
        recall = [hit / len(held) for hit, held in zip(hits, TEST.values(), strict=True)]
        assert np.mean(recall) == pytest.approx(column.cells[label].mean, abs=1e-12)


def test_scores_are_those_of_the_model_and_the_user(comparison, tmp_path):
    write_report(comparison, tmp_path / "page.html", compare_two=(BPR, POP), users=["u0", "u2"], k=4)
    page, data = Page((tmp_path / "page.html").read_text()), comparison.split.data
    for user, items in (("u0", page.lists[2]), ("u2", page.lists[5])):
        scores = comparison.fitted[BPR].scores(torch.from_numpy(data.users.numbers([user])))[0]
        expected = scores[torch.from_numpy(data.items.numbers([item["id"] for item in items]))].tolist()
        assert [item["text"].split()[-1] for item in items] == [f"{score:.3g}" for score in expected]


def test_on_validation_its_items_are_candidates(shown, tmp_path):
    c = compare({"pop": (Popularity, {})}, shown, part="valid", ks=(3,))
    write_report(c, tmp_path / "page.html", users=["u0"], k=99)
    page = Page((tmp_path / "page.html").read_text())
    assert page.items(2) == ["i4", "i5", "i6", "i7", "i8", "i9"]
    assert {item["id"] for item in page.lists[2] if item["class"] == "hit"} == {"i4", "i8"}
    assert "recall@3, valid part." in page.text


def test_what_users_wrote_is_escaped(page):
    assert page.of("script") == []
    assert "<script>alert(1)</script>" in page.text
    assert page.html.count("&lt;script&gt;alert(1)") >= 3
    assert {"title": "<script>alert(1)</script> (i0)", "class": "title"} in page.of("span")
    assert POP in page.text
    assert len(page.of("b")) == page.html.count("<b class=")


def test_pictures_are_inside_and_named(page):
    (red, blue) = page.lists[1][0], page.lists[2][0]
    for item, title, colour in ((red, "<script>alert(1)</script>", 0), (blue, "Title 5", 2)):
        (given,) = [given for tag, given in item["inside"] if tag == "img"]
        assert given["alt"] == f"picture of {title}"
        image = Image.open(io.BytesIO(base64.b64decode(given["src"].removeprefix("data:image/jpeg;base64,"))))
        assert image.size == (120, 80)
        assert np.argmax(image.getpixel((50, 50))) == colour


def test_a_missing_or_broken_picture_becomes_a_placeholder(page):
    took = {item["id"]: item for item in page.lists[1]}
    for id_, label, text in (("i1", "no picture", "One two three four five six …"), ("i2", "no picture", "i2"),
                             ("i3", "unreadable picture", "Title 3")):
        (given,) = [given for tag, given in took[id_]["inside"] if given.get("class") == "blank"]
        assert (given["role"], given["aria-label"]) == ("img", label)
        assert took[id_]["text"].split() == 2 * text.split()
        assert not any(tag == "img" for tag, _ in took[id_]["inside"])


def test_a_broken_picture_is_logged(comparison, tmp_path, caplog):
    write_report(comparison, tmp_path / "page.html", users=["u0"])
    assert "item i3 is shown without its picture" in caplog.text


def test_frames_have_the_shape_of_the_pictures(page):
    assert re.search(r"aspect-ratio: 1\.5\b", page.html)


def test_nothing_is_loaded_from_elsewhere(page):
    assert "http://" not in page.html
    assert "https://" not in page.html
    assert not re.search(r"url\((?!#)|@import|//[a-z]", page.html.replace("</", ""))
    assert not {"link", "script", "iframe", "object", "embed", "base", "audio", "video"} & {tag for tag, _ in page.tags}
    assert all(given["src"].startswith("data:image/jpeg;base64,") for _, given in page.tags if "src" in given)
    (policy,) = [given["content"] for given in page.of("meta") if "http-equiv" in given]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_every_candidate_set_is_labelled_with_its_size(page, comparison):
    for name, items, users in (("warm", 7, 4), ("cold", 2, 2), ("all", 10, 4)):
        assert page.text.count(f"{name} {items} items {users} users") == 1 + len(comparison.metrics)
        assert f"best on {name}: {items} " in page.text
    assert {"warm: 7 items", "cold: 2 items"} <= {word.strip() for word in page.words}
    assert {given.get("scope") for given in page.of("th")} == {"row", "col"}


def test_the_table_holds_the_figures_and_marks_the_best(page, comparison):
    body = page.html[page.html.index("<tbody>"):page.html.index("</tbody>")]
    rows = [re.findall(r"<td.*?</td>", row, flags=re.DOTALL) for row in body.split("</tr>")[:-1]]
    for label, cells in zip(comparison.labels, rows, strict=True):
        for column, cell in zip(comparison.columns("recall@3"), cells[:3], strict=True):
            assert f"{column.cells[label].mean:.4f}" in cell
            assert f"±&nbsp;{column.cells[label].half_width:.4f}" in cell
            assert ("★" in cell) == (label in column.best)
    assert "chance no competitor" in page.text


def test_the_foot_says_where_it_comes_from(page, comparison):
    for name, value in comparison.provenance.items():
        assert f"{name} {value}" in page.text
    assert "BPRMF(dim=4" in page.text
    assert "1 epochs run" in page.text


def test_is_accessible(page):
    assert all(given.get("alt") for given in page.of("img"))
    assert page.of("html") == [{"lang": "en"}]
    (chart,) = page.of("svg")
    assert chart["role"] == "img"
    assert chart["aria-labelledby"] in {given.get("id") for given in page.of("figcaption")}
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(later <= before + 1 for before, later in pairwise(levels))


def test_drawn_users_come_with_a_new_held_out_item_first():
    """u0 and u2 have three training items, two held-out ones, one new; all held-out items of the others are warm."""
    split = tiny().unlock_test()
    orders = {tuple(drawn(split, "test", 4, seed).tolist()) for seed in range(50)}
    assert {order[:2] for order in orders} == {(0, 2), (2, 0)}
    assert {order[2:] for order in orders} == {(1, 3), (3, 1)}
    assert np.array_equal(drawn(split, "test", 4, 5), drawn(split, "test", 4, 5))


def test_drawn_users_with_two_held_out_items_come_before_those_with_one():
    split = tiny(test={"u1": "35", "u0": "5", "u3": "7"}).unlock_test()
    assert {drawn(split, "test", 1, seed).item() for seed in range(20)} == {1}


def test_what_is_revealed_counts_for_the_draw():
    split = tiny(valid={"u3": "8"}, test={"u3": "07", "u1": "35"}).unlock_test()
    assert {drawn(split, "test", 1, seed).item() for seed in range(20)} == {1}
    split = replace(split, part=np.where(split.part == VALID, HISTORY, split.part))
    assert {drawn(split, "test", 1, seed).item() for seed in range(20)} == {3}


def test_the_draw_follows_the_seed_of_the_comparison(comparison, tmp_path):
    firsts = set()
    for seed in range(5):
        c = replace(comparison, rows=[replace(row, seed=seed) for row in comparison.rows])
        write_report(c, tmp_path / "page.html", n_users=1, k=1)
        (first,) = drawn(c.split, "test", 1, seed)
        firsts.add(first)
        text = Page((tmp_path / "page.html").read_text()).text
        assert f"User u{first} " in text
        assert f"(seed {seed})" in text
    assert len(firsts) == 2


def test_no_user_is_drawn_who_has_nothing_held_out(comparison, tmp_path):
    assert set(drawn(comparison.split, "test", 99, 0).tolist()) == {0, 1, 2, 3}
    write_report(comparison, tmp_path / "page.html", n_users=99, k=1)
    text = Page((tmp_path / "page.html").read_text()).text
    assert [f"User {id_} " in text for id_ in TRAIN] == [True, True, True, True, False]
    assert "drawn at random (seed 0)" in text


def test_users_of_ones_own_choice_are_not_called_random(page):
    assert "drawn at random" not in page.text


def test_no_users(comparison, tmp_path):
    write_report(comparison, tmp_path / "page.html", n_users=0)
    assert "recommend" not in Page((tmp_path / "page.html").read_text()).text


def test_a_user_without_history_and_without_held_out_items(comparison, tmp_path):
    part = np.where(comparison.split.data.user == 4, UNUSED, comparison.split.part)
    write_report(replace(comparison, split=replace(comparison.split, part=part)), tmp_path / "page.html", users=["u4"])
    assert "Took 0 items" in Page((tmp_path / "page.html").read_text()).text


def test_same_comparison_same_page(comparison, tmp_path):
    for name in ("a", "b"):
        write_report(comparison, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(("arguments", "error", "match"), [
    ({"compare_two": (POP, "chance")}, KeyError, r"no fitted model is called \['chance'\]; there are"),
    ({"users": ["nobody"]}, KeyError, "unknown user"),
    ({"k": 0}, ValueError, "k at least 1, got 3 and 0"),
    ({"n_users": -1}, ValueError, "n_users must be at least 0"),
])
def test_what_cannot_be_shown(comparison, tmp_path, arguments, error, match):
    with pytest.raises(error, match=match):
        write_report(comparison, tmp_path / "page.html", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_page(comparison, tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space"):
        write_report(comparison, tmp_path / "page.html")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("page.html", "old")]


@pytest.mark.parametrize(("means", "expected"), [
    ({"a": (0.9, 0.1, 0.0), "b": (0.5, 0.4, 0.0), "d": (0.6, 0.3, 0.9)}, ("b", "a")),
    ({"a": (0.9, 0.4, 0.0), "b": (0.5, 0.3, 0.0), "d": (0.6, 0.1, 0.0)}, ("a", "d")),
    ({"a": (0.5, 0.4, 0.0), "b": (0.5, 0.4, 0.0), "d": (0.5, 0.4, 0.0)}, ("a", "b")),
    ({"a": (0.5, None, 0.0), "b": (None, 0.1, 0.0), "d": (0.6, 0.1, 0.0)}, ("b", "d")),
    ({"a": (0.5, 0.4, 0.0)}, ("a",)),
])
def test_the_best_on_cold_stands_beside_the_best_other_one_on_warm(means, expected):
    c = replace(made_up({**means, "TOP": (1.0, 1.0, 1.0)}), fitted=dict.fromkeys(means, fit(Popularity, tiny())))
    assert contrast(c) == expected


def test_without_cold_items_the_two_best_on_all():
    c = made_up({"a": (0.0, 0.0, 0.1), "b": (0.0, 0.0, 0.3), "d": (0.0, 0.0, 0.2)})
    c = replace(c, fitted=dict.fromkeys("abd", fit(Popularity, tiny())))
    c.rows[:] = [row for row in c.rows if row.candidates == "all"]
    assert contrast(c) == ("b", "d")


def test_without_content_items_go_by_their_ids(tmp_path):
    c = compare({"pop": (Popularity, {})}, tiny(), ks=(3,), extra={"x": Planted(torch.zeros(5, 10))})
    write_report(c, tmp_path / "page.html", users=["u0"], k=2)
    page = Page((tmp_path / "page.html").read_text())
    assert [item["text"].split()[:2] for item in page.lists[2]] == [["i5", "i5"], ["i6", "i6"]]
    assert "aspect-ratio: 1.0" in page.html
