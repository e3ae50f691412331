"""What pretrained models of moving pictures have in common: clips in, one vector per film out."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mmgraph.features.decode_video import check_frames, read_frames
from mmgraph.features.lazy import Lazy

CLIPS_AT_ONCE = 8  # given to the model together, whatever the batch


class ClipModel(ABC):
    """A model of clips of ``n_frames`` frames, spread evenly over the film's time.

    Of several clips each covers its own part of the film, and their rows are averaged. Frames of short films are
    repeated evenly, see `read_frames`. Weights are loaded at the first ``encode``.
    """

    modality = "video"
    libraries: ClassVar[tuple[str, ...]] = ("av", "torchvision")
    _model = Lazy[Any]()

    def __init__(self, name: str, n_frames: int, dim: int, clips: int, max_pixels: int):
        check_frames(n_frames, "uniform", max_pixels)
        if clips < 1:
            raise ValueError(f"clips must be at least 1, got {clips}.")
        self.name, self.n_frames, self.dim, self.clips, self.max_pixels = name, n_frames, dim, clips, max_pixels
        self.device = torch.device("cpu")

    @abstractmethod
    def settings(self) -> dict[str, Any]: ...

    @abstractmethod
    def prepare(self, frame: UInt8[Tensor, "3 h w"]) -> UInt8[Tensor, "3 height width"]:
        """A frame in the size that the model takes."""

    @abstractmethod
    def load(self) -> Any:
        """The model with its weights, on the CPU."""

    @abstractmethod
    def rows(self, model: Any, clips: UInt8[Tensor, "clips frames 3 height width"]) -> Float[Tensor, "clips dim"]:
        """What the model makes of prepared clips."""

    def decode(self, content: str | bytes) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames of all clips, scaled and cropped but not normalised."""
        frames = read_frames(content, self.clips * self.n_frames, max_pixels=self.max_pixels)
        return torch.stack([self.prepare(torch.from_numpy(frame).permute(2, 0, 1)) for frame in frames])

    def remark(self, decoded: UInt8[Tensor, "frames 3 height width"]) -> str | None:
        return "blank video" if (decoded == decoded[:1, :, :1, :1]).all() else None

    def fit(self, decoded: Iterable[Any]) -> "ClipModel":
        return self

    def to(self, device: torch.device | str) -> "ClipModel":
        moved = copy.copy(self)
        moved.device = torch.device(device)
        return moved

    def encode(self, batch: Sequence[UInt8[Tensor, "_ 3 height width"]]) -> Float[Tensor, "batch dim"]:
        if not batch:
            return torch.zeros(0, self.dim, device=self.device)
        clips = [clip for film in batch for clip in film.unflatten(0, (self.clips, self.n_frames))]
        with torch.inference_mode():
            parts = [self.rows(self.model(), torch.stack(clips[start:start + CLIPS_AT_ONCE]).to(self.device))
                     for start in range(0, len(clips), CLIPS_AT_ONCE)]
            return torch.cat(parts).float().unflatten(0, (-1, self.clips)).mean(1)

    def model(self) -> Any:
        """The model, loaded once."""
        return ClipModel._model.once(self, lambda: self.load().eval().to(self.device))
