from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made_results import rows, written

from mmgraph.eval.corrections import critical_difference
from mmgraph.study.grouping import tables
from mmgraph.study.outcome import report
from mmgraph.study.pages.plots import svg, write_plots
from mmgraph.study.pages.ranks import Ranks, caption, rank_blocks, ranked, split_scores
from mmgraph.study.pages.ranks_chart import limits, ranks_chart, spans
from mmgraph.study.result import per_user
from mmgraph.study.summary import summarise

THREE = {"VBPR": "model", "Popularity": "baseline", "EASE": "baseline", "validation popularity": "reference"}
NAMES = ["VBPR", "Popularity", "EASE"]
ALL = ("all", "recall@20")


def made(**more):
    return [r for r in rows(THREE, seeds=(0, 1), metrics=("recall@20",), n_trials=2, n_epochs=2, **more)
            if r.control is None]


def on_split(results, number):
    """The same rows on another split of the same table, in another order of the models."""
    split = {**results[0].split, "fold": number, "fingerprint": f"{number:016d}"}
    level = {name: 0.1 - 0.01 * ((at + number // 2) % 3) for at, name in enumerate(THREE)}
    return [replace(r, split=split, metrics={on: {"recall@20": level[r.model]} for on in r.metrics}) for r in results]


def frame(scores, names="abcdefgh"):
    return pd.DataFrame(scores, columns=list(names[: len(scores[0])]))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    results = written(folder, made(n_users=40))
    return results, folder, summarise(results, folder)


def test_the_users_of_one_table_are_blocks_averaged_over_seeds(one):
    results, folder, summaries = one
    found, = rank_blocks(results, folder, summaries)
    values = {}
    for name in NAMES:
        per_seed = [per_user(folder, r).to_pandas().query("candidates == 'all'").set_index("user")["recall@20"]
                    for r in results if r.model == name]
        values[name] = (per_seed[0] + per_seed[1]) / 2
    average = {n: np.mean([1 + sum(values[m][u] > values[n][u] for m in NAMES) for u in values[n].index])
               for n in NAMES}
    assert dict(found.ranks) == pytest.approx(average)
    assert list(found.ranks) == sorted(average, key=average.get)
    assert (found.blocks, found.n, found.headline) == ("users", 40, ALL)
    assert found.difference == critical_difference(list(average.values()), 40).difference
    assert f"{summaries[0].title}: 40 users as blocks, recall@20, all items" in caption([found])


def test_three_splits_are_blocks_and_no_value_per_user_is_read(tmp_path):
    results = [r for k in range(4) for r in on_split(made(n_users=5), k)]
    written(tmp_path, results)
    summaries = summarise(results := written(tmp_path / "all", results), tmp_path / "all")
    found, = rank_blocks(results, tmp_path / "nowhere", summaries)
    assert (found.blocks, found.n) == ("splits", 4)
    # places of VBPR, Popularity, EASE: 1 2 3 on the first two splits; 2 3 1 on the others
    assert dict(found.ranks) == {"VBPR": 1.5, "EASE": 2.0, "Popularity": 2.5}
    assert found.cliques == (("VBPR", "EASE", "Popularity"),)


def test_tables_that_share_their_competitors_are_blocks_together(tmp_path):
    results = [r for data in ("baby", "sports", "clothing") for r in made(data=data, n_users=5)]
    results += [r for r in made(data="other", n_users=5) if r.model != "EASE"]
    results = written(tmp_path, results)
    found, = rank_blocks(results, tmp_path, summarise(results, tmp_path))
    assert (found.title, found.blocks, found.n) == ("baby, sports, clothing", "tables", 3)
    assert set(found.ranks) == set(NAMES)
    two = [r for r in results if r.data["name"] in ("baby", "sports")]
    assert [(one.blocks, one.n) for one in rank_blocks(two, tmp_path, summarise(two, tmp_path))] == [("users", 5)] * 2


def test_a_user_of_two_splits_has_the_mean_of_both(tmp_path):
    results = [r for k in range(2) for r in on_split(made(n_users=20), k)]
    results = written(tmp_path, results)
    found, = rank_blocks(results, tmp_path, summarise(results, tmp_path))
    values = {name: np.mean([per_user(tmp_path, r).to_pandas().query("candidates == 'all'")["recall@20"]
                             for r in results if r.model == name], axis=0) for name in NAMES}
    assert (found.blocks, found.n) == ("users", 20)
    assert dict(found.ranks) == pytest.approx(
        {n: np.mean(1 + sum((values[m] > values[n]).astype(int) for m in NAMES)) for n in NAMES})


def test_a_marked_competitor_is_left_out_and_named_and_two_are_no_diagram(tmp_path, one):
    results, folder, summaries = one
    lines = tuple(replace(x, marks=("seen before",)) if x.model == "EASE" else x for x in summaries[0].lines)
    assert rank_blocks(results, folder, [replace(summaries[0], lines=lines)]) == []
    more = written(tmp_path, [*made(), *[replace(r, model="other", marks=("careful",)) for r in made()
                                         if r.model == "EASE"]])
    found, = rank_blocks(more, tmp_path, summarise(more, tmp_path))
    assert found.left_out == ("other",)
    assert "Left out (warning, or no value): other." in caption([found])


def test_what_is_no_accuracy_is_not_ranked(one):
    results, folder, _ = one
    assert rank_blocks(results, folder, summarise(results, folder, columns=[("all", "gini@20")])) == []


def test_summaries_of_other_rows_are_refused(one):
    results, folder, summaries = one
    with pytest.raises(KeyError, match="summarise the same results"):
        rank_blocks(results, folder, [replace(summaries[0], title="other")])


def test_a_split_on_which_one_has_no_value_is_no_block():
    results = [r for k in range(3) for r in on_split(made(), k)]
    results[0] = replace(results[0], metrics={"all": {"recall@20": None}})
    results[1] = replace(results[1], metrics={"all": {"recall@20": None}})
    runs = {"t": {name: [r for r in results if r.model == name] for name in NAMES}}
    assert len(split_scores(runs, ALL)) == 2
    assert len(tables(results)) == 1


def test_ties_are_ties_whatever_the_order_of_adding_up():
    scores = [[(0.1 + 0.2) + 0.3, 0.1 + (0.2 + 0.3), 0.5]] * 30
    assert scores[0][0] != scores[0][1]
    found = ranked("", "users", frame(scores), ALL)
    assert dict(found.ranks) == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert found.cliques == (("a", "b"),)


def test_without_a_finding_of_friedman_all_are_joined():
    found = ranked("", "tables", frame([[3, 2, 1], [1, 3, 2], [2, 1, 3]]), ALL)
    assert found.p == pytest.approx(1)
    assert [set(clique) for clique in found.cliques] == [{"a", "b", "c"}]
    assert "none can be told from another" in caption([found])


def test_two_models_far_apart_are_joined_all_the_same_where_friedman_finds_nothing():
    scores = [[5, 0, 3, 4, 2, 6, 7, 1], [7, 0, 5, 2, 4, 3, 6, 1], [7, 0, 1, 6, 3, 4, 5, 2], [4, 3, 6, 0, 7, 2, 1, 5],
              [7, 2, 0, 5, 3, 1, 4, 6], [4, 0, 7, 6, 2, 3, 1, 5]]
    found = ranked("", "tables", frame(scores), ALL)
    assert np.ptp(list(found.ranks.values())) > found.difference
    assert found.p > 0.05
    assert found.cliques == (tuple(found.ranks),)
    assert len(ranked("", "tables", frame(scores), ALL, alpha=0.1).cliques) > 1


def hand(ranks, difference, cliques):
    return Ranks("t", "users", 9, ALL, ranks, 0.001, difference, cliques)


def test_the_diagram_by_hand():
    one = hand({"best": 1.0, "second": 2.0, "third": 3.5, "last": 4.0}, 1.2, (("best", "second"), ("third", "last")))
    axes = ranks_chart([one]).axes[0]
    bars = [line for line in axes.lines if line.get_linewidth() == 3.2]
    width = np.ptp(axes.get_xlim())
    assert [tuple(bar.get_xdata()) for bar in bars] == [pytest.approx((1, 2), abs=0.011 * width),
                                                       pytest.approx((3.5, 4), abs=0.011 * width)]
    assert len({bar.get_ydata()[0] for bar in bars}) == 1
    cd = next(line for line in axes.lines if line.get_gid() == "cd")
    assert np.ptp(cd.get_xdata()) == pytest.approx(1.2)
    elbows = {tuple(line.get_xdata()): line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 3}
    left, right = axes.get_xlim()
    assert set(elbows) == {(left, 1, 1), (left, 2, 2), (right, 3.5, 3.5), (right, 4, 4)}
    assert all(y[-1] == 0 for y in elbows.values())
    labels = {t.get_text(): t for t in axes.texts}
    for name, x in one.ranks.items():
        edge, row = labels[name].xy
        assert elbows[edge, x, x][0] == row < min(bar.get_ydata()[0] for bar in bars)
    assert labels["best"].get_ha() == "right"
    assert labels["last"].get_ha() == "left"
    assert {"← best", "average rank", "CD = 1.20"} <= set(labels)
    assert all(1 <= tick <= 4 for tick in axes.get_xticks())


def test_bars_that_overlap_or_nearly_touch_have_levels_of_their_own():
    one = hand({"a": 1.0, "b": 2.0, "c": 3.0, "d": 3.02, "e": 4.0, "f": 5.0},
               2.1, (("a", "b", "c"), ("b", "c", "d"), ("d", "e"), ("e", "f")))
    assert [level for *_, level in spans(one)] == [0, 1, 2, 0]


def test_small_differences_among_many_users_fill_the_axis():
    one = hand({"a": 2.95, "b": 3.0, "c": 3.01, "d": 3.02, "e": 3.02}, 0.004, ())
    assert limits(one) == (2.95, 3.02)
    axes = ranks_chart([one]).axes[0]
    assert len(axes.get_xticks()) >= 3
    assert "CD = 0.0040" in {t.get_text() for t in axes.texts}
    assert limits(hand({"a": 2.9, "b": 3.1, "c": 3.0}, 0.5, ())) == (2.9, 3.4)
    assert limits(hand({"a": 1.2, "b": 2.0, "c": 2.8}, 1.9, ())) == (1.0, 3.0)


def test_labels_do_not_cover_each_other_with_twenty_models():
    rng = np.random.default_rng(0)
    scores = pd.DataFrame(rng.random((3000, 20)), columns=[f"model {n}" for n in range(20)])
    figure = ranks_chart([ranked("", "users", scores, ALL)])
    figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in figure.axes[0].texts]
    assert len(boxes) == 23
    covering = [(a, b) for n, a in enumerate(boxes) for b in boxes[:n] if a.overlaps(b)]
    assert not covering
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes)


def test_a_picture_and_a_part_of_the_page_only_where_there_are_ranks(tmp_path):
    one = hand({"a": 1.0, "b": 2.0, "c": 3.0}, 1.2, ())
    assert [f.name for f in write_plots([], [], tmp_path, ranks=[one])] == ["ranks.png"]
    assert 'aria-labelledby="x-title"' in svg("ranks", "x", [], [], ranks=[one, one])
    assert svg("ranks", "x", [], []) is None
    assert write_plots([], [], tmp_path) == []
    assert not (tmp_path / "ranks.png").exists()


def test_a_report_has_the_diagram_at_its_level(one):
    folder = one[1]
    report(folder, folder / "out", alpha=0.01)
    assert (folder / "out" / "ranks.png").exists()
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "Nemenyi" in page
    assert "α = 0.01: they lie closer" in page
