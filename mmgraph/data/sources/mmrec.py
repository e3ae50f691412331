"""The layout of the MMRec framework: one ``<name>.inter`` table, and a matrix ``<modality>_feat.npy`` per modality."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from mmgraph.data.raw import Precomputed, Raw
from mmgraph.data.sources.delimited import read_header
from mmgraph.data.sources.numbers import as_ids, original_ids, read_matrix

PARTS = pa.array(["train", "valid", "test"])  # x_label 0, 1, 2
EXTRAS = {"timestamp": "time", "rating": "weight"}


def read(folder: Path) -> Raw:
    """The column ``x_label`` is the split; row r of a matrix belongs to the ``itemID`` r.

    Original ids come from ``u_id_mapping.csv`` and ``i_id_mapping.csv`` where these are present.

    Raises:
        FileNotFoundError: if there is not exactly one ``.inter`` file.
        ValueError: if a label is not 0, 1 or 2, or a matrix has not one row per item.
    """
    path = _inter(folder)
    table = read_header(path, {"userID": pa.int64(), "itemID": pa.int64(), "x_label": pa.int64()}, sep="\t")
    users, items = _mapping(folder / "u_id_mapping.csv", "userID"), _mapping(folder / "i_id_mapping.csv", "itemID")
    numbers = table["itemID"].to_numpy()
    extras = {ours: _numeric(table, theirs, path) for theirs, ours in EXTRAS.items() if theirs in table.column_names}
    interactions = pa.table({"user": as_ids(table["userID"].to_numpy(), users, path),
                             "item": as_ids(numbers, items, path),
                             "part": _parts(table["x_label"].combine_chunks(), path), **extras})
    n_items = len(items) if items is not None else int(numbers.max(initial=-1)) + 1
    ids = as_ids(np.arange(n_items), items, path)
    vectors = {file.name.removesuffix("_feat.npy"): _vectors(file, ids) for file in sorted(folder.glob("*_feat.npy"))}
    return Raw(interactions, items=pa.table({"item": ids}), vectors=vectors)


def _inter(folder: Path) -> Path:
    found = sorted(folder.glob("*.inter"))
    if len(found) != 1:
        raise FileNotFoundError(f"{folder} must hold exactly one .inter file, found {[f.name for f in found]}.")
    return found[0]


def _parts(label: pa.Array, path: Path) -> pa.Array:
    if not set(labels := label.unique().to_pylist()) <= {0, 1, 2}:
        raise ValueError(f"{path}: x_label must be 0 (train), 1 (valid) or 2 (test), got {labels}.")
    return PARTS.take(label)


def _mapping(path: Path, number: str) -> pa.Array | None:
    return original_ids(path, number) if path.is_file() else None


def _numeric(table: pa.Table, name: str, path: Path) -> pa.ChunkedArray:
    try:
        values = table[name].cast(pa.float64())
        return values.cast(pa.int64()) if name == "timestamp" else values
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: the column {name!r} must hold numbers, times whole seconds: {error}.") from error


def _vectors(path: Path, ids: pa.Array) -> Precomputed:
    """Float16 is cast before anything is summed: it overflows at 65,504."""
    matrix = read_matrix(path).astype(np.float32)
    if len(matrix) != len(ids):
        raise ValueError(f"{path} has {len(matrix)} rows for {len(ids)} items; row r must belong to itemID r: "
                         f"the file is shortened or of another release.")
    bad = np.flatnonzero(~np.isfinite(matrix).all(1))
    if len(bad):
        raise ValueError(f"{path} has NaN or infinite values in {len(bad)} rows, e.g. {bad[:3].tolist()}; "
                         f"a missing item is a row of zeros.")
    return Precomputed(ids, matrix)
