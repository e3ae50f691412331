"""Features to and from what other tools read: NumPy files, the layout of MMRec, Parquet. No file can run code."""

import json
import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mmgraph.data.dataset import Dataset
from mmgraph.data.folder import own_file, read_json, read_meta, whole_files, whole_folder, write_json
from mmgraph.data.sources.numbers import original_ids
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.features.features import Features, from_arrays

Layout = Literal["npy", "mmrec", "parquet"]
KIND, MMREC, VERSION = "mmgraph-npy", "mmgraph-mmrec", 1
MASK, FEAT, MAPPING, ABSENT = ".present.npy", "_feat.npy", "i_id_mapping.csv", "absent.json"


def export(features: Features, path: str | os.PathLike[str], layout: Layout, *, dataset: Dataset | None = None) -> None:
    """Write features (float32, without hashes of the content) by `export_npy`, `export_mmrec` or `export_parquet`."""
    write: dict[str, Any] = {"npy": export_npy, "mmrec": partial(export_mmrec, dataset=dataset),
                             "parquet": export_parquet}
    _choice(write, layout)(features, path)


def import_features(path: str | os.PathLike[str], layout: Layout) -> Features:
    """Read what `export` or another tool wrote; ``features.aligned(data.items)`` joins the rows to a data set by id.

    Raises:
        FileNotFoundError: if there is nothing to read.
        ValueError: for an unknown layout, or a file that is pickled, damaged, a link that leads elsewhere, or does not
            belong to the others.
    """
    return _choice({"npy": import_npy, "mmrec": import_mmrec, "parquet": import_parquet}, layout)(path)


def export_npy(features: Features, folder: str | os.PathLike[str]) -> None:
    """Write ``ids.json``, and per modality ``<name>.npy`` (float32) and ``<name>.present.npy`` (bool).

    Raises:
        FileExistsError: if the folder holds anything but such an export, which is replaced.
        ValueError: if a modality's name cannot be a file name.
    """
    with whole_folder(folder, KIND) as new:
        for name, x in features.x.items():
            np.save(new / f"{_file_name(name)}.npy", _array(x), allow_pickle=False)
            np.save(new / f"{name}{MASK}", features.present[name].cpu().numpy(), allow_pickle=False)
        write_json(new / "ids.json", features.ids.ids.to_pylist())
        write_json(new / "meta.json", {"format": KIND, "version": VERSION, **_about(features)})


def import_npy(folder: str | os.PathLike[str]) -> Features:
    """Read ``ids.json`` (a list) or ``ids.txt`` (one per line), ``<name>.npy`` each, masks and ``meta.json`` if there.

    Without a mask, rows of zeros or NaN are absent. Raises as `import_features` does.
    """
    place = Path(folder).expanduser()
    about = read_meta(place, KIND, VERSION) if (place / "meta.json").exists() else {}
    ids = Vocabulary(_ids(place), what=about.get("node_type", "item"))
    found = (f.name.removesuffix(".npy") for f in place.glob("*.npy") if not f.name.endswith(MASK))
    names = about.get("modalities") or sorted(found)
    matrices = {name: _read_array(place / f"{_file_name(name)}.npy", 2) for name in names}
    masks = {name: _read_array(file, 1) for name in names if (file := place / f"{name}{MASK}").exists()}
    return _features(ids, matrices, masks, about.get("meta", {}))


def export_mmrec(features: Features, folder: str | os.PathLike[str], dataset: Dataset | None = None) -> None:
    """Write ``<name>_feat.npy`` and ``i_id_mapping.csv`` (``asin``, ``itemID``): row r belongs to the itemID r.

    Absent rows are zeros, as MMRec has them, and listed in ``absent.json``. The folder may hold other files.
    The item numbers of ``dataset`` become the itemIDs; without one the order of the features does.

    Raises:
        FileExistsError: if the folder numbers other items, or these in another order.
        ValueError: if a row belongs to no item of the data set, or a name or id does not fit the layout.
    """
    place, ids = Path(folder).expanduser(), features.ids if dataset is None else dataset.items
    if (stray := ids.find(features.ids.ids) < 0).any():
        raise ValueError(f"{int(stray.sum())} feature rows belong to no item of the data set, e.g. "
                         f"{features.ids.names(stray.nonzero()[0][:3])}; drop them: features.aligned(dataset.items).")
    if (place / MAPPING).exists() and _mapped_ids(place) != ids:
        raise FileExistsError(f"{place / MAPPING} numbers the items differently; choose another folder.")
    features, table = features.aligned(ids), _mapping(ids)
    absent = {name: ids.names((~present).nonzero()[:, 0].cpu()) for name, present in features.present.items()}
    with whole_files(place) as new:
        for name, x in features.x.items():
            np.save(new / f"{_file_name(name)}{FEAT}", _array(x), allow_pickle=False)
        (new / MAPPING).write_text(table, encoding="utf-8", newline="")
        write_json(new / ABSENT, {"format": MMREC, "version": VERSION, **_about(features), "absent": absent})


def import_mmrec(folder: str | os.PathLike[str]) -> Features:
    """Read every ``<name>_feat.npy``; ids are those of ``i_id_mapping.csv``, without it the row numbers.

    Without ``absent.json``, rows of zeros are absent. Raises as `import_features` does.
    """
    place = Path(folder).expanduser()
    about = _noted(read_json(place / ABSENT, MMREC), place) if (place / ABSENT).exists() else {}
    names = about.get("modalities") or sorted(f.name.removesuffix(FEAT) for f in place.glob(f"*{FEAT}"))
    matrices = {name: _read_array(place / f"{_file_name(name)}{FEAT}", 2) for name in names}
    if not matrices and not about:
        raise FileNotFoundError(f"{place} has no file *{FEAT}; it is not a folder of MMRec features.")
    ids, what = range(len(next(iter(matrices.values()), ()))), about.get("node_type", "item")
    known = _mapped_ids(place, what) if (place / MAPPING).exists() else Vocabulary(ids, what=what)
    masks = {name: ~np.isin(np.arange(len(known)), known.numbers(absent))
             for name, absent in about.get("absent", {}).items()}
    return _features(known, matrices, masks, about.get("meta", {}))


def export_parquet(features: Features, path: str | os.PathLike[str]) -> None:
    """Write one table: ``id``, and per modality a list of float32 of fixed size, null where absent.

    ``path`` is a file, or a folder that is there, for ``features.parquet``. The meta stand in the schema. Raises
    ValueError if a modality is called ``id``.
    """
    if "id" in features.x:
        raise ValueError("a modality cannot be called 'id' in Parquet, where that is the column of the ids; rename it.")
    lists = {name: pa.FixedSizeListArray.from_arrays(pa.array(_array(x).reshape(-1)), x.shape[1], mask=pa.array(
             ~features.present[name].cpu().numpy())) for name, x in features.x.items()}
    about = {"format": "mmgraph-parquet", "version": VERSION, **_about(features)}
    table = pa.table({"id": features.ids.ids, **lists}).replace_schema_metadata({"mmgraph": json.dumps(about)})
    file = Path(path).expanduser()
    file = file / "features.parquet" if file.is_dir() else file
    with whole_files(file.parent) as new:
        pq.write_table(table, new / file.name)


def import_parquet(path: str | os.PathLike[str]) -> Features:
    """Read a file, or all ``*.parquet`` of a folder: a column ``id``, every other lists of numbers of one length."""
    place = Path(path).expanduser()
    files = [own_file(file) for file in sorted(place.glob("*.parquet"))] if place.is_dir() else [place]
    if not files or not files[0].is_file():
        raise FileNotFoundError(f"there is no Parquet file at {place}.")
    try:
        table = pa.concat_tables([pq.ParquetFile(file).read() for file in files])
    except pa.ArrowInvalid as error:
        raise ValueError(f"{place} cannot be read as Parquet with one schema ({error}); write it again.") from error
    if "id" not in table.column_names:
        raise ValueError(f"{place} has no column 'id', only {table.column_names}; rename the column of the ids.")
    about = _noted(json.loads((table.schema.metadata or {}).get(b"mmgraph", b"{}")), place)
    ids = Vocabulary(table["id"], what=about.get("node_type", "item"))
    found = {name: _unlisted(table[name], name) for name in table.column_names if name != "id"}
    return _features(ids, {m: x for m, (x, _) in found.items()}, {m: p for m, (_, p) in found.items()},
                     about.get("meta", {}))


def _choice(functions: Mapping[str, Any], layout: str) -> Any:
    if layout not in functions:
        raise ValueError(f"layout must be one of {list(functions)}, got {layout!r}.")
    return functions[layout]


def _about(features: Features) -> dict[str, Any]:
    return {"node_type": features.ids.what, "modalities": list(features.x),
            "meta": {name: dict(about) for name, about in features.meta.items()}}


def _noted(about: Any, place: Path) -> dict[str, Any]:
    if not isinstance(about, dict) or about.get("version", VERSION) != VERSION:
        raise ValueError(f"the notes on the features in {place} are damaged or of a newer mmgraph; export them again.")
    return about


def _file_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", name) or name.endswith(".present"):
        raise ValueError(f"the modality {name!r} cannot be a file name; use letters, digits, '_', '-', '+' and '.'.")
    return name


def _array(x: Tensor) -> np.ndarray:
    return x.detach().to("cpu", torch.float32).contiguous().numpy()


def _read_array(file: Path, ndim: Literal[1, 2]) -> np.ndarray:
    """A matrix of numbers as float32, or a mask. Mapped first, so that a header cannot claim more than the file has."""
    try:
        array = np.load(own_file(file), mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{file} is not a plain NumPy array of numbers ({error}); pickled files can run code and are "
                         f"refused: save it again with np.save.") from error
    if not isinstance(array, np.ndarray) or array.ndim != ndim or array.dtype.kind not in ("iuf" if ndim == 2 else "b"):
        raise ValueError(f"{file} must hold {'a matrix of numbers' if ndim == 2 else 'a vector of bools'}, got "
                         f"{type(array).__name__} {getattr(array, 'dtype', '')} {getattr(array, 'shape', '')}.")
    return np.array(array, dtype=np.float32 if ndim == 2 else bool, order="C")


def _features(ids: Vocabulary, matrices: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray],
              meta: Mapping[str, Any]) -> Features:
    """Without a mask, rows of zeros or NaN are absent."""
    loose = from_arrays(ids, {name: matrix for name, matrix in matrices.items() if name not in masks})
    x = {name: loose.x[name] if name in loose.x else torch.from_numpy(matrix) for name, matrix in matrices.items()}
    present = {name: loose.present[name] if name in loose.x else torch.from_numpy(masks[name]) for name in matrices}
    return Features(ids, x, present, meta)


def _ids(folder: Path) -> list[str]:
    if not (file := folder / "ids.txt").exists() or (folder / "ids.json").exists():
        return list(read_json(folder / "ids.json", KIND))
    return own_file(file).read_text(encoding="utf-8").splitlines()


def _mapping(ids: Vocabulary) -> str:
    names = ids.ids.to_pylist()
    if odd := [name for name in names if re.search(r'[\t\r\n"]', name)]:
        raise ValueError(f"{len(odd)} ids have a tab, a line break or a quote, which {MAPPING} cannot hold, "
                         f"e.g. {odd[:3]}; export another layout.")
    return "\n".join(["asin\titemID", *(f"{name}\t{number}" for number, name in enumerate(names)), ""])


def _mapped_ids(folder: Path, what: str = "item") -> Vocabulary:
    return Vocabulary(original_ids(own_file(folder / MAPPING), "itemID"), what=what)


def _unlisted(column: pa.ChunkedArray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and mask of a column of lists."""
    kind, fixed = column.type, pa.types.is_fixed_size_list(column.type)
    listed = fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not listed or not (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)):
        raise ValueError(f"the column {name!r} must hold lists of numbers, got {kind}; leave it out.")
    rows = column.drop_null().combine_chunks()
    widths = [kind.list_size] if fixed else pc.unique(pc.list_value_length(rows)).to_pylist()
    if len(widths) != 1:
        raise ValueError(f"the lists of {name!r} must all have one length, got {sorted(widths)[:5]}.")
    present = column.is_valid().to_numpy()
    matrix = np.zeros((len(column), widths[0]), dtype=np.float32)
    matrix[present] = pc.list_flatten(rows).to_numpy(zero_copy_only=False).reshape(len(rows), widths[0])
    return matrix, present
