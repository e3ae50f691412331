"""From the items' content to features: every distinct content once, and no bad file stops the run."""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from mmgraph.data.dataset import Dataset
from mmgraph.data.raw import MODALITIES
from mmgraph.data.types import Ints
from mmgraph.features.audio import ClassicalAudio
from mmgraph.features.encoder import Encoder, Unreadable
from mmgraph.features.features import Features
from mmgraph.features.image import ClassicalImage
from mmgraph.features.text import TfidfText
from mmgraph.features.video import ClassicalVideo

log = logging.getLogger(__name__)

# The encoders that need no download, by modality and name.
CLASSICAL: Mapping[str, Mapping[str, Callable[[], Encoder]]] = {
    "text": {"classical": TfidfText, "tfidf": TfidfText},
    "image": {"classical": ClassicalImage},
    "audio": {"classical": ClassicalAudio},
    "video": {"classical": ClassicalVideo},
}


def encode(data: Dataset, *, text: Encoder | str | None = None, image: Encoder | str | None = None,
           audio: Encoder | str | None = None, video: Encoder | str | None = None,
           fit_items: Iterable[object] | None = None, batch_size: int = 64, progress: bool = True) -> Features:
    """What encoders make of the items' content.

    An item whose content is missing, unreadable or says nothing (silence, only stop words) is marked absent. How each
    matrix was made, and ``unreadable`` (item id → reason) and ``blank`` items, stand in the features' ``meta``.

    Args:
        data: the items and their content.
        text: an encoder or the name of one. If no modality is given one, every modality that the data have is
            encoded by its classical encoder.
        image: likewise.
        audio: likewise.
        video: likewise.
        fit_items: ids of the items from which encoders learn statistics (vocabulary, frequencies, axes): the warm
            ones, where there are cold ones. All items if not given.
        batch_size: contents that are encoded together; does not change the result of the classical encoders.
        progress: show a bar.

    Raises:
        ValueError: if an encoder is unknown or of another modality, or its column is not there or empty.
        KeyError: if one of ``fit_items`` is unknown.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    choices = {"text": text, "image": image, "audio": audio, "video": video}
    asked = {name: encoder_of(name, choice) for name, choice in choices.items() if choice is not None}
    columns = wanted_columns(data, list(asked))
    fit = np.arange(len(data.items)) if fit_items is None else np.unique(data.items.numbers(fit_items))
    x, present, meta = {}, {}, {}
    for name, column in columns.items():
        encoder, contents = asked.get(name) or encoder_of(name, "classical"), Contents.of(name, column)
        encoder = encoder.fit(decodable(encoder, contents.of_rows(fit)))
        matrix, reasons = encode_all(encoder, contents, batch_size, progress)
        x[name] = torch.cat([matrix, matrix.new_zeros(1, matrix.shape[1])])[torch.from_numpy(contents.number)]
        present[name] = (x[name] != 0).any(1)
        meta[name] = account(encoder, data, fit) | trouble(data, contents, reasons, present[name])
    features = Features(data.items, x, present, meta)
    warn(features)
    return features


def encoder_of(modality: str, choice: Encoder | str) -> Encoder:
    """The encoder that a user names or hands over.

    Raises:
        ValueError: if there is none of this name, or it is of another modality.
        TypeError: if it is a class.
    """
    if isinstance(choice, str):
        if choice not in CLASSICAL[modality]:
            raise ValueError(f"no {modality} encoder is called {choice!r}; available without a download: "
                             f"{sorted(CLASSICAL[modality])}; or pass an Encoder object.")
        return CLASSICAL[modality][choice]()
    if isinstance(choice, type):
        raise TypeError(f"{modality} must be an encoder, got the class {choice.__name__}; write {choice.__name__}().")
    if choice.modality != modality:
        raise ValueError(f"{type(choice).__name__} encodes {choice.modality}, but was given as the {modality} encoder; "
                         f"pass it as {choice.modality}=.")
    return choice


def wanted_columns(data: Dataset, asked: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """The columns to encode: those asked for, or else every modality that the items have.

    Raises:
        ValueError: if there is nothing to encode.
    """
    table = data.item_content
    there = [m for m in MODALITIES if m in table.column_names and table[m].null_count < table.num_rows]
    if missing := [m for m in asked if m not in there]:
        raise ValueError(f"no item has {' or '.join(missing)} content: columns are {table.column_names}, "
                         f"and of the modalities only {there} hold anything.")
    if not there:
        raise ValueError(f"the items have no content to encode: columns are {table.column_names}; give them at least "
                         f"one of {list(MODALITIES)}.")
    return {m: table[m] for m in asked or there}


@dataclass(frozen=True)
class Contents:
    """The distinct contents of one column, read from it when they are needed.

    Args:
        column: text, path, bytes or null per item.
        first: the first row of each distinct content.
        number: for each row the number of its content; -1 for null.
    """

    column: pa.ChunkedArray
    first: Sequence[int]
    number: Ints

    @classmethod
    def of(cls, name: str, column: pa.ChunkedArray) -> "Contents":
        """Find equal contents (bytes by their hash).

        Raises:
            TypeError: if the column holds neither strings nor bytes.
        """
        seen: dict[str | bytes, int] = {}
        first: list[int] = []
        number = np.full(len(column), -1)
        for row, scalar in enumerate(column):
            value = scalar.as_py()
            if value is None:
                continue
            if not isinstance(value, str | bytes):
                raise TypeError(f"the column {name!r} must hold strings or bytes, got {column.type}.")
            key = value if isinstance(value, str) else hashlib.sha256(value).digest()
            if (found := seen.setdefault(key, len(first))) == len(first):
                first.append(row)
            number[row] = found
        return cls(column, first, number)

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, number: int) -> str | bytes:
        return self.column[self.first[number]].as_py()

    def of_rows(self, rows: Ints) -> Iterator[str | bytes]:
        """The distinct contents of these rows, in their order: what other rows hold must not change it."""
        held = self.number[rows]
        numbers, where = np.unique(held[held >= 0], return_index=True)
        return (self[number] for number in numbers[np.argsort(where)].tolist())


def decodable(encoder: Encoder, contents: Iterable[str | bytes]) -> Iterator[Any]:
    """Decode, leaving out what cannot be read; lazily, so that an encoder that learns nothing costs nothing."""
    for content in contents:
        try:
            yield encoder.decode(content)
        except Unreadable:
            continue


def encode_all(encoder: Encoder, contents: Contents, batch_size: int,
               progress: bool) -> tuple[Float[Tensor, "contents dim"], dict[int, str]]:
    """A row per distinct content, zeros for what is unreadable; and why it is, by content number."""
    reasons: dict[int, str] = {}
    read: list[int] = []
    parts: list[Tensor] = []
    with tqdm(total=len(contents), desc=encoder.modality, unit=encoder.modality, disable=not progress) as bar:
        for start in range(0, len(contents), batch_size):
            batch = []
            for number in range(start, min(start + batch_size, len(contents))):
                try:
                    batch.append(encoder.decode(contents[number]))
                    read.append(number)
                except Unreadable as error:
                    reasons[number] = str(error)
                bar.update()
            if batch:
                parts.append(encoded(encoder, batch))
    rows = torch.cat(parts) if parts else encoder.encode([])
    matrix = rows.new_zeros(len(contents), rows.shape[1])
    matrix[read] = rows
    return matrix, reasons


def encoded(encoder: Encoder, batch: Sequence[Any]) -> Float[Tensor, "batch dim"]:
    """The rows of one batch.

    Raises:
        ValueError: if the encoder does not return one row for each.
    """
    rows = encoder.encode(batch).cpu()
    if rows.ndim != 2 or len(rows) != len(batch):
        raise ValueError(f"{type(encoder).__name__}.encode must return one row for each of {len(batch)} contents, "
                         f"got shape {tuple(rows.shape)}.")
    return rows


def account(encoder: Encoder, data: Dataset, fit: Ints) -> dict[str, Any]:
    """How a matrix was made, as plain JSON. An encoder may name the ``libraries`` it relies on."""
    ids = "\0".join(data.items.names(fit))
    return {"encoder": type(encoder).__name__, "settings": encoder.settings(),
            "versions": {name: version(name) for name in ("torch", *getattr(encoder, "libraries", ()))},
            "fit_items": {"count": len(fit), "hash": hashlib.sha256(ids.encode()).hexdigest()[:16]}}


def trouble(data: Dataset, contents: Contents, reasons: Mapping[int, str], present: Tensor) -> dict[str, Any]:
    """Which items have content that cannot be read, and which have content that says nothing."""
    absent = np.flatnonzero(~present.numpy() & (contents.number >= 0))
    told = dict(zip(data.items.names(absent), contents.number[absent].tolist(), strict=True))
    return {"unreadable": {id_: reasons[number] for id_, number in told.items() if number in reasons},
            "blank": [id_ for id_, number in told.items() if number not in reasons]}


def warn(features: Features) -> None:
    """One line per modality with unreadable content, and one on items that have nothing at all."""
    for name, about in features.meta.items():
        if bad := about["unreadable"]:
            log.warning("%s: %d of %d items cannot be read and are marked absent, e.g. %s", name, len(bad),
                        len(features), dict(list(bad.items())[:3]))
    bare = (~torch.stack(list(features.present.values())).any(0)).nonzero()[:, 0].numpy()
    if len(bare):
        log.warning("%d of %d items have no content in any of %s, e.g. %s", len(bare), len(features),
                    sorted(features.x), features.ids.names(bare[:3]))
