"""Folders that are whole or not there: written beside their place and moved into it at the end."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


@contextmanager
def whole_folder(folder: str | os.PathLike[str], kind: str) -> Iterator[Path]:
    """A new folder to write into; when the block ends it takes the place of ``folder``.

    The block must write ``meta.json`` with ``"format": kind``. A folder of the same kind that is already there is
    replaced; anything else is left alone. After any exception the old folder, or nothing, is there.

    Raises:
        FileExistsError: if the place is taken by something that is not of this kind.
        OSError: if writing fails, e.g. for want of space.
    """
    target = Path(folder).expanduser().resolve()
    if target.exists() and not _replaceable(target, kind):
        raise FileExistsError(f"{target} exists and is not a folder of {kind}; choose another place or remove it.")
    new = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        new.mkdir(parents=True)
        yield new
        swap(new, target)
    except OSError as error:
        raise OSError(error.errno or errno.EIO,
                      f"could not save {kind} to {target}: {error}; nothing was changed there") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def swap(new: Path, target: Path) -> None:
    """Put the folder ``new`` in the place of ``target``; if that fails, the old one is back."""
    old = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(new, target)
    except BaseException:
        if old.exists():
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_text(file: Path, text: str) -> None:
    """Write a file (UTF-8) to a temporary name and rename it: afterwards all of it is there, or what was before."""
    new = file.with_name(f".{file.name}-{uuid.uuid4().hex}")
    try:
        new.write_text(text, encoding="utf-8", newline="")
        os.replace(new, file)
    finally:
        new.unlink(missing_ok=True)


def write_json(file: Path, value: Any) -> None:
    """Write JSON as `write_text` does."""
    write_text(file, json.dumps(value, indent=1, ensure_ascii=False))


@contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """A temporary folder; when the block ends without error, its files take their places in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".mmgraph-") as new:
        yield Path(new)
        for file in sorted(Path(new).iterdir()):
            os.replace(file, folder / file.name)


def own_file(file: Path) -> Path:
    """The file, if it lies where it seems to: a folder from elsewhere must not make us read other places.

    Raises:
        ValueError: if it is a link that leads out of its folder.
    """
    if file.is_symlink() and not file.resolve().is_relative_to(file.parent.resolve()):
        raise ValueError(f"{file} is a link that leads out of its folder, to {file.resolve()}; "
                         f"copy the file there if you trust it.")
    return file


def read_json(file: Path, kind: str) -> Any:
    """The JSON in a file of a folder of this kind.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: {file.parent} is not a folder of {kind}.")
    own_file(file)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); write the folder again.") from error


def read_meta(folder: str | os.PathLike[str], kind: str, newest: int) -> dict[str, Any]:
    """``meta.json`` of a folder, if it is of this kind and of a format version that is known.

    Raises:
        FileNotFoundError: if the folder has none.
        ValueError: if it is damaged, of another kind or of a newer version.
    """
    place = Path(folder).expanduser()
    meta = read_json(place / "meta.json", kind)
    if not isinstance(meta, dict) or meta.get("format") != kind:
        raise ValueError(f"{place} is not a folder of {kind}: its meta.json does not say so.")
    if not isinstance(meta.get("version"), int):
        raise ValueError(f"{place / 'meta.json'} is damaged (its version is {meta.get('version')!r}); "
                         f"write the folder again.")
    if meta["version"] > newest:
        raise ValueError(f"{place} has format version {meta['version']}, this mmgraph reads up to {newest}; "
                         f"update mmgraph.")
    return meta


def _replaceable(target: Path, kind: str) -> bool:
    """Whether the folder is empty or of the same kind, so that replacing it loses nothing else."""
    if not target.is_dir():
        return False
    if not any(target.iterdir()):
        return True
    try:
        return bool(read_meta(target, kind, 2**31))
    except (FileNotFoundError, ValueError):
        return False
