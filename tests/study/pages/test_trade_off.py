from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_results import rows, written
from matplotlib.text import Text
from PIL import Image

from mmgraph.study.curves import t_interval
from mmgraph.study.outcome import report
from mmgraph.study.pages.panels import PALETTE
from mmgraph.study.pages.plots import write_plots
from mmgraph.study.pages.trade_off import (
    cold_share,
    cold_share_table,
    front,
    group_table,
    shares,
    short,
    trade_off_table,
    trades,
    warm_cold,
)
from mmgraph.study.summary import Cell, Line, Summary

PLACES = {"far": ("model", 0.9, 0.1), "both": ("model", 0.6, 0.5), "new": ("baseline", 0.2, 0.6),
          "less": ("model", 0.6, 0.4), "lost": ("model", 0.1, 0.1), "oracle": ("reference", 0.95, 0.9),
          "both, features permuted": ("control", 0.99, 0.99)}

NUMBERS = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.4])


def table(places=PLACES, marks=()):
    lines = [Line(name, kind, 1, {("warm", "ndcg@20"): Cell(warm, None, warm - 0.05, warm + 0.05, 9),
                                  ("cold", "ndcg@20"): Cell(cold, None, None, None, 9)}, None, None, None,
                  ("read twice",) if name in marks else ()) for name, (kind, warm, cold) in places.items()]
    columns = (("warm", "ndcg@20"), ("cold", "ndcg@20"))
    return Summary("t", ("cold", "ndcg@20"), columns, tuple(lines), "test")


def with_shares(results):
    """Rows that tell the shares of new items, as a study writes them; EASE shows few, VBPR many."""
    found = []
    for r in results:
        groups = {kind: {name: dict(row) for name, row in of.items()} for kind, of in r.groups.items()}
        groups["item popularity"]["0"] |= {"exposure share@20": (0.3 if r.model == "VBPR" else 0.02) + 0.01 * r.seed,
                                           "held-out share": 0.1 + 0.02 * r.seed}
        found.append(replace(r, groups=groups))
    return found


def test_the_front_by_hand():
    assert [t.method for t in trades(table()) if t.front] == ["far", "both", "new"]
    assert [t.method for t in trades(table(marks=["far"])) if t.front] == ["both", "new"]
    assert [t.method for t in trades(table({"a": ("model", 0.5, 0.5), "b": ("model", 0.5, 0.5)})) if t.front] == [
        "a", "b"]
    assert front([(0.5, 0.5), (0.5, 0.4), (0.4, 0.5), (0.1, 0.6)]) == [(0.1, 0.6), (0.5, 0.5)]


@settings(max_examples=60)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=12))
def test_nothing_beats_the_front_and_it_beats_the_rest(places):
    best = front(places)
    for p in places:
        beaten = any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in best)
        assert beaten == (p not in best)
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(best))


def test_the_line_steps_down_through_the_front_and_only_its_names_are_bold():
    axes = warm_cold([], [table()]).axes[0]
    line = next(one for one in axes.lines if one.get_label() == "Pareto front")
    assert line.get_drawstyle() == "steps-pre"
    places = list(zip(*map(list, line.get_data()), strict=True))
    assert places[1:-1] == [(0.2, 0.6), (0.6, 0.5), (0.9, 0.1)]
    assert (places[0], places[-1]) == ((axes.get_xlim()[0], 0.6), (0.9, axes.get_ylim()[0]))
    assert {t.get_text() for t in axes.texts if t.get_fontweight() == "bold"} == {"far", "both", "new"}
    assert {t.get_text() for t in axes.texts} == set(PLACES) - {"both, features permuted"}


def test_kinds_have_marks_of_their_own_and_known_intervals_are_bars():
    axes = warm_cold([], [table()]).axes[0]
    marks = {(float(one.get_xdata()[0]), float(one.get_ydata()[0])): one.get_marker() for one in axes.lines
             if one.get_linestyle() == "None"}
    assert {name: marks[warm, cold] for name, (_, warm, cold) in PLACES.items()} == {
        "far": "o", "both": "o", "less": "o", "lost": "o", "new": "s", "oracle": "D", "both, features permuted": "x"}
    spans = [list(map(float, one.get_xdata())) for one in axes.lines
             if one.get_linestyle() == "-" and one.get_label() != "Pareto front"]
    assert sorted(s[0] for s in spans) == pytest.approx(sorted(
        warm - 0.05 for kind, warm, _ in PLACES.values() if kind != "control"))


def test_no_trade_off_without_both_sets_or_with_controls_alone():
    control = table({"x": ("control", 0.1, 0.1)})
    assert warm_cold([], [control]) is None
    one = table()
    bare = replace(one, lines=tuple(replace(x, cells={("warm", "ndcg@20"): x.cells["warm", "ndcg@20"]})
                                    for x in one.lines))
    assert warm_cold([], [bare]) is None
    assert len(trade_off_table([bare])) == 0


def test_the_csv_holds_every_point():
    found = trade_off_table([table()]).set_index("method")
    assert list(found.index) == list(PLACES)
    assert found.loc["far", ["warm", "warm_low", "cold", "kind"]].tolist() == [0.9, 0.9 - 0.05, 0.1, "model"]
    assert pd.isna(found.loc["far", "cold_low"])
    assert list(found.index[found["on the front"]]) == ["far", "both", "new"]


def test_twenty_five_labels_do_not_cover_each_other():
    places = {f"LightGCN + KernelRidge, number {n}": ("model", 0.3 + 1e-3 * n, 0.1 - 1e-4 * n) for n in range(25)}
    figure = warm_cold([], [table(places)])
    figure.draw_without_rendering()
    assert len({t.get_text() for t in figure.axes[0].texts}) == 25
    boxes = sorted((Text.get_window_extent(t) for t in figure.axes[0].texts), key=lambda box: box.y0)
    assert min(b.y0 - a.y0 for a, b in pairwise(boxes)) > 0.8 * boxes[0].height
    assert min(box.x0 for box in boxes) > figure.axes[0].get_window_extent().x1
    assert max(box.x1 for box in boxes) <= figure.bbox.x1


def test_labels_are_cut_where_they_do_not_become_the_same():
    long, one, two = "a" * 30, "LightGCN + KernelRidge, masked", "LightGCN + KernelRidge, shared"
    found = short([long, one, two, "short"])
    assert found[long] == "a" * 23 + "…"
    assert (found[one], found[two]) == ("LightGCN + …idge, masked", "LightGCN + …idge, shared")
    assert found["short"] == "short"
    assert max(map(len, found.values())) <= 24


def test_share_of_new_items_beside_the_truth_by_hand():
    results = with_shares(rows({"VBPR": "model", "EASE": "baseline", "chance": "reference"}, seeds=(0, 1)))
    assert [s.method for s in shares(results)] == ["VBPR", "EASE"]
    first = shares(results)[0]
    assert first.lists == pytest.approx(t_interval([0.3, 0.31]))
    assert first.truth == pytest.approx(0.11)
    axes = cold_share(results, []).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.305, 0.025])
    truths = [one for one in axes.lines if one.get_color() == PALETTE[1]]
    assert [list(one.get_xdata()) for one in truths] == [pytest.approx([0.11, 0.11])] * 2
    assert cold_share_table(results)[["method", "share", "truth"]].values.tolist() == [
        ["VBPR", pytest.approx(0.305), pytest.approx(0.11)], ["EASE", pytest.approx(0.025), pytest.approx(0.11)]]


def test_rows_that_do_not_tell_the_shares_have_no_chart(tmp_path):
    results = rows({"VBPR": "model"}, seeds=(0,))
    assert cold_share(results, []) is None
    assert "cold_share" not in {file.stem for file in write_plots(results, [], tmp_path)}


def test_groups_as_a_long_table():
    results = rows({"VBPR": "model", "EASE": "baseline"}, seeds=(0, 1))
    found = group_table(results).set_index(["kind", "group", "method", "metric"])
    mine = [r.groups for r in results if r.model == "EASE"]
    for kind, group in (("item popularity", "0"), ("user activity", "4–5")):
        row = found.loc[(kind, group, "EASE", "recall@20")]
        assert row["mean"] == pytest.approx(sum(g[kind][group]["recall@20"] for g in mine) / 2)


@pytest.mark.slow
def test_the_report_shows_them_and_removes_what_is_no_longer_there(tmp_path):
    written(tmp_path / "r", with_shares(rows({"VBPR": "model", "EASE": "baseline"}, seeds=(0, 1), n_trials=2,
                                             n_epochs=2)))
    out = tmp_path / "out"
    out.mkdir()
    for old in ("curves.csv", "curve_old.png"):
        (out / old).write_text("old")
    report(tmp_path / "r", out)
    made = {file.name for file in out.iterdir()}
    assert {"trade_off.csv", "cold_share.csv", "groups.csv", "cold_share.png", "warm_cold.png"} <= made
    assert not {"curves.csv", "curve_old.png", "single_modality.csv", "single_modality.png"} & made
    with Image.open(out / "cold_share.png") as picture:
        assert picture.width == 690
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Do new items get their places?" in page
    assert "Is the fusion worth it?" not in page
    best = pd.read_csv(out / "trade_off.csv")
    assert "On it: " + ", ".join(best["method"][best["on the front"]]) + "." in page
