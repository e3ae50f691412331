"""The distinct contents of a column, known by their hash: what is to be encoded, once each."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8
from tqdm import tqdm

from mmgraph.data.dataset import Dataset
from mmgraph.data.frames import arrow, column
from mmgraph.data.raw import MODALITIES
from mmgraph.data.types import Bools, Ints
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.features.profile import profile_texts

TEXTS = ("text", "profile")  # a string of these modalities is content, of others it is the path of a file


@dataclass(frozen=True)
class Nodes:
    """Items or users with their content, a row each; their attributes together are the column ``profile``."""

    ids: Vocabulary
    table: pa.Table

    @classmethod
    def of(cls, data: "Dataset | Nodes", what: str) -> "Nodes":
        """The items or users of a data set; nodes as they are.

        Raises:
            ValueError: if ``what`` is neither "item" nor "user", or not what the nodes are.
        """
        if isinstance(data, Nodes):
            if what != data.ids.what:
                raise ValueError(f"these nodes are {data.ids.what}s, not {what!r}.")
            return data
        if what not in ("item", "user"):
            raise ValueError(f"of must be 'item' or 'user', got {what!r}.")
        ids, table = (data.items, data.item_content) if what == "item" else (data.users, data.user_content)
        texts = profile_texts(table, MODALITIES)
        return cls(ids, table.append_column("profile", pa.array(texts, pa.string())))

    @classmethod
    def from_frame(cls, frame: Any, id: str = "item", *, what: str = "item") -> "Nodes":
        """Content without interactions, to encode it on its own.

        Args:
            frame: one row per node, of any library that speaks Arrow: a column of ids; of ``text``, ``image``,
                ``audio``, ``video`` what there is (texts; paths or bytes); all others are attributes.
            id: name of the column of ids.
            what: "item" or "user".

        Raises:
            KeyError: if there is no such column.
            ValueError: if an id is missing or given twice.
        """
        table = arrow(frame, f"{what}s")
        ids = Vocabulary(column(table, id, f"{what}s"), what=what)
        rest = table.drop_columns([id])
        return cls(ids, rest.append_column("profile", pa.array(profile_texts(rest, MODALITIES), pa.string())))

    def column(self, name: str) -> pa.ChunkedArray:
        """The content of one modality; nulls where the data do not have it."""
        if name in self.table.column_names:
            return self.table[name]
        return pa.chunked_array([pa.nulls(len(self.ids), pa.string())])


@dataclass(frozen=True)
class Contents:
    """The distinct contents of one column, read from it when they are needed.

    Args:
        column: text, path, bytes or null per node.
        first: the first row of each distinct content.
        number: for each row the number of its content; -1 for null.
        hashes: sha256 of each distinct content; zeros for a file that cannot be read.
        empty: whether a content is a text without a word.
    """

    column: pa.ChunkedArray
    first: Sequence[int]
    number: Ints
    hashes: UInt8[np.ndarray, "contents 32"]
    empty: Bools

    @classmethod
    def of(cls, modality: str, column: pa.ChunkedArray, *, progress: bool = False) -> "Contents":
        """Find equal contents: equal texts, equal bytes, files with equal bytes.

        Raises:
            TypeError: if the column holds neither strings nor bytes.
        """
        seen: dict[str | bytes, int] = {}
        first: list[int] = []
        hashes: list[bytes] = []
        number = np.full(len(column), -1)
        rows = tqdm(column, desc=f"hash {modality}", unit=modality, disable=not progress, leave=False, delay=2)
        for row, scalar in enumerate(rows):
            value = scalar.as_py()
            if value is None:
                continue
            if not isinstance(value, str | bytes):
                raise TypeError(f"the column {modality!r} must hold strings or bytes, got {column.type}.")
            digest = content_hash(modality, value)
            if (found := seen.setdefault(digest or f"unreadable {value!r}", len(first))) == len(first):
                first.append(row)
                hashes.append(digest or bytes(32))
            number[row] = found
        empty = [modality in TEXTS and not column[row].as_py().strip() for row in first]
        return cls(column, first, number, np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
                   np.array(empty, dtype=bool))

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, number: int) -> str | bytes:
        return self.column[self.first[number]].as_py()

    def of_rows(self, rows: Ints, *, repeated: bool = False) -> Iterator[str | bytes]:
        """The contents of these rows, in their order: what other rows hold must not change it.

        Args:
            rows: numbers of rows.
            repeated: give a content once for each row that holds it, not once for all.
        """
        held = self.number[rows]
        held = held[held >= 0]
        if not repeated:
            numbers, where = np.unique(held, return_index=True)
            held = numbers[np.argsort(where)]
        return (self[number] for number in held.tolist())

    def per_row(self) -> UInt8[np.ndarray, "rows 32"]:
        """The hash of each row's content; zeros where there is none."""
        return np.concatenate([self.hashes, np.zeros((1, 32), np.uint8)])[self.number]

    def planned(self, size: int, cost: Callable[[str | bytes], int] | None) -> list[list[int]]:
        """The numbers of all contents that can be encoded, in shards of this size.

        The plan depends on nothing but the contents, so that a run that goes on makes the batches of the one that was
        stopped. Where there is a ``cost``, dear contents come first and like ones together.
        """
        numbers = np.flatnonzero(self.hashes.any(1) & ~self.empty)
        if cost is not None:
            numbers = numbers[np.argsort([-cost(self[n]) for n in numbers.tolist()], kind="stable")]
        return [numbers[at:at + size].tolist() for at in range(0, len(numbers), size)]


def content_hash(modality: str, content: str | bytes) -> bytes | None:
    """sha256 of a text's UTF-8, of bytes, or of a file's bytes; None for a file that is empty or not there."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest() if content or modality in TEXTS else None
    if modality in TEXTS:
        return hashlib.sha256(content.encode()).digest()
    try:
        if not os.path.getsize(content):
            return None
        with open(content, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return None
