import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import BUCKETS, rows, summary
from matplotlib.figure import Figure
from PIL import Image

from mmgraph.study.pages.chart import STYLE
from mmgraph.study.pages.panels import PALETTE, SETTINGS, Point, apart, plane
from mmgraph.study.pages.plots import (
    accuracy_time,
    bars,
    learning_curves,
    popularity_chart,
    search_chart,
    svg,
    trace,
    warm_cold,
    write_plots,
)

ALL = ["accuracy_time", "warm_cold", "popularity", "shapley", "learning_curves", "search"]


def texts(drawing):
    return [element.text for element in ET.fromstring(drawing).iter("text")]


@pytest.fixture(scope="module")
def results():
    return rows(seeds=(0, 1))


@pytest.fixture(scope="module")
def table(results):
    return summary(results)


def test_every_chart_with_data_is_a_picture_and_no_other(tmp_path, results, table):
    files = write_plots(results, [table], tmp_path / "new")
    assert [file.stem for file in files] == ALL
    for file in files:
        with Image.open(file) as picture:
            assert picture.width == 690
            assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 5
    bare = [replace(r, search={}, history=(), shapley={}) for r in results]
    assert [file.stem for file in write_plots(bare, [], tmp_path / "new")] == ["popularity"]
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["popularity.png"]


def test_nothing_to_draw(tmp_path):
    assert write_plots([], [], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_charts_do_not_touch_the_settings_of_others(results, table):
    before = dict(matplotlib.rcParams)
    assert svg("warm_cold", "x", results, [table]) == svg("warm_cold", "x", results, [table])
    assert dict(matplotlib.rcParams) == before


def test_parts_of_a_page_have_ids_of_their_own_and_its_colour(results, table):
    one, two = (svg("accuracy_time", name, results, [table]) for name in ("one", "two"))
    ids = [set(re.findall(r'\sid="([^"]*)"', text)) for text in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert {ref[1:] for ref in re.findall(r'href="([^"]*)"', one)} <= ids[0]
    assert 'aria-labelledby="one-title"' in one
    assert "currentColor" in one
    assert "#010203" not in one
    assert "http" not in one


def test_labels_are_text_whatever_they_hold(results):
    evil = '<script>x</script> id="a" $y$'
    made = [replace(r, model=evil) if r.model == "VBPR" else r for r in results]
    found = texts(svg("warm_cold", "x", made, [summary(made)]))
    assert '<script>x</script> id="…' in found


def test_a_point_stands_at_time_and_mean_and_controls_are_left_out(results, table):
    axes = accuracy_time(results, [table]).axes[0]
    dots = {(float(one.get_xdata()[0]), float(one.get_ydata()[0])) for one in axes.lines
            if one.get_linestyle() == "None"}
    lines = [line for line in table.lines if line.kind in ("model", "baseline")]
    assert dots == {(line.fit_seconds, line.cells["all", "recall@20"].mean) for line in lines}
    assert axes.get_xscale() == "log"
    assert {t.get_text() for t in axes.texts} == {line.model for line in lines}


def test_warm_against_cold_has_both_intervals_and_the_references(results, table):
    axes = warm_cold(results, [table]).axes[0]
    line = next(line for line in table.lines if line.kind == "reference")
    warm, cold = line.cells["warm", "recall@20"], line.cells["cold", "recall@20"]
    spans = [(tuple(span.get_xdata()), tuple(span.get_ydata())) for span in axes.lines if span.get_linestyle() == "-"]
    assert ((warm.low, warm.high), (cold.mean, cold.mean)) in spans
    assert ((warm.mean, warm.mean), (cold.low, cold.high)) in spans
    only_all = replace(table, lines=tuple(replace(one, cells={k: c for k, c in one.cells.items() if k[0] == "all"})
                                          for one in table.lines))
    assert warm_cold(results, [only_all]) is None


def test_popularity_shows_each_model_before_all_others(results, table):
    figure = popularity_chart(results, [table])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["FREEDOM", "VBPR", "LightGCN", "Popularity", "EASE"]
    for axes in figure.axes:
        assert [t.get_text() for t in axes.get_xticklabels()] == list(BUCKETS)
        assert [line.get_color() for line in axes.lines].count(PALETTE[0]) == 1
        assert len(axes.lines) == 5
    coloured = next(line for line in figure.axes[1].lines if line.get_color() == PALETTE[0])
    mine = [r.groups["item popularity"] for r in results if r.model == "VBPR" and r.control is None]
    assert list(coloured.get_ydata()) == pytest.approx([sum(g[b]["recall@20"] for g in mine) / 2 for b in BUCKETS])


def test_shapley_bars_are_as_long_as_the_shares():
    axes = Figure().subplots()
    bars(axes, {"a": {"text": (0.3, 0.01), "(none)": (0.5, None)}, "b": {"text": (-0.1, None)}}, ["text", "(none)"])
    assert [bar.get_width() for bar in axes.patches] == [0.3, -0.1, 0.5, 0.0]
    assert axes.get_legend_handles_labels()[1] == ["text", "without content"]


def test_one_line_per_run_and_a_dot_at_its_best_epoch(results, table):
    figure = learning_curves(results, [table])
    axes = next(a for a in figure.axes if a.get_title(loc="left") == "VBPR")
    runs = [[(e["epoch"], e["valid"]) for e in r.history if e["valid"] is not None]
            for r in results if r.model == "VBPR" and r.control is None]
    lines = [list(zip(*one.get_data(), strict=True)) for one in axes.lines]
    assert lines[0::2] == runs
    assert lines[1::2] == [[max(run, key=lambda point: point[1])] for run in runs]


def test_the_trace_by_hand():
    states = [("complete", 0.2), ("failed", None), ("pruned", 0.9), ("complete", 0.1), ("complete", 0.4)]
    trials = [{"number": n, "valid": v, "state": s} for n, (s, v) in enumerate(states)]
    axes = Figure().subplots()
    trace(axes, {"trials": trials, "chosen": 4})
    found = {line.get_label(): [list(map(float, d)) for d in line.get_data()] for line in axes.lines}
    assert found["complete"] == [[0, 3, 4], [0.2, 0.1, 0.4]]
    assert found["pruned"] == [[2], [0.9]]
    assert found["no value"][0] == [1]
    assert found["best so far"] == [[0, 3, 4], [0.2, 0.2, 0.4]]
    assert found["chosen"] == [[4], [0.4]]


def test_controls_that_took_over_the_settings_have_no_search_of_their_own(results):
    made = [r if r.control is None else
            replace(r, search=next(o.search for o in results if o.model == r.model and o.control is None))
            for r in results]
    titles = [axes.get_title(loc="left") for axes in search_chart(made, []).axes]
    assert titles == ["FREEDOM", "VBPR", "LightGCN", "Popularity", "EASE"]


def test_several_data_sets_have_a_panel_each(results, table):
    other = [replace(r, data={**r.data, "name": "sports"}) for r in results]
    assert len(accuracy_time([], [table, replace(table, title="sports")]).axes) == 2
    titles = [axes.get_title(loc="left") for axes in learning_curves(results + other, []).axes]
    assert sum(title.startswith("baby") for title in titles) == sum(title.startswith("sports") for title in titles) == 3


def test_no_label_covers_another_with_twenty_models():
    figure = plane({"": [Point(f"model {n}", "model", float(n), 0.1 + 1e-4 * n) for n in range(20)]}, "x", "y")
    figure.draw_without_rendering()
    boxes = sorted(text.get_window_extent().y0 for text in figure.axes[0].texts)
    high = figure.axes[0].texts[0].get_window_extent().height
    assert min(b - a for a, b in pairwise(boxes)) > 0.8 * high


@given(st.lists(st.floats(0, 1), max_size=12).map(sorted), st.floats(0.001, 0.08))
def test_places_keep_their_distance_and_order(places, gap):
    found = apart(places, gap)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(found))
    assert not found or found[-1] <= 1 + 1e-9
    if all(b - a >= gap for a, b in pairwise(places)):
        assert found == pytest.approx(places)


def test_a_crowd_is_centred_and_the_lonely_stay():
    assert apart([0.1, 0.5, 0.5, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.4, 0.5, 0.6, 0.9])
    assert apart([0.0, 0.0, 1.0, 1.0], 0.2) == pytest.approx([0.0, 0.2, 0.8, 1.0])


def test_all_charts_share_their_style():
    assert STYLE.items() <= SETTINGS.items()
