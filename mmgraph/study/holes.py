"""Features with missing modalities for a study: a pattern takes them away, a completion may make them up."""

from collections.abc import Mapping
from typing import Any

from mmgraph.data.split import Split
from mmgraph.features.features import Features
from mmgraph.features.missing import missing
from mmgraph.graph.cooccurrence import cooccurrence
from mmgraph.graph.graph import train_graph
from mmgraph.nn.completion import Completion, completed


def with_holes(features: Features, split: Split, pattern: Mapping[str, Any], by: Completion = "zero") -> Features:
    """The features of a split's items less what a pattern takes away, completed from warm items and training alone.

    Args:
        features: of the items, joined by id.
        split: says which items are warm, and how often each was taken in training.
        pattern: arguments of `mmgraph.features.missing`: ``rate``, and ``seed`` (0), ``how``, ``where``, ``modality``,
            ``nothing``; popularity is that of training.
        by: how `mmgraph.nn.completed` makes up what is gone; ``zero`` leaves it.

    Raises:
        KeyError: if the pattern has no rate.
        ValueError: for arguments out of range, or features without a modality.
    """
    if not features.x:
        raise ValueError("there is no modality to take away or to make up; encode some content first.")
    if "rate" not in pattern:
        raise KeyError(f"missing modalities need a rate in [0, 1], got {dict(pattern)}.")
    taken, n = train_graph(split).interactions, split.n_warm_items
    given = {"seed": 0, **pattern, **{name: float(pattern[name]) for name in ("rate", "nothing") if name in pattern}}
    if given.get("how") == "popularity":
        given["popularity"] = taken.in_degree
    holes = missing(features.aligned(split.data.items), given.pop("rate"), given.pop("seed"), n_known=n, **given)
    return completed(holes, by, n_known=n, seed=int(pattern.get("seed", 0)),
                     together=cooccurrence(taken, "item", k=20))
