import base64
import io

import pytest
from PIL import Image
from study_world import png

from mmgraph.features.encoder import Unreadable
from mmgraph.study.pages.picture import thumbnail, title


def decoded(uri):
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


@pytest.mark.parametrize(("size", "small"), [((300, 200), (120, 80)), ((200, 400), (60, 120)), ((30, 20), (30, 20))])
def test_longer_side_is_at_most_120_pixels(size, small):
    found = thumbnail(png("blue", size))
    image = decoded(found.uri)
    assert image.size == small
    assert found.aspect == pytest.approx(small[0] / small[1])
    red, green, blue = image.getpixel((10, 10))
    assert blue > 240
    assert max(red, green) < 15


def test_a_path_is_read_too(tmp_path):
    (tmp_path / "a.png").write_bytes(png("red"))
    assert thumbnail(str(tmp_path / "a.png")) == thumbnail(png("red"))


def test_upright_as_its_exif_says():
    image, file, exif = Image.new("RGB", (60, 40), "white"), io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    image.save(file, "jpeg", exif=exif)
    assert decoded(thumbnail(file.getvalue()).uri).size == (40, 60)


def test_transparent_is_white():
    file = io.BytesIO()
    Image.new("RGBA", (50, 50), (255, 0, 0, 0)).save(file, "png")
    assert min(decoded(thumbnail(file.getvalue()).uri).getpixel((25, 25))) > 250


@pytest.mark.parametrize("content", [b"no image", b"", png("red")[:40], "/nowhere/a.png"])
def test_what_cannot_be_read(content):
    with pytest.raises(Unreadable):
        thumbnail(content)


def test_too_many_pixels():
    with pytest.raises(Unreadable, match="9000x8000 pixels are more than max_pixels=64000000"):
        thumbnail(png("red", (9000, 8000)))


@pytest.mark.parametrize(("content", "expected"), [
    ({"title": " Heat (1995) ", "text": "A film"}, "Heat (1995)"),
    ({"title": None, "text": "one two  three four five six"}, "one two three four five six"),
    ({"title": " ", "text": "one two three four five six seven"}, "one two three four five six …"),
    ({"title": 1984}, "1984"),
    ({"title": None, "text": None}, "i7"),
    ({"text": "  "}, "i7"),
    ({}, "i7"),
])
def test_title(content, expected):
    assert title(content, "i7") == expected
