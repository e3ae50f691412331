"""The command line on a small data set with the layout of a published one, to a bundle that recommends."""

import csv
import json

import numpy as np
import pytest

from mmgraph import cli
from mmgraph.data.world import world
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
