"""What a text is about, without a pretrained model: TF-IDF, folded by latent semantic analysis."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from torch import Tensor

from mmgraph.features.encoder import text_of

NOTHING = 1e-6  # a projection shorter than this is rounding error


@dataclass(frozen=True, eq=False)
class Topics:
    """What `TfidfText` learned; plain arrays, so that they can be stored without pickle.

    Args:
        terms: the vocabulary, sorted.
        idf: inverse document frequency of each term.
        axes: float64 array of shape (terms, dim); orthonormal columns onto which TF-IDF rows are projected.
    """

    terms: tuple[str, ...]
    idf: Float[np.ndarray, " terms"]
    axes: Float[np.ndarray, "terms dim"]

    @property
    def sha256(self) -> str:
        """Hash of all of it."""
        parts = ("\0".join(self.terms).encode(), self.idf.tobytes(), np.ascontiguousarray(self.axes).tobytes())
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


class TfidfText:
    r"""TF-IDF over English words, projected onto its leading singular vectors; rows have unit length.

    .. math:: w_{td} = f(n_{td}) \left(1 + \ln \frac{1 + N}{1 + N_t}\right), \qquad f(n) = 1 + \ln n \text{ or } n

    Each row of :math:`w` is scaled to unit length, projected, and scaled again. A text without a known term is a row of
    zeros. English stop words are dropped.

    Args:
        dim: width of the output; less where the fitted texts or their terms are fewer.
        min_df: a term must occur in this many of the fitted texts.
        max_features: keep only the most frequent terms.
        sublinear: damp repeated words, :math:`f(n) = 1 + \ln n`.
        topics: what was learned; `fit` fills it in.

    Raises:
        ValueError: if an argument is out of range.

    Source: Deerwester et al. 1990, doi:10.1002/(SICI)1097-4571(199009)41:6<391::AID-ASI1>3.0.CO;2-9.
    """

    modality = "text"
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn", "scipy")

    def __init__(self, *, dim: int = 256, min_df: int = 2, max_features: int = 50_000, sublinear: bool = True,
                 topics: Topics | None = None):
        for name, value in (("dim", dim), ("min_df", min_df), ("max_features", max_features)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.dim, self.min_df, self.max_features, self.sublinear = dim, min_df, max_features, sublinear
        self.topics = topics

    def settings(self) -> dict[str, Any]:
        return {"dim": self.dim, "min_df": self.min_df, "max_features": self.max_features, "sublinear": self.sublinear,
                "stop_words": "english", "learned": None if self.topics is None else self.topics.sha256}

    def decode(self, content: str | bytes) -> str:
        """The text itself; bytes are UTF-8."""
        return text_of(content)

    def fit(self, decoded: Iterable[str]) -> "TfidfText":
        """A new encoder whose vocabulary, frequencies and axes come from these texts only.

        Raises:
            ValueError: if no term is left.
        """
        from sklearn.feature_extraction.text import CountVectorizer  # imported late: it takes longer than all the rest

        texts = list(decoded)
        counter = CountVectorizer(stop_words="english", min_df=self.min_df, max_features=self.max_features)
        try:
            counts = counter.fit_transform(texts)
        except ValueError as error:
            raise ValueError(f"no term is left of {len(texts)} texts after stop words and min_df={self.min_df}; "
                             f"fit on more texts or lower min_df.") from error
        idf = 1 + np.log((1 + len(texts)) / (1 + np.bincount(counts.indices, minlength=counts.shape[1])))
        axes = leading_axes(weighted(counts, idf, self.sublinear), self.dim)
        return TfidfText(dim=self.dim, min_df=self.min_df, max_features=self.max_features, sublinear=self.sublinear,
                         topics=Topics(tuple(counter.get_feature_names_out().tolist()), idf, axes))

    def encode(self, batch: Sequence[str]) -> Float[Tensor, "batch dim"]:
        from sklearn.feature_extraction.text import CountVectorizer

        if self.topics is None:
            raise ValueError("TfidfText has no vocabulary yet; call encoder = encoder.fit(texts) first.")
        counts = CountVectorizer(vocabulary=self.topics.terms).transform(batch)
        rows = weighted(counts, self.topics.idf, self.sublinear) @ self.topics.axes
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.where(length > NOTHING, rows / np.where(length > NOTHING, length, 1), 0)
        return torch.from_numpy(rows.astype(np.float32))


def weighted(counts: csr_matrix, idf: Float[np.ndarray, " terms"], sublinear: bool) -> csr_matrix:
    """TF-IDF rows of unit length; a row without terms stays empty. See `TfidfText`."""
    weights = counts.astype(np.float64)
    if sublinear:
        weights.data = 1 + np.log(weights.data)
    weights.data *= idf[weights.indices]
    row = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    weights.data /= np.sqrt(np.bincount(row, weights.data**2))[row]
    return weights


def leading_axes(rows: csr_matrix, dim: int) -> Float[np.ndarray, "terms dim"]:
    """The first right singular vectors, at most ``dim`` and at most the rank; the same on every call."""
    from sklearn.utils.extmath import randomized_svd

    size = min(dim, *rows.shape)
    _, strength, axes = randomized_svd(rows, size, n_iter=7, random_state=0)
    return np.ascontiguousarray(axes[strength > NOTHING].T)
