import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from mmgraph.features.encoder import Encoder, Unreadable
from mmgraph.features.text import TfidfText, leading_axes, weighted

TEXTS = ["red apple pie", "green apple apple tart", "blue whale ocean", "blue ocean deep ocean", "red wine and whale",
         "deep green forest", "the forest of wine"]


def words(seed, n=60, vocabulary=80):
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{w}x" for w in rng.zipf(1.5, 20) % vocabulary) for _ in range(n)]


def test_keeps_the_protocol():
    encoder = TfidfText(dim=3, min_df=1)
    assert isinstance(encoder, Encoder)
    assert encoder.modality == "text"
    assert json.loads(json.dumps(encoder.settings())) == {
        "dim": 3, "min_df": 1, "max_features": 50_000, "sublinear": True, "stop_words": "english", "learned": None}
    fitted = encoder.fit(iter(TEXTS))
    assert fitted.settings() == encoder.settings() | {"learned": fitted.topics.sha256}
    x = fitted.encode(TEXTS)
    assert x.shape == (7, 3)
    assert x.dtype == torch.float32
    assert fitted.encode([]).shape == (0, 3)


def test_fit_returns_a_new_encoder_and_leaves_the_old_one_alone():
    first = TfidfText(min_df=1).fit(TEXTS[:3])
    before = first.encode(TEXTS)
    second = first.fit(TEXTS[3:])
    assert first.encode(TEXTS).equal(before)
    assert second.topics.terms != first.topics.terms


def test_an_encoder_that_was_not_fitted_says_so():
    with pytest.raises(ValueError, match=r"no vocabulary yet; call encoder = encoder\.fit"):
        TfidfText().encode(["apple"])


def test_what_was_learned_by_hand():
    topics = TfidfText(min_df=1).fit(["apple pie", "apple tart", "the apple"]).topics
    assert topics.terms == ("apple", "pie", "tart")
    assert topics.idf == pytest.approx([1, 1 + math.log(4 / 2), 1 + math.log(4 / 2)])
    assert np.allclose(topics.axes.T @ topics.axes, np.eye(3))


# With as many axes as the fitted rows have rank nothing is lost: angles between texts are those of TF-IDF itself.
@pytest.mark.parametrize("sublinear", [True, False])
@pytest.mark.parametrize("texts", [TEXTS, words(0)])
def test_angles_are_those_of_scikit_learn(texts, sublinear):
    ours = TfidfText(min_df=2, sublinear=sublinear).fit(texts).encode(texts).double().numpy()
    theirs = TfidfVectorizer(stop_words="english", min_df=2, sublinear_tf=sublinear).fit_transform(texts).toarray()
    assert np.allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-5)


def test_few_axes_are_the_leading_singular_vectors():
    rng = np.random.default_rng(1)  # five subjects of unequal size, so that five axes stand out and are in order
    texts = [" ".join(f"subject{s}word{w}" for w in rng.integers(0, 12, 9)) for s in range(5)
             for _ in range(30 - 6 * s)]
    rows = TfidfVectorizer(stop_words="english", sublinear_tf=True).fit_transform(texts).toarray()
    _, _, vt = np.linalg.svd(rows, full_matrices=False)
    expected = rows @ vt[:5].T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    ours = TfidfText(dim=5, min_df=1).fit(texts).encode(texts).double().numpy()
    assert np.abs(ours @ ours.T - expected @ expected.T).max() < 0.01  # up to the signs of the axes


def test_width_is_at_most_the_rank():
    assert TfidfText(min_df=1).fit(["apple pie", "apple pie", "red whale"]).encode(["apple"]).shape == (1, 2)
    assert TfidfText(min_df=1, dim=1).fit(["apple pie", "red whale"]).encode(["apple"]).shape == (1, 1)


@pytest.mark.parametrize("text", ["", "   ", "the of and", "?!", "unheard zebra"])
def test_nothing_to_see_is_a_row_of_zeros(text):
    encoder = TfidfText(min_df=1).fit(TEXTS)
    assert not encoder.encode([text, "apple"])[0].any()
    assert encoder.encode([text, "apple"])[1].norm().item() == pytest.approx(1, abs=1e-6)


def test_a_text_outside_the_axes_is_a_row_of_zeros_not_amplified_rounding():
    encoder = TfidfText(min_df=1, dim=1).fit(["apple pie", "apple pie", "apple pie", "whale ocean"])
    x = encoder.encode(["whale ocean", "apple"])
    assert not x[0].any()
    assert x[1].abs().item() == pytest.approx(1)


def test_texts_of_one_subject_lie_together():
    x = TfidfText(dim=2, min_df=1).fit(TEXTS[:4]).encode(TEXTS[:4])
    near = x @ x.T
    assert near[0, 1] > 0.9 > 0.1 > near[0, 2].abs()
    assert near[2, 3] > 0.9


def test_min_df_and_max_features_choose_the_terms():
    texts = ["apple pie", "apple tart pie", "apple"]
    assert TfidfText(min_df=1).fit(texts).topics.terms == ("apple", "pie", "tart")
    assert TfidfText(min_df=2).fit(texts).topics.terms == ("apple", "pie")
    assert TfidfText(min_df=1, max_features=1).fit(texts).topics.terms == ("apple",)


@pytest.mark.parametrize("texts", [[], ["the", "of"], ["apple", "pie"], ["apple"]])
def test_refuses_texts_that_leave_no_term(texts):
    with pytest.raises(ValueError, match=f"no term is left of {len(texts)} texts after stop words and min_df=2"):
        TfidfText().fit(texts)


def test_bytes_are_utf8():
    assert TfidfText().decode("Äpfel".encode()) == "Äpfel" == TfidfText().decode("Äpfel")
    with pytest.raises(Unreadable, match=r"text of length 2: not UTF-8: .*invalid continuation byte"):
        TfidfText().decode(b"\xe4p")


@given(st.lists(st.sampled_from([*TEXTS, "", "the", "apple zebra"]), max_size=8), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_rows_do_not_depend_on_the_batch(texts, size):
    encoder = TfidfText(dim=4, min_df=1).fit(TEXTS)
    whole = encoder.encode(texts)
    for start in range(0, len(texts), size):
        assert encoder.encode(texts[start:start + size]).equal(whole[start:start + size])


def test_fitting_twice_gives_the_same_bits():
    texts = words(2)
    a, b = (TfidfText(dim=8, min_df=1).fit(texts).encode(texts) for _ in range(2))
    assert a.equal(b)


def test_weighted_leaves_its_input_and_empty_rows_alone():
    from scipy.sparse import csr_matrix

    counts = csr_matrix(np.array([[3, 0, 4], [0, 0, 0], [0, 2, 0]]))
    rows = weighted(counts, np.array([1.0, 5, 1]), sublinear=False)
    assert np.allclose(rows.toarray(), [[0.6, 0, 0.8], [0, 0, 0], [0, 1, 0]])
    assert counts.data.tolist() == [3, 4, 2]
    assert leading_axes(rows, 9).shape == (3, 2)


@pytest.mark.parametrize("name", ["dim", "min_df", "max_features"])
def test_refuses_arguments_out_of_range(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        TfidfText(**{name: 0})
