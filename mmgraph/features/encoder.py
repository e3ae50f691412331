"""What an encoder is: anything that keeps this small protocol, classical or pretrained."""

import os
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image
from torch import Tensor


class Unreadable(ValueError):
    """One piece of content that cannot be decoded; the message says why. The run goes on without it."""


@runtime_checkable
class Encoder(Protocol):
    """Content of one modality in, one vector per piece of content out.

    Decoding is separate from encoding so that it can run in worker processes while a model computes: ``decode`` must
    not touch the model, and what it returns must be plain data (tensors, arrays, strings, numbers, tuples of them).
    Weights are loaded at the first ``encode``, so that a run with nothing to compute loads none.

    An encoder may also have ``libraries`` (a tuple of package names whose versions belong into the record), and keep
    `Remarking`, `Movable`, `Measured`, `Tunable` or, for images, `ImageEncoder`.
    """

    modality: str

    def settings(self) -> dict[str, Any]:
        """All that determines the output, as plain JSON: preprocessing, and a hash of weights or learned statistics.

        It is the key under which rows are stored, so it must not name what does not matter (a place on disk).
        """
        ...

    def decode(self, content: str | bytes) -> Any:
        """Read one piece of content: a text, or the path or bytes of a media file.

        Raises:
            Unreadable: if it cannot be read.
        """
        ...

    def fit(self, decoded: Iterable[Any]) -> "Encoder":
        """The encoder with its statistics learned from these (training) contents; itself if it learns nothing."""
        ...

    def encode(self, batch: Sequence[Any]) -> Tensor:
        """Float32 matrix of shape (len(batch), dim), on any device; shape (0, dim) for an empty batch.

        A row of zeros says: nothing to see in this content. A row must not depend on the rest of the batch by more than
        rounding.
        """
        ...


@runtime_checkable
class Remarking(Protocol):
    """An encoder that notices suspicious content, which it encodes all the same."""

    def remark(self, decoded: Any) -> str | None:
        """E.g. "blank image", "silent audio"; None for ordinary content."""
        ...


@runtime_checkable
class Movable(Protocol):
    """An encoder that can compute on an accelerator."""

    def to(self, device: torch.device) -> "Encoder":
        """An encoder of the same settings that computes on this device; the old one stays where it is."""
        ...


@runtime_checkable
class Measured(Protocol):
    """An encoder whose time depends on the content's length: contents of like cost are encoded together."""

    def cost(self, content: str | bytes) -> int:
        """A cheap measure that grows with the time that this content takes."""
        ...


@runtime_checkable
class Tunable(Encoder, Protocol):
    """An encoder whose model can be trained together with a recommender, see `mmgraph.train.Tuned`."""

    @property
    def model(self) -> Any:
        """The module, in evaluation mode, on its device."""
        ...

    def rows(self, batch: Sequence[Any]) -> Tensor:
        """As ``encode``, with gradients."""
        ...


@runtime_checkable
class ImageEncoder(Encoder, Protocol):
    """An encoder of images that also takes a picture already in memory, e.g. a frame of a film.

    ``decode(content)`` equals ``prepare(read_image(content, …))``.
    """

    def prepare(self, picture: Image.Image) -> Any:
        """What ``decode`` makes of an upright RGB picture."""
        ...


def readable(content: str | bytes) -> str | BytesIO:
    """What a decoder opens: the path itself, or the bytes as a file.

    Raises:
        Unreadable: if there is no such file, or nothing in it.
    """
    if isinstance(content, str) and not os.path.isfile(content):
        raise Unreadable(f"{name_of(content)}: no such file")
    if not (os.path.getsize(content) if isinstance(content, str) else content):
        raise Unreadable(f"{name_of(content)}: empty, zero bytes")
    return content if isinstance(content, str) else BytesIO(content)


def name_of(content: str | bytes) -> str:
    """How messages call a piece of content."""
    return content if isinstance(content, str) else f"<{len(content)} bytes>"


def text_of(content: str | bytes) -> str:
    """A text, or the text that bytes spell in UTF-8.

    Raises:
        Unreadable: if it is no text.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        text.encode("utf-8")  # half of a surrogate pair is no text either
    except UnicodeError as error:
        raise Unreadable(f"text of length {len(content)}: not UTF-8: {error}") from error
    return text
