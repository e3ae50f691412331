"""Rows are only appended to, and whoever edits one is found out."""

import json

import pytest

from mmgraph.study.result import FIRST, Result, append, read


def result(**changes):
    given = {"study": "s", "plan": "p", "kind": "model", "model": "EASE", "cls": "EASE",
             "data": {"name": "d", "fingerprint": "f", "card": None},
             "split": {"name": "Given", "parameters": {}, "seed": 0, "fold": 0, "fingerprint": "x"}, "seed": 0,
             "metrics": {"all": {"recall@20": 0.5}}, "half_widths": {"all": {"recall@20": 0.1}}, "n_users": {"all": 3},
             "n_candidates": {"all": 9}, "users": {"file": "users/a.parquet", "sha256": "0"},
             "run": {"seconds": {"fit": 1.0}}}
    return Result(**given, **changes)


@pytest.fixture
def folder(tmp_path):
    for model in ("A", "B", "C"):
        append(tmp_path, result(history=[{"epoch": 1, "seconds": 2.0, "valid": 0.1}]).__class__(
            **{**vars(result()), "model": model}))
    return tmp_path


def lines(folder):
    return (folder / "results.jsonl").read_text().splitlines()


def write(folder, new):
    (folder / "results.jsonl").write_text("".join(line + "\n" for line in new))


def test_rows_come_back_chained(folder):
    found = read(folder)
    assert [r.model for r in found] == ["A", "B", "C"]
    assert found[0].previous == FIRST
    assert [r.previous for r in found[1:]] == [r.hash for r in found[:-1]]
    assert read(folder / "nothing") == []


def edited(text):
    row = json.loads(text)
    row["metrics"]["all"]["recall@20"] = 0.51
    return json.dumps(row)


@pytest.mark.parametrize(("change", "number"), [
    (lambda t: [t[0], edited(t[1]), t[2]], 2), (lambda t: [t[0], t[2]], 2), (lambda t: [t[1], t[2]], 1),
    (lambda t: [t[1], t[0], t[2]], 1), (lambda t: [*t, t[2]], 4), (lambda t: [t[0], "{}", t[2]], 2)])
def test_a_changed_removed_moved_or_repeated_line_is_found(folder, change, number):
    write(folder, change(lines(folder)))
    with pytest.raises(ValueError, match=rf"line {number} of .*results.jsonl is not as it was written"):
        read(folder)
    with pytest.raises(ValueError, match="is not as it was written"):
        append(folder, result())


@pytest.mark.parametrize("line", ["not json", "[1]"])
def test_what_is_no_row_is_refused(folder, line):
    write(folder, [line])
    with pytest.raises(ValueError, match=r"line 1 of .*is not"):
        read(folder)


def test_a_line_that_a_kill_cut_short_does_not_count_and_is_removed(folder):
    file, whole = folder / "results.jsonl", lines(folder)
    file.write_text("\n".join(whole) + "\n" + whole[0][:30])
    assert len(read(folder)) == 3
    append(folder, result())
    assert [r.model for r in read(folder)] == ["A", "B", "C", "EASE"]
    assert len(lines(folder)) == 4


def test_what_another_run_may_change_is_left_out_of_the_comparison():
    trial = {"number": 0, "valid": 0.1, "seconds": 3.0, "peak_mb": 9.0}
    one = result(search={"trials": [trial]}, history=[{"epoch": 1, "seconds": 2.0, "valid": 0.1}])
    row = one.repeatable()
    assert row["search"] == {"trials": [{"number": 0, "valid": 0.1}]}
    assert row["history"] == [{"epoch": 1, "valid": 0.1}]
    assert not {"run", "hash", "previous"} & set(row)
    assert row["users"]["sha256"] == "0"
    assert one.search["trials"][0]["seconds"] == 3.0


def test_nan_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        append(tmp_path, Result(**{**vars(result()), "metrics": {"all": {"recall@20": float("nan")}}}))
    assert read(tmp_path) == []
