import json
import os
import socket

import pytest
import torch
from safetensors.torch import save_file

from mmgraph.features.hub import Checkpoint, locate

pytest.importorskip("huggingface_hub")
from huggingface_hub import constants


@pytest.fixture
def folder(tmp_path):
    """A model folder as it should be."""
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_text('{"model_type": "toy"}')
    save_file({"w": torch.ones(2)}, place / "model.safetensors")
    return place


@pytest.fixture
def unreachable(monkeypatch, tmp_path):
    """An empty cache and no network: every connection is refused at once, and none is tried twice."""
    tried = []

    def refuse(*arguments, **options):
        tried.append(arguments)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tried


def test_a_local_folder_is_taken_as_it_is(folder):
    found = locate(folder)
    assert (found.folder, found.config()) == (folder, {"model_type": "toy"})
    assert found.has("config.json")
    assert not found.has("modules.json")


def test_the_hash_is_of_what_matters_and_not_of_the_place(folder, tmp_path):
    before = locate(folder).sha256
    moved = tmp_path / "elsewhere"
    os.rename(folder, moved)
    assert locate(moved).sha256 == before
    (moved / "README.md").write_text("words")
    assert locate(moved).sha256 == before
    (moved / "config.json").write_text('{"model_type": "toy2"}')
    changed = locate(moved).sha256
    save_file({"w": torch.zeros(2)}, moved / "model.safetensors")
    assert len({before, changed, locate(moved).sha256}) == 3


def test_weights_that_could_run_code_are_not_taken(folder):
    os.rename(folder / "model.safetensors", folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no weights in safetensors, only .*pytorch_model\.bin"):
        locate(folder)


def test_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    os.symlink(tmp_path / "secret.json", folder / "tokenizer.json")
    with pytest.raises(ValueError, match=r"tokenizer\.json is a link that leads out of"):
        locate(folder)


def test_links_inside_the_cache_of_the_hub_are_fine(tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "abc"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    save_file({"w": torch.ones(2)}, blobs / "1")
    os.symlink("../../blobs/1", snapshot / "model.safetensors")
    assert locate(snapshot).folder == snapshot
    os.symlink(tmp_path, snapshot / "out")
    with pytest.raises(ValueError, match="leads out of"):
        locate(snapshot)


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "./none", "/none/there", "provider/"])
def test_neither_a_folder_nor_a_name(name):
    with pytest.raises(FileNotFoundError, match=r'neither a folder nor the name of a model.*classical'):
        locate(name)


def test_without_the_hub_the_error_comes_at_once_and_says_what_to_do(unreachable, tmp_path):
    with pytest.raises(ConnectionError) as caught:
        locate("provider/model")
    text = str(caught.value)
    assert "'provider/model' is not in the cache" in text
    assert str(tmp_path / "cache") in text
    assert "'classical' (every modality)" in text
    assert "WordVectors" in text
    assert 1 <= len(unreachable) <= 2  # asked once or twice, not again and again


def test_offline_mode_says_the_same_without_asking(unreachable, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="is not in the cache"):
        locate("provider/model")
    assert unreachable == []


@pytest.mark.parametrize(("text", "message"), [("{", "is damaged"), ("[1]", "no JSON object")])
def test_a_damaged_settings_file_is_named(folder, text, message):
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        Checkpoint("x", folder).config()
    os.remove(folder / "config.json")
    with pytest.raises(FileNotFoundError, match=r"x is not a model folder: .*config\.json is missing"):
        Checkpoint("x", folder).config()


def test_settings_of_every_classical_encoder_are_json():
    from mmgraph.features.registry import CLASSICAL

    for names in CLASSICAL.values():
        for make in names.values():
            assert json.loads(json.dumps(make().settings())) == make().settings()
