"""The published data sets themselves, where they are at hand: counts, content, and that it belongs to its items."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from mmgraph.data.card import cards
from mmgraph.data.dataset import Dataset
from mmgraph.data.load import counts, load

pytestmark = pytest.mark.realdata
FOLDERS = {"amazon-baby": "amazon-mmrec/baby", "amazon-sports": "amazon-mmrec/sports"}


def place(root: Path, name: str) -> Path:
    folder = root / FOLDERS.get(name, name)
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


def present(table: pa.Table) -> dict[str, int]:
    return {name: len(table) - table[name].null_count for name in table.column_names}


def same_taste(data: Dataset, x: np.ndarray) -> float:
    """How far two items of one user are closer in ``x`` than two items of one user after the rows of ``x`` are mixed.

    In standard deviations of 30 permutations; about 0 where rows are misaligned.
    """
    rng, order = np.random.default_rng(0), np.argsort(data.user, kind="stable")
    pairs = np.flatnonzero(np.diff(data.user[order]) == 0)  # neighbours in this order are of one user
    pairs = rng.choice(pairs, min(len(pairs), 30_000), replace=False)
    a, b = data.item[order[pairs]], data.item[order[pairs + 1]]
    rows = [np.arange(len(x)), *(rng.permutation(len(x)) for _ in range(30))]
    close = [float((x[row[a]] * x[row[b]]).sum(1).mean()) for row in rows]
    return float((close[0] - np.mean(close[1:])) / np.std(close[1:]))


@pytest.mark.parametrize("name", sorted(cards()))
def test_loads_with_the_counts_and_checksums_of_the_card(data_root, name):
    data = load(name, place(data_root, name), verify=True)
    assert {key: n for key, n in counts(data).items() if key in cards()[name].expect} == cards()[name].expect


def test_ml_1m_has_plots_and_posters_of_its_rated_films(data_root):
    data = load("ml-1m", place(data_root, "ml-1m"))
    assert present(data.item_content) == {"title": 3706, "year": 3706, "genre": 3706, "text": 3685, "image": 3699,
                                          "director": 3695, "actor": 3698, "writer": 3630}
    heat = data.item_content.slice(int(data.items.numbers(["6"])[0]), 1).to_pylist()[0]
    assert (heat["title"], heat["year"], heat["director"]) == ("Heat (1995)", 1995, ["Michael Mann"])
    assert "Al Pacino" in heat["actor"]
    assert heat["text"].startswith("Hunters and their prey")
    assert heat["image"].endswith("/6.jpg")
    assert Path(heat["image"]).read_bytes()[:2] == b"\xff\xd8"
    people = pc.list_flatten(data.item_content["actor"]).to_pylist()
    assert "Irène Jacob" in people
    assert not [name for name in people if re.search("Ã|[()]", name)]


def test_ml_100k_has_plots_and_posters_and_times(data_root):
    data = load("ml-100k", place(data_root, "ml-100k"))
    assert present(data.item_content) == {"title": 1682, "year": 1681, "genre": 1680, "text": 1674, "image": 1658,
                                          "director": 1675, "actor": 1678}
    assert pc.min_max(data.interactions["time"]).as_py() == {"min": 874724710, "max": 893286638}
    assert present(data.user_content) == {"age": 943, "gender": 943, "occupation": 943}


def test_both_movielens_say_the_same_of_the_same_film(data_root):
    """People come from two unrelated files; the film of MovieLens 1M is known from the name of the poster."""
    small = load("ml-100k", place(data_root, "ml-100k")).item_content.to_pylist()
    large = load("ml-1m", place(data_root, "ml-1m"))
    films = dict(zip(large.items.ids.to_pylist(), large.item_content.to_pylist(), strict=True))
    posters = [(row, Path(row["image"]).stem) for row in small if row["image"]]
    pairs = [(row, films[id_]) for row, id_ in posters if id_ in films]
    assert len(pairs) > 1500

    def agree(field: str) -> float:
        return float(np.mean([bool({*(a[field] or [])} & {*(b[field] or [])}) for a, b in pairs]))

    assert np.mean([a["title"].split()[0] == b["title"].split()[0] for a, b in pairs]) > 0.95
    assert agree("director") > 0.9
    assert agree("actor") > 0.9


def test_tiktok_has_vectors_of_all_items(data_root):
    data = load("tiktok", place(data_root, "tiktok"))
    assert {name: v.matrix.shape for name, v in data.vectors.items()} == {"image": (6710, 128), "audio": (6710, 128)}
    assert all(v.ids.equals(data.items.ids) and v.matrix.dtype == np.float32 for v in data.vectors.values())
    trained = np.unique(data.item[pc.equal(data.interactions["part"], "train").to_numpy()])
    assert len(data.items) - len(trained) == 465


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_tiktok_vectors_belong_to_their_items(data_root, modality):
    data = load("tiktok", place(data_root, "tiktok"))
    x = data.vectors[modality].matrix - data.vectors[modality].matrix.mean(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert same_taste(data, x) > 5
    assert abs(same_taste(data, np.roll(x, 1, axis=0))) < 4


def test_ml_1m_plots_belong_to_their_films(data_root):
    """Neighbours in the list of films are alike, so that rows off by one still say something, but much less."""
    data = load("ml-1m", place(data_root, "ml-1m"))
    plots = [text or "" for text in data.item_content["text"].to_pylist()]
    words = TfidfVectorizer(stop_words="english", min_df=3).fit_transform(plots)
    x = TruncatedSVD(32, random_state=0).fit_transform(words)
    x -= x.mean(0)
    assert same_taste(data, x) > 2 * same_taste(data, np.roll(x, 1, axis=0)) > 0


def test_sports_asins_keep_the_order_of_the_numbers(data_root):
    """Ties in a ranking are broken by item number: with ASINs as ids they must fall as they do with the numbers."""
    folder = place(data_root, "amazon-sports")
    data = load("amazon-sports", folder)
    train = np.load(folder / "train.npy", allow_pickle=False)
    assert data.items.ids[0].as_py() == "1881509818"
    rows = data.interactions["part"].to_numpy(zero_copy_only=False) == "train"
    assert np.array_equal(np.stack([data.user[rows], data.item[rows]]), train[:, np.lexsort(train[::-1])])


def test_citeulike_has_words_tags_and_citations(data_root):
    data = load("citeulike-t", place(data_root, "citeulike-t"))
    assert present(data.item_content) == {"text": 25975 - 31, "tag": 25975}
    words = data.item_content["text"].drop_null()
    assert pc.sum(pc.add(pc.count_substring(words, " "), 1)).as_py() == 804_367
    tags = pc.list_flatten(data.item_content["tag"])
    assert (len(tags), pc.count_distinct(tags).as_py()) == (290_830, 52_946)
    cites = data.item_links["cites"]
    assert len(cites) == 65_130
    assert pc.sum(pc.equal(cites["source"], cites["target"])).as_py() == 784
    assert len(np.unique(data.item)) == 25_584


def test_citeulike_words_tags_citations_and_users_speak_of_the_same_articles(data_root):
    """Off by one, the rate of tags found among an article's words falls from .43 to .01; citations .08 to .01."""
    data = load("citeulike-t", place(data_root, "citeulike-t"))
    words = [frozenset((text or "").split()) for text in data.item_content["text"].to_pylist()]
    vocabulary = frozenset().union(*words)
    tagged = data.item_content["tag"].to_pylist()
    found = [tag in words[i] for i, tags in enumerate(tagged) for tag in tags if tag in vocabulary]
    assert np.mean(found) > 0.4

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        pairs = [(words[i], words[j]) for i, j in zip(a, b, strict=True)]
        return float(np.mean([len(one & other) / (len(one | other) or 1) for one, other in pairs]))

    rng = np.random.default_rng(0)
    some = data.item_links["cites"].take(pa.array(rng.choice(65_130, 3000, replace=False)))
    cites = [data.items.numbers(some[end]) for end in ("source", "target")]
    same_user = np.flatnonzero(data.user[1:] == data.user[:-1])[:3000]
    chance = overlap(rng.integers(0, 25_975, 3000), rng.integers(0, 25_975, 3000))
    assert overlap(*cites) > 5 * chance
    assert overlap(data.item[same_user], data.item[same_user + 1]) > 3 * chance
