import colorsys
import io
import json
import math
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmgraph.features.encoder import Encoder, Unreadable
from mmgraph.features.image import (
    FAINT,
    HUES,
    SHADES,
    TURNS,
    ClassicalImage,
    colours,
    describe,
    edges,
    layout,
    width,
)


def saved(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(height=40, width=30, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def solid(colour, mode="RGB", size=(20, 20)):
    return Image.new(mode, size, colour)


def decode(image, kind="PNG", **options):
    return ClassicalImage(size=8, grid=2).decode(saved(image, kind, **options))


def test_keeps_the_protocol():
    encoder = ClassicalImage(size=48, grid=3)
    assert isinstance(encoder, Encoder)
    assert encoder.modality == "image"
    assert json.loads(json.dumps(encoder.settings())) == {"size": 48, "grid": 3, "max_pixels": 64_000_000}
    assert encoder.fit([]) is encoder
    assert encoder.encode([]).shape == (0, width(3))
    x = encoder.encode([encoder.decode(saved(noise()))])
    assert x.shape == (1, 72 + 27 + 144)
    assert x.dtype == torch.float32


# ---- the three blocks

# hue * 8 floors to: red 0, yellow 1.33, green 2.67, cyan 4, blue 5.33, magenta 6.67; bin = (hue * 3 + sat) * 3 + value
@pytest.mark.parametrize(("colour", "place"), [
    ((255, 0, 0), 8), ((255, 255, 0), 17), ((0, 255, 0), 26), ((0, 255, 255), 44), ((0, 0, 255), 53),
    ((255, 0, 255), 62), ((0, 0, 0), 0), ((128, 128, 128), 1), ((255, 255, 255), 2), ((128, 64, 64), 4)])
def test_colours_by_hand(colour, place):
    pixels = np.full((4, 4, 3), colour, np.float32) / 255
    assert colours(pixels).nonzero()[0].tolist() == [place]
    assert colours(pixels)[place] == 1


def test_colours_of_a_quarter_red_and_the_rest_blue():
    pixels = np.zeros((4, 4, 3), np.float32)
    pixels[..., 2] = 1
    pixels[:2, :2] = (1, 0, 0)
    histogram = colours(pixels)
    assert histogram[8] == pytest.approx(math.sqrt(0.25))
    assert histogram[53] == pytest.approx(math.sqrt(0.75))


def test_colours_equal_a_loop_over_colorsys():
    pixels = (np.asarray(noise(24, 24)) / 255).astype(np.float32)
    expected = np.zeros(HUES * SHADES**2)
    for pixel in pixels.reshape(-1, 3):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel.tolist())
        h, s, v = min(int(hue * HUES), HUES - 1), min(int(saturation * SHADES), 2), min(int(value * SHADES), 2)
        expected[(h * SHADES + s) * SHADES + v] += 1 / 24**2
    assert np.allclose(colours(pixels) ** 2, expected, atol=2.1 / 24**2)  # two pixels may sit on a border
    assert np.abs(colours(pixels) ** 2 - expected).sum() < 10 / 24**2


def test_layout_by_hand():
    pixels = np.zeros((4, 4, 3), np.float32)
    pixels[:2, 2:] = (0.6, 0, 0)  # upper right
    pixels[2:, :2] = (0, 0.8, 0)  # lower left
    assert layout(pixels, 2) == pytest.approx([0, 0, 0, 0.6, 0, 0, 0, 0.8, 0, 0, 0, 0])
    assert not layout(np.zeros((4, 4, 3), np.float32), 2).any()


def slow_edges(pixels, grid):
    size, cells = len(pixels), np.zeros((grid, grid, TURNS))
    grey = [[math.sqrt(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in row] for row in pixels.tolist()]
    for y in range(size):
        for x in range(size):
            across = grey[y][x + 1] - grey[y][x - 1] if 0 < x < size - 1 else 0
            down = grey[y + 1][x] - grey[y - 1][x] if 0 < y < size - 1 else 0
            at = math.atan2(down, across) % math.pi / math.pi * TURNS - 0.5
            low = math.floor(at)
            cell = cells[y * grid // size, x * grid // size]
            cell[low % TURNS] += math.hypot(across, down) * (1 - at + low) * (grid / size) ** 2
            cell[(low + 1) % TURNS] += math.hypot(across, down) * (at - low) * (grid / size) ** 2
    blocks = []
    for y in range(grid - 1):
        for x in range(grid - 1):
            v = np.concatenate([cells[y, x], cells[y, x + 1], cells[y + 1, x], cells[y + 1, x + 1]])
            blocks.append(v / math.sqrt((v**2).sum() + FAINT**2) / (grid - 1))
    return np.concatenate(blocks)


@pytest.mark.parametrize(("size", "grid"), [(12, 2), (12, 3), (16, 4)])
def test_edges_equal_a_loop(size, grid):
    pixels = (np.asarray(noise(size, size)) / 255).astype(np.float32)
    assert np.allclose(edges(pixels, grid), slow_edges(pixels, grid), atol=1e-5)


@pytest.mark.parametrize("degrees", [10, 50, 90, 130, 170])  # the middles of bins 0, 2, 4, 6, 8
def test_edges_tell_the_direction(degrees):
    y, x = np.mgrid[:48, :48] / 48
    angle = math.radians(degrees)
    wave = (0.5 + 0.4 * np.sin(30 * (x * math.cos(angle) + y * math.sin(angle)))) ** 2
    pixels = np.repeat(wave[..., None], 3, 2).astype(np.float32)
    by_turn = edges(pixels, 3).reshape(-1, TURNS).sum(0)
    assert by_turn.argmax() == degrees // 20


def test_edges_of_nothing_and_of_faint_noise():
    flat = np.full((24, 24, 3), 0.5, np.float32)
    assert not edges(flat, 2).any()
    faint = flat + np.random.default_rng(0).uniform(-0.001, 0.001, (24, 24, 1)).astype(np.float32)
    strong = flat + np.random.default_rng(0).uniform(-0.5, 0.5, (24, 24, 1)).astype(np.float32)
    assert np.linalg.norm(edges(faint, 2)) < 0.1
    assert np.linalg.norm(edges(strong, 2)) > 0.9


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 4, 6]))
@settings(max_examples=25, deadline=None)
def test_no_block_is_longer_than_one(seed, grid):
    image = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    row = describe(image, grid)
    parts = np.split(row, [HUES * SHADES**2, HUES * SHADES**2 + 3 * grid**2])
    assert row.dtype == np.float32
    assert [len(p) for p in parts] == [72, 3 * grid**2, 36 * (grid - 1) ** 2]
    assert np.linalg.norm(parts[0]) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(parts[1]) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(parts[2]) <= 1 + 1e-6


# ---- decoding

def test_path_and_bytes_are_the_same(tmp_path):
    content = saved(noise())
    (tmp_path / "a.png").write_bytes(content)
    encoder = ClassicalImage()
    assert (encoder.decode(str(tmp_path / "a.png")) == encoder.decode(content)).all()


def test_scales_without_cropping():
    wide = Image.new("RGB", (200, 50))
    wide.paste((255, 255, 255), (100, 0, 200, 50))
    pixels = decode(wide).astype(int)
    assert (pixels[:, :3] == 0).all()
    assert (pixels[:, 5:] == 255).all()


def test_exif_turns_the_image_upright():
    upright = noise(16, 16)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: to be turned by 90 degrees clockwise
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    encoder = ClassicalImage(size=16, grid=2)
    assert (encoder.decode(saved(lying, exif=exif)) == np.asarray(upright)).all()
    assert (encoder.decode(saved(lying)) != np.asarray(upright)).any()


@pytest.mark.parametrize(("image", "kind", "colour"), [
    (solid((10, 20, 30, 0), "RGBA"), "PNG", (255, 255, 255)),
    (solid((255, 0, 0, 128), "RGBA"), "PNG", (255, 127, 127)),
    (solid((0, 0), "LA"), "PNG", (255, 255, 255)),
    (solid(0, "1"), "PNG", (0, 0, 0)),
    (solid(77, "L"), "PNG", (77, 77, 77)),
    (solid((200, 30, 60)).quantize(4), "PNG", (200, 30, 60)),
    (solid((0, 255, 255, 0), "CMYK"), "TIFF", (255, 0, 0)),
    (solid((0, 255, 255, 0), "CMYK"), "JPEG", (255, 0, 0)),
    (solid((200, 30, 60)), "GIF", (200, 30, 60)),
    (solid((200, 30, 60)), "WEBP", (200, 30, 60)),
    (Image.fromarray(np.full((9, 9), 32896, np.uint16)), "PNG", (128, 128, 128)),
    (Image.fromarray(np.full((9, 9), 65535, np.uint16)), "TIFF", (255, 255, 255)),
    (Image.fromarray(np.full((9, 9), 32896, np.int32)), "TIFF", (128, 128, 128)),
])
def test_every_mode_becomes_rgb(image, kind, colour):
    pixels = decode(image, kind)
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - colour).max() <= 4


def test_a_transparent_palette_colour_becomes_white():
    image = solid((200, 30, 60)).quantize(4)
    index = int(np.asarray(image)[0, 0])
    assert (decode(image, transparency=index) == 255).all()


def test_a_large_jpeg_is_close_to_the_exact_one():
    y, x = np.mgrid[:400, :400] / 400
    lively = np.stack([0.5 + 0.5 * np.sin(60 * x), 0.5 + 0.5 * np.sin(60 * y), 0.5 + 0.5 * np.sin(30 * x * y)], 2)
    image = Image.fromarray((lively * 255).astype(np.uint8))
    exact = np.asarray(image.resize((96, 96), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(ClassicalImage().decode(saved(image, "JPEG", quality=95, subsampling=0)) - exact).mean() < 4


def test_scaling_averages_what_it_drops():
    fine = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    assert np.abs(decode(fine).astype(int) - 127).max() <= 2


def test_unreadable_says_what_and_where(tmp_path):
    encoder = ClassicalImage(size=8, grid=2, max_pixels=1000)
    jpeg = saved(noise(30, 30), "JPEG")
    files = {"cut.jpg": (jpeg[:-200], "truncated image"), "cut.png": (saved(noise(30, 30))[:-900], "truncated image"),
             "empty.jpg": (b"", "empty, zero bytes"), "text.jpg": (b"<html>404</html>", "not an image"),
             "bomb.png": (saved(Image.new("L", (40, 26))), "40x26 pixels are more than max_pixels=1000"),
             "float.tif": (saved(Image.new("F", (4, 4)), "TIFF"), "floating-point pixels")}
    for name, (content, reason) in files.items():
        path = str(tmp_path / name)
        with open(path, "wb") as file:
            file.write(content)
        with pytest.raises(Unreadable, match=reason) as caught:
            encoder.decode(path)
        assert str(caught.value).startswith(f"{path}: "), name
        with pytest.raises(Unreadable, match=f"^<{len(content)} bytes>: .*{reason}"):
            encoder.decode(content)
    assert encoder.decode(saved(Image.new("L", (40, 25)))).shape == (8, 8, 3)


@pytest.mark.parametrize("path", ["none.jpg", "", "."])
def test_a_missing_path_is_unreadable(tmp_path, path):
    with pytest.raises(Unreadable, match="no such file"):
        ClassicalImage().decode(os.path.join(tmp_path, path) if path != "" else "")


WHOLE = [saved(noise(20, 20), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")]


CHANGES = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=6)


@given(st.sampled_from(WHOLE), st.integers(0, 4000), CHANGES)
@settings(max_examples=200, deadline=None)
def test_broken_bytes_are_unreadable_and_nothing_worse(whole, cut, changes):
    content = bytearray(whole)
    for at, value in changes:
        content[at % len(content)] = value
    try:
        pixels = ClassicalImage(size=8, grid=2).decode(bytes(content[:cut]))
    except Unreadable:
        return
    assert pixels.shape == (8, 8, 3)


# ---- the encoder

def test_rows_do_not_depend_on_the_batch():
    encoder = ClassicalImage()
    decoded = [encoder.decode(saved(noise(seed=seed))) for seed in range(7)]
    whole = encoder.encode(decoded)
    for size in range(1, 7):
        parts = torch.cat([encoder.encode(decoded[start:start + size]) for start in range(0, 7, size)])
        assert parts.equal(whole)
    assert encoder.encode(decoded[::-1]).equal(whole.flip(0))


def test_a_copy_is_nearer_than_another_image():
    encoder = ClassicalImage()
    originals = [noise(5, 4, seed).resize((185, 278), Image.Resampling.BICUBIC) for seed in range(12)]
    copies = [image.resize((100, 160)) for image in originals]
    a = encoder.encode([encoder.decode(saved(image)) for image in originals])
    b = encoder.encode([encoder.decode(saved(image, "JPEG", quality=70)) for image in copies])
    assert torch.cdist(a, b).argmin(1).tolist() == list(range(12))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"size": 10, "grid": 4}, "multiple of grid.*size=10, grid=4"), ({"size": 8, "grid": 1}, "at least 2"),
    ({"size": 4, "grid": 4}, "cells of at least 2 pixels"), ({"max_pixels": 0}, "max_pixels must be at least 1")])
def test_refuses_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClassicalImage(**arguments)
