"""A small world with a known answer, for every test that needs users, items and content.

40 users, 40 items, two tastes: user u likes the items of u's parity and took all of them except item u. The content of
an item shows its taste in every modality, the first column strongest. Ids are numbers plus 100 (users) or 200 (items),
so that an id taken for a number is out of range.
"""

from itertools import count

import numpy as np
import pyarrow as pa
import torch

from mmgraph.data import ColdItems, Dataset, Pairs, Split
from mmgraph.features.features import Features, from_arrays
from mmgraph.graph.graph import Graph
from mmgraph.graph.relation import Relation
from mmgraph.models import Triples
from mmgraph.train.negatives import NegativeSampler

N = 40
WIDTHS = {"text": 5, "image": 3, "audio": 4, "video": 6}
USERS = [str(100 + u) for u in range(N)]
ITEMS = [str(200 + i) for i in range(N)]
NOW = 1_600_000_000  # in seconds
TAKEN = [(u, i) for u in range(N) for i in range(N) if i % 2 == u % 2 and i != u]


def dataset() -> Dataset:
    """The world with times, and with genres per item and teams per user, the first of which say the taste too."""
    users, items = zip(*TAKEN, strict=True)
    frame = pa.table({"user": [USERS[u] for u in users], "item": [ITEMS[i] for i in items],
                      "time": [NOW - 86_400 * age(u, i) for u, i in TAKEN]})
    content = pa.table({"item": ITEMS, "text": [f"item {i}" for i in range(N)],
                        "genre": [[["even", "odd"][i % 2], f"of {i // 10}"] for i in range(N)]})
    teams = [[["a", "b"][u % 2], f"from {u // 10}"] for u in range(N)]
    return Dataset.from_frames(frame, content, pa.table({"user": USERS, "team": teams}), time="time")


def features(n_modalities: int = 2, *, n: int = N, missing: float = 0.0, seed: int = 0) -> Features:
    """Content of the first n items; a share of it, each modality for itself, is missing."""
    rng, arrays = np.random.default_rng(seed), {}
    for name, width in list(WIDTHS.items())[:n_modalities]:
        taste = np.where(np.arange(n) % 2, -1.0, 1.0)[:, None] * np.linspace(2, 0, width)
        arrays[name] = (taste + rng.normal(0, 0.3, (n, width))) * (rng.random((n, 1)) >= missing)
    return from_arrays([200 + i for i in range(n)], arrays)


def age(user: int, item: int) -> int:
    """Days since an interaction, 0 to 89; user 0 took item 2 now."""
    return (7 * user + 3 * item - 6) % 90


def graph(ages: bool = False) -> Graph:
    """All interactions, to learn from; with their ages for a model that reads them."""
    users, items = zip(*TAKEN, strict=True)
    plain = Graph.of(Pairs(np.array(users), np.array(items)), N, N)
    if not ages:
        return plain
    days = torch.tensor([float(age(u, i)) for u, i in TAKEN])
    return plain.with_relation("age", Relation.from_edges("user", "age", "item", N, N, torch.tensor(TAKEN).T, days))


def split(share: float = 0.2, seed: int = 0) -> Split:
    """A fifth of the items is cold: four for validation, four for test."""
    return Split.of(dataset(), ColdItems(share=share), seed=seed)


def triples(graph: Graph, seed: int = 0) -> Triples:
    """Every interaction once, with a negative."""
    users, items = graph.interactions.edges
    generator = torch.Generator().manual_seed(seed)
    return Triples(users, items, NegativeSampler(graph.interactions).sample(users, generator))


class FullDisk:
    """Replaces a function that writes: works a number of times, then there is no space left."""

    def __init__(self, real, works: int):
        self.real, self.works, self.calls = real, works, count(1)

    def __call__(self, *args, **kwargs):
        if next(self.calls) > self.works:
            raise OSError(28, "No space left on device")
        return self.real(*args, **kwargs)
