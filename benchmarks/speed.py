"""How fast are a LightGCN step and the ranking of all users beside the usual way, and the reading of a million rows?

python benchmarks/speed.py [--quick]     data from MMGRAPH_DATA, default ../shared/data

Both sides run in turn in one process on the same numbers; what counts is the ratio of the medians. What was measured at
this commit on this machine is not measured again, so a stopped call goes on. --quick: few runs, ranking for the first
4,000 users, under a minute; its rows are marked and stand in no table.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from _rows import append, at_this_commit, data_place, provenance

from mmgraph.data import Dataset, Given, Split, load
from mmgraph.data.split import TEST, UNUSED
from mmgraph.eval import evaluate
from mmgraph.features import Features
from mmgraph.graph import Graph, train_graph
from mmgraph.models import DotScorer, Embeddings, LightGCN, Triples
from mmgraph.nn import bpr_loss, l2_loss

DIM, LAYERS, BATCH, K, QUICK_USERS = 64, 3, 2048, 50, 4000
STEP = f"LightGCN step, {LAYERS} layers, batch {BATCH}, CSR by hand / COO autograd"
RANK = {True: f"rank and score all users, K = {K}, blocked / Python loop that sorts",
        False: f"rank and score all users, K = {K}, blocked / Python loop with argpartition"}
READ = "1 M rows of strings to a 10-core"


def is_there(name: str, what: str, runs: int, quick: bool) -> bool:
    """Whether this was measured at this commit before."""
    found = bool(at_this_commit(name, {"what": what, "runs": runs, "quick": quick}))
    if found:
        print(f"{what}: measured at this commit before")
    return found


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], runs: int) -> tuple[list[float], list[float]]:
    """Seconds of each run of the two, alternating, after one warm-up of each."""
    times: tuple[list[float], list[float]] = [], []
    for n in range(runs + 1):
        for seconds, function in zip(times, (ours, theirs), strict=True):
            start = time.perf_counter()
            function()
            if n:
                seconds.append(time.perf_counter() - start)
    return times


def report(what: str, data: str, ours: list[float], theirs: list[float], bar: float, quick: bool) -> None:
    """Print and record the medians and their ratio."""
    a, b = statistics.median(ours), statistics.median(theirs)
    append("speed", {"what": what, "data": data, "quick": quick, "ours_s": a, "theirs_s": b, "ratio": a / b, "bar": bar,
                     "met": a / b <= bar, "runs": len(ours), **provenance()})
    print(f"{what} on {data}: {a * 1e3:.0f} ms against {b * 1e3:.0f} ms, ratio {a / b:.3f} (bar {bar})")


def coo_step(model: LightGCN, graph: Graph, optimizer: torch.optim.Optimizer) -> Callable[[Triples], None]:
    """One training step as the common implementations do it: one square COO matrix, autograd through every layer."""
    a = graph.interactions.symmetric
    u, i = a.edges
    n = graph.n_users + graph.n_items
    at = torch.stack([torch.cat([u, i + graph.n_users]), torch.cat([i + graph.n_users, u])])
    square = torch.sparse_coo_tensor(at, torch.cat([a.weight, a.weight]), (n, n)).coalesce()

    def step(batch: Triples) -> None:
        layers = [torch.cat([model.user.weight, model.item.weight])]
        for _ in range(LAYERS):
            layers.append(torch.sparse.mm(square, layers[-1]))
        users, items = torch.stack(layers, dim=1).mean(1).split([graph.n_users, graph.n_items])
        start = model.user.weight[batch.users], model.item.weight[batch.positives], model.item.weight[batch.negatives]
        loss = bpr_loss(users[batch.users], items[batch.positives], items[batch.negatives]) + 1e-4 * l2_loss(*start)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def lightgcn_step(runs: int, quick: bool) -> None:
    """A step on Gowalla: ours against torch COO with autograd; both end with the same gradients."""
    if is_there("speed", STEP, runs, quick):
        return
    split = Split.of(load("gowalla", data_place("gowalla")), Given())
    graph = train_graph(split)
    features = Features.empty(split.data.items.take(np.arange(split.n_warm_items)))
    torch.manual_seed(0)
    model = LightGCN(graph.schema(), dim=DIM, n_layers=LAYERS)
    graph = model.prepare(graph, features)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(graph.interactions.n_edges, (BATCH,), generator=generator)
    users, positives = graph.interactions.edges[:, rows]
    batch = Triples(users, positives, torch.randint(graph.n_items, (BATCH,), generator=generator))
    theirs = coo_step(model, graph, optimizer)

    def ours() -> None:
        terms = model.loss(graph, features, batch)
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()

    report(STEP, "gowalla", *in_turn(ours, lambda: theirs(batch), runs), bar=0.35, quick=quick)


def baby(quick: bool) -> Split:
    """Amazon Baby, unlocked; in a quick run only the first users are tested."""
    split = Split.of(load("amazon-baby", data_place("amazon-baby")), Given()).unlock_test()
    left_out = (split.part == TEST) & (split.data.user >= QUICK_USERS)
    return replace(split, part=np.where(left_out, UNUSED, split.part)) if quick else split


def ranking(runs: int, quick: bool) -> None:
    """Rank and score every Baby user at K = 50: ours against a Python loop over users."""
    todo = {full_sort: kind for full_sort, kind in RANK.items() if not is_there("speed", kind, runs, quick)}
    if not todo:
        return
    split = baby(quick)
    seen = train_graph(split).extend(items=len(split.data.items) - split.n_warm_items).interactions
    generator = torch.Generator().manual_seed(0)
    scorer = DotScorer(Embeddings(torch.randn(len(split.data.users), DIM, generator=generator),
                                  torch.randn(len(split.data.items), DIM, generator=generator)))
    held = split.test.matrix(len(split.data.users), len(split.data.items))
    users = torch.from_numpy(np.unique(split.test.users))
    found: dict[str, float] = {}

    def ours() -> None:
        result = evaluate(scorer, split, part="test", ks=[K], seen="train", only=("all",))
        found["ours"] = result["all", f"recall@{K}"]

    def theirs(full_sort: bool) -> None:
        recalls, ndcgs = [], []
        for user in users.tolist():
            scores = (scorer.embeddings.users[user] @ scorer.embeddings.items.T).numpy().copy()
            scores[seen.indices[seen.indptr[user]:seen.indptr[user + 1]].numpy()] = -np.inf
            top = np.arange(len(scores)) if full_sort else np.argpartition(-scores, K)[:K]
            top = top[np.argsort(-scores[top])][:K]
            relevant = set(held.indices[held.indptr[user]:held.indptr[user + 1]].tolist())
            hits = [item in relevant for item in top.tolist()]
            recalls.append(sum(hits) / len(relevant))
            ideal = sum(1 / np.log2(r + 2) for r in range(min(K, len(relevant))))
            ndcgs.append(sum(h / np.log2(r + 2) for r, h in enumerate(hits)) / ideal)
        found["theirs"] = float(np.mean(recalls))

    for full_sort, kind in todo.items():
        ours_s, theirs_s = in_turn(ours, lambda full=full_sort: theirs(full), runs)
        if abs(found["ours"] - found["theirs"]) > 1e-9:
            raise AssertionError(f"the two rankings differ: {found}")
        report(kind, "amazon-baby", ours_s, theirs_s, bar=0.1, quick=quick)


def million_rows(runs: int, quick: bool) -> None:
    """From a frame of a million rows with string ids to its 10-core."""
    if is_there("rows", READ, runs, quick):
        return
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user": (rng.pareto(1, 1_000_000) * 6_000).astype(int) % 60_000,
                          "item": (rng.pareto(1, 1_000_000) * 3_000).astype(int) % 30_000}).astype(str)
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        core = Dataset.from_frames(frame).k_core(10)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    append("rows", {"what": READ, "quick": quick, "median_s": median, "bar_s": 3.0, "met": median <= 3.0, "runs": runs,
                    "kept": len(core), **provenance()})
    print(f"{READ} of {len(core):,}: {median:.2f} s (bar 3 s)")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="few runs")
    arguments.add_argument("--only", choices=["step", "ranking", "rows"], help="one of the three")
    arguments.add_argument("--threads", type=int, default=2)
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.only in (None, "step"):
        lightgcn_step(3 if chosen.quick else 15, chosen.quick)
    if chosen.only in (None, "ranking"):
        ranking(1 if chosen.quick else 5, chosen.quick)
    if chosen.only in (None, "rows"):
        million_rows(1 if chosen.quick else 5, chosen.quick)
