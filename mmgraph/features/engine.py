"""The engine: a model computes, shard by shard, while worker processes decode what comes next."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mmgraph.features.decoding import AHEAD, Read, decoded
from mmgraph.features.encoder import Encoder, Movable

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Compute:
    """How to encode; apart from ``dtype`` it changes rows by no more than rounding.

    Args:
        batch_size: contents given to the model at once; halved for the rest of the run when the memory is full.
        workers: processes that decode; 0 = none. By default one per two cores for media, none for texts.
        devices: one replica of the model on each. By default the first accelerator, or else the CPU.
        dtype: float32; or float16 or bfloat16, in which the model then computes (autocast) and rows are stored.
        shard_size: contents per shard: at most so many are encoded again after a killed run.

    Raises:
        ValueError: if an argument is out of range.
    """

    batch_size: int = 64
    workers: int | None = None
    devices: Sequence[str] = ()
    dtype: str = "float32"
    shard_size: int = 512

    def __post_init__(self) -> None:
        for name, value, least in (("batch_size", self.batch_size, 1), ("shard_size", self.shard_size, 1),
                                   ("workers", self.workers or 0, 0)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}.")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {sorted(DTYPES)}, got {self.dtype!r}.")

    def places(self) -> list[torch.device]:
        """The devices.

        Raises:
            ValueError: if one does not exist or cannot compute in the dtype.
        """
        names = self.devices or ["cuda" if torch.cuda.is_available() else "cpu"]
        found = [torch.device(name) for name in names]
        for place in found:
            if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
                raise ValueError(f"there is no device {place}: {torch.cuda.device_count()} CUDA devices are here.")
            if self.dtype != "float32" and not torch.amp.autocast_mode.is_autocast_available(place.type):
                raise ValueError(f"{place} cannot compute in {self.dtype}; use dtype='float32'.")
        return found

    def n_workers(self, encoder: Encoder) -> int:
        """Decoding processes for this encoder."""
        if self.workers is not None:
            return self.workers
        return 0 if encoder.modality in ("text", "profile") else max((os.cpu_count() or 1) // 2, 1)


class Encoded(NamedTuple):
    """What became of one shard: rows of ``read``, in this order; the rest is unreadable. By content number."""

    numbers: list[int]
    read: list[int]
    x: Float[Tensor, "read dim"]
    reasons: dict[int, str]
    remarks: dict[int, str]


@dataclass
class Room:
    """How many contents fit the device at once; shrinks when its memory is full."""

    size: int


def encode_shards(encoder: Encoder, contents: Callable[[int], str | bytes], shards: Sequence[Sequence[int]],
                  how: Compute) -> Iterator[Encoded]:
    """Encode the contents of these numbers; yields each shard as it is finished, in order.

    Batches never cross the border of a shard, so that a shard's rows do not depend on which others are encoded.
    """
    batches = [list(shard[at:at + how.batch_size]) for shard in shards for at in range(0, len(shard), how.batch_size)]
    results = in_turn(encoder, decoded(encoder, contents, batches, how.n_workers(encoder)), how)
    for shard in shards:
        n_batches = -(-len(shard) // how.batch_size)
        yield joined(list(shard), list(islice(results, n_batches)))


def in_turn(encoder: Encoder, batches: Iterator[list[Read]], how: Compute) -> Iterator[Encoded]:
    """Every batch encoded, in order; with several devices, one thread for each."""
    replicas = [encoder.to(place) if isinstance(encoder, Movable) else encoder for place in how.places()]
    places, room = how.places(), Room(how.batch_size)
    if len(replicas) == 1:
        for batch in batches:
            yield encoded(replicas[0], batch, places[0], how.dtype, room)
        return
    with ExitStack() as stack:
        threads = [stack.enter_context(ThreadPoolExecutor(1)) for _ in replicas]
        waiting: deque[Future[Encoded]] = deque()
        for turn, batch in enumerate(batches):
            which = turn % len(replicas)
            waiting.append(threads[which].submit(encoded, replicas[which], batch, places[which], how.dtype, room))
            if len(waiting) > AHEAD * len(replicas):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def encoded(encoder: Encoder, batch: Sequence[Read], place: torch.device, dtype: str, room: Room) -> Encoded:
    """One batch. A row that is not finite makes its content unreadable."""
    good = [each for each in batch if each.reason is None]
    with torch.autocast(place.type, DTYPES[dtype], enabled=dtype != "float32"):
        rows = fitting(encoder, [each.value for each in good], room)
    rows = rows.to(DTYPES[dtype])
    finite = rows.isfinite().all(1) if rows.numel() else torch.ones(len(rows), dtype=torch.bool)
    reasons = {each.number: each.reason for each in batch if each.reason is not None}
    reasons |= {good[at].number: f"the encoder made NaN or infinite values of it in {dtype}"
                for at in (~finite).nonzero()[:, 0].tolist()}
    return Encoded([each.number for each in batch], [each.number for each in good if each.number not in reasons],
                   rows[finite], reasons, {each.number: each.remark for each in batch if each.remark})


def fitting(encoder: Encoder, values: Sequence[Any], room: Room) -> Float[Tensor, "values dim"]:
    """The rows on the CPU, in pieces as large as the device's memory allows.

    Raises:
        ValueError: if the encoder does not return one row for each content.
        MemoryError: if even one content does not fit.
    """
    rows: list[Tensor] = []
    at = 0
    while at < len(values):
        piece = values[at:at + room.size]
        try:
            found = encoder.encode(piece).detach().float().cpu()
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            shrink(room, len(piece), error)
            continue
        if found.ndim != 2 or len(found) != len(piece):
            raise ValueError(f"{type(encoder).__name__}.encode must return one row for each of {len(piece)} contents, "
                             f"got shape {tuple(found.shape)}.")
        rows.append(found)
        at += len(piece)
    return torch.cat(rows) if rows else torch.zeros(0, 0)


def shrink(room: Room, tried: int, error: Exception) -> None:
    """Halve the batch after running out of memory; any other error goes on its way."""
    full = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
    if not full:
        raise error
    if tried == 1:
        raise MemoryError(f"not even one content fits the device's memory: {error}") from error
    room.size = max(min(room.size, tried) // 2, 1)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    log.warning("out of memory with %d contents at once; going on with %d", tried, room.size)


def joined(numbers: list[int], parts: Sequence[Encoded]) -> Encoded:
    """The batches of one shard together."""
    rows = [part.x for part in parts if len(part.x)]
    return Encoded(numbers, [n for part in parts for n in part.read],
                   torch.cat(rows) if rows else torch.zeros(0, 0),
                   {n: why for part in parts for n, why in part.reasons.items()},
                   {n: what for part in parts for n, what in part.remarks.items()})
