from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
from made_results import rows, written
from matplotlib.text import Text

from mmgraph.study.curves import Point, append_points, averages, t_interval
from mmgraph.study.outcome import report
from mmgraph.study.pages.curve_charts import (
    AXES,
    curve_chart,
    curve_figures,
    curve_names,
    curve_table,
    fusions,
    single_modality,
    single_modality_figures,
    single_modality_table,
    strongest,
)
from mmgraph.study.pages.panels import GREY, PALETTE
from mmgraph.study.pages.plots import svg, write_plots

EVIL = '<script>x</script> "co"'


def made(n=3, curve="warm-up", xs=(0, 1, 5), sets=("cold", "all"), metrics=("ndcg@20",), draws=(0, 1, 2)):
    """Method 0 is best everywhere."""
    return [Point(curve, f"method {m}", x, metric, on, 0.5 - 0.02 * m + 0.01 * x + 0.001 * (d or 0), n=9, draw=d)
            for m in range(n) for x in xs for metric in metrics for on in sets for d in draws]


def runs(values):
    """Label → value per seed, on all sets."""
    first = rows({"M": "model"}, seeds=(0, 1, 2))[:3]
    return [replace(r, model=label, metrics={"cold": {"ndcg@20": value}})
            for label, given in values.items() for r, value in zip(first, given, strict=False)]


FUSED = {"VBPR": [0.3, 0.4, 0.8], "VBPR (image only)": [0.1, 0.2, 0.3], "VBPR (text only)": [0.2, 0.3, 0.6],
         "VBPR (gated)": [0.1, 0.1, 0.1], "EASE": [0.9, 0.9, 0.9], "VBPRX": [0.5, 0.5, 0.5],
         "GRCN (image only)": [0.7, 0.7, 0.7]}


def test_every_line_and_its_band_by_hand():
    points = made()
    axes = curve_chart(points, "warm-up", "ndcg@20").axes
    assert [one.get_title(loc="left") for one in axes] == ["cold items", "all items"]
    assert axes[1].get_xlabel() == AXES["warm-up"]
    lines = axes[0].lines
    assert [list(map(float, line.get_xdata())) for line in lines] == [[0, 1, 5]] * 3
    for number, line in enumerate(lines):
        assert list(line.get_ydata()) == pytest.approx([0.5 - 0.02 * number + 0.01 * x + 0.001 for x in (0, 1, 5)])
        low, high = t_interval([0.5 - 0.02 * number + 0.001 * d for d in range(3)])[1:]
        band = axes[0].collections[number].get_paths()[0].vertices
        assert {round(float(y), 9) for x, y in band if x == 0} == {round(low, 9), round(high, 9)}
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 3
    assert {t.get_text(): t.get_color() for t in axes[0].texts} == {
        f"method {m}": line.get_color() for m, line in enumerate(lines)}


def test_of_many_methods_the_six_best_stand_out_and_all_are_named_apart():
    figure = curve_chart(made(20), "warm-up", "ndcg@20")
    figure.draw_without_rendering()
    for axes in figure.axes:
        colours = [line.get_color() for line in axes.lines]
        assert colours == [GREY] * 14 + list(PALETTE)
        assert len(axes.collections) == 6
        boxes = {t.get_text(): Text.get_window_extent(t) for t in axes.texts}
        order = sorted(boxes, key=lambda name: boxes[name].y0)
        assert order == [f"method {m}" for m in reversed(range(20))]
        assert min(boxes[b].y0 - boxes[a].y0 for a, b in pairwise(order)) > 0.8 * boxes[order[0]].height
        assert min(box.x0 for box in boxes.values()) > axes.get_window_extent().x1
        assert max(box.x1 for box in boxes.values()) <= figure.bbox.x1


def test_the_strongest_are_best_by_rank_and_not_by_one_great_value():
    points = [Point("c", m, x, "m", "all", v) for m, given in {"a": (9.0, 0.1, 0.1), "b": (1.0, 0.3, 0.3),
              "c": (0.5, 0.2, 0.2)}.items() for x, v in enumerate(given)]
    assert strongest(averages(points), 2) == ["b", "a"]


def test_one_picture_for_each_curve_and_metric_and_none_is_lost():
    points = made(1, metrics=("ndcg@20", "ndcg 20", "recall@20")) + made(1, curve="missing rate, at test")
    names = curve_names(points)
    assert list(names.values()) == [("warm-up", "ndcg@20"), ("warm-up", "ndcg 20"), ("warm-up", "recall@20"),
                                    ("missing rate, at test", "ndcg@20")]
    assert all(name.replace("_", "").isalnum() for name in names)
    figure = curve_chart(points, "missing rate, at test", "ndcg@20")
    assert figure.axes[-1].get_xlabel() == AXES["missing rate"]
    other = curve_chart(made(1, curve="noise"), "noise", "ndcg@20")
    assert other.axes[-1].get_xlabel() == "noise"
    assert curve_chart(points, "noise", "ndcg@20") is None


def test_a_single_place_and_points_without_intervals_are_drawn(tmp_path):
    points = made(8, xs=(0.5,), draws=(None,))
    axes = curve_chart(points, "warm-up", "ndcg@20").axes[0]
    assert [line.get_marker() for line in axes.lines[:2]] == [".", "."]
    assert [file.name for file in write_plots([], [], tmp_path, points=points)] == ["curve_warm_up_ndcg_20.png"]
    assert write_plots([], [], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_figures_and_csv_are_the_averages():
    points = made(2)
    assert list(curve_table(points).itertuples(index=False, name=None)) == [tuple(m) for m in averages(points)]
    shown = curve_figures(points, "warm-up")["ndcg@20, cold items: warm-up"]
    assert shown["columns"] == ["0", "1", "5"]
    one = next(m for m in averages(points) if (m.method, m.candidates, m.x) == ("method 1", "cold", 5))
    assert shown["rows"]["method 1"]["5"] == (one.value, one.low, one.high)


def test_a_fusion_stands_beside_the_best_of_its_own_modalities():
    found = {f.method: f for f in fusions(runs(FUSED), [])}
    assert set(found) == {"VBPR", "VBPR (gated)"}
    one = found["VBPR"]
    assert (one.single, one.candidates, one.metric) == ("VBPR (text only)", "cold", "ndcg@20")
    assert one.value == pytest.approx(t_interval([0.3, 0.4, 0.8]))
    assert one.difference == pytest.approx(t_interval([0.1, 0.1, 0.2]))
    assert found["VBPR (gated)"].difference[0] < 0


def test_differences_are_paired_by_split_and_seed():
    results = runs(FUSED)
    moved = [replace(r, split={**r.split, "fingerprint": "6" * 16}) if r.model == "VBPR (text only)" and r.seed == 2
             else r for r in results]
    assert {f.method: f for f in fusions(moved, [])}["VBPR"].difference == pytest.approx(t_interval([0.1, 0.1]))
    away = [replace(r, seed=r.seed + 9) if r.model == "VBPR (text only)" else r for r in results]
    assert {f.method: f for f in fusions(away, [])}["VBPR"].difference is None
    table = single_modality_figures(away, [])
    assert set(next(iter(table.values()))["rows"]["VBPR against VBPR (text only)"]) == {"fusion",
                                                                                        "best single modality"}


def test_bars_of_fusions_in_pairs():
    axes = single_modality(runs(FUSED), []).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.5, 0.1, 1.1 / 3, 1.1 / 3])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["VBPR", "text only", "VBPR (gated)", "text only"]
    table = single_modality_table(runs(FUSED), []).set_index("fusion")
    assert table.loc["VBPR", ["best single", "difference"]].tolist() == ["VBPR (text only)", pytest.approx(0.4 / 3)]
    assert single_modality(runs({"VBPR": [0.1], "EASE": [0.2]}), []) is None


@pytest.mark.slow
def test_the_report_has_a_section_for_each_curve_and_for_the_fusion(tmp_path):
    kinds = {"VBPR": "model", "VBPR (image only)": "model", "EASE": "baseline"}
    written(tmp_path, rows(kinds, seeds=(0, 1), n_trials=2, n_epochs=2))
    append_points(tmp_path, [replace(p, method=EVIL if p.method == "method 0" else p.method)
                             for curve in AXES for p in made(2, curve=curve)])
    report(tmp_path)
    out = tmp_path / "report"
    page = (out / "report.html").read_text(encoding="utf-8")
    for title in ("Curve: warm-up", "Curve: missing rate", "Is the fusion worth it?"):
        assert f"<h2>{title}</h2>" in page
    assert "<script>x" not in page
    assert 'id="section-curve-warm-up-ndcg-20"' in page
    made_files = {file.name for file in out.iterdir()}
    assert {"curves.csv", "single_modality.csv", "single_modality.png", "curve_warm_up_ndcg_20.png",
            "curve_missing_rate_ndcg_20.png"} <= made_files
    assert len(pd.read_csv(out / "curves.csv")) == 2 * 2 * 2 * 3


def test_curves_alone_get_pictures_and_figures_but_no_page(tmp_path):
    append_points(tmp_path, made(1))
    assert report(tmp_path) == []
    assert {file.name for file in (tmp_path / "report").iterdir()} == {"curves.csv", "curve_warm_up_ndcg_20.png"}


def test_labels_are_text_whatever_they_hold():
    points = [replace(p, method=EVIL) for p in made(1)]
    drawn = svg("curve_warm_up_ndcg_20", "x", [], [], points=points)
    assert "<script>" not in drawn
    assert "&lt;script&gt;x" in drawn
