import json
import logging
import multiprocessing
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmgraph.features.rows import RowStore, Shard, key_of

ABOUT = {"encoder": "E", "settings": {"size": 3, "weights": "ab"}, "dtype": "float32"}


def hashes(*numbers):
    return np.array([[n] * 32 for n in numbers], dtype=np.uint8)


def shard(*numbers, dtype=torch.float32):
    """The last number is unreadable, the first suspicious."""
    row = np.arange(len(numbers))
    row[-1] = -1
    x = torch.tensor([[n, -n] for n in numbers[:-1]], dtype=dtype).reshape(-1, 2)
    return Shard(hashes(*numbers), row, x, {len(numbers) - 1: "bad"}, {0: "odd"}, {"torch": "2", "av": "1"})


@pytest.fixture
def store(tmp_path):
    return RowStore(tmp_path, "image", ABOUT)


def files(store):
    return sorted(store.folder.glob("*.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_added_comes_back(store, tmp_path, dtype):
    store.add(shard(1, 2, 3, dtype=dtype))
    (back,) = RowStore(tmp_path, "image", ABOUT).shards()
    assert back.hashes.tolist() == hashes(1, 2, 3).tolist()
    assert back.row.tolist() == [0, 1, -1]
    assert back.x.equal(torch.tensor([[1, -1], [2, -2]], dtype=dtype))
    assert (back.reasons, back.remarks, back.versions) == ({2: "bad"}, {0: "odd"}, {"torch": "2", "av": "1"})
    assert store.known() == {bytes([n] * 32) for n in (1, 2, 3)}


def test_a_shard_without_a_row_is_kept_too(store):
    store.add(Shard(hashes(7), np.array([-1]), torch.zeros(0, 0), {0: "bad"}))
    assert store.known() == {bytes([7] * 32)}
    store.verify()


def test_equal_shards_give_equal_bytes_whatever_the_order_of_their_notes(tmp_path):
    written = []
    for place in ("a", "b"):
        one = RowStore(tmp_path / place, "image", ABOUT)
        order = (1, 2) if place == "a" else (2, 1)
        one.add(Shard(hashes(1, 2, 3), np.array([0, -1, -1]), torch.ones(1, 2), {n: f"bad {n}" for n in order},
                      {}, {name: "1" for name in (("av", "torch") if place == "a" else ("torch", "av"))}))
        written += [(file.name, file.read_bytes()) for file in files(one)]
    assert written[0] == written[1]


def test_the_key_is_all_that_determines_a_row():
    changed = [{**ABOUT, "encoder": "F"}, {**ABOUT, "dtype": "float16"}, {**ABOUT, "settings": {"size": 4}},
               {**ABOUT, "settings": {"size": 3, "weights": "ac"}}]
    assert len({key_of(about) for about in (ABOUT, *changed)}) == 5
    assert key_of(dict(reversed(ABOUT.items()))) == key_of(ABOUT)


def test_another_encoder_has_another_folder_and_sees_nothing(store, tmp_path):
    store.add(shard(1, 2))
    other = RowStore(tmp_path, "image", {**ABOUT, "dtype": "float16"})
    assert other.known() == set()
    assert RowStore(tmp_path, "audio", ABOUT).known() == set()
    assert json.loads((store.folder / "meta.json").read_text())["about"] == ABOUT


def test_a_folder_that_lies_about_its_encoder_is_refused(store, tmp_path):
    meta = store.folder / "meta.json"
    meta.write_text(meta.read_text().replace('"ab"', '"ac"'))
    with pytest.raises(ValueError, match="holds rows of another encoder than its name says"):
        RowStore(tmp_path, "image", ABOUT)


def test_a_cut_shard_is_left_out_with_a_warning_and_found_by_verify(store, caplog):
    store.add(shard(1, 2))
    store.add(shard(3, 4))
    whole = store.known()
    file = files(store)[0]
    file.write_bytes(file.read_bytes()[:-5])
    with caplog.at_level(logging.WARNING):
        assert len(store.known()) == 2
    assert store.known() < whole
    assert f"{file} is damaged" in caplog.text
    with pytest.raises(ValueError, match=f"{file.name} is damaged"):
        store.verify()


@pytest.mark.parametrize("part", ["x", "row", "hashes"])
def test_a_changed_number_is_found_by_verify(store, part):
    store.add(shard(1, 2, 3))
    (file,) = files(store)
    tensors = load_file(file)
    with open(file, "rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        note = json.loads(stream.read(size))["__metadata__"]
    changed = tensors[part].clone()
    changed.view(-1)[0] += 1 if part != "row" else -1
    save_file(tensors | {part: changed}, file, note)
    with pytest.raises(ValueError, match="has changed since it was written"):
        store.verify()


def test_a_link_out_of_the_folder_is_not_followed(store, tmp_path, caplog):
    elsewhere = RowStore(tmp_path / "elsewhere", "image", ABOUT)
    elsewhere.add(shard(1, 2))
    os.symlink(files(elsewhere)[0], store.folder / "x.safetensors")
    with caplog.at_level(logging.WARNING):
        assert store.known() == set()
    assert "link that leads out of its folder" in caplog.text


def write(root, numbers):
    store = RowStore(root, "image", ABOUT)
    for n in numbers:
        store.add(shard(n, n + 100))


def test_many_writers_at_once(tmp_path):
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write, args=(tmp_path, range(start, start + 20))) for start in (0, 5, 10)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    store = RowStore(tmp_path, "image", ABOUT)
    store.verify()
    assert store.known() == {bytes([n] * 32) for start in range(30) for n in (start, start + 100)}
    assert not [file for file in os.listdir(store.folder) if file.startswith(".")]
