"""Pictures inside a page: small, in the page itself, and never the reason that a page fails."""

import base64
import io
from typing import Any, NamedTuple

from PIL import Image

from mmgraph.features.decode_image import read_image
from mmgraph.features.encoder import Unreadable


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
    try:
        small = read_image(content, at_least=2 * side)
    except Unreadable as error:
        raise Unreadable(f"the picture cannot be read: {error}") from error
    file = io.BytesIO()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    small.save(file, "jpeg", quality=82)
    return Picture("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode(), small.width / small.height)


def title(content: dict[str, Any], id_: str) -> str:
    """What to call an item: its ``title``, else the first six words of its ``text``, else its id."""
    if (named := content.get("title")) is not None and str(named).strip():
        return str(named).strip()
    words = str(content.get("text") or "").split()
    return " ".join(words[:6]) + (" …" if len(words) > 6 else "") if words else id_
