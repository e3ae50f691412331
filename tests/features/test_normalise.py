import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from mmgraph.features.features import Features, from_arrays
from mmgraph.features.normalise import (
    BLOCK,
    FAINT,
    Affine,
    fit_pca,
    fit_standardise,
    l2,
    pca,
    standardise,
    whiten,
)

N, FIT = 60, np.arange(60) < 40
FITTED = {"standardise": fit_standardise, "pca": lambda f, on: fit_pca(f, on, 3),
          "whiten": lambda f, on: fit_pca(f, on, 3, whiten=True)}


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=6) * 5
    x[::7] = 0
    return from_arrays([f"i{n}" for n in range(N)], {"text": x, "image": rng.normal(size=(N, 4)) + 1})


def changed(features, row, value):
    x = {m: x.clone() for m, x in features.x.items()}
    for matrix in x.values():
        matrix[row] = value
    return Features(features.ids, x, {m: p | (torch.arange(N) == row) for m, p in features.present.items()})


def test_standardise_by_hand():
    features = from_arrays(["a", "b", "c", "d"], {"m": [[1, 10], [3, 10], [0, 0], [5, 14]]})
    # fitted on a, b and the absent c: mean (2, 10), deviation (1, 0 → only centred)
    x = standardise(features, ["a", "b", "c"]).x["m"]
    assert x.tolist() == [[-1, 0], [1, 0], [0, 0], [3, 4]]


def test_standardise_agrees_with_sklearn(features):
    x, rows = features.x["text"].double().numpy(), features.present["text"].numpy()
    want = StandardScaler().fit(x[FIT & rows]).transform(x[rows])
    np.testing.assert_allclose(standardise(features, FIT).x["text"].numpy()[rows], want, atol=1e-5)


@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize("dim", [2, None])
def test_pca_agrees_with_sklearn(features, whitened, dim):
    x, rows = features.x["text"].double().numpy(), features.present["text"].numpy()
    want = PCA(dim, whiten=whitened, svd_solver="full").fit(x[FIT & rows]).transform(x[rows])
    got = (whiten if whitened else pca)(features, FIT, dim).x["text"].numpy()[rows]
    np.testing.assert_allclose(np.abs(got), np.abs(want), atol=2e-4)
    np.testing.assert_allclose(got @ got.T, want @ want.T, atol=2e-3)


def test_whitened_fit_rows_are_uncorrelated(features):
    x = whiten(features, FIT).x["image"][FIT].double()
    torch.testing.assert_close(x.mean(0), torch.zeros(4).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), torch.eye(4).double(), atol=1e-5, rtol=0)


def test_the_largest_entry_of_a_direction_is_positive(features):
    directions = fit_pca(features, FIT).weight["text"]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()


def test_pca_drops_directions_without_variance(features):
    doubled = Features(features.ids, {"m": torch.cat([features.x["image"]] * 2, 1)}, {"m": features.present["image"]})
    x = whiten(doubled, FIT).x["m"]
    assert x.shape == (N, 4)
    assert x.abs().max() < 10
    with pytest.raises(ValueError, match=r"vary in 4 directions of 8, asked for 5; choose a dim in \[1, 4\]"):
        pca(doubled, FIT, 5)


@pytest.mark.parametrize("value", [0.1, 1e-20, 1e4])
def test_identical_rows_have_no_direction_and_no_spread(value):
    same = from_arrays(range(7), {"m": np.full((7, 3), value)})
    with pytest.raises(ValueError, match="vary in 0 directions"):
        pca(same, range(7))
    assert (standardise(same, range(7)).x["m"] == FAINT).all()


@pytest.mark.parametrize("fit", FITTED.values(), ids=FITTED)
@pytest.mark.parametrize("row", [7 * 6, N - 1])
def test_rows_outside_the_fit_change_nothing_but_themselves(fit, row, features):
    other = changed(features, row, 1e6)
    a, b = fit(features, FIT), fit(other, FIT)
    rest = torch.arange(N) != row
    for m in features.x:
        assert a.mean[m].equal(b.mean[m])
        assert a.weight[m].equal(b.weight[m])
        assert a.apply(features).x[m][rest].equal(b.apply(other).x[m][rest])
        assert not a.apply(features).x[m][row].equal(b.apply(other).x[m][row])


@pytest.mark.parametrize("fit", FITTED.values(), ids=FITTED)
def test_absent_rows_are_not_in_the_statistics_and_stay_zero(fit, features):
    fitted = fit(features, FIT)
    rows = features.present["text"].numpy()
    without = fit(features.only("text").rows(rows.nonzero()[0]), features.ids.names((FIT & rows).nonzero()[0]))
    assert fitted.mean["text"].equal(without.mean["text"])
    assert fitted.weight["text"].equal(without.weight["text"])
    out = fitted.apply(features)
    assert (out.x["text"][::7] == 0).all()
    assert all(out.present[m].equal(features.present[m]) for m in features.x)


@pytest.mark.parametrize("fit", FITTED.values(), ids=FITTED)
def test_rows_to_fit_on_by_id_or_by_mask(fit, features):
    by_mask, ids = fit(features, FIT), [f"i{n}" for n in range(40)]
    for fit_on in (ids, reversed(ids), ids * 2, torch.from_numpy(FIT)):
        assert fit(features, fit_on).weight["text"].equal(by_mask.weight["text"])


@pytest.mark.parametrize("fit", FITTED.values(), ids=FITTED)
def test_a_fitted_map_serves_new_items_and_can_be_saved(fit, features, tmp_path):
    fitted, new = fit(features, FIT), features.rows(slice(50, None))
    save_file(fitted.state(), tmp_path / "fitted.safetensors")
    back = Affine.from_state(fitted.name, load_file(tmp_path / "fitted.safetensors"))
    assert back.name == fitted.name
    for m in features.x:
        torch.testing.assert_close(back.apply(new).x[m], fitted.apply(features).x[m][50:])


def test_a_present_row_at_the_mean_stays_present():
    features = from_arrays(["a", "b", "c", "d"], {"m": [[1, 5], [3, 1], [2, 3], [0, 0]]})
    out = standardise(features, ["a", "b"])
    assert out.present["m"].tolist() == [True, True, True, False]
    assert out.x["m"][2].tolist() == [FAINT, FAINT]
    assert out.x["m"][2].half().all()
    assert out.x["m"][3].tolist() == [0, 0]


@given(st.lists(st.sampled_from([0.0, 1e-38, -1e-20, 1.0, 3.0, 1e38]), min_size=6, max_size=6))
def test_l2_makes_every_present_row_a_unit_vector(values):
    features = from_arrays(["a", "b", "c"], {"m": np.array(values).reshape(3, 2)})
    out = l2(features)
    torch.testing.assert_close(out.x["m"].norm(dim=1), features.present["m"].float())
    assert (out.x["m"].sign() == features.x["m"].sign()).logical_or(out.x["m"] == 0).all()


def test_l2_by_hand():
    x = l2(from_arrays(["a", "b"], {"m": [[3, -4], [0, 0]]})).x["m"]
    torch.testing.assert_close(x, torch.tensor([[0.6, -0.8], [0, 0]]))


def test_meta_says_what_was_done(features):
    twice = l2(pca(features, FIT, 3))
    assert twice.meta["text"]["normalised"] == ["pca(3)", "l2"]
    assert whiten(features, FIT).meta["text"]["normalised"] == ["whiten()"]
    assert dict(features.meta) == {}


def test_fitting_in_blocks_agrees_with_numpy():
    x = np.random.default_rng(0).normal(3, 2, size=(2 * BLOCK + 5, 2)).astype(np.float32)
    fitted = fit_standardise(from_arrays(range(len(x)), {"m": x}), range(len(x)))
    np.testing.assert_allclose(fitted.mean["m"], x.astype(float).mean(0), rtol=1e-6)
    np.testing.assert_allclose(fitted.weight["m"], 1 / x.astype(float).std(0), rtol=1e-6)


def test_errors(features):
    with pytest.raises(KeyError, match=r"1 unknown item ids, e.g. .'nope'"):
        standardise(features, ["nope"])
    with pytest.raises(ValueError, match=r"the mask of rows to fit on has shape \(3,\), the features 60 rows"):
        standardise(features, np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="none of the 1 items to fit on has text"):
        standardise(features, ["i7"])
    with pytest.raises(KeyError, match=r"standardise was not fitted on \['image'\], only on \['text'\]"):
        fit_standardise(features.only("text"), FIT).apply(features)
    with pytest.raises(ValueError, match="was fitted on 6-d text features, got 1-d"):
        fit_standardise(features, FIT).apply(from_arrays(["a"], {"text": [[1.0]]}))
    with pytest.raises(ValueError, match="asked for 0"):
        pca(features, FIT, 0)


def test_a_single_row_to_fit_on_is_only_centred():
    features = from_arrays(["a", "b"], {"m": [[1, 2], [3, 5]]})
    assert standardise(features, ["a"]).x["m"].tolist() == [[FAINT, FAINT], [2, 3]]
    with pytest.raises(ValueError, match="vary in 0 directions"):
        pca(features, ["a"])
