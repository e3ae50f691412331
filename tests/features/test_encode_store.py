"""Nothing is encoded twice, a killed run goes on, and what is stored does not depend on how it came there."""

import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from mmgraph.data.dataset import Dataset
from mmgraph.features.encode import encode
from mmgraph.features.encoder import Unreadable
from mmgraph.features.features import Features
from mmgraph.features.image import ClassicalImage
from mmgraph.features.report import report, stale
from mmgraph.features.store import load, save, verify
from mmgraph.features.text import TfidfText

N = 60


class Letters:
    """Counts of 26 letters through a random layer: a row depends in its last bits on the batch, as a model's does."""

    modality = "text"

    def __init__(self, seed=0, pause=0.0):
        self.seed, self.pause, self.encoded = seed, pause, []

    def settings(self):
        return {"seed": self.seed}

    def decode(self, content):
        if content.startswith("!"):
            raise Unreadable("an outcry")
        return content

    def fit(self, decoded):
        return self

    def remark(self, decoded):
        return "short" if len(decoded) < 3 else None

    def cost(self, content):
        return len(content)

    def encode(self, batch):
        self.encoded += batch
        time.sleep(self.pause)
        counts = torch.tensor([[text.count(chr(97 + n)) for n in range(26)] for text in batch], dtype=torch.float32)
        weight = torch.randn(26, 33, generator=torch.Generator().manual_seed(self.seed))
        return (counts.reshape(-1, 26) @ weight).tanh()


def words(n):
    rng = random.Random(n)
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(4 + n % 17))


def dataset(texts, **columns):
    """Texts by id."""
    ids = [f"i{n}" for n in (texts if isinstance(texts, dict) else range(len(texts)))]
    texts = list(texts.values() if isinstance(texts, dict) else texts)
    return Dataset.from_frames(pa.table({"user": ["u"] * len(ids), "item": ids}),
                               pa.table({"item": ids, "text": pa.array(texts, pa.string()), **columns}))


TEXTS = [words(n) for n in range(N)]


def run(texts, store, encoder=None, **how):
    data = texts if isinstance(texts, Dataset) else dataset(texts)
    how = {"shard_size": 16, "batch_size": 5, "progress": False} | how
    return encode(data, text=encoder or Letters(), store=store, **how)


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ---- nothing twice

def test_a_second_run_computes_nothing(tmp_path):
    first, again = run(TEXTS, tmp_path), (encoder := Letters())
    second = run(TEXTS, tmp_path, again)
    assert encoder.encoded == []
    assert second.x["text"].equal(first.x["text"])
    assert second.meta == first.meta


def test_the_store_changes_nothing(tmp_path):
    assert run(TEXTS, tmp_path).x["text"].equal(run(TEXTS, None).x["text"])


def test_one_changed_item_computes_one_row_and_the_others_stay(tmp_path):
    first = run(TEXTS, tmp_path)
    encoder = Letters()
    second = run([*TEXTS[:7], "something new", *TEXTS[8:]], tmp_path, encoder)
    assert encoder.encoded == ["something new"]
    differing = (first.x["text"] != second.x["text"]).any(1).nonzero()[:, 0].numpy()
    assert first.ids.names(differing) == ["i7"]


def test_added_and_shuffled_items_find_their_rows(tmp_path):
    first = run(TEXTS, tmp_path)
    encoder = Letters()
    more = {n: text for n, text in enumerate([*TEXTS, "brand new"])}
    second = run(dataset(dict(sorted(more.items(), key=lambda pair: pair[1]))), tmp_path, encoder)
    assert encoder.encoded == ["brand new"]
    assert second.aligned(first.ids).x["text"].equal(first.x["text"])


@pytest.mark.parametrize("change", [{"encoder": Letters(seed=1)}, {"dtype": "bfloat16"}])
def test_another_encoder_or_dtype_is_never_served_these_rows(tmp_path, change):
    first = run(TEXTS, tmp_path)
    second = run(TEXTS, tmp_path, **change)
    assert not second.x["text"].equal(first.x["text"])
    assert second.x["text"].equal(run(TEXTS, None, **change).x["text"])
    assert run(TEXTS, tmp_path).x["text"].equal(first.x["text"])


def test_what_was_learned_is_part_of_the_key(tmp_path):
    texts = ["apple pear plum", "whale shark squid", "apple plum whale", "pear shark squid", "plum squid apple"]
    fits = [["i0", "i1"], ["i0", "i1", "i2", "i3"]]
    made = [run(texts, tmp_path, TfidfText(dim=2, min_df=1), fit_items=fit) for fit in (*fits, *fits)]
    assert made[0].meta["text"]["key"] != made[1].meta["text"]["key"]
    assert made[2].x["text"].equal(made[0].x["text"])
    assert made[3].x["text"].equal(made[1].x["text"])
    assert made[1].x["text"].shape != made[0].x["text"].shape or not made[1].x["text"].equal(made[0].x["text"])


def test_each_distinct_content_is_encoded_once(tmp_path):
    encoder = Letters()
    features = run(["same", "other", "same", "same"], None, encoder)
    assert sorted(encoder.encoded) == ["other", "same"]
    assert features.x["text"][0].equal(features.x["text"][2])
    assert features.meta["text"]["duplicates"] == [["i0", "i2", "i3"]]


def test_equal_pictures_are_one_content_as_paths_and_as_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), (9, 99, 200)).save(tmp_path / name)
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    raw = [(tmp_path / "a.png").read_bytes()] * 2

    class Counting(ClassicalImage):
        decoded = 0

        def decode(self, content):
            Counting.decoded += 1
            return super().decode(content)

    for column in (pa.array(paths), pa.array(raw, pa.binary())):
        data = dataset(["x", "y"], image=column)
        encode(data, image=Counting(), store=tmp_path / "store", workers=0, progress=False)
    assert Counting.decoded == 1


def test_unreadable_content_is_remembered_too(tmp_path):
    texts = [*TEXTS, "!bad", "  ", "ab"]
    first, encoder = run(texts, tmp_path), Letters()
    second = run(texts, tmp_path, encoder)
    assert encoder.encoded == []
    for features in (first, second):
        about = features.meta["text"]
        assert about["unreadable"] == {f"i{N}": "an outcry"}
        assert about["blank"] == [f"i{N + 1}"]
        assert about["suspicious"] == {f"i{N + 2}": "short"}


def test_long_texts_come_first_and_like_ones_together():
    encoder = Letters()
    run(TEXTS, None, encoder)
    lengths = [len(text) for text in encoder.encoded]
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16, 64, 257])
def test_batch_size_changes_no_row_beyond_rounding(batch_size):
    torch.testing.assert_close(run(TEXTS, None, batch_size=batch_size).x["text"], run(TEXTS, None).x["text"], rtol=0,
                               atol=1e-6)


# ---- killed, at once, on ray

def stored(folder, pause):
    run(TEXTS, folder, Letters(pause=pause), shard_size=4, batch_size=2)


def test_ten_killed_runs_and_one_that_ends_leave_the_store_of_an_unbroken_one(tmp_path):
    stored(tmp_path / "unbroken", 0)
    fork, rng, exits = multiprocessing.get_context("fork"), random.Random(0), []

    def written():
        return len(list((tmp_path / "killed").rglob("*.safetensors")))

    for _ in range(10):
        child = fork.Process(target=stored, args=(tmp_path / "killed", 0.03))
        child.start()
        time.sleep(rng.uniform(0.02, 0.15))
        while len(exits) == 5 and child.is_alive() and not written():  # on a busy machine nothing may be there by then
            time.sleep(0.001)
        child.kill()
        child.join()
        exits.append(child.exitcode)
    assert exits.count(-signal.SIGKILL) >= 5
    before = written()
    stored(tmp_path / "killed", 0)
    left = {name: raw for name, raw in tree(tmp_path / "killed").items() if not os.path.basename(name).startswith(".")}
    assert left == tree(tmp_path / "unbroken")
    assert before > 0


def test_two_processes_at_once_leave_the_same_store(tmp_path):
    stored(tmp_path / "alone", 0)
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=stored, args=(tmp_path / "both", pause)) for pause in (0.005, 0.01)]
    for child in both:
        child.start()
    for child in both:
        child.join()
    assert [child.exitcode for child in both] == [0, 0]
    assert tree(tmp_path / "both") == tree(tmp_path / "alone")


def test_a_shard_that_was_damaged_is_made_again(tmp_path):
    first = run(TEXTS, tmp_path)
    before = tree(tmp_path)
    file = sorted(tmp_path.rglob("*.safetensors"))[1]
    file.write_bytes(file.read_bytes()[:-9])
    assert run(TEXTS, tmp_path).x["text"].equal(first.x["text"])
    assert tree(tmp_path) == before


@pytest.mark.slow
def test_ray_gives_the_same_bits(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))  # its workers must find the encoder of this file
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)  # is used, and not shut down by the engine
    texts = [*TEXTS, "!bad", "ab"]
    local = run(texts, tmp_path / "local")
    spread = run(texts, tmp_path / "ray", engine="ray")
    assert spread.x["text"].equal(local.x["text"])
    assert spread.meta == local.meta
    assert tree(tmp_path / "ray") == tree(tmp_path / "local")
    pictures = []
    for n in range(6):
        pixels = np.random.default_rng(n).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
        pictures.append(str(tmp_path / f"{n}.png"))
    data = dataset(TEXTS[:6], image=pictures)
    both = [encode(data, image=ClassicalImage(size=16, grid=2), engine=engine, shard_size=4, progress=False)
            for engine in ("local", "ray")]
    assert both[0].x["image"].equal(both[1].x["image"])
    assert ray.is_initialized()
    ray.shutdown()


# ---- what is told

def test_the_report_names_every_item_in_trouble(tmp_path):
    paths = []
    for n in range(6):
        path = tmp_path / f"{n}.png"
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    (tmp_path / "1.png").write_bytes(b"no picture")
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "3.png").unlink()
    (tmp_path / "5.png").write_bytes((tmp_path / "0.png").read_bytes())
    data = dataset(["a", "", " \n", "b", None, "a"], image=[*paths[:4], None, paths[5]])
    features = encode(data, text=Letters(), image=ClassicalImage(size=16, grid=2), progress=False)
    text, image = report(features)
    assert text.missing == ("i4",)
    assert text.blank == ("i1", "i2")
    assert text.duplicates == (("i0", "i5"),)
    assert text.suspicious == {"i0": "short", "i3": "short", "i5": "short"}
    assert image.missing == ("i4",)
    assert list(image.unreadable) == ["i1", "i2", "i3"]
    assert "not an image" in image.unreadable["i1"]
    assert "zero bytes" in image.unreadable["i2"]
    assert "no such file" in image.unreadable["i3"]
    assert image.duplicates == (("i0", "i5"),)
    assert image.present == 2
    assert ("i5", "duplicate", "same content as i0") in image.table
    assert ("i0", "duplicate", "same content as i5") in image.table
    assert len(image.table) == 1 + 3 + 2
    assert "image: 2 rows of" in str(image)
    assert "3 unreadable, e.g. i1: " in str(image)


def test_the_report_of_some_rows_speaks_of_these_only():
    features = run(["!bad", "fine", "!worse", "fine", "ab"], None).rows(np.array([0, 1, 4]))
    (account,) = report(features)
    assert list(account.unreadable) == ["i0"]
    assert account.duplicates == ()
    assert account.suspicious == {"i4": "short"}


def test_verify_finds_content_that_is_no_longer_what_was_encoded(tmp_path):
    data = dataset(TEXTS)
    save(run(data, None), tmp_path / "features")
    verify(tmp_path / "features", data)
    changed = dataset({n: text for n, text in enumerate([*TEXTS[:5], "other", *TEXTS[6:], "new"]) if n != 9})
    assert stale(load(tmp_path / "features"), changed) == {"text": ["i5", f"i{N}", "i9"]}
    with pytest.raises(ValueError, match=r"text: the content of 3 items is not what was encoded, e\.g\. \['i5'"):
        verify(tmp_path / "features", changed)


def test_content_hashes_follow_their_rows(tmp_path):
    features = run(TEXTS[:4], None)
    save(features, tmp_path / "features")
    back = load(tmp_path / "features")
    assert back.content["text"].equal(features.content["text"])
    for some in (features.rows(np.array([2, 0])), features.aligned(features.ids.take(np.array([2, 0])))):
        assert some.content["text"].equal(features.content["text"][[2, 0]])
    assert features.only("text").content.keys() == {"text"}
    other = Features(features.ids, {"text": torch.ones(4, 2)}, {"text": torch.ones(4, dtype=torch.bool)})
    assert (features | other).content == {}
    with pytest.raises(ValueError, match=r"content hashes of 'image' must be uint8 of shape \(4, 32\) beside a matrix"):
        Features(features.ids, features.x, features.present, content={"image": features.content["text"]})
