"""Pictures inside a page: small, in the page itself, and never the reason that a page fails."""

import base64
import io
from typing import Any, NamedTuple

from PIL import Image, ImageOps

from mmgraph.features.encoder import Unreadable
from mmgraph.features.image import readable, rgb

LARGEST = 64_000_000  # pixels; a small file must not fill the memory


class Picture(NamedTuple):
    """A JPEG as a data URI, and its width over its height."""

    uri: str
    aspect: float


def thumbnail(content: str | bytes, side: int = 120) -> Picture:
    """A small copy of a picture, upright, on white where transparent.

    Args:
        content: path or bytes of an image file.
        side: its width and height in pixels are at most this; a smaller picture keeps its size.

    Raises:
        Unreadable: if it cannot be read.
    """
    source, file = readable(content), io.BytesIO()
    try:
        with Image.open(source) as image:
            if image.width * image.height > LARGEST:
                raise Unreadable(f"{image.width}x{image.height} pixels are more than {LARGEST}")
            image.draft(None, (2 * side, 2 * side))  # lets JPEG skip detail that scaling would drop
            small = rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # on broken bytes Pillow raises whatever its plugins happen to
        raise Unreadable(f"the picture cannot be read: {error}") from error
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.save(file, "jpeg", quality=82)
    return Picture("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode(), small.width / small.height)


def title(content: dict[str, Any], id_: str) -> str:
    """What to call an item: its ``title``, else the first six words of its ``text``, else its id."""
    if (named := content.get("title")) is not None and str(named).strip():
        return str(named).strip()
    words = str(content.get("text") or "").split()
    return " ".join(words[:6]) + (" …" if len(words) > 6 else "") if words else id_
