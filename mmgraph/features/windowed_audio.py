"""What pretrained audio models have in common: a recording in windows, one vector for each recording."""

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import inf
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mmgraph.features.decode_audio import is_silent, read_audio
from mmgraph.features.lazy import Lazy

WINDOW = 30.0  # seconds, where the model sets no bound

Decoded = tuple[tuple[tuple[Tensor, int], ...], bool]  # of each window the model's input and its samples; silence


class WindowedAudio(ABC):
    """Cuts a recording into windows; its row is the mean of theirs, weighted by their length.

    Args:
        name: what the user called the model.
        dim: width of a row.
        sample_rate: Hz that the model hears.
        window_seconds: length of a window.
        max_seconds: only the beginning of a recording is read.
        layer: number of the layer whose output is pooled.

    Raises:
        ValueError: if an argument is out of range.
    """

    modality = "audio"
    _loaded = Lazy[Any]()

    def __init__(self, name: str, dim: int, sample_rate: int, window_seconds: float, max_seconds: float, layer: int):
        for which, value in (("window_seconds", window_seconds), ("max_seconds", max_seconds)):
            if not 0 < value < inf:
                raise ValueError(f"{which} must be positive and finite, got {value}.")
        self.name, self.dim, self.sample_rate, self.layer = name, dim, sample_rate, layer
        self.window_seconds, self.max_seconds = float(window_seconds), float(max_seconds)
        self.device = torch.device("cpu")

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """See `Encoder`."""

    @abstractmethod
    def _prepared(self, wave: Tensor) -> Tensor:
        """The model's input for one window."""

    @abstractmethod
    def _load(self) -> Any:
        """The model."""

    @abstractmethod
    def _rows(self, model: Any, windows: Sequence[tuple[Tensor, int]]) -> Tensor:
        """A row for each of these windows."""

    @property
    @abstractmethod
    def _mixes(self) -> bool:
        """Whether windows of different length may share a batch without changing each other's rows."""

    def decode(self, content: str | bytes) -> Decoded:
        """The windows of a recording as the model takes them, see `read_audio`."""
        wave = read_audio(content, self.sample_rate, self.max_seconds)
        parts = wave.split(max(1, round(self.window_seconds * self.sample_rate)))
        return tuple((self._prepared(part), len(part)) for part in parts), is_silent(wave)

    def fit(self, decoded: Iterable[Any]) -> "WindowedAudio":
        return self

    def encode(self, batch: Sequence[Decoded]) -> Float[Tensor, "batch dim"]:
        """Never gives the model more windows at once than the batch has recordings."""
        if not batch:
            return torch.zeros(0, self.dim)
        windows = [window for recording, _ in batch for window in recording]
        rows = torch.zeros(len(windows), self.dim, device=self.device)
        with torch.inference_mode():
            for numbers in grouped([len(x) for x, _ in windows], len(batch), self._mixes):
                rows[numbers] = self._rows(self._model(), [windows[n] for n in numbers]).float()
        samples = torch.tensor([n for _, n in windows], dtype=torch.float32, device=self.device)
        counts = [len(recording) for recording, _ in batch]
        return torch.stack([(n / n.sum()) @ x for n, x in zip(samples.split(counts), rows.split(counts), strict=True)])

    def remark(self, decoded: Decoded) -> str | None:
        return "silent audio" if decoded[1] else None

    def cost(self, content: str | bytes) -> int:
        """Size of the file in bytes."""
        return os.path.getsize(content) if isinstance(content, str) and os.path.isfile(content) else len(content)

    def to(self, device: torch.device) -> "WindowedAudio":
        moved = copy.copy(self)
        moved.device = torch.device(device)
        return moved

    def _model(self) -> Any:
        return WindowedAudio._loaded.once(self, lambda: self._load().eval().to(self.device))


def layer_number(layer: int, first: int, last: int) -> int:
    """A layer counted from the front or, if negative, from the end.

    Raises:
        ValueError: if there is no such layer.
    """
    number = layer if layer >= 0 else last + 1 + layer
    if not first <= number <= last:
        raise ValueError(f"layer must lie in {first}..{last}, or count from the end, got {layer}.")
    return number


def n_frames(samples: int, steps: Sequence[tuple[int, int]]) -> int:
    """Length of what convolutions without padding, each given by its kernel and stride, make of so many samples."""
    for kernel, stride in steps:
        samples = (samples - kernel) // stride + 1
    return samples


def least(steps: Sequence[tuple[int, int]]) -> int:
    """Samples from which such convolutions make one frame."""
    samples = 1
    for kernel, stride in reversed(steps):
        samples = (samples - 1) * stride + kernel
    return samples


def grouped(lengths: Sequence[int], most: int, mixed: bool) -> Iterator[list[int]]:
    """Numbers of windows that are computed together: of one length, or if ``mixed`` of any; ``most`` at once."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for _, group in groupby(order, key=lambda number: 0 if mixed else lengths[number]):
        numbers = list(group)
        yield from (numbers[at:at + most] for at in range(0, len(numbers), most))
