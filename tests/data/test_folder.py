import errno
import json
import os

import pytest

from mmgraph.data import folder as folder_module
from mmgraph.data.folder import read_meta, swap, whole_folder, write_json, write_text

KIND = "mmgraph.toy"


def save(place, text, kind=KIND, **meta):
    with whole_folder(place, kind) as new:
        write_json(new / "meta.json", {"format": kind, "version": 1} | meta)
        (new / "content.txt").write_text(text)


def content(place):
    return (place / "content.txt").read_text()


def test_is_there_only_when_the_block_has_ended(tmp_path):
    place = tmp_path / "a" / "b"
    with whole_folder(place, KIND) as new:
        write_json(new / "meta.json", {"format": KIND})
        assert not place.exists()
        assert new.parent == place.parent  # one file system, so that the move is atomic
    assert place.is_dir()
    assert [p.name for p in place.parent.iterdir()] == ["b"]


def test_expands_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save("~/toy", "one")
    assert content(tmp_path / "toy") == "one"
    assert read_meta("~/toy", KIND, 1)["version"] == 1


def test_replaces_its_own_kind_and_an_empty_folder(tmp_path):
    (tmp_path / "toy").mkdir()
    save(tmp_path / "toy", "one")
    (tmp_path / "toy" / "old.txt").write_text("of the first")
    save(tmp_path / "toy", "two", version=7)
    assert sorted(p.name for p in (tmp_path / "toy").iterdir()) == ["content.txt", "meta.json"]
    assert content(tmp_path / "toy") == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]
    save(tmp_path / "toy", "three")  # also where the one that is there is newer than what we can read
    assert content(tmp_path / "toy") == "three"


@pytest.mark.parametrize("meta", [None, '{"format": "another", "version": 1}', "{", '["list"]',
                                  '{"format": "mmgraph.toy"}'])
def test_leaves_alone_what_is_not_of_its_kind(tmp_path, meta):
    place = tmp_path / "photos"
    place.mkdir()
    (place / "photo.jpg").write_text("precious")
    if meta:
        (place / "meta.json").write_text(meta)
    with pytest.raises(FileExistsError, match=r"photos exists and is not a folder of mmgraph.toy; choose another"):
        save(place, "one")
    assert (place / "photo.jpg").read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


def test_leaves_a_file_alone(tmp_path):
    (tmp_path / "toy").write_text("precious")
    with pytest.raises(FileExistsError, match="is not a folder of"):
        save(tmp_path / "toy", "one")
    assert (tmp_path / "toy").read_text() == "precious"


@pytest.mark.parametrize("error", [RuntimeError("diverged"), KeyboardInterrupt()])
def test_after_an_exception_the_old_folder_is_there(tmp_path, error):
    save(tmp_path / "toy", "one")

    def broken(place):
        with whole_folder(place, KIND) as new:
            (new / "content.txt").write_text("half of t")
            raise error

    for place in (tmp_path / "toy", tmp_path / "new"):
        with pytest.raises(type(error)):
            broken(place)
    assert content(tmp_path / "toy") == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]


def test_a_full_disk_says_what_was_not_saved_and_changes_nothing(tmp_path):
    save(tmp_path / "toy", "one")

    def full():
        with whole_folder(tmp_path / "toy", KIND):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"could not save mmgraph.toy to .*toy: .*No space left") as caught:
        full()
    assert caught.value.errno == errno.ENOSPC
    assert content(tmp_path / "toy") == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]


def test_a_move_that_fails_half_way_puts_the_old_folder_back(tmp_path, monkeypatch):
    save(tmp_path / "toy", "one")
    replace = os.replace

    def refuses(source, target):
        if target == tmp_path / "toy" and (source / "content.txt").read_text() == "two":
            raise PermissionError(errno.EACCES, "not now")
        replace(source, target)

    monkeypatch.setattr(folder_module.os, "replace", refuses)
    with pytest.raises(PermissionError, match="not now"):
        save(tmp_path / "toy", "two")
    assert content(tmp_path / "toy") == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]


def test_swap_leaves_nothing_but_the_new_folder(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content.txt").write_text(name)
    swap(tmp_path / "new", tmp_path / "old")
    assert content(tmp_path / "old") == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("fails", ["replace", "write"])
def test_a_full_disk_leaves_the_text_that_was_there(tmp_path, monkeypatch, fails):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no space left")

    file = tmp_path / "page.html"
    write_text(file, "old ü\r\n")
    monkeypatch.setattr(*((os, "replace") if fails == "replace" else (type(file), "write_text")), full)
    with pytest.raises(OSError, match="no space"):
        write_text(file, "new")
    assert [f.name for f in tmp_path.iterdir()] == ["page.html"]
    assert file.read_bytes() == "old ü\r\n".encode()


def test_json_is_whole_or_as_before(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"name": "Łódź", "n": [1, 2]})
    assert "Łódź" in file.read_text(encoding="utf-8")
    for broken in ({"n": object()}, {"name": "\ud800"}):  # not JSON; JSON, but no UTF-8
        with pytest.raises((TypeError, UnicodeEncodeError)):
            write_json(file, broken)
    assert json.loads(file.read_text(encoding="utf-8")) == {"name": "Łódź", "n": [1, 2]}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_reads_its_meta(tmp_path):
    save(tmp_path / "toy", "one", version=3, encoder="x")
    assert read_meta(tmp_path / "toy", KIND, 3) == {"format": KIND, "version": 3, "encoder": "x"}
    with pytest.raises(ValueError, match="has format version 3, this mmgraph reads up to 2; update mmgraph"):
        read_meta(tmp_path / "toy", KIND, 2)
    with pytest.raises(ValueError, match=r"is not a folder of another: its meta.json does not say so"):
        read_meta(tmp_path / "toy", "another", 3)


def test_says_that_there_is_no_meta(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"meta.json is missing: .* is not a folder of mmgraph.toy"):
        read_meta(tmp_path, KIND, 1)


@pytest.mark.parametrize("meta", [b"{", b"\xff\xfe", b'{"format": "mmgraph.toy"}',
                                  b'{"format": "mmgraph.toy", "version": "1"}'])
def test_says_that_its_meta_is_damaged(tmp_path, meta):
    (tmp_path / "meta.json").write_bytes(meta)
    with pytest.raises(ValueError, match=r"meta.json is damaged \(.*\); write the folder again"):
        read_meta(tmp_path, KIND, 1)
