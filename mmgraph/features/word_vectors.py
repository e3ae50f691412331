"""What a text is about by the vectors of its words: any file in the text format of word2vec or GloVe."""

import gzip
import hashlib
import os
import re
import threading
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmgraph.features.encoder import text_of

LOADING = threading.Lock()
WORD = re.compile(r"\w+(?:'\w+)*")
CURLY = "\N{RIGHT SINGLE QUOTATION MARK}"
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The words of a file and their vectors.

    Args:
        number: word → its row.
        vectors: float32 matrix of shape (words, dim).
    """

    number: dict[str, int]
    vectors: Float[np.ndarray, "words dim"]

    def numbers(self, text: str) -> list[int]:
        """The rows of a text's known words, see `WordVectors`."""
        found = []
        for word in WORD.findall(text.replace(CURLY, "'")):
            parts = [word] if word in self.number else word.split("'")
            found += [self.number[part] for part in parts if part in self.number]
        return found


class WordVectors:
    r"""Mean of the vectors of a text's words, each as often as it occurs; of a text without a known word, zeros.

    Words are runs of letters, digits and underscores, with apostrophes inside ("don't"); such a word that the file does
    not have is looked up in its parts ("don", "t").

    Args:
        file: lines ``word number number …``, separated by spaces, in UTF-8, plain or ``.gz``; a first line
            ``count dim`` may say how many there are. Of a word that comes twice the first is taken.
        lower: put texts, not the file's words, into lower case first. Off for a file that has capitals.

    Raises:
        FileNotFoundError: if there is no such file.
    """

    modality = "text"

    def __init__(self, file: str | os.PathLike[str], *, lower: bool = True):
        self.file, self.name, self.lower = Path(file).expanduser(), str(file), lower
        if not self.file.is_file():
            raise FileNotFoundError(f"there is no file {self.file}; WordVectors reads the text format of word2vec and "
                                    f"GloVe, plain or .gz.")
        self._vocabulary: Vocabulary | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy sent to another process reads the file itself."""
        return self.__dict__ | {"_vocabulary": None}

    def settings(self) -> dict[str, Any]:
        state = self.file.stat()
        return {"lower": self.lower, "words": WORD.pattern,
                "weights": _sha256(str(self.file.resolve()), state.st_size, state.st_mtime_ns)}

    def decode(self, content: str | bytes) -> str:
        """The text itself; bytes are UTF-8."""
        return text_of(content)

    def fit(self, decoded: Iterable[str]) -> "WordVectors":
        return self

    def encode(self, batch: Sequence[str]) -> Float[Tensor, "batch dim"]:
        known = self._ready()
        rows = np.zeros((len(batch), known.vectors.shape[1]), np.float32)
        for row, text in zip(rows, batch, strict=True):
            if numbers := known.numbers(text.lower() if self.lower else text):
                row[:] = known.vectors[numbers].mean(0, dtype=np.float64)
        return torch.from_numpy(rows)

    def _ready(self) -> Vocabulary:
        with LOADING:
            if self._vocabulary is None:
                self._vocabulary = read_vectors(self.file)
            return self._vocabulary


def read_vectors(file: Path) -> Vocabulary:
    """Words and vectors of a file in the text format of word2vec or GloVe. A word may hold spaces.

    Raises:
        ValueError: if a line is damaged, or there are fewer or more lines than the first one says.
    """
    number: dict[str, int] = {}
    values = array("f")
    dim, count, n = 0, None, 0
    for at, line in lines(file):
        if at == 1 and (first := re.fullmatch(rb"(\d+) (\d+)", line)):
            count, dim = int(first[1]), int(first[2])
            continue
        dim = dim or trailing_numbers(line)
        word, row = parsed(line, dim, f"{file}, line {at}")
        n += 1
        if number.setdefault(word, len(number)) * dim == len(values):
            values.extend(row)
    if not number or count not in (None, n):
        raise ValueError(f"{file} holds {n} words{f', but its first line says {count}' if count else ''}; it is not "
                         f"whole, fetch it again.")
    return Vocabulary(number, np.frombuffer(values, np.float32).reshape(len(number), dim))


def lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, from 1, without white space at their ends.

    Raises:
        ValueError: if a .gz file is damaged.
    """
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        try:
            for at, line in enumerate(stream, 1):
                yield at, line.rstrip(b" \r\n")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{file} is damaged ({error}); fetch it again.") from error


def parsed(line: bytes, dim: int, where: str) -> tuple[str, list[float]]:
    """Word and vector of a line.

    Raises:
        ValueError: if there are not ``dim`` finite numbers behind a word.
    """
    parts = line.rsplit(b" ", dim) if dim else []
    if len(parts) != dim + 1 or not parts[0]:
        raise ValueError(f"{where}: expected a word and {dim or 'some'} numbers, got {line[:80]!r}.")
    try:
        word, row = parts[0].decode("utf-8"), [float(part) for part in parts[1:]]
    except ValueError as error:  # also UnicodeDecodeError
        raise ValueError(f"{where}: expected a word and {dim} numbers, got {line[:80]!r}: {error}.") from error
    if not all(abs(value) <= LARGEST for value in row):  # nor is NaN
        raise ValueError(f"{where}: the vector of {word!r} holds a value that is no finite float32 number.")
    return word, row


def trailing_numbers(line: bytes) -> int:
    """How many numbers end a line whose beginning is a word."""
    return sum(1 for _ in takewhile(is_number, reversed(line.split(b" ")[1:])))


def is_number(part: bytes) -> bool:
    """Whether it reads as a number."""
    try:
        float(part)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=64)
def _sha256(file: str, size: int, modified: int) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
