"""Bad input: each gets a message that says what is wrong, what came and what to do, and leaves nothing half-written.

The modules' own tests check more; here are the ones a newcomer meets first, through the public names.
"""

import errno

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import mmgraph as mg
from mmgraph.features import from_arrays
from mmgraph.train import load_checkpoint

TABLE = pd.DataFrame({"user": list("aaaabbbbcccc"), "item": list("wxyzwxyzwxyz")})


def data(**columns):
    return mg.Dataset.from_frames(TABLE, pd.DataFrame({"item": list("wxyz"), **columns}) if columns else None)


@pytest.fixture
def split():
    return data().split(mg.RandomPerUser(), seed=0)


def test_unknown_column():
    with pytest.raises(KeyError, match=r"no column 'customer', only \['user', 'item'\]; name the column"):
        mg.Dataset.from_frames(TABLE, user="customer")


def test_empty_frame():
    with pytest.raises(ValueError, match="empty: a data set needs at least one row"):
        mg.Dataset.from_frames(TABLE[:0])


def test_null_ids():
    with pytest.raises(ValueError, match="1 of 13 user ids are null; drop these rows"):
        mg.Dataset.from_frames(pd.concat([TABLE, pd.DataFrame({"user": [None], "item": ["w"]})]))


def test_duplicate_ids_in_features():
    with pytest.raises(ValueError, match=r"1 item ids are given more than once, e.g. \['w'\]"):
        from_arrays(["w", "x", "w"], {"text": np.ones((3, 2))})


def test_a_feature_row_for_an_unknown_item():
    with pytest.raises(ValueError, match=r"1 feature rows belong to unknown item ids, e.g. \['nobody'\]; drop them"):
        from_arrays(["w", "nobody"], {"text": np.ones((2, 2))}, known=data().items)


def test_nan_in_features():
    with pytest.raises(ValueError, match=r"text features have NaN or infinite values in 1 rows, e.g. \['x'\]"):
        from_arrays(["w", "x"], {"text": np.array([[1.0, 2.0], [np.nan, 1.0]])})


def test_wrong_width(split):
    features = from_arrays(list("wxyz"), {"text": np.eye(4)})
    recommender = mg.Recommender.of(mg.fit(mg.ItemKNN, split, features), split.data)
    with pytest.raises(ValueError, match=r"reads features of widths \{'text': 4\}, got \{'text': 3\}; encode the new"):
        recommender.add_items(from_arrays(["new"], {"text": np.ones((1, 3))}))


@pytest.mark.parametrize(("modality", "suffix", "says"), [("image", ".jpg", "truncated"), ("audio", ".wav", "empty")])
def test_a_broken_file_is_named_and_the_others_are_read(modality, suffix, says, tmp_path, caplog):
    paths = [tmp_path / f"{name}{suffix}" for name in "wxyz"]
    for n, path in enumerate(paths):
        if modality == "image":
            Image.fromarray(np.random.default_rng(n).integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(path)
        else:
            soundfile = pytest.importorskip("soundfile")
            soundfile.write(path, np.sin(np.arange(8000) * (n + 1) / 20), 8000)
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[:len(content) // 2] if modality == "image" else b"")
    features = mg.encode(data(**{modality: [str(path) for path in paths]}), progress=False)
    assert features.present[modality].tolist() == [True, False, True, True]
    assert says in features.meta[modality]["unreadable"]["x"]
    assert "1 of 4 items cannot be read and are marked absent" in caplog.text


def test_an_item_with_no_content_at_all_is_named_and_scored(split, caplog):
    texts = ["red shoe shoe", None, "red boot boot", "blue boot shoe"]
    features = mg.encode(data(text=texts), progress=False)
    assert "1 of 4 items have no content in any of ['text'], e.g. ['x']" in caplog.text
    model = mg.fit(mg.VBPR, split, features, dim=4, content_dim=4, max_epochs=1, monitor="recall@2")
    assert model.scores(torch.arange(3)).isfinite().all()


def test_a_user_with_no_training_interaction_is_scored_as_the_average_user():
    split = data().split(mg.ColdUsers(0.7, holdout=0.5), seed=0)
    assert split.n_warm_users < 3
    scores = mg.fit(mg.EASE, split).scores(torch.arange(3))
    assert scores.isfinite().all()
    torch.testing.assert_close(scores[-1], scores[:split.n_warm_users].mean(0))


def test_k_larger_than_the_catalogue(split):
    with pytest.raises(ValueError, match=r"k must lie in \[1, 4\], the size of the catalogue"):
        mg.evaluate(mg.fit(mg.Popularity, split), split)


@pytest.mark.parametrize(("given", "says"), [({"only": ["colt"]}, "only must be among warm, cold, all, got 'colt'"),
                                             ({"seen": "all"}, "seen must be among known, train, got 'all'"),
                                             ({"metrics": ["recal"]}, r"no metric \['recal'\]; there are")])
def test_a_misspelt_option_of_evaluate(split, given, says):
    plain = getattr(mg.evaluate, "__wrapped__", mg.evaluate)  # without the type checker that tests add
    with pytest.raises((KeyError, ValueError), match=says):
        plain(mg.fit(mg.Popularity, split), split, ks=[2], **given)


def test_a_misspelt_hyper_parameter(split):
    with pytest.raises(TypeError, match="EASE has no hyper-parameter 'l3'; it has k, l2, unseen"):
        mg.fit(mg.EASE, split, l3=1.0)


def test_a_checkpoint_of_another_schema(split, tmp_path):
    options = {"dim": 4, "max_epochs": 1, "progress_bar": False, "monitor": "recall@2"}
    mg.fit(mg.BPRMF, split, checkpoint=tmp_path / "run", **options)
    schema = mg.Schema({"user": 2, "item": 2})
    with pytest.raises(ValueError, match=r"was saved for another schema: it has .* the data at hand .* or train anew"):
        load_checkpoint(tmp_path / "run", mg.BPRMF(schema, dim=4), {})


def test_a_full_disk_while_saving(split, tmp_path, monkeypatch):
    recommender = mg.Recommender.of(mg.fit(mg.EASE, split), split.data)
    recommender.save(tmp_path / "bundle")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mmgraph.models.saved.save_file", full)
    with pytest.raises(OSError, match=r"could not save .* No space left on device; nothing was changed there"):
        recommender.save(tmp_path / "bundle")
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    assert len(mg.Recommender.load(tmp_path / "bundle").recommend(["a"], k=2)) == len(
        recommender.recommend(["a"], k=2))
