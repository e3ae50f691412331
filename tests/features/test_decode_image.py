import io
import threading
import warnings

import numpy as np
import pytest
import torch
from media import picture
from media import picture_file as saved
from PIL import Image

from mmgraph.features.decode_image import read_image
from mmgraph.features.encoder import Unreadable


def truncated(image):
    return (content := saved(image, "JPEG"))[:len(content) * 2 // 3]


def with_transparent_palette(image):
    return saved(image.quantize(16), transparency=0)


def sixteen_bits(image):
    return saved(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257))


def animated(image):
    return saved(image, "GIF", save_all=True, append_images=[Image.new("RGB", image.size, "red")] * 2)


def turned(image):
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95, subsampling=0)


BOMB = saved(Image.new("1", (20_000, 20_000)))
DAMAGE = {  # how a poster is damaged, and why it is refused; None if it is still right
    "truncated": (truncated, "truncated image"),
    "zero bytes": (lambda image: b"", "empty, zero bytes"),
    "text": (lambda image: b"<html><body>404 Not Found</body></html>" * 9, "not an image"),
    "CMYK": (lambda image: saved(image.convert("CMYK"), "JPEG"), None),
    "palette": (with_transparent_palette, None),
    "16 bits": (sixteen_bits, None),
    "animated": (animated, None),
    "1x1": (lambda image: saved(image.resize((1, 1))), None),
    "bomb": (lambda image: BOMB, "20000x20000 pixels are more than max_pixels=64000000"),
    "turned": (turned, None),
}


def written(folder, posters, n_damaged):
    """Every poster as a file, the first ones damaged, in turn in each of the ten ways; path → reason or None."""
    expected = {}
    for number, poster in enumerate(posters):
        file = folder / f"{number}.jpg"
        expected[str(file)] = None
        if number < n_damaged:
            damage, expected[str(file)] = list(DAMAGE.values())[number % len(DAMAGE)]
            with Image.open(io.BytesIO(poster)) as image:
                file.write_bytes(damage(image.convert("RGB")))
        else:
            file.write_bytes(poster)
    return expected


def check(encoder, expected):
    decoded, told = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in expected:
            try:
                decoded[path] = encoder.decode(path)
            except Unreadable as error:
                told[path] = str(error)
    assert set(told) == {path for path, reason in expected.items() if reason}
    for path, message in told.items():
        assert message.startswith(f"{path}: "), message
        assert expected[path] in message
    paths = list(decoded)
    rows = torch.cat([encoder.encode([decoded[p] for p in paths[at:at + 50]]) for at in range(0, len(paths), 50)])
    assert rows.shape[0] == len(expected) - len(told)
    assert rows.isfinite().all()
    return dict(zip(paths, rows, strict=True))


def test_a_folder_damaged_in_ten_ways(tmp_path):
    pytest.importorskip("timm")
    from mmgraph.features.pretrained_image import TimmImage

    posters = [saved(picture(60, 40, seed), "JPEG") for seed in range(110)]
    expected = written(tmp_path, posters, 100)
    assert sum(reason is not None for reason in expected.values()) == 40
    check(TimmImage.untrained("test_resnet"), expected)


@pytest.mark.slow
@pytest.mark.realdata
def test_a_thousand_posters_of_which_two_hundred_are_damaged(tmp_path, data_root):
    pytest.importorskip("timm")
    from mmgraph.features.pretrained_image import TimmImage

    files = sorted((data_root / "ml-1m" / "posters").glob("*.jpg"))[:1000]
    expected = written(tmp_path, [file.read_bytes() for file in files], 200)
    encoder = TimmImage.untrained("resnet10t")
    rows = check(encoder, expected)
    assert len(rows) == 920
    turned_row = rows[str(tmp_path / "9.jpg")]
    upright = encoder.encode([encoder.decode(str(files[9]))])[0]
    assert torch.cosine_similarity(turned_row, upright, 0) > 0.999


def test_every_kind_of_damage_leaves_the_right_pixels():
    image = picture().resize((60, 80), Image.Resampling.BICUBIC)
    exact = np.asarray(image).astype(int)
    found = {name: np.asarray(read_image(damage(image))).astype(int)
             for name, (damage, reason) in DAMAGE.items() if reason is None}
    assert found["1x1"].shape == (1, 1, 3)
    for name, atol in (("CMYK", 12), ("turned", 6), ("animated", 40)):
        assert found[name].shape == exact.shape
        assert np.abs(found[name] - exact).mean() < atol, name
    grey = np.asarray(image.convert("L"))
    assert (found["16 bits"] == grey[..., None]).all()
    gone = np.asarray(image.quantize(16)) == 0
    assert (found["palette"][gone] == 255).all()
    assert np.abs(found["palette"] - exact)[~gone].mean() < 40


@pytest.mark.parametrize("bands", [(0, 0, 0, 255), (0, 0, 0, 0), (255, 0, 0, 0), (10, 20, 30, 40), (0, 255, 255, 128)])
def test_cmyk_by_hand(bands):
    expected = [round((255 - c) * (255 - bands[3]) / 255) for c in bands[:3]]
    pixels = np.asarray(read_image(saved(Image.new("CMYK", (5, 5), bands), "TIFF")))
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_alpha_by_hand():
    image = Image.new("RGBA", (3, 1))
    for at, pixel in enumerate([(0, 0, 255, 255), (0, 0, 255, 51), (9, 9, 9, 0)]):
        image.putpixel((at, 0), pixel)
    assert np.asarray(read_image(saved(image))).tolist() == [[[0, 0, 255], [204, 204, 255], [255, 255, 255]]]


def test_sixteen_bits_by_hand():
    values = np.array([[0, 256, 257, 32896, 65535]], np.uint16)
    assert np.asarray(read_image(saved(Image.fromarray(values))))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations(orientation):
    """What the EXIF standard says of row 0 and column 0 of the stored image."""
    upright = np.array([[[10] * 3, [60] * 3], [[110] * 3, [160] * 3], [[210] * 3, [250] * 3]], np.uint8)
    stored = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.swapaxes(0, 1),
              6: np.rot90(upright, 1), 7: upright[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(upright, -1)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert (np.asarray(read_image(content)) == upright).all()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_orientation_is_none(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert (np.asarray(read_image(saved(picture(), exif=exif))) == np.asarray(picture())).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_does_not_cost_the_image():
    content = saved(picture(), "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 40)
    assert read_image(content).size == (30, 40)


def test_the_limit_is_ours_alone_upwards_and_downwards(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow would warn above it and refuse twice as much
    content = saved(picture(40, 30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(content, 1200).size == (30, 40)
        with pytest.raises(Unreadable, match="30x40 pixels are more than max_pixels=1199"):
            read_image(content, 1199)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(Unreadable, match="not an image"):
        read_image(b"text")
    assert Image.MAX_IMAGE_PIXELS == 100


def test_the_limit_counts_the_whole_image_not_the_draft():
    content = saved(picture(400, 300), "JPEG")
    assert read_image(content, at_least=40).size == (75, 100)
    with pytest.raises(Unreadable, match="300x400 pixels"):
        read_image(content, 100_000, at_least=40)


def test_threads_leave_pillows_limit_as_it_was():
    before, content = Image.MAX_IMAGE_PIXELS, saved(picture())
    threads = [threading.Thread(target=lambda: [read_image(content) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before is not None
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_program_for_a_printer_is_not_run():
    with pytest.raises(Unreadable, match="EPS is a drawing, not pixels"):
        read_image(saved(picture(), "EPS"))


def test_draft_is_at_least_what_was_asked_and_the_same_each_time():
    content = saved(picture(640, 480), "JPEG")
    sizes = {side: read_image(content, at_least=side).size for side in (60, 100, 240, 241, 1000)}
    assert sizes == {60: (60, 80), 100: (120, 160), 240: (240, 320), 241: (480, 640), 1000: (480, 640)}
    once, twice = (np.asarray(read_image(content, at_least=60)) for _ in range(2))
    assert (once == twice).all()
