"""Features on disk: a folder of safetensors, the ids and a ``meta.json`` that says how each matrix was made."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmgraph.data.dataset import Dataset
from mmgraph.data.folder import own_file, read_json, read_meta, whole_folder, write_json
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.features.contents import Nodes
from mmgraph.features.features import Features, check_values
from mmgraph.features.report import stale

KIND, VERSION = "mmgraph-features", 1
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LIBRARIES = ("mmgraph", "torch", "numpy", "safetensors", "scikit-learn", "transformers", "timm", "torchaudio", "av")


def save(features: Features, folder: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32) -> None:
    """Write features to a folder; a store that is already there is replaced once the new one is complete.

    Args:
        features: what to save.
        folder: ``<modality>.safetensors`` each, ``ids.json`` and ``meta.json`` go here.
        dtype: stored as float32 (memory-mapped on load), float16 or bfloat16 (half the disk).

    Raises:
        FileExistsError: if the folder holds anything but a store.
        ValueError: if a modality's name cannot be a file name, or a value does not fit the dtype.
        OSError: if writing fails, e.g. for want of space. After any exception the old store, or nothing, is there.
    """
    with whole_folder(folder, KIND) as new:
        _write(features, new, dtype)


def load(folder: str | os.PathLike[str]) -> Features:
    """Read a store. Float32 matrices are memory-mapped: no value is read before it is used; others become float32.

    Shapes, ids and format are checked here; for the values see `verify`.

    Raises:
        FileNotFoundError: if the folder is not a store or lacks a file.
        ValueError: if a file is damaged, of a newer format, or does not belong to the others.
    """
    folder = Path(folder).expanduser()
    about = read_meta(folder, KIND, VERSION)
    ids = _ids(folder, about)
    matrices = {name: _matrix(folder, name, of) for name, of in about["modalities"].items()}
    return Features(ids, {m: t["x"].float() for m, t in matrices.items()},
                    {m: t["present"] for m, t in matrices.items()},
                    {m: of["encoder"] for m, of in about["modalities"].items()},
                    {m: t["content"] for m, t in matrices.items() if "content" in t}, trusted=True)


def verify(folder: str | os.PathLike[str], data: Dataset | Nodes | None = None) -> None:
    """Read every file of a store and compare it with the hash taken when it was written.

    Args:
        folder: the store.
        data: if given, the content of its items (or users) is hashed too and compared with what was encoded.

    Raises:
        FileNotFoundError: if the folder is not a store or lacks a file.
        ValueError: naming the first file that differs, or the nodes whose content is not that which was encoded.
    """
    folder = Path(folder).expanduser()
    about = read_meta(folder, KIND, VERSION)
    _ids(folder, about)
    for name, of in about["modalities"].items():
        _expect(folder / f"{name}.safetensors", of["sha256"])
    for name, ids in (stale(load(folder), data) if data is not None else {}).items():
        raise ValueError(f"{name}: the content of {len(ids)} {about['node_type']}s is not what was encoded, "
                         f"e.g. {ids[:5]}; encode again (with the same store only these are computed).")


def _write(features: Features, folder: Path, dtype: torch.dtype) -> None:
    ids = json.dumps(features.ids.ids.to_pylist(), ensure_ascii=False)
    (folder / "ids.json").write_text(ids, encoding="utf-8")
    modalities = {name: _write_matrix(features, name, folder / f"{name}.safetensors", dtype) for name in features.x}
    about = {"format": KIND, "version": VERSION, "node_type": features.ids.what, "rows": len(features),
             "ids_sha256": sha256(folder / "ids.json"), "modalities": modalities, "libraries": libraries()}
    write_json(folder / "meta.json", about)


def _write_matrix(features: Features, name: str, file: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Write one modality; returns what ``meta.json`` says about it."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError(f"the modality {name!r} cannot be a file name; use letters, digits, '_', '-', '+' and '.'.")
    if dtype not in DTYPES.values():
        raise ValueError(f"features are stored as one of {sorted(DTYPES)}, got {dtype}.")
    x, present = features.x[name].detach().cpu(), features.present[name].cpu().contiguous()
    stored = x.to(dtype).contiguous()
    hashes = {"content": features.content[name].contiguous()} if name in features.content else {}
    if dtype != x.dtype:
        check_values(f"{name} (as {dtype})", stored, present, features.ids)
    try:
        save_file({"x": stored, "present": present, **hashes}, file)
    except SafetensorError as error:
        raise OSError(errno.EIO, f"writing {file.name} failed: {error}") from error
    return {"encoder": dict(features.meta.get(name, {})), "dim": x.shape[1], "rows": len(x),
            "dtype": str(dtype).removeprefix("torch."), "sha256": sha256(file)}


def _ids(folder: Path, about: Mapping[str, Any]) -> Vocabulary:
    ids = read_json(folder / "ids.json", KIND)
    if len(ids) != about["rows"]:
        raise ValueError(f"{folder / 'ids.json'} has {len(ids)} ids, but the matrices have {about['rows']} rows; "
                         f"the files do not belong together.")
    _expect(folder / "ids.json", about["ids_sha256"])  # the same ids in another order would misalign every row
    return Vocabulary(ids, what=about["node_type"])


def _matrix(folder: Path, name: str, of: Mapping[str, Any]) -> dict[str, Tensor]:
    """Matrix, mask and, where they are known, content hashes of one modality."""
    file = folder / f"{name}.safetensors"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, but meta.json lists {name!r}; restore the file or save again.")
    try:
        with safe_open(own_file(file), framework="pt", device="cpu") as tensors:
            found = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}); restore the file or save again.") from error
    if not {"x", "present"} <= set(found):
        raise ValueError(f"{file} holds {sorted(found)} instead of x and present; restore the file or save again.")
    if (x := found["x"]).shape != (of["rows"], of["dim"]) or x.dtype != DTYPES[of["dtype"]]:
        raise ValueError(f"{file} holds {tuple(x.shape)} of {x.dtype}, but meta.json says ({of['rows']}, {of['dim']}) "
                         f"of {of['dtype']}; the files do not belong together.")
    return found


def _expect(file: Path, digest: str) -> None:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; restore it or save the store again.")
    if (found := sha256(file)) != digest:
        raise ValueError(f"{file} has changed since it was written: sha256 {found[:12]}…, meta.json says "
                         f"{digest[:12]}…; restore it or save the store again.")


def sha256(file: Path) -> str:
    """Hash of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def libraries() -> dict[str, str]:
    """Versions of the installed libraries that features may depend on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
