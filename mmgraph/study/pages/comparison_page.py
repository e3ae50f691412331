"""One page to look at: the table of a comparison, a chart, and what two of its models recommend to a few users."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mmgraph.data.folder import write_text
from mmgraph.data.split import Pairs, Split
from mmgraph.data.types import Ints
from mmgraph.eval.evaluate import Part
from mmgraph.eval.rank import rank
from mmgraph.features.encoder import Unreadable
from mmgraph.graph.graph import INTERACTS
from mmgraph.graph.relation import Relation
from mmgraph.models.fitted import Fitted
from mmgraph.study.comparison import Comparison
from mmgraph.study.pages.chart import chart
from mmgraph.study.pages.picture import Picture, thumbnail, title

log = logging.getLogger(__name__)
SETS = {"warm": "items known from training", "cold": "new items", "all": "items, warm and new together"}


@dataclass(frozen=True)
class Card:
    """An item as the page shows it.

    Args:
        id: its id.
        title: what it is called.
        image: a thumbnail; none without a readable picture.
        lack: why there is no picture.
        new: whether it has no training interaction.
        hit: whether it is held out for the user who sees it.
        score: that the model gave it; none where it is no recommendation.
    """

    id: str
    title: str
    image: Picture | None
    lack: str
    new: bool
    hit: bool
    score: float | None = None


@dataclass(frozen=True)
class Person:
    """A user as the page shows them.

    Args:
        id: their id.
        n_taken: items that they have taken, as far as the models were told (training and history).
        taken: some of these.
        n_held: held-out items.
        n_new: held-out items that are new.
        lists: label of a model → its recommendations.
    """

    id: str
    n_taken: int
    taken: list[Card]
    n_held: int
    n_new: int
    lists: dict[str, list[Card]]


def write_report(comparison: Comparison, file: str | os.PathLike[str], *, compare_two: tuple[str, str] | None = None,
                 users: Sequence[str] | None = None, n_users: int = 3, k: int = 8) -> None:
    """Write one HTML file that needs no other: styles, chart and pictures are inside.

    Args:
        comparison: what to show.
        file: where; the whole page is there afterwards, or what was there before.
        compare_two: labels of the models whose recommendations are shown; by default see `contrast`.
        users: ids of the users to show; by default see `drawn`.
        n_users: how many to draw.
        k: items per list.

    Raises:
        KeyError: for an unknown label or user id.
        ValueError: if n_users is negative or k is less than 1.
    """
    two = compare_two or contrast(comparison)
    if unknown := sorted(set(two) - set(comparison.fitted)):
        raise KeyError(f"no fitted model is called {unknown}; there are {sorted(comparison.fitted)}.")
    if n_users < 0 or k < 1:
        raise ValueError(f"n_users must be at least 0 and k at least 1, got {n_users} and {k}.")
    split, part = comparison.split, comparison.rows[0].part
    numbers = drawn(split, part, n_users, comparison.rows[0].seed) if users is None \
        else split.data.users.numbers(users)
    people = persons({name: comparison.fitted[name] for name in two}, split, part, numbers, k)
    loader = PackageLoader("mmgraph", "study/pages")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = pages.get_template("report.html.j2").render(
        c=comparison, part=part, columns=comparison.columns(comparison.headline), sets=SETS,
        chart=Markup(chart(comparison)), people=people, k=k, aspect=aspect(people), drawn=users is None)
    write_text(Path(file).expanduser(), page)


def contrast(comparison: Comparison) -> tuple[str, ...]:
    """The two models that are most instructive side by side: the best on cold items, and of the others the best on warm
    ones; without cold candidates the two best on all. Ties go to the model named first; a lone model stays alone.
    """
    columns = {c.candidates: c for c in comparison.columns(comparison.headline)}
    chosen: list[str] = []
    for candidates in ("cold", "warm") if "cold" in columns else ("all", "all"):
        cells = columns[candidates].cells
        left = [name for name in comparison.fitted if name not in chosen]
        chosen += sorted(left, key=lambda name: -(cells[name].mean or 0.0))[:1]
    return tuple(chosen)


def joined(*parts: Pairs) -> Pairs:
    """The interactions of several parts."""
    return Pairs(np.concatenate([p.users for p in parts]), np.concatenate([p.items for p in parts]))


def drawn(split: Split, part: Part, n: int, seed: int) -> Ints:
    """Users at random, whatever the models make of them: first from those who took at least three items and have two
    held-out ones, one of these new; where they run out from those who lack the new one, then with any held-out item.
    """
    size, held = len(split.data.users), getattr(split, part)
    taken, n_held = (np.bincount(p.users, minlength=size) for p in (joined(split.train, split.history), held))
    n_new = np.bincount(held.users[~split.warm_items[held.items]], minlength=size)
    rich = (taken >= 3) & (n_held >= 2)
    choice = np.select([rich & (n_new >= 1), rich, n_held >= 1], [0, 1, 2], 3)
    order = np.lexsort((np.random.default_rng(seed).random(size), choice))
    return order[: min(n, int((choice < 3).sum()))]


def persons(models: Mapping[str, Fitted], split: Split, part: Part, users: Ints, k: int) -> list[Person]:
    """What each user took, and what each model recommends to them: of all items but the known ones, see `evaluate`."""
    taken, held, found = joined(split.train, split.history), getattr(split, part), []
    known = joined(taken, split.valid) if part == "test" else taken
    seen = Relation.of(*INTERACTS, known.matrix(len(split.data.users), len(split.data.items)))
    lists = {name: recommended(model, users, k, seen) for name, model in models.items()}
    for at, user in enumerate(users):
        mine, kept = np.sort(taken.items[taken.users == user]), held.items[held.users == user]
        some = mine[np.linspace(0, len(mine) - 1, min(k, len(mine))).astype(int)]
        shown = {name: cards(split, items[at][items[at] >= 0], kept, scores[at]) for name, (items, scores)
                 in lists.items()}
        found.append(Person(split.data.users.names(user)[0], len(mine), cards(split, some, kept), len(kept),
                            int((~split.warm_items[kept]).sum()), shown))
    return found


def recommended(model: Fitted, users: Ints, k: int, seen: Relation) -> tuple[Ints, Any]:
    """Items and scores, best first, (users, k); −1 where a user has fewer candidates."""
    numbers = torch.from_numpy(users)
    items = rank(model, numbers, min(k, model.n_items), seen=seen)
    return items.numpy(), model.scores(numbers).gather(1, items.clamp(min=0)).numpy()


def cards(split: Split, items: Ints, held: Ints, scores: Any = None) -> list[Card]:
    """Items as the page shows them."""
    content = split.data.item_content
    columns = {name: content[name].take(items).to_pylist() for name in ("title", "text", "image")
               if name in content.column_names}
    found = []
    for at, (number, id_) in enumerate(zip(items, split.data.items.names(items), strict=True)):
        row = {name: values[at] for name, values in columns.items()}
        image, lack = picture(row.get("image"), id_)
        found.append(Card(id_, title(row, id_), image, lack, not split.warm_items[number], bool(np.isin(number, held)),
                          None if scores is None else float(scores[at])))
    return found


def aspect(people: Sequence[Person]) -> float:
    """Width over height of the frames that suit the pictures: the median, between 2 : 3 and 3 : 2; 1 without any."""
    items = [item for person in people for items in (person.taken, *person.lists.values()) for item in items]
    found = [item.image.aspect for item in items if item.image]
    return min(max(float(np.median(found)), 2 / 3), 3 / 2) if found else 1.0


def picture(content: str | bytes | None, id_: str) -> tuple[Picture | None, str]:
    """A thumbnail, or why there is none."""
    if content is None:
        return None, "no picture"
    try:
        return thumbnail(content), ""
    except Unreadable as error:
        log.warning("item %s is shown without its picture: %s", id_, error)
        return None, "unreadable picture"
