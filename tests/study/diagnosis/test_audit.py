import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from mmgraph.study.diagnosis.audit import Section, box, popularity_chart, shown, write_audit
from mmgraph.study.diagnosis.findings import Cells, Diagnosis, Finding

SIZES = {"users": 1234, "items": 56, "train": 7890, "history": 0, "valid": 12, "test": 34, "unused": 0}
CELLS = (Cells("train", "test", ((0, 0, 5), (1, 2, 3), (4, 0, 1)), 0.357, 0.86),
         Cells("valid", "test", ((0, 0, 5), (1, 1, 4)), None, None))


def finding(name, value, threshold, worse="above"):
    return Finding(name, value, threshold, f"text of {name} <b>", f"why {name}", f"advice {name}", worse, {"n <": 3.0})


def diagnosis(*findings, popularity=CELLS):
    return Diagnosis("0123456789abcdef", "Given(valid=0.0), seed 0", SIZES, findings, popularity)


class Page(HTMLParser):
    VOID = frozenset({"meta", "br", "path", "use"})

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.words, self.open = html, [], [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def ids(self):
        return [given["id"] for _, given in self.tags if "id" in given]


@pytest.fixture
def page(tmp_path):
    good = finding("calm", 0.1, 0.5)
    bad = diagnosis(good, finding("loud", 0.75, 0.5), finding("low", 0.2, 0.4, "below"), finding("blank", None, None))
    write_audit({"Tik <Tok>": bad, "Baby": diagnosis(good)}, tmp_path / "a.html",
                sections=[Section("Effect <i>", [{"model": "EASE", "recall": 0.08252, "n": 12345, "gain": None},
                                                 {"model": "RP3", "recall": 0.1, "n": 1, "gain": "+1 %"}], "So & so."),
                          ("Plain", [], "only words")])
    return Page((tmp_path / "a.html").read_text(encoding="utf-8"))


def test_says_what_is_wrong_and_what_to_do(page):
    assert "2 of 3 checks warn: loud, low." in page.text
    assert "No warning in 1 checks." in page.text
    assert "text of loud <b>" in page.text
    assert "why loud To do: advice loud" in page.text
    assert "text of blank <b>" in page.text
    assert "2 warnings" in page.text
    assert "no warning" in page.text
    assert "the test parts were read" in page.text
    assert "Given(valid=0.0), seed 0; fingerprint 0123456789abcdef" in page.text
    assert "1,234 users, 56 items; interactions: training 7,890, validation 12, test 34." in page.text


def test_warnings_come_first_and_every_check_has_its_line(page):
    at = [page.text.index(f"text of {name}") for name in ("loud", "low", "calm", "blank")]
    assert at == sorted(at)
    assert page.html.count('<tbody class="flagged">') == 2
    assert "loud 0.75 > 0.5 ⚠ warning" in page.text.replace("\xa0", " ")
    assert "low 0.2 < 0.4 ⚠ warning" in page.text.replace("\xa0", " ")
    assert "blank – – – not checked" in page.text.replace("\xa0", " ")
    assert page.text.count("n < 3") == 5


def test_further_tables(page):
    assert "Effect <i> model recall n gain EASE 0.0825 12,345 – RP3 0.1000 1 +1 % So & so." in page.text
    assert "Plain only words" in page.text


def test_needs_nothing_else_and_runs_nothing(page):
    assert "http" not in page.html.replace('http-equiv', "")
    assert not [tag for tag, given in page.tags if tag in ("script", "link", "iframe") or "src" in given]
    assert "default-src 'none'" in page.html
    assert "<b>" not in re.sub(r"<b>To do:</b>", "", page.html)  # names and texts are escaped


def test_ids_are_unique_and_charts_are_labelled(page):
    ids = page.ids()
    assert len(ids) == len(set(ids))
    labels = [given["aria-labelledby"] for tag, given in page.tags if tag == "svg"]
    assert len(labels) == 4
    assert set(labels) <= set(ids)
    refs = [given["href"][1:] for _, given in page.tags if given.get("href", "").startswith("#")]
    assert set(refs) <= set(ids)
    assert "r = 0.36 (0.86 if" in page.text.replace("\xa0", " ")
    assert "r = – (– if" in page.text.replace("\xa0", " ")


def test_a_dot_for_each_box_on_named_axes():
    svg = popularity_chart(CELLS[0], "c")
    tree = ET.fromstring(svg)
    texts = [element.text for element in tree.iter("text")]
    assert {"interactions in training", "interactions in test", "0", "1", "2+", "4+", "8+"} <= set(texts)
    dots = [g for g in tree.iter("g") if g.get("id", "").startswith("c-PathCollection")]
    assert len(list(dots[0].iter("use"))) + len([p for p in dots[0].iter("path")]) >= 3
    assert popularity_chart(CELLS[0], "c") == svg


def test_boxes_are_named_by_the_least_count_they_hold():
    assert [box(at) for at in range(5)] == ["0", "1", "2+", "4+", "8+"]
    assert [shown(v) for v in (None, 0.5, 1234, "x")] == ["–", "0.5000", "1,234", "x"]


def test_nothing_to_show_and_ragged_tables_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one diagnosis"):
        write_audit({}, tmp_path / "a.html")
    with pytest.raises(ValueError, match="differ in their columns"):
        write_audit({"a": diagnosis()}, tmp_path / "a.html", sections=[("t", [{"x": 1}, {"y": 2}], "")])
    assert not (tmp_path / "a.html").exists()


def test_a_diagnosis_without_charts(tmp_path):
    write_audit({"a": diagnosis(finding("calm", 0, 1), popularity=())}, tmp_path / "a.html")
    assert "<svg" not in (tmp_path / "a.html").read_text(encoding="utf-8")
