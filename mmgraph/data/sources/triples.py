"""A split released as NumPy files: ``train.npy``, ``valid.npy``, ``test.npy``, each of shape (2, n)."""

from pathlib import Path

import pyarrow as pa

from mmgraph.data.raw import Raw
from mmgraph.data.sources.numbers import as_ids, original_ids, read_matrix

PARTS = ("train", "valid", "test")


def read(folder: Path) -> Raw:
    """Row 0 holds user numbers, row 1 item numbers; the file names are the parts.

    Users keep their numbers as ids. Items get the ids of ``item_asin.csv`` where that file is present.
    """
    mapping = folder / "item_asin.csv"
    items = original_ids(mapping, "itemID") if mapping.is_file() else None
    return Raw(pa.concat_tables(_part(folder / f"{part}.npy", part, items) for part in PARTS))


def _part(path: Path, part: str, items: pa.Array | None) -> pa.Table:
    pairs = read_matrix(path)
    if pairs.shape[0] != 2 or pairs.dtype.kind not in "iu":
        raise ValueError(f"{path} must hold whole numbers in shape (2, n), users above items, got {pairs.dtype} "
                         f"{pairs.shape}.")
    return pa.table({"user": as_ids(pairs[0], None, path), "item": as_ids(pairs[1], items, path),
                     "part": pa.repeat(part, pairs.shape[1])})
