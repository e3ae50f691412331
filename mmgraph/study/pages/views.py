"""What pages and pictures show of results besides the tables: pure functions of the rows."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmgraph.study.result import Result

CONTROLS = {"permuted": "features permuted", "noise": "features replaced by noise"}
SETS = {"warm": "only items that somebody took in training",
        "cold": "only new items, which nobody took in training and the model knows by their content alone",
        "all": "every item, known and new together"}
Means = dict[str, dict[str, tuple[float, float | None]]]  # label → name → mean and sd over seeds and folds


@dataclass(frozen=True)
class Gain:
    """How much better a model is with its content than with content that tells nothing.

    Args:
        aligned: metric with the right features, mean over runs.
        difference: aligned − control, mean over the runs (seed, fold) that have both.
        sd: of the difference over these runs; none for a single one.
        n_runs: number of these runs.
    """

    aligned: float
    difference: float
    sd: float | None
    n_runs: int


def label(result: Result) -> str:
    """Name of what was measured, the control in words."""
    return result.model if result.control is None else \
        f"{result.model}, {CONTROLS.get(result.control, result.control)}"


def world(result: Result) -> str:
    """What may be compared with each other, in words: data set, protocol with parameters, part, what was trained on."""
    turned = {"fold", "test", "valid"} if result.split.get("fold") is not None else set()  # what a fold changes
    given = ", ".join(f"{name}={value}" for name, value in (result.split.get("parameters") or {}).items()
                      if name not in turned)
    trained = "" if list(result.trained_on) == ["train"] else f", trained on {' + '.join(result.trained_on)}"
    return f"{result.data['name']}, {result.split['name']}" + f"({given})" * bool(given) + f", {result.part}{trained}"


def by_world(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results by `world`, in the order they first occur."""
    return {name: [r for r in results if world(r) == name] for name in dict.fromkeys(map(world, results))}


def by_label(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results by `label`, in the order they first occur."""
    return {name: [r for r in results if label(r) == name] for name in dict.fromkeys(map(label, results))}


def mean_sd(values: Iterable[float]) -> tuple[float, float | None]:
    """Mean and standard deviation (n − 1); none for a single value."""
    array = np.fromiter(values, float)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None


def run_of(result: Result) -> tuple[int, Any]:
    """What pairs a control with its model: seed and fold."""
    return result.seed, result.split.get("fold")


def gains(results: Sequence[Result], metric: str) -> dict[str, dict[tuple[str, str], Gain]]:
    """Content gain of one world: model → (candidates, control) → gain, for the models that have a control.

    Source: permutation importance, Breiman 2001, doi:10.1023/A:1010933404324.
    """
    found: dict[str, dict[tuple[str, str], Gain]] = {}
    for control in dict.fromkeys(r.control for r in results if r.control is not None):
        for model in dict.fromkeys(r.model for r in results if r.control == control):
            aligned = [r for r in results if r.model == model and r.control is None]
            other = {run_of(r): r for r in results if r.model == model and r.control == control}
            pairs = [(r, other[run_of(r)]) for r in aligned if run_of(r) in other]
            for candidates in dict.fromkeys(name for r, _ in pairs for name in r.metrics):
                both = [(a, b) for r, o in pairs if (a := at(r.metrics, candidates, metric)) is not None
                        and (b := at(o.metrics, candidates, metric)) is not None]
                if both:
                    found.setdefault(model, {})[candidates, control] = Gain(
                        mean_sd(a for a, _ in both)[0], *mean_sd(a - b for a, b in both), len(both))
    return found


def at(tables: Mapping[str, Mapping[str, float | None]], row: str, column: str) -> float | None:
    """A value of a nested table; none where it is missing, none or not finite."""
    value = tables.get(row, {}).get(column)
    return value if value is not None and math.isfinite(value) else None


def popularity(results: Sequence[Result], metric: str) -> tuple[str, Means]:
    """The metric by popularity of the items, for competitors: its name, and label → bucket → mean and sd.

    Takes the first metric that the groups hold where they do not hold the one asked for.
    """
    kept = [r for r in results if r.competitor and r.groups.get("item popularity")]
    held = [name for r in kept for group in r.groups["item popularity"].values() for name in group]
    metric = metric if metric in held or not held else held[0]
    return metric, {name: _means([{bucket: at(r.groups["item popularity"], bucket, metric)
                                   for bucket in r.groups["item popularity"]} for r in rows])
                    for name, rows in by_label(kept).items()}


def shapley(results: Sequence[Result]) -> Means:
    """Label → modality → mean and sd of its share; ``(none)`` is the value without content."""
    return {name: _means([r.shapley for r in rows])
            for name, rows in by_label([r for r in results if r.competitor and r.shapley]).items()}


def curves(results: Sequence[Result]) -> dict[str, list[list[tuple[int, float]]]]:
    """Label → one list of (epoch, validation score) per run that was validated while it trained."""
    found: dict[str, list[list[tuple[int, float]]]] = {}
    for result in results:
        line = [(e["epoch"], e["valid"]) for e in result.history if e.get("valid") is not None]
        if line and result.competitor:
            found.setdefault(label(result), []).append(line)
    return found


def searches(results: Sequence[Result]) -> dict[str, Mapping[str, Any]]:
    """Name → search of each model that was tuned; a model whose runs were tuned apart has one per run, a control that
    took over the settings of its model none.
    """
    found: dict[str, Mapping[str, Any]] = {}
    own = {(r.model, json.dumps(r.search, sort_keys=True)) for r in results if r.control is None}
    for name, rows in by_label([r for r in results if r.search.get("trials")]).items():
        distinct = {text: r for r in rows if (text := json.dumps(r.search, sort_keys=True)) and
                    (r.control is None or (r.model, text) not in own)}
        for result in distinct.values():
            seed, fold = run_of(result)
            apart = f", seed {seed}" + (f", fold {fold}" if fold is not None else "") if len(distinct) > 1 else ""
            found[name + apart] = result.search
    return found


def metric_of(results: Sequence[Result]) -> str:
    """A metric for charts of these results where no table names one: the first that was measured."""
    return next((name for r in results for row in r.metrics.values() for name in row), "")


def _means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, tuple[float, float | None]]:
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [v for row in rows if (v := row.get(name)) is not None] for name in names}
    return {name: mean_sd(given) for name, given in values.items() if given}
