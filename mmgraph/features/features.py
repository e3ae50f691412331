"""Features of one node type: per modality a matrix and a mask, aligned by id and never by position."""

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from mmgraph.data.types import Ints
from mmgraph.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Features:
    """What the encoders made of the content of some nodes. Immutable.

    Args:
        ids: the nodes; row r of every matrix belongs to id number r.
        x: modality → float matrix of shape (nodes, dim). Rows of absent content are zero.
        present: modality → bool vector of shape (nodes,): whether the node has this modality.
        meta: modality → how the matrix was made (encoder, preprocessing, versions), plain JSON.
        content: modality → sha256 of each node's content as bytes, shape (nodes, 32); zeros where there is none or it
            is not known. Not every modality has one.
        trusted: the values were checked before (rows of other features, a store): check shapes only, so that a
            memory-mapped matrix is not read.

    Raises:
        ValueError: if a matrix has the wrong number of rows, is not finite, is non-zero where it says absent, or all
            zero in a row that it says is present.
    """

    ids: Vocabulary
    x: Mapping[str, Float[Tensor, "nodes _"]]
    present: Mapping[str, Bool[Tensor, " nodes"]]
    meta: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    content: Mapping[str, UInt8[Tensor, "nodes 32"]] = field(default_factory=dict)
    trusted: InitVar[bool] = False

    def __post_init__(self, trusted: bool) -> None:
        if set(self.x) != set(self.present):
            raise ValueError(f"every modality needs a matrix and a mask; matrices: {sorted(self.x)}, "
                             f"masks: {sorted(self.present)}.")
        for name, hashes in self.content.items():
            if name not in self.x or hashes.dtype != torch.uint8 or hashes.shape != (len(self.ids), 32):
                raise ValueError(f"the content hashes of {name!r} must be uint8 of shape ({len(self.ids)}, 32) beside "
                                 f"a matrix of that name, got {hashes.dtype} {tuple(hashes.shape)}; "
                                 f"modalities: {sorted(self.x)}.")
        for name in self.x:
            check_shape(name, self.x[name], self.present[name], self.ids)
            if not trusted:
                check_values(name, self.x[name], self.present[name], self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        parts = ", ".join(f"{m}: {x.shape[1]}-d on {int(self.present[m].sum())}" for m, x in self.x.items())
        return f"Features({len(self)} {self.ids.what}s; {parts or 'no modality'})"

    @property
    def dims(self) -> dict[str, int]:
        """Width of each modality."""
        return {name: x.shape[1] for name, x in self.x.items()}

    def rows(self, numbers: Ints | slice) -> "Features":
        """Only these rows, in this order."""
        numbers = np.arange(len(self))[numbers]
        index = torch.from_numpy(numbers)
        return replace(self, ids=self.ids.take(numbers), x={m: x[index] for m, x in self.x.items()},
                       present={m: p[index] for m, p in self.present.items()},
                       content={m: c[index] for m, c in self.content.items()}, trusted=True)

    def aligned(self, ids: Vocabulary) -> "Features":
        """Rows in the order of ``ids``; an id that has no row here is absent in every modality.

        Raises:
            ValueError: if ``ids`` name another type of node.
        """
        if ids.what != self.ids.what:
            raise ValueError(f"features of {self.ids.what}s cannot be aligned to {ids.what} ids.")
        if ids == self.ids:
            return self
        at = torch.from_numpy(self.ids.find(ids.ids))
        return replace(self, ids=ids, x={m: _picked(x, at) for m, x in self.x.items()},
                       present={m: _picked(p, at) for m, p in self.present.items()},
                       content={m: _picked(c, at) for m, c in self.content.items()}, trusted=True)

    def only(self, *names: str) -> "Features":
        """Only these modalities."""
        unknown = set(names) - set(self.x)
        if unknown:
            raise KeyError(f"no modality {sorted(unknown)}; there are {sorted(self.x)}.")
        return replace(self, x={m: self.x[m] for m in names}, present={m: self.present[m] for m in names},
                       meta={m: self.meta[m] for m in names if m in self.meta},
                       content={m: self.content[m] for m in names if m in self.content}, trusted=True)

    def to(self, device: torch.device | str) -> "Features":
        """The same features on a device."""
        return replace(self, x={m: x.to(device) for m, x in self.x.items()},
                       present={m: p.to(device) for m, p in self.present.items()}, trusted=True)

    @classmethod
    def empty(cls, ids: Vocabulary) -> "Features":
        """No modality at all, for models that need only ids."""
        return cls(ids, {}, {})

    def __or__(self, other: "Features") -> "Features":
        """Both sets of modalities; ``other`` is joined by id and wins where a name is in both."""
        other = other.aligned(self.ids)
        kept = {m: about for m, about in self.meta.items() if m not in other.x}
        content = {m: hashes for m, hashes in self.content.items() if m not in other.x}
        return Features(self.ids, {**self.x, **other.x}, {**self.present, **other.present}, {**kept, **other.meta},
                        {**content, **other.content}, trusted=True)


def from_arrays(ids: Any, arrays: Mapping[str, Any], *, what: str = "item",
                known: Vocabulary | None = None) -> Features:
    """Precomputed vectors with their ids.

    Args:
        ids: one id per row, in any order.
        arrays: modality → array of shape (rows, dim); a row that is all zero or all NaN is taken as absent.
        what: node type, for messages.
        known: if given, the ids that exist; a row for any other id is refused.

    Raises:
        ValueError: for duplicate or unknown ids, a wrong number of rows, or values that are not finite.
    """
    vocabulary = ids if isinstance(ids, Vocabulary) else Vocabulary(ids, what=what)
    if known is not None and (stray := known.find(vocabulary.ids) < 0).any():
        raise ValueError(f"{int(stray.sum())} feature rows belong to unknown {what} ids, e.g. "
                         f"{vocabulary.names(stray.nonzero()[0][:3])}; drop them or pass the data set they belong to.")
    x, present = {}, {}
    for name, array in arrays.items():
        given = array.detach() if isinstance(array, Tensor) else torch.from_numpy(np.array(array, dtype=np.float32))
        matrix = given.to(torch.float32, copy=isinstance(array, Tensor))
        if matrix.ndim != 2:
            raise ValueError(f"{name} features must be a matrix (rows, dim), got shape {tuple(matrix.shape)}.")
        absent = (matrix == 0).all(1) | matrix.isnan().all(1)
        matrix[absent] = 0
        x[name], present[name] = matrix, ~absent
    return Features(vocabulary, x, present)


def check_shape(name: str, x: Tensor, present: Tensor, ids: Vocabulary) -> None:
    """Refuse a matrix or mask of the wrong shape or type; reads no values."""
    if x.ndim != 2 or len(x) != len(ids) or present.shape != (len(ids),) or not x.shape[1]:
        raise ValueError(f"{name} features must have shape ({len(ids)}, dim > 0) and mask ({len(ids)},) for {len(ids)} "
                         f"{ids.what}s, got {tuple(x.shape)} and {tuple(present.shape)}.")
    if not x.is_floating_point() or present.dtype != torch.bool:
        raise ValueError(f"{name} features must be a float matrix and a bool mask, got {x.dtype} and {present.dtype}.")


def check_values(name: str, x: Tensor, present: Tensor, ids: Vocabulary) -> None:
    """Refuse values that cannot be what they claim to be; see `Features`."""
    def some(rows: Tensor) -> str:
        return f"{int(rows.sum())} rows, e.g. {ids.names(rows.nonzero()[:3, 0].cpu())}"

    largest = torch.maximum(x.amax(1), -x.amin(1))  # carries NaN along; 15 times as fast as isfinite().all(1)
    if (bad := ~largest.isfinite()).any():
        raise ValueError(f"{name} features have NaN or infinite values in {some(bad)}; "
                         f"mark these {ids.what}s absent or repair the encoder.")
    filled = largest != 0
    if (stray := filled & ~present).any():
        raise ValueError(f"{name} features are non-zero where the mask says absent: {some(stray)}.")
    if (blank := ~filled & present).any():
        raise ValueError(f"{name} features are all zero though the mask says present: {some(blank)}; "
                         f"missing content must be marked absent.")


def _picked(rows: Tensor, at: Tensor) -> Tensor:
    """Rows at these numbers, zero (false) where the number is negative."""
    if not len(rows):
        return rows.new_zeros(len(at), *rows.shape[1:])
    at = at.to(rows.device)
    picked = rows[at.clamp(min=0)]
    picked[at < 0] = 0
    return picked
