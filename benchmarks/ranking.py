"""How fast are all ranking metrics of all users beside RecBole's evaluator and PyG's metric collection?

python benchmarks/ranking.py [--users N] [--threads 1]     data from MMGRAPH_DATA, default ../shared/data

Gowalla, K = 50, random vectors of 64 numbers. All sides get the same blocks of scores; the seconds that computing the
scores takes are counted apart and subtracted from each. Masking what was seen counts for all sides.
"""

import argparse
import importlib
import multiprocessing
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _rows import append, data_place, provenance
from torch import Tensor
from torch_geometric import metrics as pyg

from mmgraph.data import Given, Split, load
from mmgraph.data.split import TEST, UNUSED
from mmgraph.eval import evaluate
from mmgraph.eval.evaluate import held_out, known_items
from mmgraph.eval.metrics import NAMES

blocks = importlib.import_module("mmgraph.eval.rank")  # the package's `rank` is the function
DIM, K = 64, 50
ACCURACY = ("recall", "mrr", "ndcg", "hit", "precision", "map")
BEYOND = ("itemcoverage", "averagepopularity", "giniindex", "shannonentropy", "tailpercentage")
PYG = (pyg.LinkPredPrecision, pyg.LinkPredRecall, pyg.LinkPredF1, pyg.LinkPredMAP, pyg.LinkPredNDCG, pyg.LinkPredMRR,
       pyg.LinkPredHitRatio)


@dataclass
class Timed:
    """A scorer that knows how long it took."""

    users: Tensor
    items: Tensor
    seconds: float = field(default=0.0)

    @property
    def n_items(self) -> int:
        return len(self.items)

    def scores(self, users: Tensor) -> Tensor:
        start = time.perf_counter()
        found = self.users[users] @ self.items.T
        self.seconds += time.perf_counter() - start
        return found


def world(n_users: int | None) -> tuple[Split, Timed]:
    """Gowalla, read for the first users only, and its scorer."""
    split = Split.of(load("gowalla", data_place("gowalla")), Given()).unlock_test()
    if n_users is not None:
        later = (split.part == TEST) & (split.data.user >= n_users)
        split = replace(split, part=np.where(later, UNUSED, split.part))
    generator = torch.Generator().manual_seed(0)
    vectors = [torch.randn(len(of), DIM, generator=generator) for of in (split.data.users, split.data.items)]
    return split, Timed(*vectors)


def ours(split: Split, scorer: Timed, metrics: Sequence[str]) -> dict[str, float]:
    """Means, and the mean AUC weighted by held-out items as RecBole's."""
    found = evaluate(scorer, split, part="test", ks=[K], metrics=metrics, seen="train", only=["all"])
    means = {name: found["all", name] for _, name in found.values}
    if "auc" in metrics:
        n = np.bincount(split.test.users)[found.users]
        means["gauc"] = float((found.values["all", "auc"] * n).sum() / n.sum())
    return means


def recbole(split: Split, scorer: Timed, metrics: Sequence[str]) -> dict[str, float]:
    """Its collector and evaluator, in the same blocks (its own default is one user at a time)."""
    try:
        from recbole.evaluator import Collector, Evaluator
    except ImportError as error:
        raise ImportError("RecBole is compared with but not installed: pip install recbole") from error
    for name, kind in (("float", float), ("int", int)):
        setattr(np, name, kind)  # RecBole 1.2 reads names that NumPy has dropped
    config = {"metrics": list(metrics), "topk": [K], "device": "cpu", "eval_args": {"mode": "full"},
              "metric_decimal_place": 12, "tail_ratio": 0.1}
    collector, evaluator, relevant = Collector(config), Evaluator(config), held_out(split, "test")
    for block, scores in score_blocks(split, scorer):
        row, item = relevant.rows(block).edges
        collector.eval_batch_collect(scores, None, row, item)
    collected = collector.get_data_struct()
    collected.set("data.num_items", scorer.n_items)
    collected.set("data.count_items", Counter(split.train.items.tolist()))
    return dict(evaluator.evaluate(collected))


def geometric(split: Split, scorer: Timed, into: dict[str, float]) -> dict[str, float]:
    """Its collection, fed with torch.topk; ``into`` gets the seconds of the collection alone."""
    collection, relevant = pyg.LinkPredMetricCollection([cls(k=K) for cls in PYG]), held_out(split, "test")
    into["collection"] = 0.0
    for block, scores in score_blocks(split, scorer):
        top = scores.topk(K).indices
        start = time.perf_counter()
        collection.update(top, relevant.rows(block).edges)
        into["collection"] += time.perf_counter() - start
    return {name: float(value) for name, value in collection.compute().items()}


def score_blocks(split: Split, scorer: Timed) -> Any:
    """The blocks that `evaluate` ranks."""
    return blocks.score_blocks(scorer, torch.from_numpy(np.unique(split.test.users)),
                               seen=known_items(split, "test", "train"))


def timed(scorer: Timed, function: Callable[[], dict[str, float]]) -> tuple[float, dict[str, float]]:
    """Seconds without those of the scores, and what was found."""
    start, before = time.perf_counter(), scorer.seconds
    found = function()
    return time.perf_counter() - start - (scorer.seconds - before), found


def agree(first: dict[str, float], second: dict[str, float], names: dict[str, str], tolerance: float) -> None:
    """Stop if the two do not say the same: ours → theirs."""
    for mine, other in names.items():
        if not abs(first[mine] - second[other]) < tolerance:
            raise AssertionError(f"{mine} is {first[mine]}, but theirs, {other}, is {second[other]}.")


def compare(split: Split, scorer: Timed, runs: int) -> None:
    """Each opponent in turn with the same metrics of ours."""
    with_auc = [name for name in NAMES if name not in ("accuracy", "map")]
    same = {f"{mine}@{K}": f"{theirs}@{K}" for mine, theirs in zip(
        ("recall", "mrr", "ndcg", "hit_rate", "precision", "map_capped"), ACCURACY, strict=True)} | {"gauc": "gauc"}
    alone: dict[str, float] = {}
    in_pyg = dict(zip((f"{name}@{K}" for name in ("precision", "recall", "f1", "map_capped", "ndcg", "mrr",
                                                  "hit_rate")), (f"{cls.__name__}@{K}" for cls in PYG), strict=True))
    pairs: list[tuple[str, Sequence[str], Callable[[], dict[str, float]], dict[str, str], float]] = [
        ("RecBole, the same metrics", with_auc, lambda: recbole(split, scorer, [*ACCURACY, "gauc"]), same, 1e-4),
        ("RecBole, all its metrics; ours all", NAMES, lambda: recbole(split, scorer, [*ACCURACY, "gauc", *BEYOND]),
         same, 1e-4),
        ("PyG with torch.topk, the same metrics", [n for n in with_auc if n != "auc"],
         lambda: geometric(split, scorer, alone), in_pyg, 1e-4)]
    for what, metrics, theirs, names, tolerance in pairs:
        a, b = [], []
        for _ in range(runs):
            seconds, mine = timed(scorer, lambda metrics=metrics: ours(split, scorer, metrics))
            a.append(seconds)
            seconds, other = timed(scorer, theirs)
            b.append(seconds)
            agree(mine, other, names, tolerance)
        record(what, split, statistics.median(a), statistics.median(b), runs,
               {"collection_s": alone["collection"]} if alone else {})


def record(what: str, split: Split, mine: float, theirs: float, runs: int, more: dict[str, float]) -> None:
    """Print and append a row."""
    append("ranking", {"seed": 0, "what": what, "data": "gowalla", "users": len(np.unique(split.test.users)),
                       "items": len(split.data.items), "k": K, "ours_s": mine, "theirs_s": theirs,
                       "times": theirs / mine, "bar": 10, "met": theirs / mine >= 10, "runs": runs, **more,
                       **provenance()})
    print(f"{what}: ours {mine:.2f} s, theirs {theirs:.2f} s, {theirs / mine:.1f} times as fast; {more}")


def peak(n_users: int | None, block: int, threads: int) -> float:
    """MB by which all metrics raise the peak memory of a fresh process."""
    torch.set_num_threads(threads)
    split, scorer = world(n_users)
    held_out(split, "test"), known_items(split, "test", "train")
    blocks.BLOCK = block
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew from what is held now
    before = peak_mb()
    ours(split, scorer, NAMES)
    return peak_mb() - before


def peak_mb() -> float:
    """Highest resident memory of this process so far."""
    [line] = [of for of in Path("/proc/self/status").read_text().splitlines() if of.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--users", type=int, help="only the first so many")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--runs", type=int, default=1)
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    compare(*world(chosen.users), chosen.runs)
    for size in (2**21, 2**24):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            grown = fresh.submit(peak, chosen.users, size, chosen.threads).result()
        append("ranking", {"seed": 0, "what": "peak memory of all metrics", "data": "gowalla",
                           "users": chosen.users or "all",
                           "block_scores": size, "block_mb": size * 4 / 2**20, "grown_mb": grown, **provenance()})
        print(f"blocks of {size * 4 / 2**20:.0f} MB of scores raise the peak by {grown:.0f} MB")
