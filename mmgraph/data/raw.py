"""What a publisher released: own ids, nothing filtered, nothing numbered."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from mmgraph.data.types import Floats

MODALITIES = ("text", "image", "audio", "video")


@dataclass(frozen=True)
class Precomputed:
    """Vectors that came with the data: row r belongs to the item ``ids[r]``.

    Args:
        ids: item ids (strings), one per row; an item may be absent.
        matrix: float array of shape (rows, dim), finite.
    """

    ids: pa.Array
    matrix: Floats


@dataclass(frozen=True)
class Raw:
    """Interactions and content as published.

    Args:
        interactions: columns ``user`` and ``item`` (string ids); optional ``time`` (int64, UTC seconds),
            ``weight`` (float) and ``part`` (string: "train", "valid", "test": the publisher's own split).
        items: column ``item`` (id) and content. The columns ``text`` (string), ``image``, ``audio`` and ``video``
            (path as string, or the file's bytes) are modalities, null where missing. Every other column is an
            attribute: string (one category), list of strings (several) or number.
        users: column ``user`` (id) and attributes, as for items.
        vectors: precomputed item features by modality name.
        item_links: item–item relations by name, a table with the columns ``source`` and ``target`` (item ids).
    """

    interactions: pa.Table
    items: pa.Table | None = None
    users: pa.Table | None = None
    vectors: Mapping[str, Precomputed] = field(default_factory=dict)
    item_links: Mapping[str, pa.Table] = field(default_factory=dict)
