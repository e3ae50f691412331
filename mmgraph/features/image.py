"""What an image looks like, without a pretrained model: its colours, where they lie, and where its edges run."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mmgraph.features.decode_image import read_image

HUES, SHADES, TURNS = 8, 3, 9  # bins of hue; of saturation and of value; of edge orientation
FAINT = 0.01  # gradients well below one percent of the range are noise, not edges


class ClassicalImage:
    """Colour histogram, colour layout and oriented gradients: a descriptor that needs no download and learns nothing.

    Each of the three blocks has at most unit length. All values are >= 0, so subtract the training mean before
    comparing items by angle.

    Args:
        size: side in pixels to which images are scaled (not cropped); a multiple of ``grid``.
        grid: cells per side of the layout and of the gradients, >= 2.
        max_pixels: larger images are unreadable, so that a small file cannot fill the memory.

    Raises:
        ValueError: if an argument is out of range.
    """

    modality = "image"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "pillow")

    def __init__(self, *, size: int = 96, grid: int = 4, max_pixels: int = 64_000_000):
        check_grid(size, grid)
        if max_pixels < 1:
            raise ValueError(f"max_pixels must be at least 1, got {max_pixels}.")
        self.size, self.grid, self.max_pixels = size, grid, max_pixels

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "grid": self.grid, "max_pixels": self.max_pixels}

    def decode(self, content: str | bytes) -> UInt8[np.ndarray, "size size 3"]:
        """The image upright as its EXIF says, its first frame, on white where transparent, scaled to a square."""
        return self.prepare(read_image(content, self.max_pixels, at_least=2 * self.size))

    def prepare(self, picture: Image.Image) -> UInt8[np.ndarray, "size size 3"]:
        """An upright RGB picture scaled to a square."""
        return np.asarray(picture.resize((self.size, self.size), Image.Resampling.BILINEAR))

    def fit(self, decoded: Iterable[Any]) -> "ClassicalImage":
        return self

    def encode(self, batch: Sequence[UInt8[np.ndarray, "size size 3"]]) -> Float[Tensor, "batch dim"]:
        rows = [describe(image, self.grid) for image in batch]
        return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, width(self.grid))


def describe(image: UInt8[np.ndarray, "size size 3"], grid: int) -> Float[np.ndarray, " dim"]:
    """Colours, layout and edges of an RGB image in one float32 vector, `width` (grid) long."""
    pixels = image.astype(np.float32) / 255
    return np.concatenate([colours(pixels), layout(pixels, grid), edges(pixels, grid)]).astype(np.float32)


def width(grid: int) -> int:
    """Length of what `describe` returns."""
    return HUES * SHADES**2 + 3 * grid**2 + 4 * TURNS * (grid - 1) ** 2


def colours(pixels: Float[np.ndarray, "size size 3"]) -> Float[np.ndarray, " bins"]:
    """Root of the histogram over hue, saturation and value (hue slowest); of unit length."""
    high, low = pixels.max(2), pixels.min(2)
    chroma = high - low
    red, green, blue = np.moveaxis(pixels, 2, 0)
    span = np.where(chroma > 0, chroma, 1)
    hue = np.select([chroma == 0, high == red, high == green],
                    [0, (green - blue) / span % 6, (blue - red) / span + 2], (red - green) / span + 4) / 6
    saturation = chroma / np.where(high > 0, high, 1)
    bins = (_bin(hue, HUES) * SHADES + _bin(saturation, SHADES)) * SHADES + _bin(high, SHADES)
    return np.sqrt(np.bincount(bins.ravel(), minlength=HUES * SHADES**2) / bins.size)


def layout(pixels: Float[np.ndarray, "size size 3"], grid: int) -> Float[np.ndarray, " cells"]:
    """Mean RGB of each cell, row by row, of unit length; zeros for a black image."""
    cell = len(pixels) // grid
    means = pixels.reshape(grid, cell, grid, cell, 3).mean((1, 3)).ravel()
    return means / (np.linalg.norm(means) or 1)


def edges(pixels: Float[np.ndarray, "size size 3"], grid: int) -> Float[np.ndarray, " blocks"]:
    r"""Histograms of oriented gradients in blocks of 2×2 cells that overlap by one; length at most one.

    .. math:: b = \frac{v}{\sqrt{|v|^2 + \epsilon^2}} / (grid - 1)

    :math:`v`: mean gradient magnitude of the four cells (upper left, upper right, lower left, lower right) by
    orientation in [0, pi), shared between the two nearest bins.

    Source: Dalal & Triggs 2005, doi:10.1109/CVPR.2005.177. Deviation: no Gaussian window, no sharing between cells.
    """
    grey = np.sqrt(0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2])
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, 1:-1], down[1:-1] = grey[:, 2:] - grey[:, :-2], grey[2:] - grey[:-2]
    turn = np.arctan2(down, across) / np.pi * TURNS - 0.5
    lower, cell = np.floor(turn), len(grey) // grid
    rows, columns = np.indices(grey.shape) // cell
    place, share, strength = (rows * grid + columns) * TURNS, turn - lower, np.hypot(across, down) / cell**2
    histogram = sum(np.bincount((place + (lower.astype(int) + side) % TURNS).ravel(), (strength * part).ravel(),
                                minlength=grid**2 * TURNS) for side, part in ((0, 1 - share), (1, share)))
    cells = np.reshape(histogram, (grid, grid, TURNS))
    blocks = np.concatenate([cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]], 2)
    return (blocks / np.sqrt((blocks**2).sum(2, keepdims=True) + FAINT**2) / (grid - 1)).ravel()


def check_grid(size: int, grid: int) -> None:
    """Refuse a size that the grid does not divide."""
    if grid < 2 or size < 2 * grid or size % grid:
        raise ValueError(f"size must be a multiple of grid, which is at least 2, with cells of at least 2 pixels; "
                         f"got size={size}, grid={grid}.")


def _bin(values: Float[np.ndarray, "size size"], n: int) -> Any:
    return np.minimum((values * n).astype(np.int64), n - 1)
