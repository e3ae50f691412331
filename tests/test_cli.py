"""The command line on a small data set with the layout of a published one, to a bundle that recommends."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from mmgraph import cli
from mmgraph.data.world import world
from mmgraph.features import ClassicalImage, import_features, load, store
from mmgraph.features.features import from_arrays
from mmgraph.serve import Recommender


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder in the LightGCN text layout and a card that describes it: 60 users, 40 items, two tastes."""
    rng = np.random.default_rng(0)
    lines = []
    for user in range(60):
        own = np.arange(40)[np.arange(40) % 2 == user % 2]
        lines.append([user, *np.sort(rng.permutation(own)[:14])])
    root = tmp_path / "data"
    root.mkdir()
    (root / "train.txt").write_text("".join(" ".join(map(str, [u, *i[:-3]])) + "\n" for u, *i in lines))
    (root / "test.txt").write_text("".join(" ".join(map(str, [u, *i[-3:]])) + "\n" for u, *i in lines))
    place = tmp_path / "cards"
    place.mkdir()
    (place / "toy.toml").write_text(
        'title = "Toy"\nreader = "lightgcn"\nurl = "nowhere"\nlicence = "none"\ncitation = "none"\n'
        'files = ["train.txt", "test.txt"]\nexpect = { users = 60, items = 40, interactions = 840 }\n')
    monkeypatch.setattr("mmgraph.data.card._place", lambda: place)
    return root


def options(root, out, *more):
    return ["train", "--data", "toy", "--root", str(root), "--out", str(out), "--split", "RandomPerUser",
            "--model", "LightGCN", "--model.dim", "8", "--max_epochs", "6", "--lr", "0.05", "--batch_size", "256",
            *more]


def test_train_evaluate_recommend(published, tmp_path, capsys):
    out = tmp_path / "run"
    cli.main(options(published, out))
    shown = capsys.readouterr().out
    assert "LightGCN" in shown
    assert "Popularity" in shown
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert {row["model"] for row in rows} == {"Popularity", "ItemKNN", "EASE", "LightGCN"}
    page = (out / "report.html").read_text()
    assert "LightGCN" in page

    cli.main(["evaluate", "--run", str(out), "--ks", "[20]", "--metrics", "['recall']"])
    again = capsys.readouterr().out
    row, = (r for r in rows if r["model"] == "LightGCN" and r["metric"] == "recall@20" and r["candidates"] == "all")
    assert f"{float(row['mean']):.4f}" in again

    cli.main(["recommend", "--bundle", str(out / "bundle"), "--users", "['3', '4']", "--k", "5"])
    printed = capsys.readouterr().out
    frame = Recommender.load(out / "bundle").recommend(["3", "4"], k=5)
    assert len(frame) == 10
    assert all(item in printed for item in frame["item"])
    assert all(int(item) % 2 == int(user) % 2 for user, item in zip(frame["user"], frame["item"], strict=True))


def test_the_same_yaml_gives_the_same_numbers(published, tmp_path):
    cli.main(options(published, tmp_path / "one"))
    cli.main(["train", "--config", str(tmp_path / "one" / "config.yaml"), "--out", str(tmp_path / "two")])
    one, two = (json.loads((tmp_path / n / "results.json").read_text())["rows"] for n in ("one", "two"))
    for row in (*one, *two):
        row.pop("seconds")
    assert one == two


@pytest.mark.parametrize(("wrong", "says"), [
    (["--model.dimm", "8"], "dimm"),
    (["--max_epochs", "0"], "max_epochs"),
    (["--data", "no-such"], "no data set is called 'no-such'"),
    (["--image", "classical"], "no item has image content"),
])
def test_wrong_options_are_told_in_words(published, tmp_path, capsys, wrong, says):
    with pytest.raises(SystemExit) as stopped:
        cli.main(options(published, tmp_path / "run", *wrong))
    assert stopped.value.code != 0
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told
    assert not (tmp_path / "run" / "bundle").exists()


def test_a_bundle_is_not_measured_on_another_split(published, tmp_path, capsys):
    cli.main(options(published, tmp_path / "run"))
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--run", str(tmp_path / "run")])
    assert "was trained on the split" in capsys.readouterr().err


@pytest.mark.slow
def test_the_demo_ends_with_a_table_a_page_and_a_bundle(tmp_path, capsys):
    cli.main(["demo", "--out", str(tmp_path)])
    shown = capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert len({row["model"] for row in rows}) == 9, "eight models and the oracle"
    recall = {(r["model"], r["candidates"]): float(r["mean"]) for r in rows if r["metric"] == "recall@20"}
    assert all(recall["oracle", on] > recall[name, on] for name, on in recall if name != "oracle")
    assert recall["VBPR", "cold"] > recall["Popularity", "cold"], "content tells cold items apart"
    assert "oracle" in shown
    assert (tmp_path / "report.html").stat().st_size > 10_000
    user = world(tmp_path / "world").users.names([0])
    assert len(Recommender.load(tmp_path / "bundle").recommend(user, k=5, among="new")) == 5


def content_table(folder):
    """Six items in a CSV file, pictures beside it; two pictures are damaged, one text is empty."""
    (folder / "pictures").mkdir()
    lines = ["item,text,image"]
    for n in range(6):
        pixels = np.random.default_rng(n).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{n}.png")
        lines.append(f"00{n},{'' if n == 3 else f'words of film {n} apple pear plum'},pictures/{n}.png")
    (folder / "pictures" / "1.png").write_bytes(b"no picture")
    (folder / "pictures" / "2.png").unlink()
    (folder / "items.csv").write_text("\n".join(lines) + "\n")
    return folder / "items.csv"


def test_encode_inspect_verify_export(tmp_path, capsys):
    table, out = content_table(tmp_path), str(tmp_path / "features")
    cli.main(["encode", "--data", str(table), "--image", "classical", "--text", "classical", "--out", out])
    shown = capsys.readouterr().out
    assert "image: 4 rows of" in shown
    assert "2 unreadable, e.g. 001: " in shown
    assert load(out).ids.ids.to_pylist() == [f"00{n}" for n in range(6)]
    cli.main(["features", "inspect", "--folder", out, "--all", "true"])
    shown = capsys.readouterr().out
    assert "no such file" in shown
    cli.main(["features", "verify", "--folder", out, "--data", str(table)])
    assert "the content is what was encoded" in capsys.readouterr().out
    cli.main(["features", "export", "--folder", out, "--out", str(tmp_path / "x.parquet"), "--layout", "parquet"])
    assert import_features(tmp_path / "x.parquet", "parquet").x["image"].equal(load(out).x["image"])
    table.write_text(table.read_text().replace("film 4", "film four"))
    with pytest.raises(SystemExit):
        cli.main(["features", "verify", "--folder", out, "--data", str(table)])
    assert "the content of 1 items is not what was encoded, e.g. ['004']" in capsys.readouterr().err


def test_encoding_twice_makes_nothing_anew(published, tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit):
        cli.main(["encode", "--data", str(content_table(tmp_path)), "--split", "ColdItems", "--out", "x"])
    assert "--split needs interactions" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["encode", "--data", "toy", "--out", "x"])
    assert "--root is missing" in capsys.readouterr().err
    out = str(tmp_path / "features")
    arguments = ["encode", "--data", str(tmp_path / "items.csv"), "--image", "classical", "--out", out]
    cli.main(arguments)
    def never(encoder, batch):
        raise AssertionError("a second run encodes nothing")

    monkeypatch.setattr(ClassicalImage, "encode", never)
    cli.main(arguments)


def test_an_encoder_that_would_have_to_be_downloaded_is_told_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit):
        cli.main(["encode", "--data", str(content_table(tmp_path)), "--text", "provider/model", "--out", "x"])
    assert "'classical' (every modality)" in capsys.readouterr().err


def test_train_with_a_cold_start_method(published, tmp_path, capsys):
    vectors = np.random.default_rng(0).normal(size=(40, 4)) + 3 * (np.arange(40) % 2)[:, None]
    place, out = tmp_path / "features", tmp_path / "run"
    store.save(from_arrays([str(i) for i in range(40)], {"text": vectors}), place)
    given = [word if word != "RandomPerUser" else "ColdItems" for word in options(published, out)]
    cli.main([*given, "--features", str(place), "--cold", "ContentProfile"])
    assert "LightGCN" in capsys.readouterr().out
    saved = json.loads((out / "bundle" / "model" / "meta.json").read_text())
    assert saved["cold_start"]["method"] == "ContentProfile"
    assert "ContentProfile" in (out / "config.yaml").read_text()
    cli.main(["evaluate", "--run", str(out), "--ks", "[5]"])
    assert "cold of" in capsys.readouterr().out


@pytest.mark.parametrize(("completed", "there"), [("zero", 20), ("mean", 40)])
def test_train_with_content_taken_away_and_made_up(published, tmp_path, completed, there):
    place, out = tmp_path / "features", tmp_path / "run"
    store.save(from_arrays([str(i) for i in range(40)], {"text": np.random.default_rng(0).normal(size=(40, 4))}), place)
    cli.main([*options(published, out), "--features", str(place), "--missing", "0.5", "--completed", completed])
    features = Recommender.load(out / "bundle").fitted.features
    assert int(features.present["text"].sum()) == there
    assert len(features.x["text"].unique(dim=0)) == 21, "twenty vectors, and the mean or zeros"


def test_content_taken_away_is_told_where_there_is_none_or_too_much(published, tmp_path, capsys):
    place = tmp_path / "features"
    store.save(from_arrays([str(i) for i in range(40)], {"text": np.eye(40)}), place)
    for more, says in ((["--missing", "0.5"], "no modality"), (["--completed", "mean"], "no modality"),
                       (["--missing", "1.5", "--features", str(place)], "1.5")):
        with pytest.raises(SystemExit):
            cli.main([*options(published, tmp_path / "run"), *more])
        assert says in capsys.readouterr().err
