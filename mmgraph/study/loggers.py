"""Where the course of a training is written down: one small protocol, files of it, and a guard around other loggers."""

import csv
import hashlib
import io
import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from mmgraph.data.folder import read_json, write_json, write_text

LOG = logging.getLogger(__name__)
LONGEST = 150  # characters of an escaped name; file systems take 255 with their own endings
T = TypeVar("T")
Values = Mapping[str, int | float | None]


@runtime_checkable
class Logger(Protocol):
    """Writes down one run at a time; used again by the next `start`.

    Settings and summaries are flattened, see `flat`; values that are none or NaN are left out.
    """

    def start(self, run: str, settings: Mapping[str, Any]) -> None:
        """Begin a run, or go on with one of the same name and settings that was broken off."""

    def log(self, values: Values, step: int) -> None:
        """Note what was measured at a step."""

    def finish(self, summary: Mapping[str, Any], files: Sequence[Path] = ()) -> None:
        """Note what came out, and files that belong to it, and close the run."""


class Guarded:
    """Several loggers as one that never raises: no failure of a logger loses a training.

    The first exception of a logger becomes a warning in the log, and this logger is switched off, for later runs too;
    the run and the other loggers go on. Interruptions (Ctrl-C) pass.
    """

    def __init__(self, loggers: Iterable[Logger]):
        self.loggers = tuple(loggers)

    def start(self, run: str, settings: Mapping[str, Any]) -> None:
        self._each(lambda logger: logger.start(run, settings))

    def log(self, values: Values, step: int) -> None:
        self._each(lambda logger: logger.log(values, step))

    def finish(self, summary: Mapping[str, Any], files: Sequence[Path] = ()) -> None:
        self._each(lambda logger: logger.finish(summary, files))

    def _each(self, tell: Callable[[Logger], None]) -> None:
        for logger in self.loggers:
            try:
                tell(logger)
            except Exception as error:
                self.loggers = tuple(other for other in self.loggers if other is not logger)
                LOG.warning("%s failed and is switched off, the run goes on without it: %s: %s",
                            type(logger).__name__, type(error).__name__, error)


class CSVLogger:
    """Two files per run: ``<run>.csv``, a line per step, and ``<run>.json``, what was set and what came out.

    Both are whole at any time. Columns may appear later; a value that was not given is an empty cell. A run that goes
    on keeps its lines, and a step that comes again replaces its line. The name of the files is `escaped`.

    Args:
        folder: of all runs.

    Raises:
        ValueError: by ``start``, if the files are those of a run with another name or other settings.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder).expanduser()
        self._file: Path | None = None
        self._about: dict[str, Any] = {}
        self._rows: dict[int, dict[str, str]] = {}

    def start(self, run: str, settings: Mapping[str, Any]) -> None:
        file, about = self.folder / f"{escaped(run)}.csv", {"run": run, "settings": flat(settings)}
        if (beside := file.with_suffix(".json")).exists():
            known = read_json(beside, "a CSVLogger")
            if any(known.get(name) != value for name, value in about.items()):
                raise ValueError(f"{beside} belongs to the run {known.get('run')!r} with the settings "
                                 f"{known.get('settings')}, not to {run!r} with {about['settings']}; "
                                 f"choose another folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(beside, about)
        self._file, self._about, self._rows = file, about, _read(file)

    def log(self, values: Values, step: int) -> None:
        file = started(self._file)
        self._rows[step] = {name: repr(value) for name, value in measured(values).items()}
        names = dict.fromkeys(name for row in self._rows.values() for name in row)
        text = io.StringIO()
        lines = csv.DictWriter(text, ["step", *names], restval="", lineterminator="\n")
        lines.writeheader()
        lines.writerows({"step": step, **self._rows[step]} for step in sorted(self._rows))
        write_text(file, text.getvalue())

    def finish(self, summary: Mapping[str, Any], files: Sequence[Path] = ()) -> None:
        more = {"summary": flat(summary), "files": [str(file) for file in files]}
        write_json(started(self._file).with_suffix(".json"), self._about | more)
        self._file = None


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Nested values under names joined by dots: ``{"search": {"budget": 6}}`` is ``{"search.budget": 6}``.

    None and NaN are left out; lists (and empty mappings) become JSON text, other objects their text.

    Raises:
        ValueError: if two values would get the same name.
    """
    found: dict[str, bool | int | float | str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        new = flat(value, f"{name}.") if isinstance(value, Mapping) and value else _plain(name, value)
        if both := found.keys() & new.keys():
            raise ValueError(f"two values are called {sorted(both)[0]!r} after flattening; rename one.")
        found |= new
    return found


def measured(values: Values) -> dict[str, int | float]:
    """The values of a step that are neither none nor NaN.

    Raises:
        ValueError: if one is called "step", which is the name of the step's own number.
    """
    if "step" in values:
        raise ValueError("a value cannot be called 'step', the name of the step's own number; rename it.")
    found = {name: value if isinstance(value, int) else float(value) for name, value in values.items()
             if value is not None}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among nested values, flattened; text is left out."""
    return {name: float(value) for name, value in flat(values).items() if not isinstance(value, str)}


def escaped(name: str) -> str:
    """A name that every file system and service takes; different names stay different, but for case.

    Letters, digits, underscores and dots inside stay as they are; any other character becomes its code point in
    hexadecimal between dashes: ``LightGCN/seed 0`` is ``LightGCN-2f-seed-20-0``. The rest of a name that gets longer
    than 150 characters is replaced by its sha256.

    Raises:
        ValueError: if it is empty.
    """
    if not name:
        raise ValueError("the name is empty; give one.")
    text = re.sub(r"[^A-Za-z0-9_.]|^\.|\.$", lambda found: f"-{ord(found[0]):x}-", name)
    if len(text) <= LONGEST:
        return text
    return f"{text[:100]}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"


def identity(run: str, settings: Mapping[str, Any]) -> str:
    """32 hexadecimal digits that say which run it is, by name and settings."""
    return hashlib.sha256(json.dumps([run, flat(settings)], sort_keys=True).encode()).hexdigest()[:32]


def started(run: T | None) -> T:
    """The run.

    Raises:
        RuntimeError: if there is none.
    """
    if run is None:
        raise RuntimeError("no run is open; call start(run, settings) first.")
    return run


def _read(file: Path) -> dict[int, dict[str, str]]:
    """The lines of an earlier part of the run, by step."""
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(lines)]
    return {int(row.pop("step")): row for row in rows}


def _plain(name: str, value: Any) -> dict[str, bool | int | float | str]:
    """A value as a number or text; nothing for None and NaN."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return {}
    if isinstance(value, bool | int | float | str):
        return {name: value}
    if isinstance(value, Mapping | list | tuple):
        return {name: json.dumps(value, default=str, ensure_ascii=False)}
    return {name: str(value)}
