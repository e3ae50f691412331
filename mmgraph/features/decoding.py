"""Decoding in worker processes: batches in order, tensors through pipes, and no file that can stop the run."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Listing

from mmgraph.features.encoder import Encoder, Remarking, Unreadable

log = logging.getLogger(__name__)

AHEAD = 2  # batches that each worker decodes in advance


class Read(NamedTuple):
    """One content after decoding: what it holds, or why it cannot be read."""

    number: int
    value: Any
    reason: str | None
    remark: str | None


@dataclass(frozen=True)
class Decoding(Listing[Read]):
    """The contents as workers read them: one decoded content per number. Tensors travel as arrays, through a pipe."""

    encoder: Encoder
    contents: Callable[[int], str | bytes]

    def __getitem__(self, number: int) -> Read:
        return packed(read(self.encoder, self.contents, number))


def read(encoder: Encoder, contents: Callable[[int], str | bytes], number: int) -> Read:
    """Decode one content."""
    try:
        value = encoder.decode(contents(number))
    except Unreadable as error:
        return Read(number, None, str(error), None)
    return Read(number, value, None, encoder.remark(value) if isinstance(encoder, Remarking) else None)


def decoded(encoder: Encoder, contents: Callable[[int], str | bytes], batches: Sequence[list[int]],
            workers: int) -> Iterator[list[Read]]:
    """The batches, decoded, in order. A content whose decoder kills its process is unreadable, and the run goes on."""
    listing, done = Decoding(encoder, contents), 0
    while done < len(batches):
        try:
            for batch in loaded(listing, batches[done:], workers):
                yield batch
                done += 1
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            log.warning("a decoding process died; its batch is read again, one content at a time: %s", error)
            yield [alone(listing, number) for number in batches[done]]
            done += 1


def loaded(listing: Decoding, batches: Sequence[list[int]], workers: int) -> Iterator[list[Read]]:
    """Batches from the workers, unpacked."""
    loader = DataLoader(listing, batch_sampler=batches, num_workers=min(workers, len(batches)), collate_fn=list,
                        prefetch_factor=AHEAD if min(workers, len(batches)) else None)
    return ([unpacked(each) for each in batch] for batch in loader)


def alone(listing: Decoding, number: int) -> Read:
    """One content read in a process of its own."""
    try:
        return next(loaded(listing, [[number]], 1))[0]
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        return Read(number, None, "its decoder died on it (crash or out of memory)", None)


@dataclass(frozen=True)
class Packed:
    """A tensor on its way between processes. As an array it needs neither shared memory nor a file descriptor."""

    array: np.ndarray = field(repr=False)


def packed(value: Any) -> Any:
    """Tensors inside tuples, lists and dicts as `Packed`."""
    return _mapped(value, Tensor, lambda tensor: Packed(tensor.numpy()))


def unpacked(value: Any) -> Any:
    """The inverse of `packed`."""
    return _mapped(value, Packed, lambda pack: torch.from_numpy(pack.array))


def _mapped(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    if isinstance(value, kind):
        return function(value)
    if isinstance(value, dict):
        return {key: _mapped(each, kind, function) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mapped(each, kind, function) for each in value))
    if isinstance(value, list | tuple):
        return type(value)(_mapped(each, kind, function) for each in value)
    return value
