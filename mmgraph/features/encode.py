"""From content to features: every distinct content once, nothing twice, and no bad file stops the run."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from tqdm import tqdm

from mmgraph.data.dataset import Dataset
from mmgraph.data.raw import MODALITIES
from mmgraph.data.types import Ints
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.features.contents import Contents, Nodes
from mmgraph.features.encoder import Encoder, Measured, Unreadable, name_of, readable
from mmgraph.features.engine import Compute, Encoded, encode_shards
from mmgraph.features.features import Features
from mmgraph.features.ray_engine import encode_on_ray
from mmgraph.features.registry import encoder_of
from mmgraph.features.rows import RowStore, Shard, key_of

log = logging.getLogger(__name__)

Engine = Callable[[Encoder, Contents, Sequence[Sequence[int]], Compute], Iterator[Encoded]]
ENGINES: Mapping[str, Engine] = {
    "local": lambda encoder, contents, shards, how: encode_shards(encoder, contents.__getitem__, shards, how),
    "ray": encode_on_ray,
}


def encode(data: Dataset | Nodes, *, text: Encoder | str | None = None, image: Encoder | str | None = None,
           audio: Encoder | str | None = None, video: Encoder | str | None = None, profile: Encoder | str | None = None,
           of: Literal["item", "user"] = "item", fit_items: Iterable[object] | None = None,
           store: str | os.PathLike[str] | None = None, batch_size: int = 64, workers: int | None = None,
           devices: Sequence[str] = (), dtype: str = "float32", shard_size: int = 512,
           engine: Literal["local", "ray"] = "local", progress: bool = True) -> Features:
    """What encoders make of the content of items or users.

    A node whose content is missing, unreadable or says nothing (an empty text, silence to an encoder that hears
    nothing in it) is marked absent. How each matrix was made, and what is ``unreadable`` (id → reason), ``blank``,
    ``suspicious`` (id → remark) and ``duplicates``, stand in the features' ``meta``; `report` prints it.

    Args:
        data: items and users with their content; for content without interactions see `Nodes.from_frame`.
        text: an encoder, the name of a model (``"provider/model"``), a folder that holds one, or ``"classical"``. If no
            modality is given one, every one of text, image, audio and video that the data have is encoded by its
            classical encoder.
        image: likewise.
        audio: likewise. For the sound tracks of films, give the films as the column ``audio``.
        video: likewise; an image encoder is applied to some frames.
        profile: encoder of all other attributes: ``"classical"`` or a `Profile`.
        of: whose content.
        fit_items: ids of the nodes from which encoders learn statistics (vocabulary, frequencies, axes): the warm
            ones, where there are cold ones. All if not given.
        store: folder in which rows are kept by content and encoder, so that nothing is ever encoded twice, and a run
            that was stopped goes on; see `RowStore`.
        batch_size: contents that are encoded together; does not change a row by more than rounding.
        workers: processes that decode while the model computes; see `Compute`.
        devices: e.g. ``("cuda:0", "cuda:1")``; by default the first accelerator, or else the CPU.
        dtype: float32, or float16 or bfloat16 for computing and storing.
        shard_size: contents per shard of the store: what a killed run can lose.
        engine: ``"ray"`` spreads the shards over a Ray cluster (of this machine, if there is no other).
        progress: show a bar.

    Raises:
        ValueError: if an encoder is unknown or of another modality, or its column is not there or empty.
        KeyError: if one of ``fit_items`` is unknown.
    """
    how = Compute(batch_size, workers, tuple(devices), dtype, shard_size)
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {sorted(ENGINES)}, got {engine!r}.")
    nodes = Nodes.of(data, of)
    choices = {"text": text, "image": image, "audio": audio, "video": video, "profile": profile}
    asked = {name: encoder_of(name, choice) for name, choice in choices.items() if choice is not None}
    columns = wanted_columns(nodes, list(asked))
    fit = np.arange(len(nodes.ids)) if fit_items is None else np.unique(nodes.ids.numbers(fit_items))
    features = Features.empty(nodes.ids)
    for name, column in columns.items():
        contents = Contents.of(name, column, progress=progress)
        encoder = asked.get(name) or encoder_of(name, "classical")
        # Two users of the same age count twice in its mean; the same text twice says nothing about words.
        encoder = encoder.fit(decodable(encoder, contents.of_rows(fit, repeated=name == "profile")))
        rows = encode_contents(encoder, contents, store, how, ENGINES[engine], progress)
        features = features | placed(nodes.ids, contents, rows, encoder, account(encoder, nodes.ids, fit, how))
    warn(features)
    return features


def wanted_columns(nodes: Nodes, asked: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """The columns to encode: those asked for, or else every modality of texts and media that there is.

    Raises:
        ValueError: if there is nothing to encode.
    """
    there = [m for m in (*MODALITIES, "profile") if nodes.column(m).null_count < len(nodes.ids)]
    columns = [name for name in nodes.table.column_names if name != "profile"]
    if missing := [m for m in asked if m not in there]:
        raise ValueError(f"no {nodes.ids.what} has {' or '.join(missing)} content: columns are {columns}, "
                         f"and of the modalities only {there} hold anything.")
    found = asked or [m for m in there if m != "profile"]
    if not found:
        raise ValueError(f"the {nodes.ids.what}s have no content to encode: columns are {columns}; give them at least "
                         f"one of {list(MODALITIES)}.")
    return {m: nodes.column(m) for m in found}


def decodable(encoder: Encoder, contents: Iterable[str | bytes]) -> Iterator[Any]:
    """Decode, leaving out what cannot be read; lazily, so that an encoder that learns nothing costs nothing."""
    for content in contents:
        try:
            yield encoder.decode(content)
        except Unreadable:
            continue


def encode_contents(encoder: Encoder, contents: Contents, store: str | os.PathLike[str] | None, how: Compute,
                    engine: Engine, progress: bool) -> list[Shard]:
    """The rows of all contents that can be read: those in the store, and the others, computed and stored now."""
    rows = RowStore(store, encoder.modality, key_parts(encoder, how)) if store is not None else None
    known = rows.known() if rows else set()
    plan = contents.planned(how.shard_size, encoder.cost if isinstance(encoder, Measured) else None)
    todo = [[n for n in shard if contents.hashes[n].tobytes() not in known] for shard in plan]
    todo = [shard for shard in todo if shard]
    total, left = sum(map(len, plan)), sum(map(len, todo))
    done = []
    with tqdm(total=total, initial=total - left, desc=encoder.modality, unit=encoder.modality,
              disable=not progress) as bar:
        for found in engine(encoder, contents, todo, how) if todo else ():
            shard = as_shard(found, contents, versions(encoder))
            if rows:
                rows.add(shard)
            else:
                done.append(shard)
            bar.update(len(found.numbers))
    return list(rows.shards()) if rows else done


def as_shard(found: Encoded, contents: Contents, made_by: Mapping[str, str]) -> Shard:
    """An encoded shard by content hash instead of number."""
    place = {number: at for at, number in enumerate(found.numbers)}
    row = np.full(len(found.numbers), -1)
    row[[place[n] for n in found.read]] = np.arange(len(found.read))
    return Shard(contents.hashes[found.numbers], row, found.x, {place[n]: why for n, why in found.reasons.items()},
                 {place[n]: what for n, what in found.remarks.items()}, made_by)


def placed(ids: Vocabulary, contents: Contents, shards: Iterable[Shard], encoder: Encoder,
           about: dict[str, Any]) -> Features:
    """Each node's row, found by its content's hash, and what is to be said of the others."""
    number_of = {h.tobytes(): n for n, h in enumerate(contents.hashes) if h.any()}
    order = np.argsort(contents.number, kind="stable")
    ranked, x = contents.number[order], None
    reasons, remarks = without_file(encoder.modality, contents), dict[int, str]()
    for shard in shards:
        at = np.array([number_of.get(h.tobytes(), -1) for h in shard.hashes])
        reasons |= {int(at[place]): why for place, why in shard.reasons.items() if at[place] >= 0}
        remarks |= {int(at[place]): what for place, what in shard.remarks.items() if at[place] >= 0}
        good = (at >= 0) & (shard.row >= 0)
        if good.any():
            x = torch.zeros(len(ids), shard.x.shape[1]) if x is None else x
            low, high = np.searchsorted(ranked, at[good], "left"), np.searchsorted(ranked, at[good], "right")
            nodes = np.concatenate([order[a:b] for a, b in zip(low, high, strict=True)])
            x[torch.from_numpy(nodes)] = shard.x[torch.from_numpy(np.repeat(shard.row[good], high - low))].float()
    x = torch.zeros(len(ids), encoder.encode([]).shape[1]) if x is None else x
    present, name = (x != 0).any(1), encoder.modality
    about |= trouble(ids, contents, reasons, remarks, present)
    return Features(ids, {name: x}, {name: present}, {name: about},
                    {name: torch.from_numpy(contents.per_row().copy())})


def without_file(modality: str, contents: Contents) -> dict[int, str]:
    """Why a content has no hash: its file is not there, or empty."""
    found = {}
    for number in np.flatnonzero(~contents.hashes.any(1)).tolist():
        try:
            readable(contents[number])
            found[number] = f"{name_of(contents[number])}: the file cannot be opened"
        except Unreadable as error:
            found[number] = str(error)
    return found


def key_parts(encoder: Encoder, how: Compute) -> dict[str, Any]:
    """All that determines a row beside its content."""
    return {"encoder": type(encoder).__name__, "settings": encoder.settings(), "dtype": how.dtype}


def versions(encoder: Encoder) -> dict[str, str]:
    """Versions of what an encoder computes with; it may name the ``libraries`` it relies on."""
    return {name: version(name) for name in ("torch", *getattr(encoder, "libraries", ()))}


def account(encoder: Encoder, ids: Vocabulary, fit: Ints, how: Compute) -> dict[str, Any]:
    """How a matrix was made, as plain JSON."""
    hashed = hashlib.sha256("\0".join(ids.names(fit)).encode()).hexdigest()[:16]
    parts = key_parts(encoder, how)
    return {"name": getattr(encoder, "name", "classical"), "key": key_of(parts), **parts, "versions": versions(encoder),
            "fit_items": {"count": len(fit), "hash": hashed}}


def trouble(ids: Vocabulary, contents: Contents, reasons: Mapping[int, str], remarks: Mapping[int, str],
            present: Tensor) -> dict[str, Any]:
    """Which nodes' content cannot be read, says nothing, is suspicious, or is that of others too."""
    held = np.flatnonzero(contents.number >= 0)
    number_of = dict(zip(ids.names(held), contents.number[held].tolist(), strict=True))
    there = set(ids.names(present.nonzero()[:, 0].numpy()))
    groups: dict[int, list[str]] = {}
    for id_, number in number_of.items():
        groups.setdefault(number, []).append(id_)
    return {"unreadable": {id_: reasons[n] for id_, n in number_of.items() if n in reasons},
            "blank": [id_ for id_, n in number_of.items() if n not in reasons and id_ not in there],
            "suspicious": {id_: remarks[n] for id_, n in number_of.items() if n in remarks},
            "duplicates": [group for n, group in groups.items() if len(group) > 1 and not contents.empty[n]]}


def warn(features: Features) -> None:
    """One line per modality with unreadable content, and one on nodes that have nothing at all."""
    for name, about in features.meta.items():
        if bad := about["unreadable"]:
            log.warning("%s: %d of %d %ss cannot be read and are marked absent, e.g. %s", name, len(bad),
                        len(features), features.ids.what, dict(list(bad.items())[:3]))
    bare = (~torch.stack(list(features.present.values())).any(0)).nonzero()[:, 0].numpy()
    if len(bare):
        log.warning("%d of %d %ss have no content in any of %s, e.g. %s", len(bare), len(features), features.ids.what,
                    sorted(features.x), features.ids.names(bare[:3]))
