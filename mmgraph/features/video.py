"""What a film looks like and how it moves, without a pretrained model: image descriptors over time, and motion."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mmgraph.features import image
from mmgraph.features.decode_video import KEYFRAMES_ENOUGH, MAX_PIXELS, opened
from mmgraph.features.encoder import Unreadable, name_of
from mmgraph.features.image import check_grid


class ClassicalVideo:
    """Mean and deviation of the image descriptor over some frames, and the energy of motion. Learns nothing.

    Frames are taken from the middle of ``n_frames`` equal parts; all of them where there are fewer. Parts are counted
    in frames, not in time; where the frame rate varies these differ. Rotation flags and sound are ignored.

    Args:
        n_frames: frames that are looked at.
        size: side in pixels to which frames are scaled (not cropped); a multiple of ``grid`` and of 2.
        grid: cells per side, see `ClassicalImage`.
        max_pixels: films with larger frames are unreadable.

    Raises:
        ValueError: if an argument is out of range.
    """

    modality = "video"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "av")

    def __init__(self, *, n_frames: int = 8, size: int = 96, grid: int = 4, max_pixels: int = MAX_PIXELS):
        check_grid(size, grid)
        if n_frames < 1 or size % 2 or max_pixels < 1:
            raise ValueError(f"n_frames and max_pixels must be at least 1 and size even, got n_frames={n_frames}, "
                             f"max_pixels={max_pixels}, size={size}.")
        self.n_frames, self.size, self.grid, self.max_pixels = n_frames, size, grid, max_pixels

    def settings(self) -> dict[str, Any]:
        return {"n_frames": self.n_frames, "size": self.size, "grid": self.grid, "max_pixels": self.max_pixels}

    def decode(self, content: str | bytes) -> UInt8[np.ndarray, "frames size size 3"]:
        """The sampled frames in the order of time, RGB, scaled to a square. A cut film is what is left of it."""
        with opened(content, self.max_pixels) as (container, stream):
            keys = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
        with opened(content, self.max_pixels) as (container, stream):
            frames = list(sampled(container, stream, keys, self.n_frames, self.size))
        if not frames:
            raise Unreadable(f"{name_of(content)}: no frame can be decoded")
        return np.stack(frames)

    def fit(self, decoded: Iterable[Any]) -> "ClassicalVideo":
        return self

    def encode(self, batch: Sequence[UInt8[np.ndarray, "_ size size 3"]]) -> Float[Tensor, "batch dim"]:
        rows = [describe(frames, self.grid) for frames in batch]
        return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, 2 * image.width(self.grid) + 8)


def sampled(container: Any, stream: Any, keys: Sequence[bool], n_frames: int, size: int) -> Iterator[Any]:
    """The frames in the middle of ``n_frames`` equal parts, or every frame where there are fewer.

    Args:
        container: the open film.
        stream: its pictures.
        keys: for each packet of the stream whether it is a keyframe. Where these are plenty, only they are decoded.
        n_frames: frames wanted.
        size: side in pixels of the result.
    """
    only_keys = sum(keys) >= KEYFRAMES_ENOUGH * n_frames
    wanted = middles(sum(keys) if only_keys else len(keys), n_frames)
    position = 0
    for packet in container.demux(stream):
        if only_keys and packet.size and not packet.is_keyframe:
            continue
        for frame in packet.decode():
            if position in wanted:
                yield frame.to_ndarray(format="rgb24", width=size, height=size, interpolation="AREA")
            position += 1


def middles(n: int, parts: int) -> set[int]:
    """The middle position of each of so many equal parts of ``range(n)``; every position where parts >= n."""
    return {(2 * part + 1) * n // (2 * parts) for part in range(parts)} if n else set()


def describe(frames: UInt8[np.ndarray, "frames size size 3"], grid: int) -> Float[np.ndarray, " dim"]:
    """Mean and deviation of the frames' descriptors, then `motion`; float32."""
    looks = np.stack([image.describe(frame, grid) for frame in frames])
    return np.concatenate([looks.mean(0), looks.std(0), motion(frames)]).astype(np.float32)


def motion(frames: UInt8[np.ndarray, "frames size size 3"]) -> Float[np.ndarray, " 8"]:
    """How much each quarter of the picture changes from one sampled frame to the next, and how unevenly.

    Returns:
        For the upper left, upper right, lower left and lower right quarter the mean over time of the root mean square
        change, then its deviation over time; values in [0, 1], zeros for a single frame.
    """
    if len(frames) < 2:
        return np.zeros(8)
    change = np.diff(frames.astype(np.float32) / 255, axis=0)
    half = frames.shape[1] // 2
    quarters = np.sqrt((change.reshape(-1, 2, half, 2, half, 3) ** 2).mean((2, 4, 5))).reshape(-1, 4)
    return np.concatenate([quarters.mean(0), quarters.std(0)])
