"""Where pretrained weights come from: a local folder, the hub's cache, or the hub; never code, never a pickle."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.tiktoken")  # weights, settings, tokenisers; no code
CODE = "*.py"  # fetched only for those who trust it
HASHED = (".safetensors", ".json", ".txt", ".model", ".tiktoken", ".py")
NO_DOWNLOAD = "'classical' (every modality), mmgraph.features.WordVectors(file), or the path of a local folder"


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a model's weights and settings.

    Args:
        name: as the user named it, for messages and the record.
        folder: where it lies.
    """

    name: str
    folder: Path

    def config(self, file: str = "config.json") -> dict[str, Any]:
        """One of its JSON files.

        Raises:
            FileNotFoundError: if it is not there.
            ValueError: if it is damaged.
        """
        path = self.folder / file
        if not path.is_file():
            raise FileNotFoundError(f"{self.name} is not a model folder: {path} is missing.")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}); fetch the model again.") from error
        if not isinstance(found, dict):
            raise ValueError(f"{path} is damaged (no JSON object); fetch the model again.")
        return found

    def has(self, file: str) -> bool:
        """Whether it has this file."""
        return (self.folder / file).is_file()

    @property
    def sha256(self) -> str:
        """Hash of names and bytes of all files that determine what the model computes; the same wherever they lie."""
        digest = hashlib.sha256()
        for file in sorted(p for p in self.folder.rglob("*") if p.suffix in HASHED and p.is_file()):
            state = file.stat()
            digest.update(file.relative_to(self.folder).as_posix().encode() + b"\0")
            digest.update(_sha256(str(file.resolve()), state.st_size, state.st_mtime_ns).encode())
        return digest.hexdigest()


def locate(name: str | os.PathLike[str], *, revision: str | None = None, code: bool = False) -> Checkpoint:
    """The folder of a model: a local one, one in the hub's cache, or else one that is downloaded now.

    Only weights in safetensors, settings and tokenisers are fetched, and the model's own code only if asked for.

    Args:
        name: a local folder, or ``"provider/model"``.
        revision: branch, tag or commit on the hub.
        code: fetch Python files too.

    Raises:
        FileNotFoundError: if there is no such folder and no such model.
        ConnectionError: if the hub cannot be reached; at once, naming the cache and what needs no download.
        ValueError: if the folder holds no safetensors weights, or a link out of it.
    """
    place = Path(name).expanduser()
    if place.is_dir():
        return checked(Checkpoint(str(name), place))
    text = str(name)
    if text.count("/") != 1 or text.startswith((".", "/", "~")) or text.endswith("/"):
        raise FileNotFoundError(f"{text!r} is neither a folder nor the name of a model, \"provider/model\"; "
                                f"without a download there are: {NO_DOWNLOAD}.")
    return checked(Checkpoint(text, _from_hub(text, revision, [*WANTED, CODE] if code else [*WANTED])))


def checked(checkpoint: Checkpoint) -> Checkpoint:
    """Refuse a folder without safetensors weights (a pickle is never read), or with links that lead out of it."""
    root = _own_root(checkpoint.folder.resolve())
    for file in checkpoint.folder.rglob("*"):
        if not file.resolve().is_relative_to(root):
            raise ValueError(f"{file} is a link that leads out of {root}; copy the file there if you trust it.")
    if not any(checkpoint.folder.rglob("*.safetensors")):
        there = sorted(p.name for p in checkpoint.folder.iterdir())
        raise ValueError(f"{checkpoint.name} has no weights in safetensors, only {there}; other formats can "
                         f"execute code and are not read. save_pretrained(folder) writes safetensors.")
    return checkpoint


def _own_root(folder: Path) -> Path:
    """The folder itself, or the whole repository for a snapshot in the hub's cache, whose files are links to blobs."""
    cached = folder.parent.name == "snapshots" and (folder.parent.parent / "blobs").is_dir()
    return folder.parent.parent if cached else folder


def _from_hub(name: str, revision: str | None, wanted: list[str]) -> Path:
    try:
        from huggingface_hub import HfApi, constants, snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError as error:
        raise ImportError('models are fetched by huggingface_hub: pip install "mmgraph[text]"') from error
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, local_files_only=True))
    except LocalEntryNotFoundError:
        pass  # not in the cache
    try:
        HfApi().model_info(name, revision=revision, timeout=5)  # one short request before the download with its retries
        return Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise FileNotFoundError(f"the hub has no model {name!r} (revision {revision}); check the name.") from error
    except Exception as error:  # the hub's client raises its transport's own errors, whichever that is
        raise ConnectionError(f"{name!r} is not in the cache {constants.HF_HUB_CACHE} and the hub cannot be reached "
                              f"({error}). Put the model there on a machine with a network, or use what needs no "
                              f"download: {NO_DOWNLOAD}.") from error


@lru_cache(maxsize=4096)
def _sha256(file: str, size: int, modified: int) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
