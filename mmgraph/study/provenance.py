"""Where a figure comes from: features, commit, versions, machine."""

import hashlib
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmgraph.data.split import Split
from mmgraph.features.features import Features

PACKAGES = ("mmgraph", "torch", "torch-geometric", "numpy", "scipy", "optuna")


def fingerprints(features: Features, split: Split) -> dict[str, str]:
    """Modality → hash of ids, rows and mask; the same for any order of the rows."""
    aligned = features.aligned(split.data.items)
    ids = np.array(split.data.items.ids.to_pylist())
    order = np.argsort(ids)
    found = {}
    for name, x in sorted(aligned.x.items()):
        digest = hashlib.sha256("\0".join(ids[order]).encode())
        digest.update(np.ascontiguousarray(x.cpu().float().numpy()[order]).tobytes())
        digest.update(aligned.present[name].cpu().numpy()[order].tobytes())
        found[name] = digest.hexdigest()[:16]
    return found


def circumstances() -> dict[str, Any]:
    """What another run may change: date, commit, versions, hardware."""
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(),
            "versions": {"python": platform.python_version(), **{name: version_of(name) for name in PACKAGES}},
            "hardware": f"{platform.machine()}, {processor()}, {torch.get_num_threads()} threads"}


def commit() -> str:
    """The commit of mmgraph's own checkout, with ``+changes`` if files differ from it; empty if it was installed."""
    def git(*words: str) -> str:
        try:
            done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True,
                                  check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        return done.stdout.strip()

    if git("ls-files", Path(__file__).name) == "":
        return ""
    return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "--", "..") else "")


def processor() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def version_of(package: str) -> str:
    """Version of a package, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
