"""Who took what, and what the items contain: filtered, numbered, immutable."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmgraph.data.frames import arrow, column
from mmgraph.data.raw import Precomputed, Raw
from mmgraph.data.types import Ints
from mmgraph.data.vocabulary import Vocabulary, id_column

if TYPE_CHECKING:  # split.py builds on this file
    from mmgraph.data.split import Split, SplitRule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """Interactions of numbered users and items, and the content of both.

    Args:
        users: user ids; number of a user = position.
        items: item ids.
        interactions: distinct pairs in the columns ``user`` and ``item`` (int64 numbers); optional ``time`` (int64, UTC
            seconds), ``weight`` (float64), ``part`` (string).
        item_content: row i = content of item number i: ``text``, ``image``, ``audio``, ``video`` (null = missing) and
            attributes, see `Raw`.
        user_content: row u = attributes of user number u.
        vectors: precomputed item features with their own ids.
        item_links: item–item relations by name, columns ``source`` and ``target`` (ids).
    """

    users: Vocabulary
    items: Vocabulary
    interactions: pa.Table
    item_content: pa.Table
    user_content: pa.Table
    vectors: Mapping[str, Precomputed] = field(default_factory=dict)
    item_links: Mapping[str, pa.Table] = field(default_factory=dict)

    @classmethod
    def from_frames(cls, interactions: Any, items: Any = None, users: Any = None, *, user: str = "user",
                    item: str = "item", time: str | None = None, weight: str | None = None) -> "Dataset":
        """A data set from any frames that speak the Arrow PyCapsule protocol (pandas, polars, DuckDB, pyarrow).

        Args:
            interactions: one row per interaction.
            items: one row per item: a column named as ``item``, content and attributes, see `Raw`.
            users: one row per user, likewise.
            user: column of user ids.
            item: column of item ids.
            time: column of times (UTC seconds or timestamps), if any.
            weight: column of weights, if any.

        Raises:
            KeyError: if a named column is not there.
            ValueError: if there are no interactions, or an id is null, or an item or user has two rows.
        """
        table = arrow(interactions, "interactions")
        wanted = {user: "user", item: "item"} | {c: n for c, n in ((time, "time"), (weight, "weight")) if c}
        picked = {name: column(table, col, "interactions") for col, name in wanted.items()}
        raw_items = _renamed(arrow(items, "items"), item, "item") if items is not None else None
        raw_users = _renamed(arrow(users, "users"), user, "user") if users is not None else None
        return cls.from_raw(Raw(pa.table(picked), raw_items, raw_users))

    @classmethod
    def from_raw(cls, raw: Raw) -> "Dataset":
        """Number the ids and drop repeated interactions (the first by time, else by row, stays).

        Ids are numbered in natural order (integers by value, then strings) and interactions sorted by them, so that
        splits are drawn, and ties in a ranking fall, the same way however a file is shuffled.
        """
        if raw.interactions.num_rows == 0:
            raise ValueError("the interactions are empty: a data set needs at least one row (user, item).")
        user_ids = id_column(column(raw.interactions, "user", "interactions"), "user")
        item_ids = id_column(column(raw.interactions, "item", "interactions"), "item")
        users = _vocabulary(user_ids, raw.users, "user")
        items = _vocabulary(item_ids, raw.items, "item")
        pairs = {"user": users.numbers(user_ids), "item": items.numbers(item_ids)}
        table = pa.table(pairs | _extras(raw.interactions))
        return cls(users, items, _distinct(table, len(items)), _content(items, raw.items, "item"),
                   _content(users, raw.users, "user"), raw.vectors, raw.item_links)

    def __len__(self) -> int:
        return self.interactions.num_rows

    def __repr__(self) -> str:
        content = [*self.item_content.column_names, *self.vectors]
        return (f"Dataset({len(self.users):,} users, {len(self.items):,} items, {len(self):,} interactions; "
                f"content: {', '.join(content) or 'none'})")

    @cached_property
    def user(self) -> Ints:
        """User number of each interaction."""
        return self.interactions["user"].to_numpy()

    @cached_property
    def item(self) -> Ints:
        """Item number of each interaction."""
        return self.interactions["item"].to_numpy()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the ids and the set of interactions; the same for any order of the rows."""
        pairs = np.sort(self.user * len(self.items) + self.item)
        digest = hashlib.sha256(pairs.tobytes())
        for vocabulary in (self.users, self.items):
            digest.update("\0".join([*vocabulary.ids.to_pylist(), "\1"]).encode())
        return digest.hexdigest()[:16]

    def split(self, rule: "SplitRule", *, seed: int = 0) -> "Split":
        """Train, valid and test by a protocol, see `mmgraph.data.protocols`."""
        from mmgraph.data.split import Split

        return Split.of(self, rule, seed)

    def content_of(self, ids: Vocabulary) -> pa.Table:
        """The content of these items, in their order.

        Raises:
            KeyError: for an unknown item.
        """
        return _rows(self.item_content, pa.array(self.items.numbers(ids.ids)))

    def renumbered(self, users: Ints, items: Ints) -> "Dataset":
        """Only these users and items, numbered in the order given; interactions of others are dropped."""
        new_user, new_item = np.full(len(self.users), -1), np.full(len(self.items), -1)
        new_user[users], new_item[items] = np.arange(len(users)), np.arange(len(items))
        table = self.interactions.set_column(0, "user", pa.array(new_user[self.user]))
        table = table.set_column(1, "item", pa.array(new_item[self.item]))
        keep = (new_user[self.user] >= 0) & (new_item[self.item] >= 0)
        return replace(self, users=self.users.take(users), items=self.items.take(items),
                       interactions=table if keep.all() else table.filter(pa.array(keep)),
                       item_content=_rows(self.item_content, pa.array(items)),
                       user_content=_rows(self.user_content, pa.array(users)))

    def k_core(self, k: int) -> "Dataset":
        """The largest part in which every user and every item has at least ``k`` interactions (iterated to the end).

        Raises:
            ValueError: if nothing is left.
        """
        keep = np.ones(len(self), dtype=bool)
        while True:
            n_user = np.bincount(self.user[keep], minlength=len(self.users))
            n_item = np.bincount(self.item[keep], minlength=len(self.items))
            kept = keep & (n_user[self.user] >= k) & (n_item[self.item] >= k)
            if (kept == keep).all():
                break
            keep = kept
        if not keep.any():
            raise ValueError(f"no user or item is left in the {k}-core of {self!r}; choose a smaller k.")
        return self.renumbered(n_user.nonzero()[0], n_item.nonzero()[0])


def _renamed(table: pa.Table, old: str, new: str) -> pa.Table:
    column(table, old, f"{new}s")
    return table.rename_columns([new if c == old else c for c in table.column_names])


def _vocabulary(seen: pa.Array, table: pa.Table | None, what: str) -> Vocabulary:
    ids = pc.unique(seen)
    if table is not None:
        own = Vocabulary(column(table, what, f"{what}s"), what=what)  # refuses a second row
        ids = pc.unique(pa.concat_arrays([own.ids, ids]))
    text = ids.to_pylist()
    text.sort(key=lambda id_: (0, int(id_), id_) if id_.isascii() and id_.isdigit() else (1, 0, id_))
    return Vocabulary(text, what=what)


def _extras(table: pa.Table) -> dict[str, pa.Array]:
    """The optional columns, in their fixed types."""
    extras = {}
    for name, kind in (("time", pa.int64()), ("weight", pa.float64()), ("part", pa.string())):
        if name in table.column_names:
            values = table[name]
            if name == "time" and pa.types.is_timestamp(values.type):
                values = values.cast(pa.timestamp("s"), safe=False)
            extras[name] = values.cast(kind).combine_chunks()
            if values.null_count:
                raise ValueError(f"{values.null_count} interactions have no {name}; "
                                 f"fill the column in or leave it out.")
    return extras


def _distinct(table: pa.Table, n_items: int) -> pa.Table:
    """One row per (user, item), the earliest, in the order of the numbers."""
    key = table["user"].to_numpy() * n_items + table["item"].to_numpy()
    order = np.lexsort((table["time"].to_numpy(), key)) if "time" in table.column_names else key.argsort(kind="stable")
    first = np.append(True, np.diff(key[order]) > 0)
    if not first.all():
        log.info("dropped %d repeated interactions of %d.", (~first).sum(), len(first))
    return table.take(pa.array(order[first]))


def _content(ids: Vocabulary, table: pa.Table | None, what: str) -> pa.Table:
    """The content in the order of the numbers; nulls for an id without a row."""
    if table is None:
        return _no_columns(len(ids))
    at = pa.array(Vocabulary(table[what], what=what).find(ids.ids))
    at = pc.if_else(pc.less(at, 0), None, at)
    return _rows(table.drop_columns([what]), at)


def _rows(table: pa.Table, at: pa.Array) -> pa.Table:
    return table.take(at) if table.num_columns else _no_columns(len(at))  # Arrow forgets the height of an empty table


def _no_columns(n: int) -> pa.Table:
    return pa.table({"": pa.nulls(n)}).select([])
