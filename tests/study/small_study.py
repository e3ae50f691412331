"""A study of the planted world that takes a few seconds."""

import planted
import torch

from mmgraph.data import RandomPerUser
from mmgraph.models import BPRMF, VBPR, TableScorer
from mmgraph.study.result import read
from mmgraph.study.space import Candidate
from mmgraph.study.study import Study

SMALL = {"ks": (2, 5), "monitor": "recall@5", "threads": 1}


def candidates():
    return {"BPRMF": Candidate(BPRMF, {"dim": 4, "max_epochs": 4}, {"lr": {"low": 1e-3, "high": 1e-1, "log": True}}),
            "VBPR": Candidate(VBPR, {"dim": 4, "max_epochs": 3}, {"lr": [0.01, 0.1]})}


def study(**changes):
    given = {"features": planted.features(), "trials": 3, "seeds": (0, 1), "baselines": ("EASE",), **SMALL, **changes}
    return Study.of(planted.split(), given.pop("models", candidates()), **given)


def rows(folder):
    return [result.repeatable() for result in read(folder)]


def plain_split():
    return planted.dataset().split(RandomPerUser(), seed=0)


def knowing(split, *parts):
    table = torch.rand(len(split.data.users), len(split.data.items), generator=torch.Generator().manual_seed(0))
    for part in parts:
        table[part.users, part.items] += 1
    return TableScorer(table)

