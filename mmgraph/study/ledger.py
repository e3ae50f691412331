"""Who has read the test part of which split: a file beside the studies, so that a second look cannot go unseen."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE = "readings.jsonl"


@dataclass(frozen=True)
class Reading:
    """One look of one model at the held-out part of a split.

    Args:
        split: its fingerprint.
        part: the part.
        cls: class of the model.
        seed: of its parameters.
        settings: hash of its hyper-parameters and options.
        features: hash of the features it was given.
        plan: hash of the study's plan.
        date: UTC.
    """

    split: str
    part: str
    cls: str
    seed: int
    settings: str
    features: str
    plan: str
    date: str


def recorded(file: Path, split: str, part: str, cls: str, seed: int, settings: Mapping[str, Any],
             features: Mapping[str, str] | None, plan: str) -> tuple[int, list[str]]:
    """Record a reading before it happens.

    Returns:
        Its number (1 for the first) and marks. Readings by the same plan do not count (a killed study repeats its last
        one and finds the same), nor do those of the same settings and seed. Those of other seeds do, so that no lucky
        seed can be picked.
    """
    now = Reading(split, part, cls, seed, short(settings), short(features), plan,
                  datetime.now(UTC).isoformat(timespec="seconds"))
    known = readings(file)
    earlier = [r for r in known if (r.split, r.part, r.cls, r.features) == (split, part, cls, now.features)
               and r.plan != plan and (r.seed, r.settings) != (seed, now.settings)]
    if not any(asdict(r) | {"date": now.date} == asdict(now) for r in known):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(asdict(now)) + "\n")
            out.flush()
            os.fsync(out.fileno())
    return 1 + len({r.plan for r in earlier}), marks(earlier, seed)


def readings(file: Path) -> list[Reading]:
    """All readings in a file, oldest first.

    Raises:
        ValueError: if a line is no reading.
    """
    if not file.is_file():
        return []
    try:
        return [Reading(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
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


def short(value: Any) -> str:
    """Hash of plain JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
