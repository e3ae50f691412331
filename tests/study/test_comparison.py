import csv
import errno
import json
import os
from dataclasses import asdict

import pytest
from rich.console import Console
from study_world import tiny

from mmgraph.study.comparison import Comparison, Row, figure, save, table

SIZES = {"warm": 1000, "cold": 10, "all": 1010}


def row(model, candidates, mean, *, metric="recall@20", competitor=True, half=0.01):
    seconds = 1.5 if competitor else None
    return Row(model, "Class", competitor, candidates, SIZES[candidates], metric, mean, half, 7, seconds, 0,
               "test", "f00d", 0, {"dim": 4}, {"lr": 0.1})


def comparison(means, metrics=("recall@20",)):
    """From label → (warm, cold, all); a label in capitals is no competitor."""
    rows = [row(name, candidates, mean, metric=metric, competitor=name.islower())
            for name, values in means.items() for metric in metrics
            for candidates, mean in zip(SIZES, values, strict=False)]
    return Comparison(rows, {}, tiny(), {"seed": "0"})


@pytest.fixture
def c():
    return comparison({"a": (0.50001, 0.2, 0.1), "b": (0.5, 0.3, None), "d": (0.1, 0.3, 0.05), "TOP": (0.9, 0.9, 0.9)})


def test_best_is_compared_unrounded_ties_share_and_only_competitors_count(c):
    assert {x.candidates: x.best for x in c.columns("recall@20")} == {"warm": {"a"}, "cold": {"b", "d"}, "all": {"a"}}


def test_a_column_holds_one_candidate_set(c):
    for column in c.columns("recall@20"):
        assert {r.candidates for r in column.cells.values()} == {column.candidates}
        assert {r.n_candidates for r in column.cells.values()} == {column.n_candidates} == {SIZES[column.candidates]}
        assert list(column.cells) == ["a", "b", "d", "TOP"] == c.labels
        assert column.n_users == 7


def test_a_column_holds_one_metric():
    c = comparison({"a": (0.5,), "b": (0.2,)}, ("recall@10", "recall@20"))
    (column,) = c.columns("recall@10")
    assert {r.metric for r in column.cells.values()} == {"recall@10"} == {column.metric}


def test_no_best_where_nobody_has_a_mean():
    (column,) = comparison({"a": (None,), "b": (None,)}).columns("recall@20")
    assert column.best == frozenset()


def test_headline_is_the_first_metric_of_the_longest_list():
    assert comparison({"a": (0.5,)}, ("ndcg@9", "ndcg@10", "recall@20")).headline == "ndcg@10"


def test_a_metric_that_was_not_measured(c):
    with pytest.raises(KeyError, match=r"'ndcg@20' was not measured, only \['recall@20'\]"):
        c.columns("ndcg@20")


def test_figure():
    assert figure(row("a", "warm", 0.123456)) == "0.1235 ±0.0100"
    assert figure(row("a", "warm", 0.123456, half=None)) == "0.1235"
    assert figure(row("a", "warm", None)) == "–"


def test_table(c):
    shown = table(c)
    heads = [str(column.header).split("\n") for column in shown.columns]
    assert heads == [["model"], ["warm", "1,000 items", "7 users"], ["cold", "10 items", "7 users"],
                     ["all", "1,010 items", "7 users"], ["seconds"]]
    bold = [[str(cell.style) == "bold" for cell in column.cells] for column in shown.columns[1:4]]
    assert bold == [[True, False, False, False], [False, True, True, False], [True, False, False, False]]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(shown)
    lines = [line for line in capture.get().splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    assert cells[1] == ["b", "0.5000 ±0.0100", "0.3000 ±0.0100", "–", "1.5"]
    assert cells[3] == ["TOP (no competitor)", "0.9000 ±0.0100", "0.9000 ±0.0100", "0.9000 ±0.0100", "–"]


def test_a_label_in_brackets_is_not_markup():
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table(comparison({"[bold]a[/bold]": (0.5,)})))
    assert "[bold]a[/bold]" in capture.get()


def test_saved_files_hold_every_row(c, tmp_path):
    save(c, tmp_path / "new" / "folder")
    found = json.loads((tmp_path / "new" / "folder" / "results.json").read_text(), parse_constant=pytest.fail)
    assert found == {"provenance": {"seed": "0"}, "rows": [asdict(r) for r in c.rows]}
    with (tmp_path / "new" / "folder" / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line, r in zip(lines, c.rows, strict=True):
        assert (line["model"], line["candidates"], int(line["n_candidates"])) == (r.model, r.candidates, r.n_candidates)
        assert (float(line["mean"]) if line["mean"] else None) == r.mean
        assert json.loads(line["hyperparameters"]) == {"dim": 4}
        assert json.loads(line["options"]) == {"lr": 0.1}


def test_rows_of_a_real_comparison_are_plain_json(comparison, tmp_path):
    save(comparison, tmp_path)
    found = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert found["rows"] == [asdict(r) for r in comparison.rows]
    assert found["provenance"] == comparison.provenance


def test_a_number_that_json_does_not_know_is_refused_before_anything_is_written(tmp_path):
    c = comparison({"a": (float("nan"),)})
    with pytest.raises(ValueError, match="nan"):
        save(c, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", ["replace", "write"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, fails):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no space left")

    save(comparison({"a": (0.5,)}), tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert sorted(before) == ["results.csv", "results.json"]
    monkeypatch.setattr(*((os, "replace") if fails == "replace" else (type(tmp_path), "write_text")), full)
    with pytest.raises(OSError, match="no space"):
        save(comparison({"a": (0.25,)}), tmp_path)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
