"""Attributes of items and users: numbers, categories, labels and short texts, side by side in one vector."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from mmgraph.features.attributes import LARGEST, Kind, check_kinds, kind_of, missing, parsed, plain
from mmgraph.features.encoder import Encoder, Movable, Unreadable
from mmgraph.features.normalise import FAINT
from mmgraph.features.text import TfidfText


@dataclass(frozen=True, eq=False)
class Column:
    """What `Profile` learned of one attribute; plain values, so that it can be stored without pickle.

    Args:
        name: of the attribute.
        kind: how it is encoded.
        mean: of a number.
        sd: its population standard deviation, 1 if it is constant.
        values: categories or labels, sorted.
        text: the fitted encoder of a text.
        learned_from: sha256 of the texts from which that encoder learned; None if it learns nothing.
    """

    name: str
    kind: Kind
    mean: float = 0.0
    sd: float = 1.0
    values: tuple[str, ...] = ()
    text: Encoder | None = None
    learned_from: str | None = None

    def encode(self, batch: Sequence[Mapping[str, Any]]) -> Float[np.ndarray, "batch _"]:
        """Float32 block; zeros where the attribute is missing."""
        known = [(row, value) for row, node in enumerate(batch)
                 if (value := parsed(self.kind, node.get(self.name))) is not None]
        if self.kind == "number":
            return self._numbers(known, len(batch))
        if self.text is not None:
            return self._texts(known, len(batch), self.text)
        block, place = np.zeros((len(batch), len(self.values)), np.float32), {v: n for n, v in enumerate(self.values)}
        for row, value in known:
            at = [place[each] for each in value if each in place]
            block[row, at] = 1 / math.sqrt(max(len(at), 1))
        return block

    def _numbers(self, known: Sequence[tuple[int, float]], n: int) -> Float[np.ndarray, "batch 1"]:
        block = np.zeros((n, 1), np.float32)
        if known:
            rows, values = zip(*known, strict=True)
            z = ((np.array(values) - self.mean) / self.sd).clip(-LARGEST, LARGEST).astype(np.float32)
            block[list(rows), 0] = np.where(z == 0, FAINT, z)
        return block

    def _texts(self, known: Sequence[tuple[int, str]], n: int, text: Encoder) -> Float[np.ndarray, "batch _"]:
        read = [(row, decoded) for row, value in known for decoded in _decoded(text, value)]
        x = text.encode([decoded for _, decoded in read]).float().cpu().numpy()
        length = np.linalg.norm(x, axis=1, keepdims=True)
        block = np.zeros((n, x.shape[1]), np.float32)
        block[[row for row, _ in read]] = x / np.where(length > 0, length, 1)
        return block


class Profile:
    r"""The attributes of a node, given as one JSON object, as blocks side by side in the order of their names.

    ========== ==================== ============================================================================
    kind       told by              block
    ========== ==================== ============================================================================
    number     numbers, ISO dates   :math:`(x - \mu) / \sigma`, population standard deviation; dates in days
    category   few strings, flags   one-hot
    labels     lists of strings     multi-hot, :math:`1 / \sqrt n` for each of the n known labels that a node has
    text       other strings        vector of the text encoder, scaled to length 1
    none       words that are ids   left out
    ========== ==================== ============================================================================

    Every block thus has a mean squared length of 1 (at most) over the nodes that have the attribute, so that none
    outweighs the others. Missing values (absent, null, NaN, infinite or beyond float32, blank, not of the column's
    kind) and unknown categories are zeros; a node with nothing known is a row of zeros. A number that equals the mean
    becomes 2⁻¹⁴, since zero means missing.

    A column of strings is of categories if each occurs twice on average and there are at most ``max_values``, or if
    they are at most 32 single words; if they are single words and all distinct, they are taken for ids and left out,
    with a warning in the log; else it is text. Columns that no fitted node has are ignored.

    Args:
        kinds: column → kind, for columns where the rule above would err; "none" leaves one out.
        text: encoder of each text column, fitted to it; `TfidfText` with 32 dimensions by default.
        max_values: width of a category or labels block at most; the most frequent values are kept.
        columns: what was learned; `fit` fills it in.

    Raises:
        ValueError: if an argument is out of range.
    """

    modality = "profile"
    name = "profile"

    def __init__(self, *, kinds: Mapping[str, Kind] | None = None, text: Encoder | None = None, max_values: int = 256,
                 columns: tuple[Column, ...] | None = None):
        if max_values < 1:
            raise ValueError(f"max_values must be at least 1, got {max_values}.")
        check_kinds(kinds or {})
        if text is not None and text.modality != "text":
            raise ValueError(f"text must be an encoder of text, got one of {text.modality}.")
        self.kinds, self.max_values, self.columns = dict(kinds or {}), max_values, columns
        self.text: Encoder = text or TfidfText(dim=32, min_df=1)
        self.libraries: tuple[str, ...] = getattr(self.text, "libraries", ())

    def settings(self) -> dict[str, Any]:
        columns = self.columns or ()
        text = any(c.kind == "text" for c in columns) if self.columns is not None else True
        learned = [[c.name, c.kind, c.mean, c.sd, c.values, c.learned_from] for c in columns]
        return {"kinds": self.kinds | {c.name: c.kind for c in columns}, "max_values": self.max_values,
                "text": {"encoder": type(self.text).__name__, **self.text.settings()} if text else None,
                "learned": None if self.columns is None else _sha256(learned)}

    def decode(self, content: str | bytes) -> dict[str, Any]:
        """The attributes by name."""
        try:
            found = json.loads(content if isinstance(content, str) else content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"attributes are not JSON: {error}") from error
        if not isinstance(found, dict):
            raise Unreadable(f"attributes must be one JSON object, got {content[:40]!r}")
        return found

    def fit(self, decoded: Iterable[Mapping[str, Any]]) -> "Profile":
        """A new encoder with kinds, means, deviations, vocabularies and text statistics of these nodes only.

        Raises:
            ValueError: if a column mixes kinds or holds what no kind covers, if a told column is not there or holds
                other values than told, or if nothing is left to encode.
        """
        held: dict[str, list[Any]] = {name: [] for name in self.kinds}
        for node in decoded:
            for name, value in node.items():
                if not missing(value):
                    held.setdefault(name, []).append(value)
        columns = [self._learn(name, held[name]) for name in sorted(held)]
        if all(c.kind == "none" for c in columns):
            raise ValueError(f"no attribute is left to encode of {sorted(held)}; fit on nodes that have some, "
                             f"or say what they are: kinds={{'column': 'category'}}.")
        return Profile(kinds=self.kinds, text=self.text, max_values=self.max_values, columns=tuple(columns))

    def _learn(self, name: str, values: Sequence[Any]) -> Column:
        kind = self.kinds.get(name) or kind_of(name, values, self.max_values)
        known = [parsed(kind, value) for value in values]
        if kind != "none" and (not known or None in known):
            what = f"e.g. {values[known.index(None)]!r}" if known else "and no fitted node has a value there"
            raise ValueError(f"kinds says that {name!r} is {kind}, {what}; correct kinds or the column.")
        if kind == "number":
            if len(set(known)) == 1:  # the mean of equal numbers may be off in the last digit
                return Column(name, kind, mean=known[0])
            return Column(name, kind, mean=float(np.mean(known)), sd=float(np.std(known)))
        if kind == "text":
            text = self._fitted(name, known)
            return Column(name, kind, text=text, learned_from=None if text is self.text else _sha256(known))
        counts = Counter(each for value in known for each in value or ())
        kept = sorted(counts, key=lambda value: (-counts[value], value))[:self.max_values]
        return Column(name, kind, values=tuple(sorted(kept)))

    def _fitted(self, name: str, texts: Sequence[str]) -> Encoder:
        try:
            return self.text.fit(decoded for value in texts for decoded in _decoded(self.text, value))
        except ValueError as error:
            raise ValueError(f"the text column {name!r} cannot be learned: {error} "
                             f"Or leave it out: kinds={{{name!r}: 'none'}}.") from error

    def encode(self, batch: Sequence[Mapping[str, Any]]) -> Float[Tensor, "batch dim"]:
        if self.columns is None:
            raise ValueError("Profile has learned nothing yet; call encoder = encoder.fit(attributes) first.")
        blocks = [column.encode(batch) for column in self.columns if column.kind != "none"]
        return torch.from_numpy(np.concatenate(blocks, axis=1))

    def remark(self, decoded: Mapping[str, Any]) -> str | None:
        """Values that are not of their column's kind and count as missing."""
        wrong = [f"{c.name} is no {c.kind}: {str(decoded[c.name])[:40]!r}" for c in self.columns or ()
                 if c.kind != "none" and not missing(decoded.get(c.name))
                 and parsed(c.kind, decoded[c.name]) is None]
        return "; ".join(wrong) or None

    def to(self, device: torch.device) -> "Profile":
        """The same encoder whose text encoders compute on this device."""
        def moved(text: Encoder) -> Encoder:
            return text.to(device) if isinstance(text, Movable) else text
        columns = self.columns and tuple(replace(c, text=c.text and moved(c.text)) for c in self.columns)
        return Profile(kinds=self.kinds, text=moved(self.text), max_values=self.max_values, columns=columns)


def profile_texts(table: pa.Table, leave_out: Collection[str] = ()) -> list[str | None]:
    """The attributes of each row as one JSON object, keys sorted; None for a row that has none.

    Dates and times become ISO text, decimals numbers, durations seconds; missing values are left out.

    Args:
        table: one row per node.
        leave_out: columns that are no attributes: ids, and the modalities that have their own encoder.

    Raises:
        TypeError: if a column holds what JSON cannot say, such as bytes.
    """
    names = sorted(set(table.column_names) - set(leave_out))
    rows = zip(*([plain(name, value) for value in table[name].to_pylist()] for name in names), strict=True)
    found = [{name: value for name, value in zip(names, row, strict=True) if not missing(value)} for row in rows]
    return [json.dumps(row, ensure_ascii=False, sort_keys=True) if row else None
            for row in found or [{}] * table.num_rows]


def _decoded(text: Encoder, value: str) -> Iterator[Any]:
    """What the text encoder reads in a value; nothing if it cannot."""
    try:
        yield text.decode(value)
    except Unreadable:
        return


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
