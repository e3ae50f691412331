"""Which method ranks never-seen items best, in lists of their own and among warm ones, on day one and as they warm up?

python benchmarks/cold_start.py [sets] [--parts closed learned models mixed warm-up serving] [--draws 0 1 …] [--quick]
data from MMGRAPH_DATA, default ../shared/data

closed, learned, models: 80/10/10 of the items at random are warm, cold for validation, cold for test; a study per group
of methods and draw in results/cold/<set>/<group>-<draw>: every method gets the same number of trials on cold validation
items, test is read once, with a control on permuted content. mixed: the closed form beside the set's warm model that
is best on validation, in lists of all items, with the calibration that is best on validation. warm-up: k interactions
of each new item revealed, judged on a fixed half, without a refit and with one, and the oracle that was trained on the
other half. serving: 10,000 items added to a trained recommender, on two threads. The citations of
citeulike-t are read both ways. Everything is appended as it comes, and a second call goes on where the first stopped.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from _cold import GROUPS, PLACE, QUICK, SETS, content, dataset, place_of, table, taking_part
from _rows import append, known, provenance
from accuracy import carried_out

import mmgraph as mg
from mmgraph.cold import ContentProfile, KernelRidge, WarmUp
from mmgraph.data import RevealedItems, Vocabulary
from mmgraph.data.card import cards
from mmgraph.eval import Evaluation, evaluate
from mmgraph.features.features import from_arrays
from mmgraph.models.cold_start import NEW_ITEMS
from mmgraph.models.fitted import Fitted
from mmgraph.study import Study, calibrate, mixed_lists, read, with_cold_start, with_half_seen
from mmgraph.study.calibrate import Kind
from mmgraph.study.curves import Point, append_points, read_curves
from mmgraph.study.ledger import FILE as READINGS
from mmgraph.study.ledger import recorded
from mmgraph.study.study import Outside

NAME = "cold_start"
REVEALED = (0, 1, 2, 3, 5, 10)
MIXED = ("ml-1m", "citeulike-t")
SHARE_GAP = 0.05  # on validation; half of what is asked on test, as the drawn items differ in how popular they are
ORACLE = "oracle: trained on the other half"


def strict(group: str, name: str, draw: int, quick: bool) -> None:
    """A group of methods side by side on one draw of the cold items."""
    data = dataset(name, quick)
    split = data.split(mg.ColdItems(0.2), seed=draw)
    features = content(name, split)
    models = taking_part(name, group, [*features.x])
    if quick:
        models = {label: shortened(one) for label, one in models.items()}
    study = Study.of(split, models, name=f"{name}, {group}, draw {draw}", data=SETS[name].data, features=features,
                     trials=1 if quick else SETS[name].trials, seeds=(0,),
                     baselines=["Popularity"] if group == "closed" else [],
                     monitor="ndcg@20", monitor_on=["cold"], ks=(20,), metrics=("recall", "ndcg"),
                     card=cards()[SETS[name].data].fingerprint, content_controls=("permuted",), content_shares=False,
                     options={"max_epochs": 40, "every": 4}, threads=1)
    place = place_of(name, group, draw, quick)
    chance = torch.rand(len(data.users), len(data.items), generator=torch.Generator().manual_seed(draw))
    carried_out(study, place, {"random": Outside(mg.models.TableScorer(chance), ())} if group == "closed" else {})


def shortened(one: mg.Candidate) -> mg.Candidate:
    """The candidate with a single epoch, for a look at whether all runs."""
    return replace(one, space={n: [1] if n == "cold.epochs" else v for n, v in one.space.items()})


def mixed(name: str, draw: int, quick: bool) -> None:
    """Lists of all items before and after calibration; method and calibration are chosen on validation."""
    split = dataset(name, quick).split(mg.ColdItems(0.2), seed=draw)
    key = {"what": "mixed", "set": name, "draw": draw, "quick": quick, "max_share_gap": SHARE_GAP,
           "split": split.fingerprint}
    if known(NAME, key) or not (chosen := winner(name, draw, quick)):
        return
    method, settings = chosen
    cls, fixed = SETS[name].warm
    warm = mg.fit(cls, split, content(name, split), **fixed)
    fitted = with_cold_start(warm, split, NEW_ITEMS.by_name(method, settings))
    tried: dict[str, Any] = {}
    for kind in get_args(Kind):
        try:
            tried[kind] = calibrate(fitted, split, kind=kind, max_share_gap=SHARE_GAP)
        except ValueError as error:
            tried[kind] = str(error)
    kinds = {kind: done for kind, done in tried.items() if not isinstance(done, str)}
    best = max(kinds, key=lambda kind: kinds[kind].after["all"]) if kinds else None
    read_as = {"cold": method, **settings, "warm": cls.__name__, "kind": best}
    place_of(name, "closed", draw, quick).parent.mkdir(parents=True, exist_ok=True)
    nth, marks = recorded(place_of(name, "closed", draw, quick).parent / READINGS, split.fingerprint, "test",
                          "mixed lists", cls.__name__, 0, read_as, None, NAME)
    lists = mixed_lists(fitted, split.unlock_test(), "ndcg@20", "test")
    test = {"without": lists.figures(None),
            "with": lists.figures(None if best is None else kinds[best].fitted.model.calibration)}
    append(NAME, {**key, "warm model": cls.__name__, "method": method, "settings": settings, "kind": best, "test": test,
                  "valid": {kind: of if isinstance(of, str) else {"before": of.before, "after": of.after}
                            for kind, of in tried.items()}, "reading": nth, "marks": marks, **provenance()})
    print(name, draw, best, test, flush=True)


def winner(name: str, draw: int, quick: bool) -> tuple[str, dict[str, Any]] | None:
    """The closed form beside the set's warm model that was best on cold validation items, with its settings; none if
    the study of the draw has not come so far.
    """
    place, warm = place_of(name, "closed", draw, quick), SETS[name].warm[0].__name__
    rows = [r for r in read(place) if r.control is None and r.cls.startswith(f"{warm}+")] \
        if (place / "plan.json").exists() else []
    if not rows:
        return None
    best = max(rows, key=lambda r: r.search["trials"][r.search["chosen"]]["valid"])
    return best.hyperparameters["cold"], NEW_ITEMS.own(best.hyperparameters)


def warm_up(name: str, draw: int, quick: bool) -> None:
    """Curves over the number of revealed interactions: content alone, with the takers, and a refit with them."""
    place = (QUICK if quick else PLACE) / name / "warm-up"
    data, done = dataset(name, quick), {(p.method, p.x) for p in read_curves(place) if p.draw == draw}
    cls, fixed = SETS[name].warm
    for k in REVEALED:
        split = data.split(RevealedItems(0.2, k=k), seed=draw)
        of_method = {"content": partial(beside, ContentProfile()), "content and takers": partial(beside, WarmUp()),
                     "refit": refit}
        left = {label: run for label, run in of_method.items() if (label, float(k)) not in done and
                (label != "refit" or k)}
        if not left:
            continue
        features = content(name, split)
        warm = mg.fit(cls, split, features, **fixed)
        for label, run in left.items():
            fitted, whole = run(warm, split, features)
            append_points(place, points(label, k, evaluate(fitted, whole.unlock_test(), part="test", ks=[20],
                                                           only=["cold"]), draw))
            print(name, draw, k, label, flush=True)
    if (ORACLE, 0.0) not in done:
        plain = data.split(RevealedItems(0.2, k=0), seed=draw)
        fitted, split = with_half_seen(cls, data, content(name, plain), share=0.2, seed=draw, **fixed)
        found = evaluate(fitted, split.unlock_test(), part="test", ks=[20], only=["cold"])
        append_points(place, [p for k in REVEALED for p in points(ORACLE, k, found, draw)])


def beside(method: Any, warm: Fitted, split: mg.Split, features: mg.Features) -> tuple[Fitted, mg.Split]:
    """A method beside the warm model, which was fitted without the revealed interactions."""
    return with_cold_start(warm, split, method), split


def refit(warm: Fitted, split: mg.Split, features: mg.Features) -> tuple[Fitted, mg.Split]:
    """The warm model's class fitted anew with the revealed interactions among what is learned."""
    new = split.with_history_trained()
    return mg.fit(type(warm.model), new, features, cold=ContentProfile(), **warm.model.hyperparameters()), new


def points(label: str, k: int, found: Evaluation, draw: int) -> Iterator[Point]:
    """The figures of one place of a curve."""
    for row in found.rows():
        yield Point("warm-up", label, k, row["metric"], row["candidates"], row["mean"],
                    row["mean"] - row["half_width"], row["mean"] + row["half_width"], row["n_users"], draw)


def serving(name: str, draw: int, quick: bool) -> None:
    """Seconds to add 10,000 items to a trained recommender, and whether anything else moved."""
    key = {"what": "serving", "set": name, "quick": quick, "threads": 2, "commit": provenance()["commit"]}
    if known(NAME, key):
        return
    torch.set_num_threads(2)
    data = dataset(name, quick)
    split = data.split(mg.ColdItems(0.2), seed=draw)
    features = content(name, split)
    rng, found = np.random.default_rng(0), {}
    copies = rng.integers(len(data.items), size=10_000)
    new = from_arrays(Vocabulary([f"new {i}" for i in range(len(copies))]),
                      {m: x[torch.from_numpy(copies)] for m, x in features.x.items()})
    whole = from_arrays(Vocabulary([*features.ids.ids.to_pylist(), *new.ids.ids.to_pylist()]),
                        {m: torch.cat([x, new.x[m]]) for m, x in features.x.items()})
    users = torch.arange(min(200, len(data.users)))
    for label, cls, method in (("EASE with ridge", mg.EASE, KernelRidge()), ("LightGCN with ridge", mg.LightGCN,
                               KernelRidge()), ("FREEDOM", mg.FREEDOM, None)):
        options: dict[str, Any] = {"max_epochs": 2, "progress_bar": False} if cls is not mg.EASE else {}
        fitted = mg.fit(cls, split, features, cold=method, monitor_on=["warm"], **options)
        before = mg.Recommender.of(fitted, data)
        old = before.fitted.scores(users)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            after = before.add_items(new)
            after.fitted.scorer.scores(users[:1])
            seconds.append(time.perf_counter() - start)
        scores, n = after.fitted.scores(users), len(data.items)
        there = whole.aligned(after.fitted.items)
        graph = fitted.model.prepare(split_graph(split, len(there)), there)
        direct = fitted.model.scorer(graph, there).scores(users)
        found[label] = {"seconds": sorted(seconds)[1],
                        "known scores are bit-identical": torch.equal(scores[:, :n], old),
                        "largest difference from having had them": float((scores - direct).abs().max())}
        print(label, found[label], flush=True)
    append(NAME, {**key, "items": len(data.items), "added": len(copies), "found": found, **provenance()})
    torch.set_num_threads(1)


def split_graph(split: mg.Split, n_items: int) -> mg.Graph:
    """The graph for scoring, with this many items."""
    from mmgraph.graph.graph import full_graph

    graph = full_graph(split)
    return graph.extend(items=n_items - graph.n_items)


PARTS: dict[str, Callable[[str, int, bool], None]] = {
    **{group: partial(strict, group) for group in GROUPS}, "mixed": mixed, "warm-up": warm_up, "serving": serving}
FEWER = {"mixed": MIXED, "warm-up": ("citeulike-t", "ml-1m"), "serving": ("ml-1m",)}


def main(names: Sequence[str], parts: Sequence[str], draws: Sequence[int], quick: bool) -> None:
    """One part after the other, one draw after the other; what a draw makes is complete before the next begins."""
    for part in parts:
        for draw in range(max(one.draws for one in SETS.values())):
            for name in names:
                asked = name in FEWER.get(part, SETS) and draw < SETS[name].draws and (not draws or draw in draws)
                if asked and not (part == "serving" and draw):
                    PARTS[part](name, draw, quick)
    for name in names:
        print(f"\n{name}\n{table(name, quick)}", flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", help=f"of {', '.join(SETS)}; all by default")
    arguments.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    arguments.add_argument("--draws", nargs="*", type=int, default=[], help="numbers of draws; all by default")
    arguments.add_argument("--quick", action="store_true", help="400 users, one trial, in a temporary folder")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    main(given.names or list(SETS), given.parts, given.draws, given.quick)
