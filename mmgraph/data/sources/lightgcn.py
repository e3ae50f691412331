"""The text format of the LightGCN repository: ``train.txt`` and ``test.txt``, a user and all its items per line."""

from pathlib import Path

import pyarrow as pa

from mmgraph.data.raw import Raw
from mmgraph.data.sources.numbers import as_ids, read_lines


def read(folder: Path) -> Raw:
    """Each line is ``user item item …``; a line with a user and no items is legal. There is no validation part."""
    return Raw(pa.concat_tables(_part(folder / f"{part}.txt", part) for part in ("train", "test")))


def _part(path: Path, part: str) -> pa.Table:
    lines = read_lines(path)
    return pa.table({"user": as_ids(lines.first[lines.line], None, path), "item": as_ids(lines.values, None, path),
                     "part": pa.repeat(part, len(lines.values))})
