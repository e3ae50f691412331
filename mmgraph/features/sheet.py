"""Items beside their nearest neighbours, to look at: do the features see what a person sees."""

import base64
import io
import os
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mmgraph.data.dataset import Dataset
from mmgraph.data.folder import whole_files, write_text
from mmgraph.data.types import Ints
from mmgraph.features.decode_image import read_image
from mmgraph.features.encoder import Unreadable
from mmgraph.features.features import Features

DRAWN = 12  # items shown if none are named
BLOCK = 8192  # rows compared at a time
SIDE, GAP, LINE = 120, 12, 15  # pixels: of a picture, between cells, of a line of the caption
WORDS = 24  # words of a text that are shown


@dataclass(frozen=True)
class Cell:
    """One item of the sheet.

    Args:
        id: its id.
        title: its ``title``, or else its id.
        picture: at most `SIDE` pixels wide and high; none without a readable one.
        label: what stands in the place of a picture: why there is none, or the first words of the text.
        cosine: with the item of the row; none for that item itself.
    """

    id: str
    title: str
    picture: Image.Image | None
    label: str
    cosine: float | None

    @property
    def uri(self) -> str:
        """The picture as a data URI (JPEG)."""
        file = io.BytesIO()
        if self.picture:
            self.picture.save(file, "jpeg", quality=82)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def contact_sheet(features: Features, data: Dataset, file: str | os.PathLike[str], *, modality: str,
                  items: Iterable[object] | None = None, k: int = 8, seed: int = 0) -> None:
    """Draw one row per item: the item, then the k items whose features have the largest cosine with its own.

    Rows are compared as they are: where all of them point the same way (values that are never negative), pass
    standardised features. Pictures that are missing or cannot be read are shown as a box that says so; data without
    a column ``image`` show the first words of ``text``, else ids alone.

    Args:
        features: of the items.
        data: what the items contain (columns ``image``, ``text``, ``title``).
        file: where; the ending ``.png`` or ``.html`` (one file that needs no other) says what is written.
        modality: the features that are compared.
        items: ids of the items to show; by default `DRAWN` at random of those that have the modality.
        k: neighbours per item.
        seed: of the draw.

    Raises:
        KeyError: for an unknown modality, or an item that features or data do not know.
        ValueError: for another ending, k < 1, or an item that lacks the modality.
    """
    path = Path(file).expanduser()
    if path.suffix.lower() not in (".png", ".html"):
        raise ValueError(f"a contact sheet is a .png or .html file, got {path.name!r}.")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    features = features.only(modality)
    shown = _drawn(features, modality, seed) if items is None else features.ids.numbers(items)
    near, cosine = neighbours(features, modality, shown, k)
    rows = _cells(features, data, shown, near, cosine)
    title = f"{modality} features: {len(shown)} items and their nearest by cosine"
    if path.suffix.lower() == ".html":
        write_text(path, _page(rows, title))
    else:
        with whole_files(path.parent) as new:
            _sheet(rows, title).save(new / path.name, "png")


def neighbours(features: Features, modality: str, rows: Ints, k: int) -> tuple[Int[Tensor, "rows k"],
                                                                              Float[Tensor, "rows k"]]:
    """Numbers and cosines of the nearest other rows, nearest first, ties to the smaller number; exact, block by block.

    Fewer than k where fewer others have the modality.

    Raises:
        ValueError: if a row lacks the modality.
    """
    x, present = features.x[modality], features.present[modality]
    at = torch.from_numpy(rows).to(x.device)
    if not present[at].all():
        lacking = features.ids.names(at[~present[at]][:3].cpu())
        raise ValueError(f"{lacking} have no {modality} features, so nothing is near them; choose other items.")
    own = torch.nn.functional.normalize(x[at].float(), dim=1)
    cosine = torch.cat([own @ torch.nn.functional.normalize(block.float(), dim=1).T for block in x.split(BLOCK)], 1)
    cosine.masked_fill_(~present, -torch.inf).scatter_(1, at[:, None], -torch.inf)
    best, order = cosine.sort(dim=1, descending=True, stable=True)
    kept = min(k, int(present.sum()) - 1)
    return order[:, :kept].cpu(), best[:, :kept].cpu()


def _drawn(features: Features, modality: str, seed: int) -> Ints:
    some = features.present[modality].nonzero()[:, 0].cpu().numpy()
    return np.sort(np.random.default_rng(seed).choice(some, min(DRAWN, len(some)), replace=False))


def _cells(features: Features, data: Dataset, shown: Ints, near: Tensor, cosine: Tensor) -> list[list[Cell]]:
    """One list per item: itself, then its neighbours. Every item's content is read once."""
    numbers = np.concatenate([shown[:, None], near.numpy()], 1)
    distinct = np.unique(numbers)
    ids = features.ids.take(distinct)
    content = data.content_of(ids)
    columns = [name for name in ("title", "text", "image") if name in content.column_names]
    looks = {int(n): (id_, *_look(row, id_)) for n, id_, row in zip(
        distinct, ids.ids.to_pylist(), content.select(columns).to_pylist() or [{}] * len(ids), strict=True)}
    return [[Cell(*looks[int(n)], None if slot == 0 else float(cosine[row, slot - 1])) for slot, n in enumerate(line)]
            for row, line in enumerate(numbers)]


def _look(content: dict[str, Any], id_: str) -> tuple[str, Image.Image | None, str]:
    """Title, picture and what stands in its place."""
    title = str(content.get("title") or "").strip() or id_
    if "image" not in content:
        words = str(content.get("text") or "").split()
        return title, None, " ".join(words[:WORDS]) + (" …" if len(words) > WORDS else "") or title
    if content["image"] is None:
        return title, None, "no picture"
    try:
        picture = read_image(content["image"], at_least=2 * SIDE)
    except Unreadable:
        return title, None, "unreadable picture"
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return title, picture, ""


def _page(rows: Sequence[Sequence[Cell]], title: str) -> str:
    pages = Environment(loader=PackageLoader("mmgraph", "features"), autoescape=True, undefined=StrictUndefined,
                        trim_blocks=True, lstrip_blocks=True)
    return pages.get_template("sheet.html.j2").render(rows=rows, title=title, side=SIDE)


def _sheet(rows: Sequence[Sequence[Cell]], title: str) -> Image.Image:
    """The same as one picture; the item itself is set apart on the left."""
    wide, high = SIDE + GAP, SIDE + 3 * LINE + GAP
    columns = max((len(row) for row in rows), default=1)
    sheet = Image.new("RGB", (columns * wide + 3 * GAP, len(rows) * high + 3 * LINE), "white")
    draw, font = ImageDraw.Draw(sheet), _font(12)
    draw.text((GAP, LINE), title, "black", font=_font(14))
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            _paint(sheet, draw, font, cell, GAP + c * wide + (GAP if c else 0), 3 * LINE + r * high)
    return sheet


def _paint(sheet: Image.Image, draw: ImageDraw.ImageDraw, font: Any, cell: Cell, left: int, top: int) -> None:
    """One cell: a picture or a box, cosine and title below."""
    if cell.picture:
        sheet.paste(cell.picture, (left + (SIDE - cell.picture.width) // 2, top + SIDE - cell.picture.height))
    else:
        draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), "#f2f2f2", "#999999")
        lines = textwrap.wrap(cell.label, 15, max_lines=(SIDE - 8) // LINE, placeholder=" …")
        draw.multiline_text((left + 5, top + 4), "\n".join(lines), "#444444", font=font, spacing=2)
    first = "item" if cell.cosine is None else f"{cell.cosine:.3f}"
    caption = [first, *textwrap.wrap(cell.title, 18, max_lines=2, placeholder=" …")]
    draw.multiline_text((left, top + SIDE + 2), "\n".join(caption), "black", font=font, spacing=1)


def _font(size: int) -> Any:
    """A font with Latin, Greek and Cyrillic letters that comes with matplotlib."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
