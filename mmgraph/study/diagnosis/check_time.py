"""Checks of whether the past was predicted from the future."""

import numpy as np

from mmgraph.data.split import TEST, TRAIN, VALID, Split
from mmgraph.data.types import Bools, Ints
from mmgraph.study.diagnosis.findings import BY_TIME, Finding, Thresholds, unchecked

USER, GLOBAL = "time order per user", "time order of all users"
WHY = {USER: "A model that has seen what a user did later predicts the past, which nobody needs and which is easier.",
       GLOBAL: "Training on what others did after the moment of the prediction knows fashions and items that a live "
               "system could not know."}
ADVICE = ("For figures that shall hold in production split by time: GlobalTime keeps the whole future out, "
          "LeaveLastOut each user's own.")


def check_time(split: Split, limits: Thresholds) -> list[Finding]:
    """Both checks. Equal times are no leak.

    Protocols that draw at random (and published parts, of which nobody knows) are only noted: they do not promise
    anything about time. LeaveLastOut promises it per user, GlobalTime for all.

    Source: Ji et al., "A Critical Study on Data Leakage in Recommender System Offline Evaluation", arXiv:2010.11060.
    """
    if "time" not in split.data.interactions.column_names:
        return [unchecked(name, "the interactions have no time", WHY[name], ADVICE) for name in (USER, GLOBAL)]
    time = split.data.interactions["time"].to_numpy()
    return [per_user(split, time, limits), all_users(split, time, limits)]


def per_user(split: Split, time: Ints, limits: Thresholds) -> Finding:
    """Held-out interactions before a training interaction of the same user, test also before a validation one."""
    part, user = split.part, split.data.user
    valid, test = part == VALID, part == TEST
    early = {"valid before train": valid & before(user, time, part == TRAIN),
             "test before train": test & before(user, time, part == TRAIN),
             "test before valid": test & before(user, time, valid)}
    n = int((valid | test).sum())
    if not n:
        return unchecked(USER, "nothing is held out", WHY[USER], ADVICE)
    any_early = int(np.logical_or.reduce(list(early.values())).sum())
    return Finding(USER, any_early / n, limits.earlier if split.name in BY_TIME else None,
                   f"{any_early / n:.1%} of the held-out interactions are earlier than one of the same user in an "
                   f"earlier part{promised(split, split.name in BY_TIME)}.", WHY[USER], ADVICE,
                   detail={name: int(rows.sum()) for name, rows in early.items()} | {"held out": n})


def all_users(split: Split, time: Ints, limits: Thresholds) -> Finding:
    """Training interactions of anybody after the first test interaction."""
    train, test = time[split.part == TRAIN], time[split.part == TEST]
    if not len(test):
        return unchecked(GLOBAL, "the test part is empty", WHY[GLOBAL], ADVICE)
    late = int((train > test.min()).sum())
    return Finding(GLOBAL, late / len(train), limits.later if split.name == "GlobalTime" else None,
                   f"{late / len(train):.1%} of the training interactions are later than the first test interaction"
                   f"{promised(split, split.name == 'GlobalTime')}.", WHY[GLOBAL], ADVICE,
                   detail={"later": late, "train": len(train)})


def before(user: Ints, time: Ints, of: Bools) -> Bools:
    """Which rows are earlier than the last of these rows of the same user."""
    last = np.full(int(user.max()) + 1, np.iinfo(np.int64).min)
    np.maximum.at(last, user[of], time[of])
    return time < last[user]


def promised(split: Split, here: bool) -> str:
    """What the protocol says about it."""
    return f"; {split.name} promises none" if here else f"; {split.name} promises nothing about it, so this is noted"
