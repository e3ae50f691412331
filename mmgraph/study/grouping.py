"""Which results may stand in one table, and which of them are one line of it."""

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from mmgraph.study.result import Result

Thing = TypeVar("Thing")
Key = TypeVar("Key", bound=Hashable)
LEFT_OUT = {"train": " · training items left out", "known": ""}
CONTROLS = {"permuted": "features permuted", "noise": "features replaced by noise"}


def check_names(results: Sequence[Result]) -> None:
    """Refuse names that stand for two things.

    Raises:
        ValueError: if a data set name has two fingerprints, or a split name with the same parameters, seed and fold.
    """
    data: dict[str, str] = {}
    splits: dict[str, str] = {}
    for r in results:
        name, fold = r.data["name"], r.split.get("fold")
        split = f"{protocol(r)} of {name}, seed {r.split['seed']}" + ("" if fold is None else f", fold {fold}")
        for known, key, found in ((data, f"data set {name}", r.data["fingerprint"]),
                                  (splits, f"split {split}", r.split["fingerprint"])):
            if known.setdefault(key, found) != found:
                raise ValueError(f"two different things are called {key}: fingerprints {known[key]} and {found} "
                                 f"({r.model}). Their results must not share a table; give one another name, or pass "
                                 f"only the results of one.")


def tables(results: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """Results that may be compared, with a title: one data set, protocol, part, one set of parts that training saw, and
    one version of each modality. References that saw other parts than any competitor stand in all tables of their part;
    so do results without any of the modalities that exist in two versions.
    """
    found = []
    places = gathered(results, lambda r: (r.data["name"], protocol(r), r.part, r.options.get("seen")))
    for place, rows in places.items():
        trained = gathered([r for r in rows if r.kind != "reference"] or rows, _trained)
        for parts, mine in trained.items():
            mine += [r for r in rows if r.kind == "reference" and r not in mine
                     and (_trained(r) == parts or _trained(r) not in trained)]
            title = f"{place[0]} · {place[1]} · {place[2]} · trained on {parts}{LEFT_OUT.get(str(place[3]), '')}"
            found += [(title + words, some) for words, some in by_features(mine)]
    return found


def by_features(results: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """Split results so that no modality has two fingerprints; the words name those that would have had."""
    uses = {id(r): dict(r.features or {}) for r in results if r.kind != "control"}
    prints = gathered([item for used in uses.values() for item in used.items()], lambda item: item[0])
    clashing = {name for name, items in prints.items() if len(set(items)) > 1}
    if not clashing:
        return [("", list(results))]
    uses = {key: {name: used[name] for name in used if name in clashing} for key, used in uses.items()}
    versions: list[dict[str, str]] = []
    for used in sorted(uses.values(), key=len, reverse=True):
        if used and not any(used.items() <= version.items() for version in versions):
            versions.append(used)
    found = []
    for version in versions:
        own = [r for r in results if id(r) in uses and uses[id(r)].items() <= version.items()]
        names = {(r.plan, r.model) for r in own}
        some = [r for r in results if r in own or (r.kind == "control" and (r.plan, r.model) in names)]
        found.append((" · features " + ", ".join(f"{m} {p[:12]}" for m, p in sorted(version.items())), some))
    return found


def lines(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Label → the runs that are averaged: one per split and seed. A later reading, or another plan under the same
    label, is a line of its own.

    Raises:
        ValueError: if a split was read twice with one seed by what claims to be the same reading.
    """
    plans = gathered(results, label)
    found = gathered(results, lambda r: (
        label(r) + (f", plan {r.plan[:8]}" if len({p.plan for p in plans[label(r)]}) > 1 else "")
        + (f", reading {r.reading}" if r.reading > 1 else "")))
    for name, runs in found.items():
        for (split, seed), same in gathered(runs, lambda r: (r.split["fingerprint"], r.seed)).items():
            if len(same) > 1 or len({r.kind for r in runs}) > 1:
                raise ValueError(f"{name} stands for several results on split {split} with seed {seed}, kinds "
                                 f"{sorted({r.kind for r in runs})}; give each model a label of its own.")
    return found


def label(result: Result) -> str:
    """The label of a model, with what was done to a control in words."""
    if result.control is None:
        return result.model
    return f"{result.model}, {CONTROLS.get(result.control, f'features {result.control}')}"


def protocol(result: Result) -> str:
    """Name and parameters of the split protocol."""
    given: Mapping[str, Any] = result.split.get("parameters") or {}
    inner = ", ".join(f"{name} = {value if isinstance(value, str) else json.dumps(value, sort_keys=True)}"
                      for name, value in sorted(given.items()))
    return f"{result.split['name']}({inner})"


def gathered(things: Iterable[Thing], key: Callable[[Thing], Key]) -> dict[Key, list[Thing]]:
    """Things by key, both in the order in which they came."""
    found: dict[Key, list[Thing]] = {}
    for thing in things:
        found.setdefault(key(thing), []).append(thing)
    return found


def _trained(result: Result) -> str:
    return " + ".join(result.trained_on) or "nothing"
