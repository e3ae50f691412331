"""Seconds and peak memory of a piece of work."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """What a piece of work took.

    Args:
        seconds: wall time.
        peak_mb: highest resident memory of this process while it worked, in MB; none where the system cannot tell
            (outside Linux).
        peak_gpu_mb: highest memory of tensors on the graphics card; none without one.
    """

    seconds: float = 0.0
    peak_mb: float | None = None
    peak_gpu_mb: float | None = None


@contextmanager
def measured() -> Iterator[Cost]:
    """Fill in the cost of the block; not to be nested, since the high-water mark is one per process."""
    cost = Cost()
    resettable = _reset()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        cost.peak_mb = _peak() if resettable else None
        if torch.cuda.is_available():
            cost.peak_gpu_mb = torch.cuda.max_memory_allocated() / 2**20


def _reset() -> bool:
    """Set the high-water mark to the memory in use now; whether that is possible here."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        RESET.write_text("5")
    except OSError:
        return False
    return True


def _peak() -> float | None:
    for line in STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None
