import errno
import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

import mmgraph.features.store as store
from mmgraph.data.vocabulary import Vocabulary
from mmgraph.features.features import Features, from_arrays
from mmgraph.features.store import load, save, verify


@pytest.fixture
def features():
    x = {"text": torch.tensor([[1.5, 2], [0, 0], [3, -4]]), "image": torch.tensor([[0.0], [1e-3], [2]])}
    present = {"text": torch.tensor([True, False, True]), "image": torch.tensor([False, True, True])}
    return Features(Vocabulary(["b", "ü", "a"]), x, present, {"text": {"encoder": "tf-idf", "dim": 2}})


def same(a, b):
    return (a.ids == b.ids and a.ids.what == b.ids.what and list(a.x) == list(b.x)
            and all(a.x[m].equal(b.x[m]) and a.present[m].equal(b.present[m]) for m in a.x))


def test_round_trip(features, tmp_path):
    save(features, tmp_path / "deep" / "store")
    back = load(tmp_path / "deep" / "store")
    assert same(back, features)
    assert back.meta["text"] == {"encoder": "tf-idf", "dim": 2}
    assert back.x["text"].dtype == torch.float32
    verify(tmp_path / "deep" / "store")
    assert sorted(os.listdir(tmp_path / "deep" / "store")) == ["ids.json", "image.safetensors", "meta.json",
                                                               "text.safetensors"]
    assert os.listdir(tmp_path / "deep") == ["store"]


def test_users_and_no_modality(tmp_path):
    users = Features.empty(Vocabulary(["u"], what="user"))
    save(users, tmp_path / "s")
    assert same(load(tmp_path / "s"), users)


def test_meta_says_what_is_inside(features, tmp_path):
    save(features, tmp_path / "s", dtype=torch.float16)
    meta = json.loads((tmp_path / "s" / "meta.json").read_text())
    assert (meta["format"], meta["version"], meta["node_type"], meta["rows"]) == ("mmgraph-features", 1, "item", 3)
    text = meta["modalities"]["text"]
    assert (text["dim"], text["rows"], text["dtype"]) == (2, 3, "float16")
    assert text["encoder"] == {"encoder": "tf-idf", "dim": 2}
    assert len(text["sha256"]) == 64
    assert meta["libraries"]["torch"].startswith("2.")


@settings(deadline=None, max_examples=20)
@given(n=st.integers(0, 6), seed=st.integers(0, 999))
def test_round_trip_of_any_matrix(n, seed, tmp_path_factory):
    rng = np.random.default_rng(seed)
    features = from_arrays(range(n), {"m": rng.normal(size=(n, 3)) * (rng.random((n, 1)) < 0.7)})
    folder = tmp_path_factory.mktemp("s") / "s"
    save(features, folder)
    assert same(load(folder), features)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)])
def test_half_precision_comes_back_as_float32(dtype, error, tmp_path):
    features = from_arrays(range(20), {"m": np.random.default_rng(0).normal(size=(20, 50))})
    save(features, tmp_path / "s", dtype=dtype)
    x = load(tmp_path / "s").x["m"]
    assert x.dtype == torch.float32
    assert ((x - features.x["m"]).abs() <= error * features.x["m"].abs() + 1e-7).all()
    assert not x.equal(features.x["m"])
    verify(tmp_path / "s")


@pytest.mark.parametrize(("value", "message"), [(1e6, "infinite"), (1e-9, "zero though")])
def test_values_that_do_not_fit_the_dtype_are_refused(value, message, tmp_path):
    features = from_arrays(["a"], {"m": [[value]]})
    with pytest.raises(ValueError, match=rf"m \(as torch.float16\).*{message}"):
        save(features, tmp_path / "s", dtype=torch.float16)
    assert os.listdir(tmp_path) == []
    save(features, tmp_path / "s", dtype=torch.bfloat16)


def test_only_float_dtypes(features, tmp_path):
    with pytest.raises(ValueError, match=r"stored as one of .*'bfloat16'.* got torch.float64"):
        save(features, tmp_path / "s", dtype=torch.float64)


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden"])
def test_modality_must_be_a_file_name(name, tmp_path):
    with pytest.raises(ValueError, match="cannot be a file name"):
        save(from_arrays(["a"], {name: [[1.0]]}), tmp_path / "s")
    assert os.listdir(tmp_path) == []


def test_a_strided_view_is_saved_whole(tmp_path):
    x = torch.arange(1.0, 13).reshape(3, 4).T
    features = Features(Vocabulary(list("abcd")), {"m": x}, {"m": torch.ones(4, dtype=torch.bool)})
    save(features, tmp_path / "s")
    assert load(tmp_path / "s").x["m"].equal(x)


def test_save_replaces_a_store_even_while_it_is_mapped(features, tmp_path):
    save(features, tmp_path / "s")
    old = load(tmp_path / "s")
    save(old.only("text").rows(np.array([2, 0])), tmp_path / "s")
    assert same(old, features)
    assert load(tmp_path / "s").ids.ids.to_pylist() == ["a", "b"]
    assert os.listdir(tmp_path) == ["s"]
    assert sorted(os.listdir(tmp_path / "s")) == ["ids.json", "meta.json", "text.safetensors"]


def test_save_into_an_empty_folder(features, tmp_path):
    (tmp_path / "s").mkdir()
    save(features, tmp_path / "s")
    assert same(load(tmp_path / "s"), features)


def test_save_does_not_replace_what_is_not_a_store(features, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for target in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(FileExistsError, match="exists and is not a folder of mmgraph-features; choose"):
            save(features, target)
    (tmp_path / "meta.json").write_text('{"format": "else"}')
    with pytest.raises(FileExistsError, match="exists and is not a folder of mmgraph-features; choose"):
        save(features, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["meta.json", "thesis.tex"]
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert (tmp_path / "meta.json").read_text() == '{"format": "else"}'


def fail(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(("step", "existing"), [
    *((step, existing) for step in ("save_file", "sha256", "meta", "swap") for existing in (True, False)),
    ("aside", True)])
def test_a_failed_save_changes_nothing(step, existing, features, tmp_path, monkeypatch):
    if existing:
        save(features, tmp_path / "s")
    replace, failed = os.replace, []

    def once_fails(a, b):
        here = {"meta": b.name == "meta.json", "aside": a == tmp_path / "s", "swap": b == tmp_path / "s"}[step]
        if here and not failed:
            failed.append(b)
            fail()
        replace(a, b)

    by_rename = step in ("meta", "aside", "swap")
    monkeypatch.setattr(*((os, "replace", once_fails) if by_rename else (store, step, fail)))
    with pytest.raises(OSError, match=r"not save mmgraph-features to .*No space left.*nothing was changed") as error:
        save(features.rows(np.array([0])), tmp_path / "s")
    assert len(failed) == by_rename
    assert error.value.errno == 28
    assert str(tmp_path / "s") in str(error.value)
    assert os.listdir(tmp_path) == (["s"] if existing else [])
    monkeypatch.undo()
    if existing:
        assert same(load(tmp_path / "s"), features)


def test_a_failure_inside_safetensors_changes_nothing(features, tmp_path, monkeypatch):
    def full(_, file):
        file.write_bytes(b"half")
        raise SafetensorError("I/O error: no space")

    save(features, tmp_path / "s")
    monkeypatch.setattr(store, "save_file", full)
    with pytest.raises(OSError, match=r"could not save .* writing text.safetensors failed: I/O error: no sp") as error:
        save(features.rows(np.array([0])), tmp_path / "s")
    assert error.value.errno == errno.EIO
    assert os.listdir(tmp_path) == ["s"]
    monkeypatch.undo()
    verify(tmp_path / "s")
    assert same(load(tmp_path / "s"), features)


def test_an_interrupted_save_changes_nothing(features, tmp_path, monkeypatch):
    save(features, tmp_path / "s")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(features.only("text"), tmp_path / "s")
    assert os.listdir(tmp_path) == ["s"]
    assert same(load(tmp_path / "s"), features)


def test_meta_that_is_not_json_is_refused(features, tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        save(Features(features.ids, features.x, features.present, {"text": {"encoder": object()}}), tmp_path / "s")
    assert os.listdir(tmp_path) == []


def test_loading_what_is_not_a_store(tmp_path):
    for read in (load, verify):
        with pytest.raises(FileNotFoundError, match=r"meta.json is missing: .* is not a folder of mmgraph-features"):
            read(tmp_path)
    (tmp_path / "meta.json").write_text('{"format": "else"}')
    with pytest.raises(ValueError, match=r"is not a folder of mmgraph-features: its meta.json does not say"):
        load(tmp_path)
    (tmp_path / "meta.json").write_text('{"form')
    with pytest.raises(ValueError, match=r"meta.json is damaged"):
        load(tmp_path)


@pytest.fixture
def folder(features, tmp_path):
    save(features, tmp_path / "s")
    return tmp_path / "s"


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_newer_format(folder):
    edit(folder / "meta.json", version=2)
    with pytest.raises(ValueError, match="format version 2, this mmgraph reads up to 1; update mmgraph"):
        load(folder)


def test_ids_of_another_length(folder):
    (folder / "ids.json").write_text('["b", "a"]')
    with pytest.raises(ValueError, match=r"ids.json has 2 ids, but the matrices have 3 rows"):
        load(folder)


def test_ids_in_another_order(folder):
    (folder / "ids.json").write_text('["a", "b", "ü"]')
    for read in (load, verify):
        with pytest.raises(ValueError, match=r"ids.json has changed since it was written"):
            read(folder)


@pytest.mark.parametrize("cut", [5, -1, -20])
def test_a_truncated_matrix(folder, cut):
    file = folder / "text.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"text.safetensors is damaged"):
        load(folder)
    with pytest.raises(ValueError, match=r"text.safetensors has changed"):
        verify(folder)


def test_a_matrix_of_another_store(folder, features, tmp_path):
    save(features, tmp_path / "half", dtype=torch.float16)
    os.replace(tmp_path / "half" / "text.safetensors", folder / "text.safetensors")
    with pytest.raises(ValueError, match=r"text.safetensors holds .* of torch.float16, but meta.json says .* float32"):
        load(folder)
    save(features.rows(np.array([0, 1])), tmp_path / "short")
    os.replace(tmp_path / "short" / "text.safetensors", folder / "text.safetensors")
    with pytest.raises(ValueError, match=r"text.safetensors holds \(2, 2\) .* meta.json says \(3, 2\)"):
        load(folder)


def test_a_missing_matrix(folder):
    (folder / "image.safetensors").unlink()
    for read in (load, verify):
        with pytest.raises(FileNotFoundError, match=r"image.safetensors is missing"):
            read(folder)


def test_verify_names_the_file_with_one_flipped_bit(folder):
    file = folder / "image.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"image.safetensors has changed since it was written: sha256"):
        verify(folder)


def resident():
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("Rss:"))  # kB


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux's smaps_rollup")
def test_loading_maps_the_matrix_and_does_not_read_it(tmp_path):
    x = np.ones((100_000, 100), dtype=np.float32)  # 40 MB
    save(from_arrays(range(len(x)), {"m": x}), tmp_path / "s")
    ids = Vocabulary(range(len(x)))
    load(tmp_path / "s")  # warm up
    before = resident()
    features = load(tmp_path / "s")
    grown = resident() - before
    assert grown < 15_000  # the ids, not the 40 MB
    assert features.ids == ids
    assert features.x["m"][99_999, 99] == 1
