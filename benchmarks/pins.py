"""Are the known figures of simple models on the standard split reproduced to the last digit?

python benchmarks/pins.py [amazon-baby amazon-sports]     data from MMGRAPH_DATA, default ../shared/data
"""

import sys
from collections.abc import Mapping

from _rows import append, data_place, provenance

from mmgraph.data import Given, Split, load
from mmgraph.eval import evaluate
from mmgraph.models import EASE, Model, Popularity
from mmgraph.study import fit

METRICS = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
PINS = {
    ("amazon-baby", "Popularity"): (.0295, .0495, .0161, .0212),
    ("amazon-baby", "EASE"): (.0561, .0825, .0327, .0396),
    ("amazon-sports", "Popularity"): (.0180, .0287, .0103, .0131),
    ("amazon-sports", "EASE"): (.0680, .0934, .0402, .0468),
}
MODELS: Mapping[type[Model], Mapping[str, float]] = {Popularity: {}, EASE: {"l2": 400.0}}


def main(names: list[str]) -> int:
    """Print and record every pin; the exit status is the number of pins missed."""
    missed = 0
    for name in names:
        split = Split.of(load(name, data_place(name)), Given()).unlock_test()
        for cls, hyper in MODELS.items():
            fitted = fit(cls, split, **hyper)
            found = evaluate(fitted, split, part="test", seen="train", only=("all",))
            values, pins = tuple(found["all", m] for m in METRICS), PINS[name, cls.__name__]
            agree = all(round(v, 4) == p for v, p in zip(values, pins, strict=True))
            missed += not agree
            append("pins", {"data": name, "split": split.fingerprint, "model": cls.__name__, "hyperparameters": hyper,
                            "metrics": dict(zip(METRICS, values, strict=True)), "pins": pins, "agree": agree,
                            "seconds": fitted.seconds, **provenance()})
            print(name, cls.__name__, *(f"{v:.4f} ({p:.4f})" for v, p in zip(values, pins, strict=True)),
                  "agrees" if agree else "DIFFERS")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["amazon-baby", "amazon-sports"]))
