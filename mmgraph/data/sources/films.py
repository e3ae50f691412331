"""What the two MovieLens readers have in common: films as rows, with names in lists, a year and a poster."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

ROLE = re.compile(r"\s*\([^()]*\)")
ABSENT = ("", "N/A")
FIELDS = {"title": pa.string(), "year": pa.int64(), "genre": pa.list_(pa.string()), "text": pa.string(),
          "image": pa.string(), "director": pa.list_(pa.string()), "actor": pa.list_(pa.string()),
          "writer": pa.list_(pa.string())}

Film = Mapping[str, Any]


def film_table(rated: pa.ChunkedArray, films: Mapping[str, Film]) -> pa.Table:
    """One row per rated film, in the order in which they are first rated; a film that nobody rated is left out.

    A column is there if some film in ``films`` has the field, whatever it holds.
    """
    ids = rated.unique().to_pylist()
    known = set().union(*films.values())
    columns = {name: pa.array([films.get(id_, {}).get(name) for id_ in ids], kind)
               for name, kind in FIELDS.items() if name in known}
    return pa.table({"item": pa.array(ids, pa.string()), **columns})


def by_id(path: Path, films: Iterable[tuple[str, Film]]) -> dict[str, Film]:
    """The films of a file by id.

    Raises:
        ValueError: if an id stands there twice.
    """
    found: dict[str, Film] = {}
    for id_, film in films:
        if id_ in found:
            raise ValueError(f"{path} has two rows for the film {id_!r}; a film has exactly one: drop the wrong one.")
        found[id_] = film
    return found


def merged(*sources: Mapping[str, Film]) -> dict[str, Film]:
    """Films with the fields of all sources."""
    ids = dict.fromkeys(id_ for source in sources for id_ in source)
    return {id_: {k: v for source in sources for k, v in source.get(id_, {}).items()} for id_ in ids}


def year_of(title: str) -> int | None:
    """The year that MovieLens writes at the end of a title: ``Toy Story (1995)``."""
    found = re.findall(r"\((\d{4})\)", title)
    return int(found[-1]) if found else None


def names(text: str) -> list[str] | None:
    """Names between commas, each once, without roles in brackets; null where there is none or it reads ``N/A``."""
    parts = (part.strip() for part in ROLE.sub("", text).split(","))
    return list(dict.fromkeys(part for part in parts if part not in ABSENT)) or None


def text_or_null(text: str) -> str | None:
    """The text without blanks around it; null where it is empty or reads ``N/A``."""
    text = text.strip()
    return None if text in ABSENT else text


def posters(*folders: Path) -> dict[str, str]:
    """Path of each poster by film id (``<id>.jpg``), in the first of these folders that exists; else none."""
    for folder in folders:
        if folder.is_dir():
            return {path.stem: str(path) for path in folder.glob("*.jpg")}
    return {}
