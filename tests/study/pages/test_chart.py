import re
import xml.etree.ElementTree as ET

import matplotlib
import pytest
from matplotlib.figure import Figure
from test_comparison import comparison

from mmgraph.study.pages.chart import chart, cut, draw


def texts(svg):
    return [element.text for element in ET.fromstring(svg.replace("xlink:", "")).iter("text")]


@pytest.fixture
def c():
    return comparison({"a": (0.5, 0.25, 0.1), "$x$ <b> -->": (0.4, None, 0.2), "TOP": (0.9, 0.9, 0.9)})


def test_names_models_candidates_and_metric_as_text(c):
    found = texts(chart(c))
    assert {"a", "$x$ <b> -->", "TOP", "warm: 1,000 items", "cold: 10 items"} <= set(found)
    assert "recall@20 (mean, 95 % interval)" in found
    assert not any(text.startswith("all") for text in found)


def test_models_stand_in_the_order_of_the_table_from_the_top(c):
    height = {e.text: float(e.get("y")) for e in ET.fromstring(chart(c).replace("xlink:", "")).iter("text")}
    assert height["a"] < height["$x$ <b> -->"] < height["TOP"]


def test_a_long_label_leaves_room_for_the_bars():
    assert "x" * 23 + "…" in texts(chart(comparison({"x" * 99: (0.5, 0.2, 0.1)})))


def test_all_items_where_there_is_no_cold_set(c):
    c.rows[:] = [row for row in c.rows if row.candidates == "all"]
    assert "all: 1,010 items" in texts(chart(c))


def test_is_an_element_of_a_page_in_the_colour_of_its_text(c):
    svg = chart(c)
    assert svg.startswith("<svg ")
    assert "http" not in svg
    assert "#010203" not in svg
    assert svg.count("currentColor") > 10
    head = svg[: svg.index(">")]
    assert "viewBox" in head
    assert not re.search(r"\s(width|height|xmlns)", head)
    assert set(re.findall(r'href="(.)', svg)) <= {"#"}


def test_the_same_twice_and_no_setting_left_behind(c):
    before = dict(matplotlib.rcParams)
    assert chart(c) == chart(c)
    assert dict(matplotlib.rcParams) == before


def test_bars_are_as_long_as_the_means(c):
    axes = Figure().subplots()
    warm, cold, _ = c.columns("recall@20")
    draw(axes, warm, c.labels, 0, 2)
    draw(axes, cold, c.labels, 1, 2)
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.4, 0.9, 0.25, 0.0, 0.9]
    middles = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
    assert middles == pytest.approx([-0.2, 0.8, 1.8, 0.2, 1.2, 2.2])
    assert [bar.get_alpha() for bar in axes.patches] == [1, 1, 0.45] * 2
    ends = [line.get_segments()[0][:, 0].tolist() for line in axes.collections]
    assert ends[0] == pytest.approx([0.49, 0.51])


def test_long_labels_are_cut():
    assert cut("x" * 24) == "x" * 24
    assert cut("x" * 25) == "x" * 23 + "…"
