import json
import os

import planted
import pytest
import torch

from mmgraph.models import BPRMF, FREEDOM, LightGCN, saved
from mmgraph.train.checkpoint import load_checkpoint
from mmgraph.train.train import train

FEATURES = planted.features()
GRAPH = planted.graph()


def run(folder, cls=LightGCN, features=FEATURES, epochs=1, hyperparameters=None, **arguments):
    torch.manual_seed(0)
    model = cls(GRAPH.schema(features), **({"dim": 8} | (hyperparameters or {})))
    return train(model, model.prepare(GRAPH, features), features, validate=lambda model: 0.25, max_epochs=epochs,
                 lr=arguments.pop("lr", 0.01), progress_bar=False, checkpoint=folder, **arguments)


@pytest.fixture
def folder(tmp_path):
    run(tmp_path / "run")
    return tmp_path / "run"


def test_holds_safetensors_and_json_only(folder):
    assert sorted(file.name for file in folder.iterdir()) == ["best.safetensors", "meta.json", "model.safetensors",
                                                              "progress.safetensors"]
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["epoch"] == meta["best_epoch"] == 1
    assert meta["best_score"] == 0.25
    assert meta["settings"] == {"lr": 0.01, "batch_size": 2048, "seed": 0, "every": 1, "patience": 5}


@pytest.mark.parametrize(("arguments", "message"), [
    ({"lr": 0.02}, r"belongs to another run: lr was 0.01, now 0.02; resume with the old settings"),
    ({"seed": 3, "batch_size": 64}, r"batch_size was 2048, now 64, seed was 0, now 3;"),
    ({"hyperparameters": {"l2": 0.5}}, r"another run: l2 was 0.0001, now 0.5;"),
    ({"hyperparameters": {"dim": 16}}, r"another run: dim was 8, now 16;"),
    ({"cls": BPRMF}, r"another run: model was 'LightGCN', now 'BPRMF', n_layers was 3, now None;"),
    ({"cls": FREEDOM}, r"model was 'LightGCN', now 'FREEDOM'"),
    ({"features": planted.features(1)}, r"the checkpoint .* was saved for another schema: .*the data at hand"),
])
def test_refuses_the_checkpoint_of_another_run(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        run(folder, epochs=2, **arguments)


def test_a_longer_run_may_go_on(folder):
    assert len(run(folder, epochs=3).history) == 3


def test_refuses_damaged_files(folder):
    model = LightGCN(GRAPH.schema(FEATURES), dim=8)
    settings = json.loads((folder / "meta.json").read_text())["settings"]
    (folder / "progress.safetensors").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ValueError, match=r"progress\.safetensors is damaged"):
        load_checkpoint(folder, model, settings)
    (folder / "best.safetensors").unlink()
    (folder / "progress.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"progress\.safetensors is missing"):
        load_checkpoint(folder, model, settings)
    (folder / "meta.json").unlink()
    with pytest.raises(FileNotFoundError, match="is not a folder of mmgraph-checkpoint"):
        load_checkpoint(folder, model, settings)


@pytest.mark.parametrize(("place", "real", "works"), [
    ("mmgraph.models.saved.save_file", saved.save_file, 0), ("mmgraph.models.saved.save_file", saved.save_file, 2),
    ("mmgraph.data.folder.os.replace", os.replace, 0), ("mmgraph.data.folder.os.replace", os.replace, 1)])
def test_a_full_disk_leaves_the_old_checkpoint_and_no_temporary_files(folder, monkeypatch, place, real, works):
    with monkeypatch.context() as patch:
        patch.setattr(place, planted.FullDisk(real, works))
        with pytest.raises(OSError, match=r"could not save mmgraph-checkpoint to .*No space left") as caught:
            run(folder, epochs=2)
    assert caught.value.errno == 28
    assert [file.name for file in folder.parent.iterdir()] == ["run"]
    assert json.loads((folder / "meta.json").read_text())["epoch"] == 1
    assert len(run(folder, epochs=2).history) == 2


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(FileExistsError, match="is not a folder of mmgraph-checkpoint"):
        run(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
