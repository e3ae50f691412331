"""All that is known of the items of a data set, ready for a model: given vectors and encoded content, normalised."""

from collections.abc import Iterable

from mmgraph.data.dataset import Dataset
from mmgraph.data.raw import MODALITIES
from mmgraph.features.encode import encode
from mmgraph.features.encoder import Encoder
from mmgraph.features.features import Features, from_arrays
from mmgraph.features.normalise import l2, standardise


def content_features(data: Dataset, *, fit_items: Iterable[object] | None = None, text: Encoder | str | None = None,
                     image: Encoder | str | None = None, audio: Encoder | str | None = None,
                     video: Encoder | str | None = None, encoded: Features | None = None,
                     progress: bool = True) -> Features:
    """The features of every item: precomputed vectors where the data have them, else encoded content.

    Every modality but text is standardised per column, then all rows are scaled to length 1.

    Args:
        data: items with content, vectors or both.
        fit_items: ids of the items from which statistics are learned: the warm ones, where there are cold ones.
        text: see `encode`. If no modality is given an encoder, all that there is is used.
        image: likewise.
        audio: likewise.
        video: likewise.
        encoded: features that were encoded before (`encode`, `load`): joined by id, beside the vectors of the data;
            nothing else is encoded unless an encoder is given.
        progress: show a bar.

    Raises:
        ValueError: if there is neither content nor vectors; for others see `encode`.
    """
    fit = data.items.ids.to_pylist() if fit_items is None else list(fit_items)
    features = Features.empty(data.items)
    for name, vectors in data.vectors.items():
        features = features | from_arrays(vectors.ids, {name: vectors.matrix}, known=data.items)
    if encoded is not None:
        features = features | encoded
    asked = any((text, image, audio, video))
    if asked or (encoded is None and (not data.vectors or _content(data) - set(data.vectors))):
        features = features | encode(data, text=text, image=image, audio=audio, video=video, fit_items=fit,
                                     progress=progress)
    other = [name for name in features.x if name != "text"]
    return l2(features | standardise(features.only(*other), fit) if other else features)


def _content(data: Dataset) -> set[str]:
    columns = data.item_content.column_names
    return {m for m in MODALITIES if m in columns and data.item_content[m].null_count < len(data.items)}
