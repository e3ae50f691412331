import base64
import io
import re

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import mmgraph.features.sheet as sheets
from mmgraph.data.dataset import Dataset
from mmgraph.features.features import from_arrays
from mmgraph.features.sheet import LINE, SIDE, contact_sheet, neighbours

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def picture(colour):
    file = io.BytesIO()
    Image.new("RGB", (200, 200), colour).save(file, "png")
    return file.getvalue()


@pytest.fixture
def features():
    # red is nearest to green, then blue; "none" and "bad" lie apart; "absent" has no features
    return from_arrays(["red", "green", "blue", "none", "bad", "absent"],
                       {"image": [[1, 0], [1, 0.1], [1, 0.5], [-1, 0], [-1, 0.1], [0, 0]]})


@pytest.fixture
def data():
    ids = ["blue", "red", "green", "none", "bad", "absent"]  # another order than that of the features
    items = pa.table({"item": ids, "title": ["Blue & <b>", "Red", "Green", "No", "Bad", "Absent"],
                      "text": [f"{id_} words" for id_ in ids],
                      "image": [picture("blue"), picture("red"), picture((0, 255, 0)), None, b"junk", None]})
    return Dataset.from_frames(pa.table({"user": ["u"], "item": ["red"]}), items)


def text_only(data):
    from dataclasses import replace

    return replace(data, item_content=data.item_content.select(["text"]))


@pytest.mark.parametrize("block", [1, 2, 8192])
def test_neighbours_by_hand(features, monkeypatch, block):
    monkeypatch.setattr(sheets, "BLOCK", block)
    near, cosine = neighbours(features, "image", np.array([0, 3]), 2)
    assert near.tolist() == [[1, 2], [4, 2]]
    assert cosine[0].tolist() == pytest.approx([1 / np.sqrt(1.01), 1 / np.sqrt(1.25)])
    near, _ = neighbours(features, "image", np.array([0]), 9)
    assert near.tolist() == [[1, 2, 4, 3]]  # not itself, not the absent one


def test_ties_go_to_the_smaller_number():
    features = from_arrays(range(50), {"m": np.ones((50, 2))})
    assert neighbours(features, "m", np.array([3]), 4)[0].tolist() == [[0, 1, 2, 4]]


def test_the_png_shows_the_pictures_where_they_belong(features, data, tmp_path):
    contact_sheet(features, data, tmp_path / "sheet.png", modality="image", items=["red", "none"], k=2)
    sheet = Image.open(tmp_path / "sheet.png")
    wide, high, top = SIDE + sheets.GAP, SIDE + 3 * LINE + sheets.GAP, 3 * LINE
    def centre(row, column):
        left = sheets.GAP + column * wide + (sheets.GAP if column else 0)
        return sheet.getpixel((left + SIDE // 2, top + row * high + SIDE - 10))
    assert [centre(0, c) for c in range(3)] == [COLOURS["red"], COLOURS["green"], COLOURS["blue"]]
    assert centre(1, 0) == centre(1, 1) == (0xf2, 0xf2, 0xf2)  # no picture; unreadable picture
    assert [f.name for f in tmp_path.iterdir()] == ["sheet.png"]


def test_the_page_needs_no_other_file_and_escapes(features, data, tmp_path):
    contact_sheet(features, data, tmp_path / "sheet.html", modality="image", items=["red", "none"], k=2)
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert re.findall(r'data-item="(\w+)"', page) == ["red", "green", "blue", "none", "bad", "blue"]
    assert "Blue &amp; &lt;b&gt;" in page
    assert "<b>\n" not in page
    assert "0.995" in page
    assert "no picture" in page
    assert "unreadable picture" in page
    uris = re.findall(r'src="([^"]*)"', page)
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in uris)
    shown = [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for uri in uris]
    assert all(max(p.size) == SIDE for p in shown)
    for p, colour in zip(shown, ("red", "green", "blue", "blue"), strict=True):
        assert np.abs(np.array(p.getpixel((60, 60))) - COLOURS[colour]).max() < 5
    assert "http" not in page


def test_without_pictures_the_text_is_shown_and_ids_are_titles(features, data, tmp_path):
    contact_sheet(features, text_only(data), tmp_path / "a.html", modality="image", items=["red"], k=1)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "red words" in page
    assert '<span class="title">green</span>' in page
    assert "<img" not in page
    contact_sheet(features, text_only(data), tmp_path / "a.png", modality="image", items=["red"], k=1)
    assert Image.open(tmp_path / "a.png").height > SIDE


def test_without_any_content_there_are_ids(features, tmp_path):
    bare = Dataset.from_frames(pa.table({"user": ["u"] * 6, "item": features.ids.ids}))
    contact_sheet(features, bare, tmp_path / "a.html", modality="image", items=["red"], k=1)
    assert '<div class="box">green</div>' in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_items_are_drawn_by_seed_among_those_that_have_the_modality(features, data, tmp_path, monkeypatch):
    monkeypatch.setattr(sheets, "DRAWN", 3)
    def drawn(seed):
        contact_sheet(features, data, tmp_path / "a.html", modality="image", k=1, seed=seed)
        page = (tmp_path / "a.html").read_text(encoding="utf-8")
        return tuple(re.findall(r'class="query" data-item="(\w+)"', page))
    found = [drawn(seed) for seed in range(8)]
    assert found[0] == drawn(0)
    assert len(set(found)) > 1
    assert not any("absent" in ids for ids in found)


def test_wrong_requests_are_refused(features, data, tmp_path):
    with pytest.raises(ValueError, match=r"is a \.png or \.html file, got 'a.pdf'"):
        contact_sheet(features, data, tmp_path / "a.pdf", modality="image")
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        contact_sheet(features, data, tmp_path / "a.png", modality="image", k=0)
    with pytest.raises(ValueError, match=r"\['absent'\] have no image features"):
        contact_sheet(features, data, tmp_path / "a.png", modality="image", items=["absent"])
    with pytest.raises(KeyError, match="unknown item ids"):
        contact_sheet(features, data, tmp_path / "a.png", modality="image", items=["who"])
    with pytest.raises(KeyError, match="no modality"):
        contact_sheet(features, data, tmp_path / "a.png", modality="audio")
    assert not list(tmp_path.iterdir())
