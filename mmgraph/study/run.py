"""Carrying a study out: search everything, then read test once per model and seed; stop and go on at any moment."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from mmgraph.data.folder import read_json, write_json
from mmgraph.eval.evaluate import evaluate
from mmgraph.study.by_group import beyond_accuracy, by_group
from mmgraph.study.diagnosis.diagnostics import diagnose
from mmgraph.study.ledger import FILE as READINGS
from mmgraph.study.ledger import readings, recorded, short
from mmgraph.study.loggers import Logger
from mmgraph.study.look import Look
from mmgraph.study.phases import measured
from mmgraph.study.pool import Pool
from mmgraph.study.provenance import circumstances
from mmgraph.study.reading import about, attempted_look, figures, watcher, write_users
from mmgraph.study.result import FILE as RESULTS
from mmgraph.study.result import Result, append, read
from mmgraph.study.search import search
from mmgraph.study.study import Outside, Study
from mmgraph.study.suspicion import suspicion
from mmgraph.study.yardsticks import VALIDATION, validation_popularity

log = logging.getLogger(__name__)
PLAN, DIAGNOSIS, LOCK = "plan.json", "diagnosis.json", ".lock"
Key = tuple[str, str | None, int, int]  # model, control, turn, seed


def run(study: Study, folder: Path, references: Mapping[str, Outside], progress: bool = True,
        logger: Logger | None = None) -> list[Result]:
    """Do what is left to do of a study.

    First every search, on splits without test interactions; then for every model, turn and seed one training with the
    settings that won, and one reading of test. Results are appended as they come. A killed run is taken up where it
    was: trials that finished stay, a training goes on from its last checkpoint, and the rows come out the same.

    Args:
        study: what to do.
        folder: for ``plan.json``, ``results.jsonl``, ``users/*.parquet`` and ``trials.db``. Beside it, in the folder
            above, ``readings.jsonl`` records who has read which test part.
        references: label → scorer from outside, in the numbering of the first turn's split.
        progress: show a bar.
        logger: told of every epoch of the final trainings; with several jobs after each training, else as they run.

    Raises:
        RuntimeError: if another process is working on the folder, or every trial of a model failed.
        ValueError: if the folder belongs to another plan, its results were changed, or a scorer from outside has the
            label of a model.
    """
    if both := sorted({*references} & {*study.candidates, VALIDATION}):
        raise ValueError(f"{', '.join(both)} is the label of a model and of a scorer from outside; rename one.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            return locked_run(study, folder, references, progress, logger)
    except Timeout as error:
        raise RuntimeError(f"another process is working on the study in {folder}; wait for it, or end it.") from error


def locked_run(study: Study, folder: Path, references: Mapping[str, Outside], progress: bool,
               logger: Logger | None) -> list[Result]:
    """See `run`; nobody else writes to the folder meanwhile."""
    results = claim(study, folder)
    check_ledger(folder.parent)
    done = {key(r) for r in results}
    left = [k for k in keys(study) if k not in done]
    needed, failed = list(dict.fromkeys((label, turn) for label, _, turn, _ in left)), list[str]()
    total = len(left) + sum(budget(study, label) for label, _ in needed)
    with tqdm(desc=study.name, total=total, disable=not progress, unit="run") as bar:
        searches: dict[tuple[str, int], dict[str, Any]] = {}
        with Pool(study.blinded(), study.jobs, study.threads) as pool:
            for label, turn in needed:
                for record in search(study, pool, label, turn, folder):
                    bar.set_postfix_str(f"searching {label}")
                    bar.update(record["tried"] - searches.get((label, turn), {"tried": 0})["tried"])
                    searches[label, turn] = record
        with Pool(study, study.jobs, study.threads) as pool:
            live = logger if study.jobs == 1 else None
            looks = [Look(label, turn, seed, control, searches[label, turn], folder, live)
                     for label, control, turn, seed in left]
            for result in pool.map(attempted_look, looks):
                bar.update()
                if isinstance(result, str):
                    failed.append(result)
                    continue
                append(folder, result)
                if logger is not None and study.jobs > 1:
                    replay(logger, result)
                bar.set_postfix_str(f"read {result.model}, seed {result.seed}")
    for label, outside in {**validation_popularity(study), **references}.items():
        refer(study, folder, label, outside, results)
    if not (folder / DIAGNOSIS).exists():
        write_json(folder / DIAGNOSIS, diagnose(study.turns[0].split, study.features).row())
    if failed:
        raise RuntimeError(f"{len(failed)} final trainings failed, all else is in {folder}: {'; '.join(failed)}. The "
                           f"same call tries them again.")
    rmtree(folder / "running", ignore_errors=True)
    return read(folder)


def replay(logger: Logger, result: Result) -> None:
    """Tell a logger of a training that ran in another process."""
    look = Look(result.model, int(result.split["fold"]), result.seed, result.control, {}, Path())
    logger.start(look.name, {**result.hyperparameters, **result.options})
    for row in result.history:
        watcher(logger)(row)
    logger.finish({f"{on} {metric}": value for on, of in result.metrics.items() for metric, value in of.items()})


def claim(study: Study, folder: Path) -> list[Result]:
    """Write the plan to a new folder, or check that the folder's plan and results are this study's; its results."""
    file, results = folder / PLAN, read(folder)
    there = read_json(file, "a study") if file.exists() else None
    if results and (there is None or {r.plan for r in results} != {short(there)}):
        raise ValueError(f"{folder} holds results of plans {sorted({r.plan for r in results})} and "
                         f"{'no plan' if there is None else f'the plan {short(there)}'}; choose another folder.")
    if there is None:
        write_json(file, study.plan)
    elif short(there) != study.plan_hash:
        names = sorted(n for n in {*there, *study.plan} if short(there.get(n)) != short(study.plan.get(n)))
        changes = "; ".join(f"{n}: {brief(there.get(n))} → {brief(study.plan.get(n))}" for n in names)
        looks = f"{len(results)} results were read on test by it" if results else "it has not read test yet"
        raise ValueError(f"{folder} belongs to a study with another plan, and {looks}. What differs: {changes}. "
                         f"Results are never replaced: choose another folder. Readings of a split by another plan are "
                         f"marked.")
    return results


def check_ledger(folder: Path) -> None:
    """Refuse to read on where results beside each other are not in the ledger: it was removed or cut."""
    known = {(r.plan, r.model) for r in readings(folder / READINGS)}
    for file in sorted(folder.glob(f"*/{RESULTS}")):
        missing = {(r.plan, r.model) for r in read(file.parent) if r.competitor} - known
        if missing:
            raise ValueError(f"{folder / READINGS} lacks the readings of {', '.join(sorted(m for _, m in missing))} "
                             f"that {file} holds the results of; restore it, or start in another folder.")


def brief(value: Any) -> str:
    """A value of a plan in a few words."""
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "…"


def keys(study: Study) -> list[Key]:
    """Every final training of a study: models first, then their controls."""
    runs = [(label, turn, seed) for label in study.candidates for turn in range(len(study.turns))
            for seed in study.seeds_of(label)]
    found: list[Key] = [(label, None, turn, seed) for label, turn, seed in runs]
    for label, turn, seed in runs if study.features is not None else ():
        if study.candidates[label].reads_content and seed in study.seeds[:study.control_seeds]:
            found += [(label, control, turn, seed) for control in study.controls]
    return found


def key(result: Result) -> Key:
    """Which of them a result is; references have seed and turn 0."""
    return result.model, result.control, int(result.split["fold"]), result.seed


def budget(study: Study, label: str) -> int:
    """Trials of one search."""
    size = study.candidates[label].size
    return study.trials if size is None else min(study.trials, size)


def refer(study: Study, folder: Path, label: str, outside: Outside, results: Sequence[Result]) -> None:
    """Add the row of a scorer that no study fitted, unless it is there."""
    split = study.turns[0].split.unlock_test()
    scores = hashlib.sha256(outside.scorer.scores(torch.arange(min(16, len(split.data.users)))).cpu().numpy().tobytes())
    print_of = {"scores": scores.hexdigest()[:16]}
    for r in results:
        if (r.model, r.kind) == (label, "reference"):
            if r.hyperparameters != print_of:
                raise ValueError(f"{folder} has a result of another scorer called {label!r}; results are never "
                                 f"replaced: give this one another label.")
            return
    nth, marks = recorded(folder.parent / READINGS, split.fingerprint, "test", label, f"outside {label}", 0, print_of,
                          None, study.plan_hash)
    with measured() as reading:
        found = evaluate(outside.scorer, split, part="test", ks=study.ks, metrics=study.metrics, seen=study.seen)
        means, per_user = beyond_accuracy(found, split, study.features, study.ks, study.categories)
        groups = by_group(found, split, study.features, study.user_attributes, None)
        users = write_users(folder, Look(label, 0, 0, None, {}, folder).name, found, split, per_user, None)
    append(folder, Result(
        **about(study, 0, split), **figures(found), kind="reference", model=label, cls=type(outside.scorer).__name__,
        seed=0, trained_on=list(outside.trained_on), users=users, beyond=means, groups=groups,
        hyperparameters=print_of, options={"seen": study.seen}, reading=nth,
        marks=[*marks, *suspicion(outside.scorer, split, outside.trained_on)],
        run={**circumstances(), "device": study.device, "seconds": {"read": reading.seconds},
             "peak_mb": {"read": reading.peak_mb}}))
