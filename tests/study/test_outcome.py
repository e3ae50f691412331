import json

import pytest
from made_results import rows, written

from mmgraph.study.outcome import findings, narrow, report
from mmgraph.study.summary import Cell, Line, Summary


@pytest.fixture
def folder(tmp_path):
    written(tmp_path / "results", rows({"VBPR": "model", "Popularity": "baseline"}, seeds=(0, 1), n_trials=3))
    return tmp_path / "results"


def test_one_command_turns_a_folder_into_all_that_people_read(folder):
    summaries = report(folder)
    out = folder / "report"
    assert {"report.html", "table.md", "table.tex", "accuracy_time.png", "warm_cold.png"} <= {
        f.name for f in out.iterdir()}
    assert {line.model for line in summaries[0].lines if line.kind != "control"} == {"VBPR", "Popularity"}
    assert "| VBPR |" in (out / "table.md").read_text()
    assert r"\toprule" in (out / "table.tex").read_text()
    assert "VBPR" in (out / "report.html").read_text()
    assert findings(folder) is None


def test_the_diagnosis_is_shown_if_there_is_one(folder, tmp_path):
    row = {"name": "cold rows", "value": 0.5, "threshold": 0.05, "flagged": True, "text": "half of them are <cold>"}
    (folder / "diagnosis.json").write_text(json.dumps({"findings": [row]}))
    report(folder, tmp_path / "elsewhere")
    assert "half of them are &lt;cold&gt;" in (tmp_path / "elsewhere" / "report.html").read_text()
    assert not (folder / "report").exists()


def test_a_folder_without_results(tmp_path):
    with pytest.raises(FileNotFoundError, match="there are no results in"):
        report(tmp_path)


def test_a_plan_that_was_changed_is_refused(folder):
    (folder / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match="is not the plan that the results follow"):
        report(folder)


def test_tables_for_print_have_the_headline_length_on_sets_that_count():
    metrics = ["recall@10", "recall@20", "ndcg@20", "mrr@20"]
    n_users = {"warm": 1000, "cold": 7, "all": 1000}
    columns = tuple((on, metric) for on in n_users for metric in metrics)
    cells = {of: Cell(0.1, None, None, None, n_users[of[0]]) for of in columns}
    whole = Summary("t", ("all", "recall@20"), columns, (Line("A", "model", 1, cells, None, None, None),), "test")
    assert narrow(whole).columns == tuple((on, m) for on in ("warm", "all") for m in ("recall@20", "ndcg@20", "mrr@20"))
    assert narrow(whole, 4).columns == tuple((on, m) for on in ("warm", "all") for m in ("recall@20", "ndcg@20"))
    assert narrow(whole, 12) is whole
    assert narrow(whole, 1).columns == (("warm", "recall@20"), ("all", "recall@20"))
