"""From a name and a folder to a data set: find the card, check the files, read, compare the counts."""

import hashlib
import importlib
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc

from mmgraph.data.card import COUNTS, Card, alternatives, cards
from mmgraph.data.dataset import Dataset
from mmgraph.data.raw import Raw

log = logging.getLogger(__name__)


def load(name: str, root: str | Path, *, verify: bool = False) -> Dataset:
    """A published data set from files that the user has; nothing is downloaded.

    Args:
        name: the name of a card, see `cards`.
        root: the folder that holds the files.
        verify: also compare the files' SHA-256 with those of the card (reads every file once more).

    Raises:
        KeyError: if there is no card of this name.
        FileNotFoundError: if the folder or a file is missing; says where the publisher offers it.
        ValueError: if a file cannot be read, a checksum differs, or what was read differs from the card's counts.
    """
    known = cards()
    if name not in known:
        raise KeyError(f"no data set is called {name!r}; there are {sorted(known)}. "
                       f"For data of your own use Dataset.from_frames.")
    card, folder = known[name], Path(root).expanduser().resolve()
    check_files(card, folder)
    if verify:
        check_sums(card, folder)
    data = Dataset.from_raw(reader(card)(folder))
    check_counts(card, data)
    return data


def reader(card: Card) -> Callable[[Path], Raw]:
    """The function that reads the files of a card.

    Raises:
        ValueError: if there is none.
    """
    module = f"mmgraph.data.sources.{card.reader}"
    exists = card.reader.isidentifier() and importlib.util.find_spec(module)
    read = getattr(importlib.import_module(module), "read", None) if exists else None
    if read is None:
        raise ValueError(f"card {card.name!r} names the reader {card.reader!r}, but there is no {module}.read.")
    return read


def check_files(card: Card, folder: Path) -> None:
    """Refuse a folder that lacks a file which the reader needs."""
    missing = [" or ".join(alternatives(names)) for names in card.files
               if not any((folder / file).is_file() for file in alternatives(names))]
    if missing:
        place = folder if folder.is_dir() else f"{folder}, which is no folder"
        raise FileNotFoundError(f"{card.title} needs {', '.join(missing)} in {place}. "
                                f"The publisher offers the data at {card.url} (licence: {card.licence}).")


def check_sums(card: Card, folder: Path) -> None:
    """Refuse files that are not, byte for byte, those the card was written from; what it does not list is logged."""
    for names in (*card.files, *card.optional):
        for file in alternatives(names):
            path = folder / file
            if path.is_file() and file not in card.sha256:
                log.warning("%s is not verified: the card %s has no checksum for it.", path, card.name)
            elif path.is_file() and (found := _sha256(path)) != card.sha256[file]:
                raise ValueError(f"{path} has the SHA-256 {found}, the card {card.name!r} {card.sha256[file]}: it is "
                                 f"damaged or of another release; fetch it again from {card.url}.")


def check_counts(card: Card, data: Dataset) -> None:
    """Refuse data that differ from the counts of the card."""
    found = counts(data)
    wrong = [f"{found.get(key, 0):,} {key} (expected {expected:,})" for key, expected in card.expect.items()
             if found.get(key, 0) != expected]
    if wrong:
        swapped = {**found, "valid": found.get("test"), "test": found.get("valid")} == dict(card.expect)
        hint = "valid and test are swapped" if swapped else "the copy is incomplete, filtered or of another release"
        raise ValueError(f"{card.title}: read {', '.join(wrong)}; {hint}. Fetch it from {card.url}, or read your own "
                         f"version with Dataset.from_frames.")


def counts(data: Dataset) -> dict[str, int]:
    """Users, items, interactions, and interactions per part, if the publisher split them."""
    found = dict(zip(COUNTS, (len(data.users), len(data.items), len(data)), strict=True))
    if "part" in data.interactions.column_names:
        found |= {row["values"]: row["counts"] for row in pc.value_counts(data.interactions["part"]).to_pylist()}
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
