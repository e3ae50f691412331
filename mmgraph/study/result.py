"""One line of a results file: what was measured, how it came about, and a hash that chains it to the line before."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmgraph.data.folder import read_json, write_json
from mmgraph.study.ledger import append_line, whole_lines

FILE, HEAD = "results.jsonl", "head.json"
FIRST = "0" * 64  # stands for the hash before the first line
UNREPEATABLE = frozenset({"run", "previous", "hash"})  # what differs between two runs of one study


@dataclass(frozen=True)
class Result:
    """One reading of a held-out part by one model with one seed; plain JSON.

    Args:
        study: name of the study.
        plan: hash of the plan it follows, see `Plan`.
        kind: ``model``, a competitor; ``baseline``, a competitor that the study added; ``control``, the same model on
            features that were permuted or replaced by noise; ``reference``, no competitor: validation popularity, an
            oracle, chance.
        model: its label.
        cls: its class.
        control: what was done to the features of a control: ``permuted`` or ``noise``; else none.
        data: name of the data set, its fingerprint, and the hash of its card if it has one.
        split: name, parameters, seed and fingerprint of the protocol, and ``fold``, its number in a cross-validation.
        features: fingerprint by modality; none for ids only.
        trained_on: the parts that training saw: ``["train"]`` or ``["train", "valid"]``.
        part: the part that was read.
        seed: of parameters and training.
        hyperparameters: all of them, defaults included.
        options: of `fit`: epochs, learning rate, batch size and so on.
        search: how the settings were found: ``sampler``, ``budget``, ``monitor``, ``chosen`` (number of a trial) and
            ``trials``, each with ``number``, ``settings``, ``valid`` (none if it failed), ``state`` (complete, pruned,
            failed), ``epochs``, ``seconds``.
        history: one entry per epoch of the final training: ``epoch``, ``seconds``, ``valid`` and the terms of the loss.
        metrics: candidates → metric → mean over users.
        half_widths: the same for half the 95 % interval of the mean over users.
        n_users: candidates → users that count.
        n_candidates: candidates → items in the set.
        beyond: candidates → measure beyond accuracy → value, see `mmgraph.eval.beyond`.
        groups: kind of group (``item popularity``, ``user activity`` …) → group → metric → mean.
        shapley: modality → share of the headline metric, with ``(none)`` for the value without content; else empty.
        reading: 1 for the first time that this (split, model, seed) was read on this part, else the number of the
            reading.
        marks: what a reader must know before trusting the row; empty if nothing is wrong.
        users: name of the Parquet file with the values per user, below the folder of the results, and its sha256.
        run: what another run of the same study may change: ``date``, ``commit``, ``versions``, ``hardware``,
            ``device``, ``seconds`` and ``peak_mb`` by phase (``search``, ``fit``, ``read``).
        previous: hash of the line before.
        hash: of this line, the previous hash included.
    """

    study: str
    plan: str
    kind: str
    model: str
    cls: str
    data: Mapping[str, Any]
    split: Mapping[str, Any]
    seed: int
    metrics: Mapping[str, Mapping[str, float | None]]
    half_widths: Mapping[str, Mapping[str, float | None]]
    n_users: Mapping[str, int]
    n_candidates: Mapping[str, int]
    users: Mapping[str, str]
    run: Mapping[str, Any]
    control: str | None = None
    features: Mapping[str, str] | None = None
    trained_on: Sequence[str] = ("train",)
    part: str = "test"
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    beyond: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Mapping[str, float | None]]] = field(default_factory=dict)
    shapley: Mapping[str, float] = field(default_factory=dict)
    reading: int = 1
    marks: Sequence[str] = ()
    previous: str = FIRST
    hash: str = ""

    @property
    def competitor(self) -> bool:
        """Whether it may win."""
        return self.kind in ("model", "baseline")

    def repeatable(self) -> dict[str, Any]:
        """All that another run of the same study must give again, bit for bit on the same machine."""
        row = {name: value for name, value in json.loads(json.dumps(asdict(self))).items() if name not in UNREPEATABLE}
        for entry in (*row["search"].get("trials", ()), *row["history"]):
            entry.pop("seconds", None)
            entry.pop("peak_mb", None)
        return row


def append(folder: Path, result: Result) -> Result:
    """Add a line to the results of a folder, chained to the last one; earlier lines are checked, never changed.

    Raises:
        ValueError: if an earlier line was changed.
    """
    before = read(folder)
    row = asdict(result) | {"previous": before[-1].hash if before else FIRST}
    row["hash"] = digest(row)
    folder.mkdir(parents=True, exist_ok=True)
    append_line(folder / FILE, json.dumps(row, ensure_ascii=False, allow_nan=False))
    write_json(folder / HEAD, {"rows": len(before) + 1, "hash": row["hash"]})
    return Result(**row)


def read(folder: str | os.PathLike[str]) -> list[Result]:
    """All results of a folder, oldest first; none if there is no file.

    A last line without its end, which a killed run leaves, does not count; `append` removes it.

    Raises:
        ValueError: naming the line that was changed, removed, added or moved after it was written, or saying that rows
            are missing at the end.
    """
    file = Path(folder) / FILE
    lines = whole_lines(file) if file.is_file() else []
    names, results, previous = {f.name for f in fields(Result)}, [], FIRST
    for number, line in enumerate(lines, start=1):
        row = _parsed(line, file, number)
        if set(row) != names or row["previous"] != previous or row["hash"] != digest(row):
            raise ValueError(f"line {number} of {file} is not as it was written: its hash does not follow from it and "
                             f"the lines before. Results are only appended to; restore the file from its last commit.")
        previous = row["hash"]
        results.append(Result(**row))
    check_head(file, results)
    return results


def check_head(file: Path, results: Sequence[Result]) -> None:
    """Refuse a file that lacks rows at its end: ``head.json`` beside it says how many there were at least."""
    place = file.parent / HEAD
    if not place.exists():
        return
    head = read_json(place, "results")
    n = int(head["rows"])
    if (len(results) < n or results[n - 1].hash != head["hash"]):
        raise ValueError(f"{file} has {len(results)} rows, but {HEAD} beside it says that there were {n}, ending in "
                         f"{head['hash'][:12]}…; rows were removed or an older file was put in its place: restore it.")


def digest(row: Mapping[str, Any]) -> str:
    """Hash of a line, all but its own hash."""
    text = json.dumps({name: value for name, value in row.items() if name != "hash"}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def per_user(folder: str | os.PathLike[str], result: Result) -> pa.Table:
    """The values per user of a result: columns ``user`` (id), ``candidates`` and one per metric (NaN: does not count).

    Raises:
        ValueError: if the file is not the one that was written with the result.
    """
    file = Path(folder) / result.users["file"]
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != result.users["sha256"]:
        raise ValueError(f"{file} is not the file that was written with the result of {result.model}, seed "
                         f"{result.seed}: its sha256 is {found[:12]}…, not {result.users['sha256'][:12]}….")
    return pq.read_table(file)


def _parsed(line: str, file: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} of {file} is not JSON ({error}); restore the file.") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {number} of {file} is not a result but {type(row).__name__}; restore the file.")
    return row
