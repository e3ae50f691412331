"""Tables in text files with one row per line and a separator between the fields."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv

UNIT = "\x1f"  # the ASCII unit separator


def read_fields(path: Path, columns: Mapping[str, pa.DataType], *, sep: str, encoding: str = "utf8") -> pa.Table:
    """A file without a header line, of which ``columns`` names every field from left to right; quotes mean nothing.

    Raises:
        ValueError: if a line has another number of fields or a field is not of its type; names file and line.
    """
    return _read(path, columns, sep, encoding, names=list(columns))


def read_header(path: Path, columns: Mapping[str, pa.DataType], *, sep: str, quote: bool = False) -> pa.Table:
    """A UTF-8 file whose first line names the fields.

    Args:
        path: the file.
        columns: types of the fields that have to be of one type; the others are text.
        sep: separator.
        quote: whether a field may stand in double quotes.

    Raises:
        KeyError: if the header lacks one of ``columns``.
        ValueError: as in `read_fields`.
    """
    with path.open(encoding="utf-8-sig") as lines:
        header = lines.readline().rstrip("\r\n").split(sep)
    missing = [name for name in columns if name not in header]
    if missing:
        raise KeyError(f"{path} has no column {missing}, only {header} (separator {sep!r}); "
                       f"this is not the file that the reader expects.")
    return _read(path, {name: columns.get(name, pa.string()) for name in header}, sep, "utf8", quote=quote)


def _read(path: Path, columns: Mapping[str, pa.DataType], sep: str, encoding: str, *,
          names: list[str] | None = None, quote: bool = False) -> pa.Table:
    data, bad = path.read_bytes(), list[tuple[int, str]]()
    if blank := re.search(rb"(\A|\n)\r?\n", data):  # Arrow would take it for a row of empty fields
        bad.append((data.count(b"\n", 0, blank.end() - 1) + 1, "is empty"))
    one = sep if len(sep) == 1 else UNIT  # Arrow reads only separators of one character

    def note(row: Any) -> str:
        bad.append((row.number, f"has {row.actual_columns}: {row.text.replace(one, sep)[:80]!r}"))
        return "skip"

    reading = csv.ReadOptions(use_threads=False, encoding=encoding, column_names=names)  # threads lose line numbers
    parsing = csv.ParseOptions(delimiter=one, quote_char='"' if quote else False, invalid_row_handler=note)
    typing = csv.ConvertOptions(column_types=columns, null_values=[], strings_can_be_null=False)
    error: Exception | None = None
    try:
        table = csv.read_csv(io.BytesIO(data.replace(sep.encode(), one.encode())), reading, parsing, typing)
    except (pa.ArrowInvalid, UnicodeDecodeError) as caught:
        error = caught
    if bad or error:
        what = f"line {bad[0][0]} {bad[0][1]}" if bad else error
        raise ValueError(f"{path} must hold the {len(columns)} fields {list(columns)} in each line, in {encoding}; "
                         f"{what}. Repair the line or fetch the file again.") from error
    return table
