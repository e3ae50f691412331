"""Frames of any library as Arrow tables."""

from typing import Any

import pyarrow as pa


def arrow(frame: Any, what: str) -> pa.Table:
    """Any Arrow-speaking frame as a table, without pandas' index columns and of types whose rows Arrow can take.

    Raises:
        TypeError: if the object does not speak Arrow.
    """
    if not (hasattr(frame, "__arrow_c_stream__") or isinstance(frame, pa.Table)):
        raise TypeError(f"{what} must be a frame that speaks the Arrow PyCapsule protocol (pandas, polars, DuckDB, "
                        f"pyarrow), got {type(frame).__name__}.")
    table = pa.table(frame)
    table = table.select([c for c in table.column_names if not c.startswith("__index_level_")])
    return table.cast(pa.schema([field.with_type(_without_views(field.type)) for field in table.schema]))


def column(table: pa.Table, name: str, what: str) -> pa.ChunkedArray:
    """A column by name.

    Raises:
        KeyError: if there is none of this name.
    """
    if name not in table.column_names:
        raise KeyError(f"the {what} have no column {name!r}, only {table.column_names}; "
                       f"name the column to read, e.g. from_frames(..., user='userID').")
    return table[name]


def _without_views(kind: pa.DataType) -> pa.DataType:
    """The type with plain strings and bytes: rows of views, which polars exports, cannot be taken."""
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_views(kind.value_type), kind.ordered)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return (pa.large_list if pa.types.is_large_list(kind) else pa.list_)(_without_views(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_without_views(kind.value_type), kind.list_size)
    return kind
