import numpy as np
import planted
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmgraph.features.controls import masked, noise, permuted
from mmgraph.features.features import Features, from_arrays

ROWS, KNOWN = 30, 20


def made(seed=0, missing=0.2):
    features = planted.features(3, n=ROWS, missing=missing, seed=seed)
    content = torch.arange(ROWS * 32, dtype=torch.int64).view(ROWS, 32).remainder(251).to(torch.uint8)
    return Features(features.ids, features.x, features.present, {"text": {"encoder": "words"}}, {"text": content})


def same(a, b, rows=slice(None)):
    return all(torch.equal(a.x[m][rows], b.x[m][rows]) and torch.equal(a.present[m][rows], b.present[m][rows])
               for m in a.x)


def sources(before, after):
    """Where each row of the first modality's matrix came from, by its first column, which is different in each row."""
    return [int((before.x["image"] == row).all(1).nonzero()[0, 0]) for row in after.x["image"]]


@given(st.integers(0, 2**32), st.integers(0, ROWS))
def test_permuted_moves_every_row_within_its_own_group(seed, n_known):
    before = made(missing=0.0)
    after = permuted(before, seed, n_known=n_known)
    order = np.array(sources(before, after))
    for start, end in ((0, n_known), (n_known, ROWS)):
        assert sorted(order[start:end]) == list(range(start, end))
        assert end - start == 1 or (order[start:end] != np.arange(start, end)).all()


def test_permuted_moves_all_modalities_of_an_item_together_with_their_presence():
    before = made(missing=0.3)
    after = permuted(before, 5, n_known=KNOWN)
    order = sources(permuted_key := made(missing=0.0), permuted(permuted_key, 5, n_known=KNOWN))
    assert after.ids == before.ids
    for m in before.x:
        assert torch.equal(after.x[m], before.x[m][order])
        assert torch.equal(after.present[m], before.present[m][order])
        assert not torch.equal(after.present[m], before.present[m])


def test_noise_keeps_mask_mean_and_deviation_and_nothing_else():
    rng = np.random.default_rng(0)
    x = rng.normal([3, -1, 0], [1, 5, 0.1], (6000, 3)) * (rng.random((6000, 1)) < 0.8)
    x[:, 2] = (x[:, 0] != 0) * 7  # constant
    before = from_arrays(range(6000), {"text": x})
    after = noise(before, 0, n_known=6000)
    here = before.present["text"]
    assert torch.equal(after.present["text"], here)
    assert not after.x["text"][~here].any()
    old, new = before.x["text"][here].double(), after.x["text"][here].double()
    assert (new.mean(0) - old.mean(0)).abs().tolist() == pytest.approx([0, 0, 0], abs=0.2)
    assert (new.std(0) / old.std(0))[:2].tolist() == pytest.approx([1, 1], abs=0.04)
    assert (new[:, 2] == 7).all()
    assert np.corrcoef(old[:, :2].T, new[:, :2].T)[:2, 2:] == pytest.approx(np.zeros((2, 2)), abs=0.05)


def test_noise_is_another_one_in_each_modality_and_for_each_seed():
    twice = from_arrays(range(50), {"a": np.random.default_rng(0).normal(size=(50, 4))})
    twice = twice | from_arrays(range(50), {"b": twice.x["a"].numpy()})
    first, second = noise(twice, 0, n_known=50), noise(twice, 1, n_known=50)
    assert same(first, noise(twice, 0, n_known=50))
    assert not torch.equal(first.x["a"], first.x["b"])
    assert not torch.equal(first.x["a"], second.x["a"])
    assert not same(permuted(twice, 0, n_known=50), permuted(twice, 1, n_known=50))


@pytest.mark.parametrize("control", [permuted, noise])
def test_known_items_do_not_depend_on_the_others(control):
    """Neither on what they contain nor on how many there are."""
    before = made()
    other = Features(before.ids, {m: torch.where((torch.arange(ROWS) < KNOWN)[:, None], x, -7 * x)
                                  for m, x in before.x.items()}, before.present)
    after, known = control(before, 3, n_known=KNOWN), slice(0, KNOWN)
    assert same(after, control(other, 3, n_known=KNOWN), known)
    assert same(after.rows(known), control(before.rows(known), 3, n_known=KNOWN))
    assert not same(after, before, known)
    assert not same(after, before, slice(KNOWN, None))


def test_noise_of_a_modality_that_no_known_item_has_follows_the_others():
    x = np.zeros((40, 2))
    x[20:] = np.random.default_rng(0).normal(100, 1, (20, 2))
    after = noise(from_arrays(range(40), {"text": x}), 0, n_known=20).x["text"]
    assert not after[:20].any()
    assert ((after[20:] - 100).abs() < 6).all()
    nothing = from_arrays(range(40), {"text": np.zeros((40, 2))})
    assert same(noise(nothing, 0, n_known=20), nothing)


def test_masked_takes_the_other_modalities_from_every_item():
    before = made()
    after = masked(before, ["text"])
    assert after.dims == before.dims
    assert torch.equal(after.x["text"], before.x["text"])
    assert torch.equal(after.present["text"], before.present["text"])
    for m in ("image", "audio"):
        assert before.present[m].any()
        assert not after.present[m].any()
        assert not after.x[m].any()
    assert same(masked(before, before.x), before)
    assert not any(p.any() for p in masked(before, []).present.values())


def test_no_damaged_row_keeps_a_content_hash_or_the_word_of_its_encoder_alone():
    before = made()
    for damage, control in ((permuted, "permuted"), (noise, "noise")):
        after = damage(before, 4, n_known=KNOWN)
        assert after.content == {}
        assert after.meta["text"] == {"encoder": "words", "control": control, "seed": 4, "n_known": KNOWN}
        assert after.meta["image"]["control"] == control
    kept, gone = masked(before, ["text"]), masked(before, ["image"])
    assert torch.equal(kept.content["text"], before.content["text"])
    assert kept.meta["text"] == {"encoder": "words"}
    assert gone.content == {}
    assert gone.meta["text"] == {"encoder": "words", "control": "masked"}
    assert before.meta["text"] == {"encoder": "words"}
    assert set(before.content) == {"text"}


@pytest.mark.parametrize("control", [permuted, noise])
@pytest.mark.parametrize("n_known", [-1, ROWS + 1])
def test_refuses_a_number_of_known_items_that_cannot_be(control, n_known):
    with pytest.raises(ValueError, match=rf"n_known must lie in \[0, 30\], the rows.* got {n_known}"):
        control(made(), 0, n_known=n_known)


def test_refuses_to_mask_all_but_a_modality_that_is_not_there():
    with pytest.raises(KeyError, match=r"no modality \['sound'\]; there are \['audio', 'image', 'text'\]"):
        masked(made(), ["text", "sound"])
