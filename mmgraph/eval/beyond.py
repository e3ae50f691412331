"""All that can be said of lists beside how many of their items are right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mmgraph.data.split import Pairs, Split
from mmgraph.data.types import Floats, Ints
from mmgraph.eval.evaluate import Part
from mmgraph.eval.exposure import (
    coverage,
    exposure,
    exposure_entropy,
    gini,
    normalised_exposure_entropy,
    personalisation,
)
from mmgraph.eval.listwise import (
    average_popularity,
    calibration,
    diversity,
    novelty,
    popularity_lift,
    serendipity,
)
from mmgraph.features.features import Features
from mmgraph.graph.attributes import memberships
from mmgraph.graph.graph import INTERACTS
from mmgraph.graph.relation import Relation

OF_EXPOSURE: dict[str, Callable[[Tensor], float]] = {
    "coverage": coverage, "gini": gini, "exposure_entropy": exposure_entropy,
    "normalised_exposure_entropy": normalised_exposure_entropy}


@dataclass(frozen=True)
class Beyond:
    """Measures beyond accuracy, under names such as ``novelty@20``, ``diversity(image)@20``, ``calibration(genre)@20``.

    Args:
        per_user: name → one value per list, NaN where undefined.
        catalogue: name → one value of all lists together.
    """

    per_user: dict[str, Floats]
    catalogue: dict[str, float]


def beyond(lists: Int[Tensor, "users k"], split: Split, *, users: Ints | None = None,
           candidates: Bool[Tensor, " items"] | None = None, part: Part | None = None,
           features: Features | None = None, ks: Sequence[int] | None = None,
           categories: str | None = None) -> Beyond:
    """Coverage, Gini, entropies, personalisation; novelty, popularity and lift, diversity, serendipity, calibration.

    Popularity is that of training; a user's profile is training and revealed history.

    Args:
        lists: item numbers, best first, −1 for none; see `mmgraph.eval.rank`.
        split: where the lists come from.
        users: number of the user of each list; by default all users in order.
        candidates: the items that could be listed, over which coverage, Gini and entropies are taken; all by default.
        part: the part whose interactions make a listed item right, for serendipity; without it there is none.
        features: of the items; diversity is measured in each of their modalities.
        ks: lengths to which the lists are cut; by default as long as they are.
        categories: column of item attributes, for calibration.

    Raises:
        KeyError: if there is no such column.
        PermissionError: if the test part is asked for and locked.
        ValueError: if lists, users, candidates or lengths do not fit each other or the split, or a list holds an item
            twice.
    """
    users = np.arange(len(split.data.users)) if users is None else users
    candidates = torch.ones(len(split.data.items), dtype=torch.bool) if candidates is None else candidates.cpu()
    lists, ks = lists.cpu(), (lists.shape[1],) if ks is None else ks
    _check(lists, users, candidates, ks, split)
    measures = _per_user(split, users, part, features, categories)
    found = Beyond({}, {})
    for k in ks:
        cut = lists[:, :k]
        shown = exposure(cut, len(candidates))[candidates]
        found.catalogue.update({f"{name}@{k}": measure(shown) for name, measure in OF_EXPOSURE.items()})
        found.catalogue[f"personalisation@{k}"] = personalisation(cut, len(candidates))
        found.per_user.update({f"{name}@{k}": measure(cut).numpy() for name, measure in measures.items()})
    return found


def _per_user(split: Split, users: Ints, part: Part | None, features: Features | None,
              categories: str | None) -> dict[str, Callable[[Tensor], Tensor]]:
    """Name → function of lists, with all but the lists filled in."""
    popularity = torch.from_numpy(np.bincount(split.train.items, minlength=len(split.data.items)))
    known = Pairs(*(np.concatenate(columns) for columns in zip(split.train, split.history, strict=True)))
    profiles = _rows(known, split, users)
    measures: dict[str, Callable[[Tensor], Tensor]] = {
        "novelty": partial(novelty, popularity=popularity, n_users=split.n_warm_users),
        "average_popularity": partial(average_popularity, popularity=popularity),
        "popularity_lift": partial(popularity_lift, profiles=profiles, popularity=popularity)}
    if part is not None:
        held = _rows(getattr(split, part), split, users)
        measures["serendipity"] = partial(serendipity, held=held, popularity=popularity)
    of = features.aligned(split.data.items).to("cpu") if features is not None else Features.empty(split.data.items)
    for name, x in of.x.items():
        measures[f"diversity({name})"] = partial(diversity, x=x, present=of.present[name])
    if categories is not None:
        of_items = _categories(split, categories)
        measures[f"calibration({categories})"] = partial(calibration, profiles=profiles, categories=of_items)
    return measures


def _categories(split: Split, column: str) -> Relation:
    items, numbers, values = memberships(split.data.item_content, column, len(split.data.items))
    return Relation.from_edges("item", f"has_{column}", column, len(split.data.items), len(values),
                               torch.from_numpy(np.stack([items, numbers])))


def _rows(pairs: Pairs, split: Split, users: Ints) -> Relation:
    matrix = pairs.matrix(len(split.data.users), len(split.data.items))
    return Relation.of(*INTERACTS, matrix).rows(torch.from_numpy(users))


def _check(lists: Tensor, users: Ints, candidates: Tensor, ks: Sequence[int], split: Split) -> None:
    if len(lists) != len(users):
        raise ValueError(f"there are {len(lists)} lists of {len(users)} users; say whose they are with users=….")
    if len(candidates) != len(split.data.items):
        raise ValueError(f"candidates is a mask over the split's {len(split.data.items)} items, got {len(candidates)}.")
    if not ks or not 1 <= min(ks) <= max(ks) <= lists.shape[1]:
        raise ValueError(f"ks must be lengths in [1, {lists.shape[1]}], the length of the lists, got {tuple(ks)}.")
    if (exposure(lists, len(candidates))[~candidates] > 0).any():
        raise ValueError("some listed items are no candidates; pass the mask that the lists were ranked with.")
    ordered = lists.sort(dim=1).values
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ValueError("some lists hold an item twice; a list names every item at most once.")
