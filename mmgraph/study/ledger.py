"""Who has read the test part of which split: a file beside the studies, so that a second look cannot go unseen."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

FILE = "readings.jsonl"


@dataclass(frozen=True)
class Reading:
    """One look of one model at the held-out part of a split.

    Args:
        split: its fingerprint.
        part: the part.
        model: its label.
        cls: its class.
        seed: of its parameters.
        settings: hash of its hyper-parameters and options.
        features: hash of the features it was given.
        plan: hash of the study's plan.
        date: UTC.
    """

    split: str
    part: str
    model: str
    cls: str
    seed: int
    settings: str
    features: str
    plan: str
    date: str


def recorded(file: Path, split: str, part: str, model: str, cls: str, seed: int, settings: Mapping[str, Any],
             features: Mapping[str, str] | None, plan: str) -> tuple[int, list[str]]:
    """Record a reading before it happens.

    Returns:
        Its number (1 for the first) and marks. A reading of the same settings and seed does not count: a killed study
        repeats its last one and finds the same. Those of other seeds by another plan do, so that no lucky seed can be
        picked, and so do those of other settings by the same plan, whose code or trials were changed in between.
    """
    now = Reading(split, part, model, cls, seed, short(settings), short(features), plan,
                  datetime.now(UTC).isoformat(timespec="seconds"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        known = readings(file)
        earlier = [r for r in known if (r.split, r.part, r.cls, r.features) == (split, part, cls, now.features)
                   and (r.seed, r.settings) != (seed, now.settings)
                   and (r.plan != plan or (r.model == model and r.settings != now.settings))]
        if not any(asdict(r) | {"date": now.date} == asdict(now) for r in known):
            append_line(file, json.dumps(asdict(now), ensure_ascii=False))
    return 1 + len({(r.plan, r.settings if r.plan == plan else "") for r in earlier}), marks(earlier, seed)


def readings(file: Path) -> list[Reading]:
    """All readings in a file, oldest first; a last line that a kill cut short does not count.

    Raises:
        ValueError: if a line is no reading.
    """
    if not file.is_file():
        return []
    try:
        return [Reading(**json.loads(line)) for line in whole_lines(file)]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} holds a line that is no reading ({error}); restore the file: without it nobody can "
                         f"tell which test parts were read before.") from error


def marks(earlier: Sequence[Reading], seed: int) -> list[str]:
    """What a reader must know of earlier looks."""
    if not earlier:
        return []
    seeds = sorted({r.seed for r in earlier})
    how = f"seeds {', '.join(map(str, seeds))}" if seed not in seeds else "other settings or seeds"
    return [f"the {earlier[0].part} part of this split was read before for {earlier[0].cls} with {how} (plan "
            f"{', '.join(sorted({r.plan for r in earlier}))}, first on {min(r.date for r in earlier)[:10]}): this is "
            f"no first look, and whatever changed since may have been chosen by it"]


def whole_lines(file: Path) -> list[str]:
    """The lines of a file; a last one without its end is left out."""
    whole = file.read_bytes().rpartition(b"\n")[0].decode("utf-8")
    return whole.split("\n") if whole else []


def append_line(file: Path, line: str) -> None:
    """Add a line and wait until it is on the disk; the start of a line that was never finished is removed first."""
    with file.open("ab") as out:
        out.truncate(file.read_bytes().rfind(b"\n") + 1)
        out.write(line.encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())


def short(value: Any) -> str:
    """Hash of plain JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
