"""What an encoder is: anything that keeps this small protocol, classical or pretrained."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


class Unreadable(ValueError):
    """One piece of content that cannot be decoded; the message says why. The run goes on without it."""


@runtime_checkable
class Encoder(Protocol):
    """Content of one modality in, one vector per piece of content out.

    Decoding is separate from encoding so that it can run in worker processes while a model computes.
    """

    modality: str

    def settings(self) -> dict[str, Any]:
        """All that determines the output, as plain JSON; goes into the store's ``meta.json``."""
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
        """Float32 matrix of shape (len(batch), dim). A row of zeros says: nothing to see in this content."""
        ...
