"""Files of whole numbers: lines of any length, NumPy matrices, and the tables that lead back to the original ids."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmgraph.data.sources.delimited import read_header
from mmgraph.data.types import Floats, Ints

INTEGERS = r"^\d{1,18}( +\d{1,18})* *$"
PAIRS = r"^\d{1,18}( +\d{1,18}:\d{1,18})* *$"


@dataclass(frozen=True)
class Lines:
    """The numbers of a file: line k starts with ``first[k]``; ``values[j]`` stands on line ``line[j]``, from 0."""

    first: Ints
    line: Ints
    values: Ints

    def __len__(self) -> int:
        return len(self.first)


def read_lines(path: Path, pattern: str = INTEGERS) -> Lines:
    """A file with at least one number per line, separated by spaces or colons.

    Raises:
        ValueError: if a line does not match the pattern; names file and line.
    """
    lines = text_lines(path)
    wrong = np.flatnonzero(~pc.match_substring_regex(lines, pattern).to_numpy(zero_copy_only=False))
    if len(wrong):
        raise malformed(path, int(wrong[0]), f"expected numbers, got {lines[int(wrong[0])].as_py()[:80]!r}")
    lists = pc.split_pattern_regex(pc.utf8_trim_whitespace(lines), "[ :]+")
    numbers, starts = lists.flatten().cast(pa.int64()).to_numpy(), lists.offsets.to_numpy().astype(np.int64)
    rest = np.ones(len(numbers), dtype=bool)
    rest[starts[:-1]] = False
    line = np.repeat(np.arange(len(lists)), np.diff(starts) - 1)
    return Lines(numbers[starts[:-1]], line, numbers[rest])


def read_counted(path: Path, pattern: str = INTEGERS) -> Lines:
    """The same for a file in which each line starts with the count of its entries.

    Raises:
        ValueError: if a count is wrong, too; names file and line.
    """
    lines = read_lines(path, pattern)
    per_entry = 2 if pattern == PAIRS else 1
    found = np.bincount(lines.line, minlength=len(lines)) // per_entry
    wrong = np.flatnonzero(found != lines.first)
    if len(wrong):
        at = int(wrong[0])
        raise malformed(path, at, f"the line announces {lines.first[at]} entries and has {found[at]}")
    return lines


def text_lines(path: Path) -> pa.Array:
    """The lines of a UTF-8 file; an empty line stays, so that line k is always entry k."""
    text = path.read_bytes().decode().replace("\r\n", "\n")
    return pa.array(text.removesuffix("\n").split("\n") if text else [], pa.string())


def malformed(path: Path, line: int, what: str) -> ValueError:
    """The error for a line (counted from 0) that cannot be read."""
    return ValueError(f"{path}, line {line + 1}: {what}; repair the line or fetch the file again.")


def check_range(path: Path, values: Ints, line: Ints, n: int, what: str) -> None:
    """Refuse numbers outside 0 … n − 1; names file and line."""
    wrong = np.flatnonzero((values < 0) | (values >= n))
    if len(wrong):
        at = int(wrong[0])
        raise malformed(path, int(line[at]), f"{what} {values[at]} does not exist, there are {n}, counted from 0")


def read_matrix(path: Path) -> Floats | Ints:
    """A matrix from a ``.npy`` file.

    Raises:
        ValueError: if the file is pickled, is no matrix, or holds anything but numbers.
    """
    try:
        matrix = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not a plain NumPy matrix ({error}); pickled files can run code and are refused: "
                         f"save it again with np.save from an array of numbers.") from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
        what = f"{matrix.dtype} {matrix.shape}" if isinstance(matrix, np.ndarray) else type(matrix).__name__
        raise ValueError(f"{path} must hold a matrix of numbers, got {what}.")
    return matrix


def original_ids(path: Path, number: str) -> pa.Array:
    """The publisher's ids by number, from a table of two columns: the number (any order) and the id.

    Raises:
        ValueError: if the numbers are not 0 … n − 1, each once.
    """
    with path.open(encoding="utf-8-sig") as lines:
        sep = "\t" if "\t" in lines.readline() else ","
    table = read_header(path, {number: pa.int64()}, sep=sep)
    if table.num_columns != 2:
        raise ValueError(f"{path} must have two columns, {number!r} and the id, got {table.column_names}.")
    numbers = table[number].to_numpy()
    if not np.array_equal(np.sort(numbers), np.arange(len(numbers))):
        raise ValueError(f"{path}: the column {number!r} must hold the numbers 0 … {len(numbers) - 1}, each once.")
    ids = table.drop_columns([number]).column(0).combine_chunks()
    return ids.take(pa.array(np.argsort(numbers)))


def as_ids(numbers: Ints, names: pa.Array | None, path: Path) -> pa.Array:
    """Numbers as the publisher's ids, or as decimal strings where the publisher gives no ids (``names`` is None).

    Raises:
        ValueError: if a number is negative or has no id; names the file that the numbers come from.
    """
    numbers = np.ascontiguousarray(numbers, dtype=np.int64)
    if len(numbers) and numbers.min() < 0:
        raise ValueError(f"{path}: numbers of users and items start at 0, got {numbers.min()}.")
    if names is None:
        return pa.array(numbers).cast(pa.string())
    if len(numbers) and numbers.max() >= len(names):
        raise ValueError(f"{path}: the number {numbers.max()} has no id in the id table beside it, which holds "
                         f"{len(names)}, numbered from 0; the two are not of one release.")
    return names.take(pa.array(numbers))
