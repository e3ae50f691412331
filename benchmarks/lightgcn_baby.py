"""Does LightGCN reach its published figures on Baby, settings chosen on validation, within ten minutes?

python benchmarks/lightgcn_baby.py search [threads]    try the grid, a row each; goes on where a stopped call was
python benchmarks/lightgcn_baby.py test [threads]      train the best setting once more, read the test part once
"""

import sys
from itertools import product

import torch
from _rows import append, data_place, provenance, rows

from mmgraph.data import Given, Split, load
from mmgraph.eval import evaluate
from mmgraph.models import LightGCN
from mmgraph.study import fit

DATA = "amazon-baby"
GRID = {"n_layers": [3], "l2": [1e-3, 1e-2]}
FIXED = {"dim": 64, "lr": 2e-3, "batch_size": 4096, "max_epochs": 240, "every": 5, "patience": 3,
         "monitor_on": ("all",)}


def search(split: Split) -> None:
    """One row per setting, with its validation score."""
    done = [row["settings"] for row in rows("lightgcn_baby") if row["what"] == "search"]
    for values in product(*GRID.values()):
        settings = dict(zip(GRID, values, strict=True))
        if settings in done:
            continue
        fitted = fit(LightGCN, split, **settings, **FIXED)
        valid = max(row["valid"] for row in fitted.history if "valid" in row)
        append("lightgcn_baby", {"what": "search", "data": DATA, "split": split.fingerprint, "settings": settings,
                                 "fixed": FIXED, "valid recall@20": valid, "epochs": len(fitted.history),
                                 "seconds": fitted.seconds, "seed": 0, **provenance()})
        print(settings, f"valid recall@20 {valid:.4f}, {len(fitted.history)} epochs, {fitted.seconds:.0f} s",
              flush=True)


def test(split: Split) -> None:
    """Train the setting that is best on validation once more and read the test part."""
    tried = [row for row in rows("lightgcn_baby") if row["what"] == "search"]
    best = max(tried, key=lambda row: row["valid recall@20"])
    fitted = fit(LightGCN, split, **best["settings"], **FIXED)
    found = evaluate(fitted, split.unlock_test(), part="test", seen="train", only=("all",))
    metrics = {name: found["all", name] for name in ("recall@10", "recall@20", "ndcg@10", "ndcg@20")}
    append("lightgcn_baby", {"what": "test", "data": DATA, "split": split.fingerprint, "settings": best["settings"],
                             "fixed": FIXED, "metrics": metrics, "epochs": len(fitted.history),
                             "seconds": fitted.seconds, "seed": 0, **provenance()})
    print(best["settings"], {name: round(value, 4) for name, value in metrics.items()}, f"{fitted.seconds:.0f} s")


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 2)
    {"search": search, "test": test}[sys.argv[1]](Split.of(load(DATA, data_place(DATA)), Given()))
