"""What is wrong with the splits of TikTok and Amazon Baby, and what does training on validation buy?

python benchmarks/audit.py [audit.html]      data from MMGRAPH_DATA, default ../shared/data
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from _rows import append, data_place, provenance

from mmgraph.data import Given, Split, load
from mmgraph.eval import evaluate
from mmgraph.features import from_arrays
from mmgraph.features.features import Features
from mmgraph.models import EASE, Model, RP3beta
from mmgraph.study import fit
from mmgraph.study.diagnosis.audit import Section, write_audit
from mmgraph.study.diagnosis.diagnostics import diagnose
from mmgraph.study.diagnosis.findings import Diagnosis

DATA = {"TikTok": "tiktok", "Amazon Baby": "amazon-baby"}
CHOICES: Mapping[type[Model], Sequence[Mapping[str, float]]] = {
    EASE: [{"l2": 400.0}],
    RP3beta: [{"alpha": alpha, "beta": beta} for alpha in (0.1, 0.3, 0.5, 0.7) for beta in (0.0, 0.1)]}
METRICS = ("recall@20", "ndcg@20")


def main(page: str) -> None:
    """Record a row per data set and per training, and write the page."""
    diagnoses = {}
    for title, name in DATA.items():
        diagnoses[title] = found = audited(name)
        append("audit", {"seed": 0, "what": "diagnosis", "data": name, **found.row(), **provenance()})
        print(title, found, sep="\n")
    effect = trained_on_valid("amazon-baby")
    write_audit(diagnoses, page, sections=[effect])
    print(*effect.rows, f"page: {page}", sep="\n")


def audited(name: str) -> Diagnosis:
    """The publisher's split and the vectors that come with it."""
    data = load(name, data_place(name))
    features = Features.empty(data.items)
    for modality, given in data.vectors.items():
        features = features | from_arrays(given.ids, {modality: given.matrix}, known=data.items)
    return diagnose(Split.of(data, Given()), features)


def trained_on_valid(name: str) -> Section:
    """The same models with the same settings, once on train and once on train and valid; one test reading each."""
    split = Split.of(load(name, data_place(name)), Given()).unlock_test()
    lines: list[dict[str, Any]] = []
    for cls in CHOICES:
        settings = chosen(cls, split)
        for words, of in (("train", split), ("train and valid", split.joined())):
            fitted = fit(cls, of, **settings)
            found = evaluate(fitted, of, part="test", only=("all",))
            metrics = {metric: found["all", metric] for metric in METRICS}
            append("audit", {"seed": 0, "what": "trained on", "data": name, "split": of.fingerprint,
                             "model": cls.__name__,
                             "hyperparameters": fitted.model.hyperparameters(), "trained on": words, "part": "test",
                             "n_users": len(found.users), "metrics": metrics, "seconds": fitted.seconds,
                             **provenance()})
            without = lines[-1]["recall@20"] if words != "train" else None
            gain = "" if without is None else f"{metrics['recall@20'] / without - 1:+.1%}"
            label = f"{cls.__name__}({', '.join(f'{name}={value:g}' for name, value in settings.items())})"
            lines.append({"model": label, "trained on": words, **metrics, "recall gained": gain})
    return Section(f"What training on validation buys: {name}", lines,
                   "Test part, all items but the user's known ones (training and validation) are candidates. "
                   "Settings were fixed beforehand or chosen on validation after training on train alone, and are the "
                   "same in both trainings: the gain is the protocol's, not the model's, and figures of papers that "
                   "differ in it cannot be compared.")


def chosen(cls: type[Model], split: Split) -> Mapping[str, float]:
    """The settings that are best on validation, trained on train alone."""
    def valid(settings: Mapping[str, float]) -> float:
        return evaluate(fit(cls, split, **settings), split, ks=[20], only=("all",))["all", METRICS[0]]

    return max(CHOICES[cls], key=valid) if len(CHOICES[cls]) > 1 else CHOICES[cls][0]


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["audit.html"]))
