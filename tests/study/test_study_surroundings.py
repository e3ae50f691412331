"""Processes and files of a study."""

import importlib
from pathlib import Path

import planted
import pytest
import torch
import yaml

from mmgraph.data.split import VALID
from mmgraph.features.store import save
from mmgraph.models import Popularity
from mmgraph.study.plan_file import read_study
from mmgraph.study.pool import Pool
from mmgraph.study.provenance import fingerprints


def test_threads_are_those_of_the_study_and_those_of_before_afterwards():
    before = torch.get_num_threads()
    with Pool(None, 1, before + 1) as pool:
        assert list(pool.map(lambda context, task: torch.get_num_threads(), [0])) == [before + 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("jobs", "threads", "expected"), [(2, 3, 3), (2, None, 2), (4, None, 1), (9, None, 1)])
def test_worker_processes_get_their_threads(monkeypatch, jobs, threads, expected):
    pool, started = importlib.import_module("mmgraph.study.pool"), []

    class Executor:
        def __init__(self, *given):
            started.append(given)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(pool, "ProcessPoolExecutor", Executor)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    with Pool("context", jobs, threads):
        pass
    assert (started[0][0], started[0][3]) == (jobs, ("context", expected))


@pytest.fixture
def file(tmp_path, monkeypatch):
    import mmgraph.study.plan_file as plans
    monkeypatch.setattr(plans, "load", lambda name, root: planted.dataset())

    def written(**given):
        base = {"data": "ml-100k", "root": "files", "models": {"Popularity": None}, "cross_validation": 3, **given}
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(base))
        return tmp_path / "plan.yaml"
    return written


def test_the_seed_of_the_folds_is_that_of_the_file(file):
    assert {t.split.seed for t in read_study(file(split_seed=5)).turns} == {5}


def test_a_core_of_the_data_and_features_beside_the_file(file, monkeypatch):
    monkeypatch.chdir(Path("/"))
    place = file(k_core=19, features="encoded")
    save(planted.features(), place.parent / "encoded")
    one = read_study(place)
    assert one.models["Popularity"].cls is Popularity
    assert one.contents == fingerprints(planted.features(), one.turns[0].split)
    with pytest.raises(ValueError, match="20"):
        read_study(file(k_core=20))
    assert VALID in one.turns[0].split.part
