"""Image files of any kind as upright 8-bit RGB pictures, or the reason why not."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmgraph.features.encoder import Unreadable, name_of, readable

MAX_PIXELS = 64_000_000  # a file of a few kilobytes can claim more than the memory holds
PROGRAMS = ("EPS", "WMF")  # drawn by running another program on the file, which nobody asked for
ORIENTATION = 0x0112
TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
         5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
         8: Image.Transpose.ROTATE_90}

_OPENING = threading.Lock()
if hasattr(os, "register_at_fork"):  # no process may be forked while another thread holds the lock
    os.register_at_fork(before=_OPENING.acquire, after_in_parent=_OPENING.release, after_in_child=_OPENING.release)


def read_image(content: str | bytes, max_pixels: int = MAX_PIXELS, *, at_least: int | None = None) -> Image.Image:
    """The image upright as its EXIF says, its first frame, RGB, on white where transparent.

    Colour profiles are ignored.

    Args:
        content: path or bytes.
        max_pixels: larger images are unreadable, so that a small file cannot fill the memory. It alone decides, not
            Pillow's own limit.
        at_least: side in pixels that is enough: lets JPEG skip detail beyond it, which is faster.

    Raises:
        Unreadable: if it is not an image, damaged, or too large.
    """
    source = readable(content)
    try:
        with _without_limit():
            opened = Image.open(source)
        with opened as image:
            if image.width * image.height > max_pixels:
                raise Unreadable(f"{image.width}x{image.height} pixels are more than max_pixels={max_pixels}")
            if image.format in PROGRAMS:
                raise Unreadable(f"{image.format} is a drawing, not pixels")
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            return rgb(upright(image))
    except MemoryError:
        raise
    except Exception as error:  # on broken bytes Pillow raises whatever its plugins happen to
        raise Unreadable(f"{name_of(content)}: {_reason(error)}") from error


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says; as it is where the EXIF is damaged."""
    image.load()  # some formats know their EXIF only now
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # on broken bytes Pillow raises whatever; the pixels are whole all the same
        return image
    return image if turn is None else image.transpose(turn)


def rgb(image: Image.Image) -> Image.Image:
    """Any image as 8-bit RGB; transparent parts become white.

    Raises:
        Unreadable: for floating-point pixels, whose white is not known.
    """
    if image.mode == "F":
        raise Unreadable("floating-point pixels, whose white is not known; convert to 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16 bits; Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


@contextmanager
def _without_limit() -> Iterator[None]:
    """Opening, which reads only the header, without Pillow's limit; ours is checked right after it."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return f"truncated image ({error})" if "truncated" in str(error).lower() else str(error) or type(error).__name__
