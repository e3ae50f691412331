"""Scores → top-k → one number per user, for each set of candidates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mmgraph.data.split import Pairs, Split
from mmgraph.data.types import Bools, Floats, Ints
from mmgraph.eval.metrics import METRICS
from mmgraph.eval.rank import rank_blocks
from mmgraph.graph.graph import INTERACTS
from mmgraph.graph.relation import Relation
from mmgraph.models.base import Scorer

Part = Literal["valid", "test"]
Candidates = Literal["warm", "cold", "all"]
Seen = Literal["known", "train"]


@dataclass(frozen=True)
class Evaluation:
    """Metrics per user, by candidate set.

    Args:
        users: numbers of the users who have held-out items.
        values: (candidates, metric) → one value per user, NaN where the user has no held-out item among the candidates.
        n_candidates: candidates → number of items in the set.
        part: which part was read.
        split: fingerprint of the split.
    """

    users: Ints
    values: dict[tuple[str, str], Floats]
    n_candidates: dict[str, int]
    part: str
    split: str

    def __getitem__(self, key: tuple[str, str]) -> float:
        """Mean over users of (candidates, metric), e.g. ``["cold", "recall@20"]``; NaN where no user counts."""
        values = self.values[key]
        return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")

    def rows(self) -> list[dict[str, Any]]:
        """One row per candidate set and metric: mean, half width of the 95 % interval over users, number of users."""
        rows = []
        for (candidates, metric), values in self.values.items():
            values = values[~np.isnan(values)]
            half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
            rows.append({"candidates": candidates, "n_candidates": self.n_candidates[candidates], "metric": metric,
                         "mean": self[candidates, metric], "half_width": float(half), "n_users": len(values)})
        return rows

    def __str__(self) -> str:
        lines = [f"{self.part} part of split {self.split}"]
        lines += [f"{r['candidates']:>5} of {r['n_candidates']:,} items  {r['metric']:<13} {r['mean']:.4f} "
                  f"± {r['half_width']:.4f}  ({r['n_users']:,} users)" for r in self.rows()]
        return "\n".join(lines)


def evaluate(scorer: Scorer, split: Split, *, part: Part = "valid", ks: Sequence[int] = (10, 20),
             metrics: Sequence[str] = ("recall", "ndcg"), seen: Seen = "known",
             only: Sequence[Candidates] = ("warm", "cold", "all")) -> Evaluation:
    """Rank all items for every user who has held-out interactions.

    Three candidate sets, never mixed: ``warm`` (items with a training interaction), ``cold`` (without one; items whose
    held-out interactions all lie in the other part are not candidates), ``all``.

    Args:
        scorer: scores of all users and items of the split's data.
        split: what is held out; for ``part="test"`` it must be unlocked.
        part: the part whose interactions are relevant.
        ks: list lengths, each at most the size of the catalogue.
        metrics: names in `mmgraph.eval.metrics.METRICS`.
        seen: what is left out of the lists: ``known``, all other known positives (training, revealed history, and
            validation when the test part is read), or ``train`` (training and history only), as much of the literature.
        only: the candidate sets to rank; ``warm`` and ``cold`` fall away where there are no cold candidates.

    Raises:
        KeyError: for a metric that does not exist.
        PermissionError: if the test part is locked.
        ValueError: if k exceeds the catalogue, a score is NaN, or the scorer has another number of items.
    """
    if unknown := sorted(set(metrics) - set(METRICS)):
        raise KeyError(f"no metric {unknown}; there are {sorted(METRICS)}.")
    for name, given, known_words in (("part", {part}, get_args(Part)), ("seen", {seen}, get_args(Seen)),
                                     ("only", set(only), get_args(Candidates))):
        if stray := sorted(given - set(known_words)):
            raise ValueError(f"{name} must be among {', '.join(known_words)}, got {', '.join(map(repr, stray))}.")
    if scorer.n_items != len(split.data.items):
        raise ValueError(f"the scorer ranks {scorer.n_items} items, the split has {len(split.data.items)}.")
    held: Pairs = getattr(split, part)
    relevant, known = _relation(held, split), _relation(_known(split, part, seen), split)
    users = np.unique(held.users)
    sets = {name: mask for name, mask in candidate_sets(split, held).items() if name in only}
    n_relevant = {name: torch.from_numpy(np.bincount(held.users[mask[held.items]], minlength=len(split.data.users)))
                  for name, mask in sets.items()}
    values: dict[tuple[str, str], list[Tensor]] = {}
    among = {name: torch.from_numpy(mask) if name != "all" else None for name, mask in sets.items()}
    for block, lists in rank_blocks(scorer, torch.from_numpy(users), max(ks), among, seen=known):
        for name, items in lists.items():
            hits = relevant.contains(block, items)
            for metric in metrics:
                for k in ks:
                    value = METRICS[metric](hits[:, :k], n_relevant[name][block])
                    values.setdefault((name, f"{metric}@{k}"), []).append(value)
    return Evaluation(users, {key: torch.cat(v).numpy() for key, v in values.items()},
                      {name: int(mask.sum()) for name, mask in sets.items()}, part, split.fingerprint)


def candidate_sets(split: Split, held: Pairs) -> dict[str, Bools]:
    """The masks of the candidate sets of a part; only ``all`` where no item is a cold candidate."""
    warm, everything = split.warm_items, np.ones(len(split.data.items), dtype=bool)
    here, held_out = np.zeros_like(warm), np.zeros_like(warm)
    here[held.items], held_out[split.held_out_items] = True, True
    cold = ~warm & ~(held_out & ~here)
    return {"warm": warm, "cold": cold, "all": everything} if cold.any() else {"all": everything}


def _known(split: Split, part: Part, seen: str) -> Pairs:
    parts = [split.train, split.history, *([split.valid] if part == "test" and seen == "known" else [])]
    return Pairs(np.concatenate([p.users for p in parts]), np.concatenate([p.items for p in parts]))


def _relation(pairs: Pairs, split: Split) -> Relation:
    return Relation.of(*INTERACTS, pairs.matrix(len(split.data.users), len(split.data.items)))
