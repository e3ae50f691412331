"""Does anything of a new item reach what is trained? Every model, alone and with every cold-start method.

python benchmarks/leakage.py [--models …] [--methods …]     data from MMGRAPH_DATA, default ../shared/data

`check_leakage` on 60 users of MovieLens 100K, a fifth of the items cold; plots (TF-IDF) and genres, both of warm films;
two epochs, one seed. A row per pair in results/leakage.jsonl, appended as it comes; a second call at the same commit
goes on where the first stopped. A method that reads the vectors of its warm model is refused by one that has none: that
is in the row too. Nothing is claimed of how well a pair ranks.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

from _rows import append, data_place, known, provenance
from accuracy import sampled
from tqdm import tqdm

import mmgraph as mg
import mmgraph.cold
from mmgraph.features import TfidfText, multi_hot
from mmgraph.models import Trained
from mmgraph.models.base import all_models
from mmgraph.models.cold_start import NEW_ITEMS, ColdStart
from mmgraph.models.method import method_defaults
from mmgraph.study.leakage import check_leakage

NAME, USERS = "leakage", 60
MODELS = {cls.__name__: cls for cls in all_models()}
METHODS = {cls.__name__: cls for cls in ColdStart.__subclasses__()}
TRAINED = {"dim": 8, "max_epochs": 2, "batch_size": 1024, "monitor": "recall@20", "monitor_on": ["warm"]}


def world() -> tuple[mg.Split, mg.Features]:
    """Some users of MovieLens 100K, a fifth of their films cold, with plots and genres."""
    split = sampled(mg.load("ml-100k", data_place("ml-100k")), USERS).split(mg.ColdItems(0.2), seed=0)
    warm = split.data.items.names(split.warm_items.nonzero()[0])
    plots = mg.content_features(split.data, fit_items=warm, text=TfidfText(dim=32), progress=False)
    return split, plots.only("text") | multi_hot(split, {"genre": ["genre"]})


def settings(cls: type[mg.Model], method: type[ColdStart] | None) -> dict[str, Any]:
    """What a pair is fitted with."""
    cold: dict[str, Any] = {}
    if method is not None:
        own = {"epochs": 2} if "epochs" in method_defaults(method) else {}
        cold = {"cold": NEW_ITEMS.by_name(method.__name__, own)}
    return {**(TRAINED if issubclass(cls, Trained) else {}), **cold, "progress_bar": False}


def checked(cls: type[mg.Model], method: type[ColdStart] | None, split: mg.Split,
            features: mg.Features) -> dict[str, Any]:
    """What was checked of a pair, and what came of it; why there is nothing to check, of one that is refused."""
    start, given = time.perf_counter(), settings(cls, method)
    try:
        report = check_leakage(lambda s, f: mg.fit(cls, s, f, **given), split, features, strict=False,
                               progress_bar=False)
    except TypeError as error:
        if method is None or not method.reads_vectors:
            raise
        return {"refused": str(error)}
    return {"passed": [check.name for check in report.checks if check.passed],
            "failed": {check.name: check.detail for check in report.checks if check.passed is False},
            "seconds": round(time.perf_counter() - start, 2)}


def main(models: Sequence[str], methods: Sequence[str]) -> None:
    """All pairs that are not known at this commit."""
    split, features = world()
    where = provenance()
    pairs = [(m, c) for c in [None, *methods] for m in models]
    for model, method in tqdm(pairs, unit="pair"):
        key = {"model": model, "method": method, "split": split.fingerprint, "commit": where["commit"]}
        if not known(NAME, key):
            row = checked(MODELS[model], METHODS[method] if method else None, split, features)
            append(NAME, {**key, "users": len(split.data.users), "items": len(split.data.items), **row, **where})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=sorted(MODELS), metavar="MODEL")
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=sorted(METHODS), metavar="METHOD")
    chosen = parser.parse_args()
    main(chosen.models, chosen.methods)
