"""A study may stop, or fail, at any moment; and several things may happen at once."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from small_study import SMALL, candidates, plain_split, rows, study

from mmgraph.models import BPRMF, EASE
from mmgraph.study.loggers import CSVLogger
from mmgraph.study.result import read
from mmgraph.study.space import Candidate
from mmgraph.study.study import Study


def test_a_finished_study_does_nothing(whole):
    before = (whole / "results.jsonl").read_bytes()
    study().run(whole, progress=False)
    assert (whole / "results.jsonl").read_bytes() == before
    assert not (whole / "running").exists()


@pytest.mark.parametrize("after", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(7, marks=pytest.mark.slow)])
def test_a_study_that_broke_off_goes_on_and_ends_with_the_same_rows(whole, tmp_path, monkeypatch, after):
    import mmgraph.study.search as searching
    real, calls = searching.validation, []

    def breaks(*args):
        calls.append(args)
        if len(calls) == after:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(searching, "validation", breaks)
    with pytest.raises(KeyboardInterrupt):
        study().run(tmp_path / "s", progress=False)
    monkeypatch.undo()
    study().run(tmp_path / "s", progress=False)
    assert rows(tmp_path / "s") == rows(whole)


def environment():
    """Where another process finds this checkout and these tests."""
    here = Path(__file__).parent
    places = os.pathsep.join(map(str, (here, here.parent, here.parents[1])))
    return {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}


SCRIPT = """
import sys
import time
sys.path[:0] = [sys.argv[1]]
from small_study import study
if __name__ == "__main__":
    study(jobs=int(sys.argv[3])).run(sys.argv[2], progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_again_and_again_it_ends_with_the_same_rows(whole, tmp_path, jobs):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(Path(__file__).parent), str(tmp_path / "s"), str(jobs)]
    killed, seconds = 0, 3.0
    while True:
        process = subprocess.Popen(command, env=environment(), start_new_session=True)
        try:
            process.wait(seconds)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed, seconds = killed + 1, seconds + 1.5
            assert killed < 20
    assert process.returncode == 0
    assert killed >= 1
    assert rows(tmp_path / "s") == rows(whole)


@pytest.mark.slow
def test_side_by_side_gives_the_same_rows(whole, tmp_path):
    study(jobs=2).run(tmp_path / "s", progress=False, loggers=[CSVLogger(tmp_path / "logs")])
    assert rows(tmp_path / "s") == rows(whole)
    assert len(list((tmp_path / "logs").glob("*.csv"))) == 8  # the closed form has no epoch


def test_two_processes_do_not_work_on_one_folder(tmp_path):
    (tmp_path / "s").mkdir()
    with FileLock(tmp_path / "s" / ".lock"), pytest.raises(RuntimeError, match="another process is working on"):
        study().run(tmp_path / "s", progress=False)
    study(models={"EASE": EASE}, seeds=(0,)).run(tmp_path / "s", progress=False)


WORKER = """
import os, time
from mmgraph.study.pool import Pool

def work(context, task):
    if task == 1:
        time.sleep(60)
    return os.getpid()

if __name__ == "__main__":
    with Pool(None, 2, 1) as pool:
        for pid in pool.map(work, [0, 1]):
            print(pid, flush=True)
"""


@pytest.mark.slow
def test_a_worker_ends_with_its_parent(tmp_path):
    """Else it would write checkpoints beside the run that takes the place of a killed one."""
    script = tmp_path / "script.py"
    script.write_text(WORKER)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment())
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not alive(worker):
            break
        time.sleep(0.1)
    assert not alive(worker)


def alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_training_that_fails_at_the_end_loses_no_other(tmp_path, monkeypatch):
    import mmgraph.study.reading as reading
    real = reading.fitted_by
    monkeypatch.setattr(reading, "fitted_by", lambda cls, *args, seed, settings: real(
        cls, *args, seed=seed, settings={**settings, **({"lr": 1e30} if seed == 0 and cls is BPRMF else {})}))
    one = study(models={"BPRMF": candidates()["BPRMF"]}, features=None)
    with pytest.raises(RuntimeError, match=r"1 final trainings failed, all else is in .*BPRMF-turn-0-seed-0"):
        one.run(tmp_path / "s", progress=False)
    assert [(r.model, r.seed) for r in read(tmp_path / "s")][:2] == [("BPRMF", 1), ("EASE", 0)]
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "s" / "running")  # its checkpoint belongs to the other learning rate
    assert {(r.model, r.seed) for r in one.run(tmp_path / "s", progress=False)} >= {("BPRMF", 0), ("BPRMF", 1)}


def test_a_failed_trial_is_kept_and_never_chosen(tmp_path):
    models = {"BPRMF": Candidate(BPRMF, {"dim": 4, "max_epochs": 2}, {"lr": [1e30, 0.01]})}
    found = Study.of(plain_split(), models, baselines=(), seeds=(0,), trials=2, **SMALL).run(tmp_path / "s",
                                                                                         progress=False)[0].search
    assert [t["state"] for t in found["trials"]] == ["failed", "complete"]
    assert "FloatingPointError" in found["trials"][0]["error"]
    assert found["chosen"] == 1
    with pytest.raises(RuntimeError, match="all 1 trials failed or were pruned"):
        Study.of(plain_split(), {"BPRMF": Candidate(BPRMF, {"dim": 4, "lr": 1e30})}, baselines=(), seeds=(0,),
                 **SMALL).run(tmp_path / "t", progress=False)

