"""One thread: on a busy machine contended threads slow each other tenfold."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
DATA = Path(os.environ.get("MMGRAPH_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))


@pytest.fixture
def data_root() -> Path:
    """The real data sets; tests that use it are marked ``realdata``."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA}; set MMGRAPH_DATA to its place")
    return DATA
