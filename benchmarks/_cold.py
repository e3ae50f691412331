"""What the cold-start benchmarks share: the content of each data set, what takes part, and the table over draws."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NamedTuple

from _rows import RESULTS, data_place
from accuracy import sampled

import mmgraph as mg
from mmgraph.features import TfidfText, l2, linked, multi_hot, soft_bins, standardise
from mmgraph.study import Candidate, Result, read
from mmgraph.study.curves import t_interval

PLACE, QUICK = RESULTS / "cold", Path(gettempdir()) / "mmgraph-cold-quick"
PEOPLE = ("director", "actor", "writer")


class Cold(NamedTuple):
    """A data set with what is asked of it.

    Args:
        data: its name.
        draws: of the cold items.
        trials: settings tried of each method, the same for all.
        warm: the warm model of methods that read scores, with fixed settings.
        modalities: kept; all if there are none.
    """

    data: str
    draws: int
    trials: int
    warm: tuple[type[mg.Model], Mapping[str, Any]]
    modalities: tuple[str, ...] = ()


IALS = (mg.IALS, {"dim": 64, "alpha": 0.1, "l2": 0.01})  # alpha and l2: from warm validation of the first draws
SPARSE = (mg.IALS, {"dim": 64, "alpha": 0.01, "l2": 0.01})  # likewise, for CiteULike
SETS: Mapping[str, Cold] = {
    "ml-1m": Cold("ml-1m", 3, 10, (mg.EASE, {"l2": 1000.0}), ("text", "people", "genre", "year")),
    "ml-1m-poster": Cold("ml-1m", 3, 10, (mg.EASE, {"l2": 1000.0})),
    "ml-100k": Cold("ml-100k", 5, 10, (mg.EASE, {"l2": 300.0})),
    "citeulike-t": Cold("citeulike-t", 5, 10, SPARSE, ("text",)),
    "citeulike-t-cites": Cold("citeulike-t", 5, 10, SPARSE),
    "tiktok": Cold("tiktok", 5, 10, (mg.EASE, {"l2": 300.0}))}


def dataset(name: str, quick: bool) -> mg.Dataset:
    """The data set, or 400 of its users."""
    data = mg.load(SETS[name].data, data_place(SETS[name].data))
    return sampled(data, 400) if quick else data


def content(name: str, split: mg.Split) -> mg.Features:
    """What is known of the items on their first day; all statistics are those of the split's warm items."""
    data, kept = SETS[name].data, SETS[name].modalities
    warm = split.data.items.names(split.warm_items.nonzero()[0])
    if data == "tiktok":
        return l2(standardise(mg.content_features(split.data, fit_items=warm, progress=False), warm))
    text = TfidfText(dim=1024)
    if data == "citeulike-t":
        found = mg.content_features(split.data, fit_items=warm, text=text, progress=False)
        found = found | linked(split, "cites", dim=1024)
    else:
        image = "classical" if not kept or "image" in kept else None
        found = mg.content_features(split.data, fit_items=warm, text=text, image=image, progress=False)
        people = [column for column in PEOPLE if column in split.data.item_content.column_names]
        found = found | multi_hot(split, {"people": people}, min_count=2) | multi_hot(split, {"genre": ["genre"]})
        found = found | soft_bins(split, ["year"], width=3.0)
    return found.only(*kept) if kept else found


def by_weight(modalities: Sequence[str]) -> dict[str, Any]:
    """A search over how much each modality counts."""
    return {f"cold.weights.{m}": {"low": 0.03, "high": 1.0, "log": True} for m in modalities} \
        if len(modalities) > 1 else {}


def methods(name: str, modalities: Sequence[str]) -> dict[str, Candidate]:
    """Everything that scores new items, each with its search space."""
    cls, given = SETS[name].warm
    weights = by_weight(modalities)
    log = {"log": True}
    ridge = {"cold.l2": {"low": 0.1, "high": 1000.0, **log}, **weights}
    rate = {"cold.lr": {"low": 3e-4, "high": 1e-2, **log}}

    def epochs(*n: int) -> dict[str, Any]:
        return {"cold.epochs": list(n), **rate}

    def beside(warm: type[mg.Model], fixed: Mapping[str, Any], method: str, space: Mapping[str, Any],
               **more: Any) -> Candidate:
        return Candidate(warm, {**fixed, "cold": method, **{f"cold.{n}": v for n, v in more.items()}}, space)

    def scored(method: str, space: Mapping[str, Any], **more: Any) -> Candidate:
        return beside(cls, given, method, space, **more)

    def vectors(method: str, space: Mapping[str, Any], **more: Any) -> Candidate:
        return beside(*(SPARSE if cls is mg.IALS else IALS), method, space, **more)

    return {
        "profile": scored("ContentProfile", {}),
        "profile, weighted": scored("ContentProfile", weights) if weights else scored("ContentProfile", {}),
        "neighbours": scored("NeighbourScores", {"cold.k": [10, 30, 100], "cold.power": [1.0, 3.0],
                                                 "cold.target": ["scores", "history"], **weights}),
        "ridge to interactions": scored("KernelRidge", ridge, target="history"),
        "ridge to scores": scored("KernelRidge", ridge),
        "ridge to factors": vectors("KernelRidge", ridge),
        "rbf ridge to scores": scored("KernelRidge", {"cold.gamma": {"low": 0.5, "high": 3.0}, **ridge}, kernel="rbf"),
        "MARec": scored("MARec", {"cold.l2": {"low": 100.0, "high": 10000.0, **log},
                                  "cold.beta": {"low": 1.0, "high": 1000.0, **log}}),
        "propagated": scored("PropagatedVectors", {"cold.k": [5, 20, 50], "cold.hops": [1, 2, 3], **weights}),
        "codes": scored("CodeNeighbours", {"cold.size": [32, 64, 128], "cold.shrinkage": [1.0, 3.0, 10.0]}),
        "SEMCo": vectors("SEMCo", {"cold.temperature": {"low": 0.05, "high": 2.0, **log},
                                   "cold.alpha": [1.0, 1.5], **epochs(2, 5, 20)}),
        "CLCRec": vectors("CLCRec", {"cold.temperature": {"low": 0.05, "high": 1.0, **log},
                                     "cold.alignment": [0.1, 0.5, 0.9], **epochs(4, 10, 30)}),
        "DropoutNet": vectors("DropoutNet", {"cold.dropout": [0.3, 0.5, 0.8], **epochs(5, 10, 30)}),
        "Heater": vectors("Heater", {"cold.similarity": {"low": 1e-3, "high": 1.0, **log}, "cold.experts": [1, 5],
                                     **epochs(5, 10, 30)}),
        "GAR": vectors("GAR", {"cold.similarity": {"low": 0.1, "high": 0.95},
                               "cold.interaction": {"low": 0.1, "high": 0.9}, **epochs(5, 10, 30)}),
        "ALDI": vectors("ALDI", {"cold.ranking": [0.0, 0.3, 0.9], "cold.rating": {"low": 0.01, "high": 1.0, **log},
                                 **epochs(5, 10, 30)}),
        "MetaEmbedding": vectors("MetaEmbedding", {"cold.step": {"low": 0.5, "high": 16.0, **log},
                                                   **epochs(10, 30, 100)}),
        "MWUF": vectors("MWUF", {"cold.l2": {"low": 0.1, "high": 100.0, **log}, **epochs(10, 50)})}


def models() -> dict[str, Candidate]:
    """Models that score new items by themselves."""
    log = {"log": True}
    training = {"lr": {"low": 1e-3, "high": 2e-2, **log}}

    def trained(cls: type[mg.Model], **space: Any) -> Candidate:
        return Candidate(cls, {"dim": 64, "batch_size": 16384}, {**training, **space})

    share = {"low": 1e-3, "high": 1.0, **log}
    return {
        "EASE": Candidate(mg.EASE, space={"l2": {"low": 10.0, "high": 3000.0, **log}, "k": [5, 10, 50]}),
        "L3AE": Candidate(mg.L3AE, space={"prior": {"low": 1.0, "high": 1000.0, **log},
                                          "l2": {"low": 10.0, "high": 1000.0, **log},
                                          "l2_content": {"low": 0.5, "high": 100.0, **log}}),
        "ContentEASE": Candidate(mg.ContentEASE, space={"content": {"low": 1.0, "high": 3000.0, **log},
                                                        "l2": {"low": 10.0, "high": 3000.0, **log}}),
        "FREEDOM": trained(mg.FREEDOM, prune=[0.5, 0.8], modal_loss={"low": 1e-4, "high": 1e-1, **log}),
        "FREEDOM, group-robust": Candidate(mg.FREEDOM, {"dim": 64, "batch_size": 16384, "robust": {"groups": 5}}, {
            **training, "prune": [0.5, 0.8], "modal_loss": {"low": 1e-4, "high": 1e-1, **log}}),
        "AlphaRec": trained(mg.AlphaRec, temperature={"low": 0.05, "high": 0.3, **log}, n_layers=[1, 2]),
        "SiBraR": trained(mg.SiBraR, contrast=share, temperature={"low": 0.05, "high": 0.5, **log}),
        "MILK": trained(mg.MILK, align={"low": 0.01, "high": 10.0, **log},
                        invariance={"low": 0.1, "high": 100.0, **log}),
        "CGRC": trained(mg.CGRC, mask=[0.1, 0.3], temperature=[0.1, 0.2, 0.5], k=[20, 50]),
        "Firzen": trained(mg.Firzen, l2={"low": 1e-5, "high": 1e-2, **log}, content=[0.1, 0.5, 1.0])}


LEARNED = frozenset({"SEMCo", "CLCRec", "DropoutNet", "Heater", "GAR", "ALDI", "MetaEmbedding", "MWUF"})
DENSE = frozenset({"MARec", "EASE", "L3AE", "ContentEASE"})  # not for 20,000 items in a trial each
GROUPS = ("closed", "learned", "models")


def taking_part(name: str, group: str, modalities: Sequence[str]) -> dict[str, Candidate]:
    """What belongs to a group, without that whose memory or time the data set forbids."""
    found = models() if group == "models" else {
        label: one for label, one in methods(name, modalities).items() if (label in LEARNED) == (group == "learned")}
    return {label: one for label, one in found.items() if not (SETS[name].data == "citeulike-t" and label in DENSE)}


def place_of(name: str, group: str, draw: int, quick: bool = False) -> Path:
    """The folder of a study."""
    return (QUICK if quick else PLACE) / name / f"{group}-{draw}"


def over_draws(name: str, quick: bool = False) -> dict[str, dict[int, dict[str, float]]]:
    """Method (and control behind a comma) → draw → figure of what was read on test."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for group, draw in product(GROUPS, range(SETS[name].draws)):
        place = place_of(name, group, draw, quick)
        for r in read(place) if (place / "plan.json").exists() else []:
            label = r.model if r.control is None else f"{r.model}, {r.control}"
            found.setdefault(label, {})[draw] = figures(r)
    return found


def figures(result: Result) -> dict[str, float]:
    """Cold, warm and mixed figures of a row."""
    return {f"{on} {metric}": value for on in ("cold", "warm", "all") for metric, value in
            result.metrics.get(on, {}).items() if value is not None}


def table(name: str, quick: bool = False, reference: str = "profile") -> str:
    """One line per method: means over draws with the 95 % t interval, and the paired difference from the profile."""
    found = over_draws(name, quick)
    if reference not in found:
        return ""
    head = "cold Recall@20", "cold NDCG@20", f"NDCG@20 − {reference}", "warm NDCG@20", "draws"
    lines = [f"| method | {' | '.join(head)} |", f"|---|{'---|' * len(head)}"]
    by_figure = sorted(found, key=lambda label: -sum(v.get("cold ndcg@20", 0) for v in found[label].values())
                       / len(found[label]))
    for label in by_figure:
        of, base = found[label], found[reference]
        both = [draw for draw in of if draw in base and "cold ndcg@20" in of[draw]]
        if not both:
            continue
        words = [interval([of[d][metric] for d in both]) for metric in ("cold recall@20", "cold ndcg@20")]
        words.append("" if label == reference else
                     interval([of[d]["cold ndcg@20"] - base[d]["cold ndcg@20"] for d in both], sign=True))
        warm = [of[d]["warm ndcg@20"] for d in both if "warm ndcg@20" in of[d]]
        lines.append(f"| {label} | {' | '.join(words)} | {sum(warm) / len(warm):.4f} | {len(both)} |" if warm else
                     f"| {label} | {' | '.join(words)} | – | {len(both)} |")
    return "\n".join(lines)


def interval(values: Sequence[float], sign: bool = False) -> str:
    """A mean with the half width of its interval over draws."""
    mean, low, _ = t_interval(values)
    return f"{mean:{'+' if sign else ''}.4f}" + ("" if low is None else f" ± {mean - low:.4f}")
