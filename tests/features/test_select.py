import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmgraph.data.dataset import Dataset
from mmgraph.data.protocols import ColdItems
from mmgraph.features.features import Features, from_arrays
from mmgraph.features.normalise import FAINT
from mmgraph.features.select import PAIRS, Columns, _pairs, by_mutual_information, by_variance, mutual_information

TASTES, ITEMS, WIDTH, TELLING = 6, 300, 80, [3, 17, 64, 70]


def planted(seed=0):
    """Users take items of one taste; only the columns TELLING know the taste, 70 is mostly zero, 5 constant."""
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, TASTES, ITEMS)
    pairs = [(u, i) for u in range(200) for i in rng.choice(np.flatnonzero(taste == u % TASTES), 8, replace=False)]
    data = Dataset.from_frames(pa.table({"user": [f"u{u}" for u, _ in pairs], "item": [f"i{i}" for _, i in pairs]}))
    x = 3 * rng.normal(size=(ITEMS, WIDTH))
    x[:, TELLING] = 0.1 * (rng.normal(size=(TASTES, 4))[taste] + 0.3 * rng.normal(size=(ITEMS, 4)))
    x[:, 70], x[:, 5] = taste == 2, 1
    return data, from_arrays([f"i{i}" for i in range(ITEMS)], {"image": x})


def test_variance_by_hand():
    x = [[1, 0, 7, 0.1], [-1, 3, 7, 0.1], [0, 0, 0, 0], [1, -3, 7, 0.1], [500, 0, 9, 9]]
    features = from_arrays(list("abcde"), {"m": x})
    # on a, b, d: variances 8/9, 6, 0, 0; c is absent and e is not to be read
    assert by_variance(features, 2, list("abcd")).kept["m"].tolist() == [0, 1]
    assert by_variance(features, 1, list("abcd")).kept["m"].tolist() == [1]
    assert by_variance(features, 0.75, list("abcd")).kept["m"].tolist() == [0, 1, 2]
    chosen = by_variance(features, 2, list("abcd")).apply(features)
    assert chosen.x["m"].tolist() == [[1, 0], [-1, 3], [0, 0], [1, -3], [500, 0]]
    assert chosen.meta["m"]["normalised"] == ["variance(2)"]


def test_a_present_row_left_with_zeros_stays_present():
    features = from_arrays(list("abc"), {"m": [[5.0, 0], [-5, 0], [0, 1]]})
    chosen = by_variance(features, 1, list("abc")).apply(features)
    assert chosen.x["m"].tolist() == [[5], [-5], [pytest.approx(FAINT)]]
    assert chosen.present["m"].all()


def test_telling_columns_are_found_among_noise():
    data, features = planted()
    columns = by_mutual_information(features, data, len(TELLING))
    assert columns.kept["image"].tolist() == TELLING
    assert not set(TELLING[:3]) & set(by_variance(features, 60, features.ids.ids).kept["image"].tolist())


def test_scores_of_noise_are_small_and_constants_come_last():
    data, features = planted()
    scores = mutual_information(features, data)["image"]
    noise = torch.ones(WIDTH, dtype=torch.bool)
    noise[[*TELLING, 5]] = False
    assert scores[5] == -1
    assert (scores[noise] >= 0).all()
    assert scores[TELLING].min() > 10 * scores[noise].max()
    assert 5 not in by_mutual_information(features, data, WIDTH - 1).kept["image"]
    assert by_mutual_information(features, data, WIDTH).kept["image"].tolist() == list(range(WIDTH))


def test_the_information_of_a_perfect_column():
    """Two tastes, a column that is the taste: pairs of one user always match, others half of the time."""
    taste = np.arange(400) % 2
    rng = np.random.default_rng(0)
    pairs = [(u, i) for u in range(100) for i in rng.choice(np.flatnonzero(taste == u % 2), 20, replace=False)]
    data = Dataset.from_frames(pa.table({"user": [u for u, _ in pairs], "item": [i for _, i in pairs]}))
    features = from_arrays(range(400), {"m": taste[:, None] + 1.0})
    def entropy(p):
        return -p * np.log(p) - (1 - p) * np.log(1 - p)
    want = entropy(0.75) - entropy(0.5) / 2
    assert float(mutual_information(features, data)["m"]) == pytest.approx(want, abs=0.01)
    assert PAIRS > 10**4


def test_popularity_alone_tells_nothing():
    """Everyone takes mostly popular items, at random: a column that is the popularity tells nothing."""
    rng = np.random.default_rng(1)
    chance = np.where(np.arange(300) < 60, 10.0, 1.0)
    taken = {(u, i) for u in range(300) for i in rng.choice(300, 10, p=chance / chance.sum())}
    data = Dataset.from_frames(pa.table({"user": [u for u, _ in taken], "item": [i for _, i in taken]}))
    features = from_arrays(range(300), {"m": np.stack([chance, rng.normal(size=300)], 1)})
    assert mutual_information(features, data)["m"].max() < 1e-3


def test_no_item_is_paired_with_itself_and_partners_share_a_user():
    items, indptr = np.array([0, 1, 0, 2, 3]), np.array([0, 2, 5])
    (a, b), (c, d) = _pairs(items, indptr, np.random.default_rng(0))
    assert {tuple(p) for p in np.stack([a, b], 1).tolist()} == {
        (0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0), (2, 3), (3, 2)}
    assert (c != d).all()
    assert (1, 3) in {tuple(p) for p in np.stack([c, d], 1).tolist()}
    assert float((a == 1).double().mean()) == pytest.approx(0.25, abs=0.01)  # every user counts the same


def test_cold_items_are_never_read():
    data, features = planted()
    split = data.split(ColdItems(0.3), seed=0)
    cold = torch.from_numpy(features.ids.find(split.data.items.ids)[~split.warm_items])
    x = features.x["image"].clone()
    x[cold] = 1e4 * torch.randn(len(cold), WIDTH)
    changed = Features(features.ids, {"image": x}, features.present)
    assert mutual_information(changed, split)["image"].equal(mutual_information(features, split)["image"])
    warm = split.data.items.ids.take(np.flatnonzero(split.warm_items))
    assert by_variance(changed, 9, warm).kept["image"].equal(by_variance(features, 9, warm).kept["image"])


def test_new_items_go_through_the_same_columns_also_after_a_round_trip(tmp_path):
    data, features = planted()
    columns = by_mutual_information(features, data, 0.1)
    save_file(columns.state(), tmp_path / "columns.safetensors")
    back = Columns.from_state(columns.name, load_file(tmp_path / "columns.safetensors"))
    new = from_arrays(["new"], {"image": np.arange(1.0, WIDTH + 1)[None]})
    assert back.width == {"image": WIDTH}
    assert back.apply(new).x["image"].equal(columns.apply(new).x["image"])
    assert back.apply(new).x["image"][0].tolist() == [n + 1 for n in columns.kept["image"].tolist()]
    assert back.apply(new).meta["image"]["normalised"] == ["mutual_information(0.1)"]


@pytest.mark.parametrize("keep", [0, 81, 0.0, 1.5, -3, True])
def test_keep_out_of_range_is_refused(keep):
    data, features = planted()
    with pytest.raises(ValueError, match=r"keep must be a number of columns in \[1, 80\]"):
        by_mutual_information(features, data, keep)


def test_other_features_are_refused():
    _, features = planted()
    columns = by_variance(features, 3, features.ids.ids)
    with pytest.raises(ValueError, match="fitted on 80-d image features, got 2-d"):
        columns.apply(from_arrays(["a"], {"image": [[1.0, 2]]}))
    with pytest.raises(KeyError, match="not fitted on"):
        columns.apply(from_arrays(["a"], {"text": [[1.0, 2]]}))
