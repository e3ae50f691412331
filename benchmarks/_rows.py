"""What every benchmark does: find the data, say where it ran, append a row."""

import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
RESULTS = HERE / "results"
EARLIER = "{} on splits of before b9bc0b2, which rounded each user's held-out share down (see the changelog)."
FOLDERS = {"amazon-baby": "amazon-mmrec/baby", "amazon-sports": "amazon-mmrec/sports"}


def data_place(name: str) -> Path:
    """The folder of a data set below MMGRAPH_DATA."""
    root = Path(os.environ.get("MMGRAPH_DATA", HERE.parent / ".." / "shared" / "data"))
    return root / FOLDERS.get(name, name)


def provenance() -> dict[str, Any]:
    """Commit, date, versions and machine."""
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--", "../mmgraph", "*.py")
    return {"commit": git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else ""),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": {name: version(name) for name in ("mmgraph", "torch", "numpy", "scipy")},
            "hardware": f"{platform.machine()}, {_processor()}, {torch.get_num_threads()} threads"}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def append(name: str, row: dict[str, Any]) -> None:
    """Add one row to a results file; files are only ever appended to."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def rows(name: str) -> list[dict[str, Any]]:
    """All rows of a results file, oldest first."""
    file = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def known(name: str, key: dict[str, Any]) -> dict[str, Any]:
    """The oldest row of a results file that holds all of this, if there is one."""
    return next((row for row in rows(name) if all(row.get(k) == v for k, v in key.items())), {})


def at_this_commit(name: str, key: dict[str, Any]) -> dict[str, Any]:
    """The row that was measured with this very code on this machine, if there is one; none where the code has no commit
    or differs from it.
    """
    now = provenance()
    if not now["commit"] or now["commit"].endswith("+changes"):
        return {}
    return known(name, {**key, "commit": now["commit"], "hardware": now["hardware"]})


def where(row: dict[str, Any]) -> str:
    """Seed, commit and hardware of a row."""
    seed = f"seed {row['seed']}, " if "seed" in row else ""
    return f"{seed}commit {row['commit']}, {row['hardware']}"
