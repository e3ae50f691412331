"""CiteULike: users and the articles they keep, with abstracts as bags of words, tags and citations."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmgraph.data.raw import Raw
from mmgraph.data.sources.numbers import PAIRS, Lines, check_range, malformed, read_counted, text_lines
from mmgraph.data.types import Ints


def read(folder: Path) -> Raw:
    """Ids are line numbers from 0: user u is line u of ``users.dat``, item i is line i of ``mult.dat``.

    ``text`` holds each word as often as the abstract does, in the order of the file, which is not that of the
    sentences; null for an empty document. ``tag`` lists the tags of an article, null for none. The link ``cites`` is
    as published: for citeulike-t it is symmetric and has 784 articles citing themselves. Every article is an item, also
    one that no user keeps.
    """
    text = _text(folder / "mult.dat", text_lines(folder / "vocabulary.dat"))
    n_items = len(text)
    kept = _lists_of_items(folder / "users.dat", n_items)
    items = pa.table({"item": _ids(np.arange(n_items)), "text": text, "tag": _tags(folder, n_items)})
    links = {}
    if (folder / "citations.dat").is_file():
        cites = _lists_of_items(folder / "citations.dat", n_items)
        if len(cites) != n_items:
            raise malformed(folder / "citations.dat", len(cites) - 1, f"last line, but there are {n_items} articles")
        links["cites"] = pa.table({"source": _ids(cites.line), "target": _ids(cites.values)})
    return Raw(pa.table({"user": _ids(kept.line), "item": _ids(kept.values)}), items=items, item_links=links)


def _lists_of_items(path: Path, n_items: int) -> Lines:
    """Lines ``n item item …``."""
    lines = read_counted(path)
    check_range(path, lines.values, lines.line, n_items, "item")
    return lines


def _text(path: Path, words: pa.Array) -> pa.Array:
    """Lines ``n word:count …`` as text; the words are numbered from 0."""
    lines = read_counted(path, PAIRS)
    word, count, line = lines.values[::2], lines.values[1::2], lines.line[::2]
    check_range(path, word, line, len(words), "word")
    length = np.bincount(np.repeat(line, count), minlength=len(lines))
    texts = pc.binary_join(_grouped(length, words.take(pa.array(np.repeat(word, count)))), " ")
    return pc.if_else(pa.array(length > 0), texts, None)


def _tags(folder: Path, n_items: int) -> pa.Array:
    """Line k of ``tag-item.dat`` lists the items that have tag k, which is line k of ``tags.dat``."""
    path, names = folder / "tag-item.dat", text_lines(folder / "tags.dat")
    lines = _lists_of_items(path, n_items)
    if len(lines) != len(names):
        raise malformed(path, len(lines) - 1, f"last line, but tags.dat names {len(names)} tags")
    order = np.argsort(lines.values, kind="stable")
    n_tags = np.bincount(lines.values, minlength=n_items)
    return pc.if_else(pa.array(n_tags > 0), _grouped(n_tags, names.take(pa.array(lines.line[order]))), None)


def _grouped(lengths: Ints, values: pa.Array) -> pa.ListArray:
    """A list per row: the first ``lengths[0]`` values, the next ``lengths[1]``, …."""
    return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(lengths)), pa.int32()), values)


def _ids(numbers: Ints) -> pa.Array:
    return pa.array(numbers).cast(pa.string())
