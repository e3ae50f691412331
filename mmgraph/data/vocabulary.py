"""Ids are strings at the border and integers inside; a vocabulary is the only bridge between the two."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmgraph.data.types import Ints


class Vocabulary:
    """The ids of one node type; the number of an id is its position. Immutable.

    Args:
        ids: distinct ids. Integers are accepted and become their decimal string.
        what: what the ids name ("user", "item"), for error messages.

    Raises:
        ValueError: if an id is null, empty or given twice.
    """

    def __init__(self, ids: Iterable[object] | pa.Array, *, what: str = "item"):
        self.what = what
        self.ids: pa.Array = id_column(ids, what)
        if pc.count_distinct(self.ids).as_py() != len(self.ids):
            counts = self.ids.value_counts()
            twice = pc.filter(counts.field("values"), pc.greater(counts.field("counts"), 1)).to_pylist()
            raise ValueError(f"{len(twice)} {what} ids are given more than once, e.g. {twice[:3]}; "
                             f"an id has exactly one row: drop or merge the duplicates.")

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.ids.equals(other.ids)

    def __hash__(self) -> int:
        return hash(len(self))  # equality asks for the ids only

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} {self.what} ids)"

    def __contains__(self, id_: object) -> bool:
        return str(id_) in self._number

    @cached_property
    def _number(self) -> dict[str, int]:
        return {id_: n for n, id_ in enumerate(self.ids.to_pylist())}

    def find(self, ids: Iterable[object] | pa.Array) -> Ints:
        """The number of each id; -1 for an id that is not here."""
        found = pc.index_in(id_column(ids, self.what), value_set=self.ids)
        return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)

    def numbers(self, ids: Iterable[object] | pa.Array) -> Ints:
        """The number of each id.

        Raises:
            KeyError: if an id is not here.
        """
        ids = id_column(ids, self.what)
        numbers = self.find(ids)
        if (numbers < 0).any():
            unknown = pc.filter(ids, pa.array(numbers < 0)).to_pylist()
            raise KeyError(f"{len(unknown)} unknown {self.what} ids, e.g. {unknown[:3]}; "
                           f"known are {len(self)} ids such as {self.ids[:3].to_pylist()}.")
        return numbers

    def names(self, numbers: Any) -> list[str]:
        """The ids of these numbers."""
        return self.ids.take(pa.array(np.asarray(numbers, dtype=np.int64).reshape(-1))).to_pylist()

    def take(self, numbers: Ints) -> "Vocabulary":
        """The vocabulary that holds only these numbers, renumbered in the order given."""
        return type(self)(self.ids.take(pa.array(numbers)), what=self.what)


def id_column(values: Iterable[object] | pa.Array, what: str) -> pa.Array:
    """Ids as an Arrow string array.

    Raises:
        ValueError: if an id is null or empty.
        TypeError: if the ids are neither strings nor integers (a float id is an integer that met a missing value).
    """
    array = _arrow(values, what)
    if array.null_count:
        raise ValueError(f"{array.null_count} of {len(array)} {what} ids are null; drop these rows or give them an id.")
    if pa.types.is_integer(array.type):
        array = array.cast(pa.string())
    elif not (pa.types.is_string(array.type) or pa.types.is_null(array.type)):
        raise TypeError(f"{what} ids must be strings or integers, got {array.type}; convert the column first.")
    array = array.cast(pa.string())
    if len(array) and pc.any(pc.equal(array, "")).as_py():
        raise ValueError(f"some {what} ids are the empty string; drop these rows or give them an id.")
    return array


def _arrow(values: Iterable[object] | pa.Array, what: str) -> pa.Array:
    """Any column as one contiguous Arrow array of plain type."""
    if isinstance(values, str):
        raise TypeError(f"expected a sequence of {what} ids, got the single string {values!r}; put it in a list.")
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if not isinstance(values, pa.Array):
        column = values if isinstance(values, np.ndarray) and values.dtype.kind in "iu" else list(values)
        try:
            values = pa.array(column, from_pandas=True)  # NaN and NA are nulls
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # strings and integers in one list, huge integers
            values = pa.array([_text(v, what) for v in column], pa.string(), from_pandas=True)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    return values


def _text(id_: object, what: str) -> object:
    """An integer as text; strings and missing values as they are."""
    if isinstance(id_, int | np.integer) and not isinstance(id_, bool):
        return str(id_)
    if isinstance(id_, str) or pa.scalar(id_, from_pandas=True).as_py() is None:
        return id_
    raise TypeError(f"{what} ids must be strings or integers, got {id_!r}; convert the column first.")
