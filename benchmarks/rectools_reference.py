"""What do RecTools and LensKit say of one small example? tests/eval compares with their numbers.

python benchmarks/rectools_reference.py     pip install rectools, or lenskit; keeps the numbers of one that is absent

The two do not install side by side with everything that mmgraph's tests need, so the numbers are stored. Definitions
that differ from ours and are therefore not compared: RecTools gives 0 for the diversity of a list of one item and for
the serendipity of a user without held-out items (here: not a number). LensKit's ExposureGini discounts ranks, its
MeanPopRank averages quantiles of popularity, and its entropy adds 1e-6 to every count (the test does the same).
"""

import json
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FILE = Path(__file__).parents[1] / "tests" / "eval" / "rectools_reference.json"
KS = (3, 6)
Example = dict[str, Any]


def example() -> Example:
    """25 users, 20 items: lists of up to 6, some short, one empty; the last 4 items are in no training interaction."""
    rng = np.random.default_rng(0)
    n_users, n_items, k = 25, 20, 6
    lists = np.stack([rng.permutation(n_items)[:k] for _ in range(n_users)])
    for user, length in enumerate([0, 1, 2, 3, 4, 5]):
        lists[user, length:] = -1
    taste = 1 / np.arange(1, n_items - 3)
    train = [(u, int(i)) for u in range(n_users)
             for i in rng.choice(n_items - 4, rng.integers(1, 8), replace=False, p=taste / taste.sum())]
    held = [(u, int(i)) for u in range(n_users - 2) for i in rng.choice(n_items, rng.integers(1, 6), replace=False)]
    present = rng.random(n_items) < 0.8
    x = rng.normal(size=(n_items, 4)).astype(np.float32) * present[:, None]
    return {"lists": lists.tolist(), "train": train, "held": held, "x": x.tolist(), "present": present.tolist(),
            "n_users": n_users, "n_items": n_items}


def rectools(given: Example) -> dict[str, Any]:
    """Per-user values (user number → value) and coverage, for each k."""
    from rectools import metrics

    columns = ["user_id", "item_id"]
    recommended = pd.DataFrame([(u, i, rank) for u, row in enumerate(given["lists"])
                                for rank, i in enumerate(row, start=1) if i >= 0], columns=[*columns, "rank"])
    train, held = (pd.DataFrame(given[part], columns=columns) for part in ("train", "held"))
    items, found = np.arange(given["n_items"]), {}
    for k in KS:
        found[f"coverage@{k}"] = metrics.CatalogCoverage(k, normalize=True).calc(recommended, items)
        diversity = metrics.IntraListDiversity(k, distance_calculator=cosine_distance(given))
        per_user = {"novelty": metrics.MeanInvUserFreq(k).calc_per_user(recommended, train),
                    "average_popularity": metrics.AvgRecPopularity(k).calc_per_user(recommended, train),
                    "serendipity": metrics.Serendipity(k).calc_per_user(recommended, held, train, items),
                    "diversity": diversity.calc_per_user(recommended)}
        for name, values in per_user.items():
            found[f"{name}@{k}"] = {str(user): float(value) for user, value in values.dropna().sort_index().items()}
    return found


def cosine_distance(given: Example) -> Any:
    """RecTools has no cosine distance: 1 − cosine in its interface, NaN if one of the pair is absent."""
    from rectools.metrics.distances import PairwiseDistanceCalculator

    x = np.array(given["x"])
    x[~np.array(given["present"])] = np.nan

    class Cosine(PairwiseDistanceCalculator):
        def _get_distances_for_item_pairs(self, items_0: Any, items_1: Any) -> Any:
            a, b = (x[np.asarray(items, dtype=int)] for items in (items_0, items_1))
            return 1 - (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))

    return Cosine()


def lenskit(given: Example) -> dict[str, Any]:
    """Gini of the lists and entropy of the exposure, for each k."""
    from lenskit.data import ItemList
    from lenskit.metrics import ListGini
    from lenskit.metrics.ranking._entropy import matrix_column_entropy

    found = {}
    for k in KS:
        lists = [ItemList(item_ids=[i for i in row if i >= 0], ordered=True) for row in given["lists"]
                 if max(row) >= 0]
        gini = ListGini(k, items=given["n_items"])
        found[f"gini@{k}"] = float(gini.global_aggregate([gini.compute_list_data(of, None) for of in lists]))
        listed = np.array(given["lists"])[:, :k]
        rows = np.eye(given["n_items"])[listed[listed >= 0]]
        found[f"entropy_smoothed@{k}"] = matrix_column_entropy(rows)
    return found


def main() -> int:
    """Write the numbers of every library that is installed; the exit status says whether one was."""
    stored = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {"example": example()}
    libraries: dict[str, Callable[[Example], dict[str, Any]]] = {"rectools": rectools, "lenskit": lenskit}
    done = 0
    for name, measure in libraries.items():
        try:
            stored[name] = {"version": metadata.version(name), **measure(stored["example"])}
            done += 1
        except ImportError:
            print(f"{name} is not installed: pip install {name}")
    FILE.write_text(json.dumps(stored) + "\n", encoding="utf-8")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
