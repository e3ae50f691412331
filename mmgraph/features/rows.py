"""Encoded rows on disk, found by what they were made from: the content's hash, the encoder, its settings, the dtype."""

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mmgraph.data.folder import own_file, read_meta, write_json

log = logging.getLogger(__name__)

KIND, VERSION = "mmgraph-rows", 1


@dataclass(frozen=True)
class Shard:
    """What became of some contents. Equal contents encoded in the same batches give the same bytes on disk.

    Args:
        hashes: sha256 of each content.
        row: for each content its row of ``x``; -1 if it is unreadable.
        x: the rows.
        reasons: why a content is unreadable, by its place in the shard.
        remarks: what is suspicious about a content, by its place.
        versions: of the libraries that made it.
    """

    hashes: UInt8[np.ndarray, "contents 32"]
    row: Int64[np.ndarray, " contents"]
    x: Float[Tensor, "rows dim"]
    reasons: Mapping[int, str] = field(default_factory=dict)
    remarks: Mapping[int, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash of all that it says, with the rows as they are stored."""
        parts = (self.hashes.tobytes(), self.row.tobytes(), self.x.contiguous().view(torch.uint8).numpy().tobytes(),
                 json.dumps([_told(self.reasons), _told(self.remarks)]).encode())
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


class RowStore:
    """The rows of one encoder: a folder of immutable shards, to which any number of processes may add at once.

    A shard's file is named by the contents in it and takes its place by one rename, so two writers of the same shard
    leave the same file, and a killed one leaves none.

    Args:
        root: folder of all row stores; made if it is not there.
        modality: what is encoded.
        about: all that determines a row beside its content, as plain JSON; its hash is the key.

    Raises:
        ValueError: if the folder is damaged or belongs to another key.
    """

    def __init__(self, root: str | os.PathLike[str], modality: str, about: Mapping[str, Any]):
        self.key = key_of(about)
        self.folder = Path(root).expanduser() / f"{modality}-{self.key}"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "meta.json").exists():
            write_json(self.folder / "meta.json", {"format": KIND, "version": VERSION, "modality": modality,
                                                   "about": about})
        if read_meta(self.folder, KIND, VERSION)["about"] != json.loads(json.dumps(about)):
            raise ValueError(f"{self.folder} holds rows of another encoder than its name says; remove it.")

    def add(self, shard: Shard) -> None:
        """Write a shard.

        Raises:
            OSError: if that fails, e.g. for want of space; what was there before stays.
        """
        name = hashlib.sha256(shard.hashes.tobytes()).hexdigest()
        about = {"reasons": _told(shard.reasons), "remarks": _told(shard.remarks), "versions": dict(shard.versions),
                 "sha256": shard.digest}
        tensors = {"hashes": torch.from_numpy(shard.hashes), "row": torch.from_numpy(shard.row),
                   "x": shard.x.contiguous()}
        new = self.folder / f".{name}-{uuid.uuid4().hex}"
        try:  # one entry only: the format does not keep the order of several
            new.write_bytes(save(tensors, {"about": json.dumps(about, sort_keys=True)}))
            os.replace(new, self.folder / f"{name}.safetensors")
        finally:
            new.unlink(missing_ok=True)

    def shards(self) -> Iterator[Shard]:
        """All that can be read, memory-mapped. A damaged file is left out with a warning; its rows are made anew."""
        for file in sorted(self.folder.glob("*.safetensors")):
            try:
                yield read(file)
            except (SafetensorError, ValueError, KeyError) as error:
                log.warning("%s is damaged (%s); its rows are encoded again", file, error)

    def known(self) -> set[bytes]:
        """Hashes of the contents whose outcome is there."""
        return {h.tobytes() for shard in self.shards() for h in shard.hashes}

    def verify(self) -> None:
        """Hash every shard and compare with what was noted when it was written.

        Raises:
            ValueError: naming the first file that differs.
        """
        for file in sorted(self.folder.glob("*.safetensors")):
            verify_shard(file)


def key_of(about: Mapping[str, Any]) -> str:
    """The key of rows made as ``about`` says: equal for equal JSON, whatever the order."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]


def read(file: Path) -> Shard:
    """One shard, memory-mapped."""
    with safe_open(own_file(file), framework="pt", device="cpu") as tensors:
        about = json.loads(tensors.metadata()["about"])
        shard = Shard(tensors.get_tensor("hashes").numpy(), tensors.get_tensor("row").numpy(), tensors.get_tensor("x"),
                      _placed(about["reasons"]), _placed(about["remarks"]), about["versions"])
    if shard.hashes.shape != (len(shard.row), 32) or shard.row.max(initial=-1) >= len(shard.x):
        raise ValueError("its parts do not fit together")
    return shard


def verify_shard(file: Path) -> None:
    """Compare a shard with the hash noted in it.

    Raises:
        ValueError: if it differs or cannot be read.
    """
    try:
        with safe_open(file, framework="pt", device="cpu") as tensors:
            noted = json.loads(tensors.metadata()["about"])["sha256"]
        found = read(file).digest
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{file} is damaged ({error}); remove it and encode again.") from error
    if found != noted:
        raise ValueError(f"{file} has changed since it was written; remove it and encode again.")


def _told(texts: Mapping[int, str]) -> dict[str, str]:
    return {str(place): text for place, text in sorted(texts.items())}


def _placed(texts: Mapping[str, str]) -> dict[int, str]:
    return {int(place): text for place, text in texts.items()}
