"""Checks of whether one thing under two ids lies on both sides of a split."""

import numpy as np

from mmgraph.data.split import Split
from mmgraph.data.types import Ints
from mmgraph.features.features import Features
from mmgraph.features.normalise import standardise
from mmgraph.features.quality import near_duplicates
from mmgraph.study.diagnosis.findings import Finding, Thresholds, unchecked

COLD, HISTORY = "near duplicates of cold items", "near duplicates in histories"
WHY = {COLD: "A cold item whose double is warm is not cold: its content leads straight to what training knows of the "
             "double.",
       HISTORY: "A held-out item whose double the user took in training is found by looking for the same thing again."}
ADVICE = ("Merge the doubles before splitting, or keep both in one part; mmgraph.features.quality.near_duplicates "
          "lists them.")
LEAST = 10  # items in a chain that are never called too many


def check_content(split: Split, features: Features | None, limits: Thresholds) -> list[Finding]:
    """Both checks, over every modality; a pair of items counts if any modality links it. Costs items² · width."""
    if features is None or not features.x:
        lack = "no features were given"
        return [unchecked(name, lack, WHY[name], ADVICE) for name in (COLD, HISTORY)]
    features = features.aligned(split.data.items)
    groups = {name: chains(features.only(name), name, limits) for name in features.x
              if features.present[name].any()}
    return [cold_twins(split, groups, limits), history_twins(split, groups, limits)]


def chains(features: Features, name: str, limits: Thresholds) -> Ints:
    """Number of the group of near duplicates of each item, −1 for none; chains that are too long do not count."""
    group = np.full(len(features), -1, dtype=np.int64)
    fit_on = features.present[name]
    longest = max(LEAST, limits.twin_group * int(fit_on.sum()))
    for number, found in enumerate(near_duplicates(standardise(features, fit_on), name, limits.twin_cosine)):
        group[features.ids.numbers(found.ids)] = number if len(found.ids) <= longest else -2 - number
    return group


def cold_twins(split: Split, groups: dict[str, Ints], limits: Thresholds) -> Finding:
    """Cold items (that are held out) with a near duplicate among the warm ones."""
    warm = split.warm_items
    cold = split.held_out_items[~warm[split.held_out_items]]
    if not len(cold):
        return unchecked(COLD, "no held-out item is cold", WHY[COLD], ADVICE)
    linked = {name: (group[cold] >= 0) & np.isin(group[cold], group[warm]) for name, group in groups.items()}
    n = int(np.logical_or.reduce(list(linked.values())).sum()) if linked else 0
    return Finding(COLD, n / len(cold), limits.cold_twins,
                   f"{n:,} of {len(cold):,} cold items have a near duplicate (cosine ≥ {limits.twin_cosine:g}) among "
                   f"the warm ones{unseparated(groups)}", WHY[COLD], ADVICE,
                   detail={"cold": len(cold)} | {f"by {name}": int(rows.sum()) for name, rows in linked.items()})


def history_twins(split: Split, groups: dict[str, Ints], limits: Thresholds) -> Finding:
    """Held-out interactions whose user has a near duplicate of the item in training."""
    users, items = (np.concatenate([p[at] for p in (split.valid, split.test)]) for at in (0, 1))
    if not len(users):
        return unchecked(HISTORY, "nothing is held out", WHY[HISTORY], ADVICE)
    linked = {}
    for name, group in groups.items():
        width = max(int(group.max()) + 1, 1)
        kept = group[split.train.items] >= 0
        taken = split.train.users[kept] * width + group[split.train.items[kept]]
        linked[name] = (group[items] >= 0) & np.isin(users * width + group[items], taken)
    n = int(np.logical_or.reduce(list(linked.values())).sum()) if linked else 0
    return Finding(HISTORY, n / len(users), limits.history_twins,
                   f"{n:,} of {len(users):,} held-out interactions are with a near duplicate of what the same user "
                   f"took in training.", WHY[HISTORY], ADVICE,
                   detail={"held out": len(users)} | {f"by {name}": int(rows.sum()) for name, rows in linked.items()})


def unseparated(groups: dict[str, Ints]) -> str:
    """A clause about modalities in which very many items look the same."""
    many = [f"{int((group < -1).sum()):,} items in chains too long to be duplicates by {name}"
            for name, group in groups.items() if (group < -1).any()]
    return f" (not counting {', '.join(many)})." if many else "."
