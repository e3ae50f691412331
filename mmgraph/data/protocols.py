"""The protocols by which a data set is split; each is a frozen dataclass whose fields are its parameters."""

from dataclasses import dataclass

import numpy as np

from mmgraph.data.dataset import Dataset
from mmgraph.data.split import HISTORY, TEST, TRAIN, UNUSED, VALID, SplitRule
from mmgraph.data.types import Bools, Floats, Ints


@dataclass(frozen=True)
class Given(SplitRule):
    """The publisher's own split, from the column ``part``.

    Args:
        valid: share of each user's training interactions to hold out for validation where the publisher offers none.
    """

    valid: float = 0.0

    def assign(self, data: Dataset, rng: np.random.Generator) -> Ints:
        """See `SplitRule`."""
        _share("valid", self.valid)
        if "part" not in data.interactions.column_names:
            raise ValueError("the data set has no column 'part', so there is no given split; choose a protocol.")
        names = data.interactions["part"].to_numpy(zero_copy_only=False)
        part = np.full(len(data), UNUSED)
        for name, value in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
            part[names == name] = value
        if (part == UNUSED).any():
            stray = sorted(set(names[part == UNUSED]))
            raise ValueError(f"parts must be 'train', 'valid' or 'test', got {stray[:3]}.")
        if self.valid and (part == VALID).any():
            raise ValueError("the data set has a validation part of its own; leave valid at 0.")
        train = (part == TRAIN).nonzero()[0]
        rank, size = _rank_within(data.user[train], rng.random(len(train)))
        part[train[rank < np.floor(self.valid * size + 1e-9)]] = VALID
        return part


@dataclass(frozen=True)
class RandomPerUser(SplitRule):
    """Each user's interactions at random, by the rule of the standard multimodal benchmark.

    A user with ``few`` interactions or more gives int(share · n) of them, halved, test taking the odd one; a user with
    fewer gives one to validation and one to test; a user with fewer than three gives none.

    Args:
        share: fraction of a user's interactions that is held out, in (0, 1).
        few: users with fewer interactions than this give one and one.
    """

    share: float = 0.2
    few: int = 10

    def assign(self, data: Dataset, rng: np.random.Generator) -> Ints:
        """See `SplitRule`."""
        _share("share", self.share)
        rank, size = _rank_within(data.user, rng.random(len(data)))
        held = np.where(size < self.few, 2, np.floor(self.share * size + 1e-9).astype(int)) * (size >= 3)
        return _parts(valid=rank < held // 2, test=(rank >= held // 2) & (rank < held))


@dataclass(frozen=True)
class Fold(SplitRule):
    """One turn of a cross-validation: each user's interactions are dealt at random onto n folds of nearly equal size.

    The turns of one seed share the deal, so that every interaction is tested once.

    Args:
        n: number of folds, 3 or more.
        test: number of the fold that is test, in [0, n).
        valid: number of the fold that is validation, another one.
    """

    n: int = 5
    test: int = 0
    valid: int = 1

    def assign(self, data: Dataset, rng: np.random.Generator) -> Ints:
        """See `SplitRule`; where a user's deal begins is random, else the first folds would be the larger ones."""
        if self.n < 3 or self.test == self.valid or not {self.test, self.valid} <= set(range(self.n)):
            raise ValueError(f"a fold needs n of 3 or more, and test and valid two different numbers in [0, n); got "
                             f"{self}.")
        rank, _ = _rank_within(data.user, rng.random(len(data)))
        start = rng.integers(self.n, size=len(data.users))
        fold = (rank + start[data.user]) % self.n
        return _parts(valid=fold == self.valid, test=fold == self.test)


@dataclass(frozen=True)
class LeaveLastOut(SplitRule):
    """Each user's last interaction by time is test, the one before it validation; users with fewer than three stay."""

    def assign(self, data: Dataset, rng: np.random.Generator) -> Ints:
        """See `SplitRule`; interactions of the same second are ordered at random."""
        tie_break = rng.permutation(len(data))
        order = np.lexsort((tie_break, _time(data)))
        time_rank = np.empty(len(data))
        time_rank[order] = np.arange(len(data))
        rank, size = _rank_within(data.user, -time_rank)
        return _parts(valid=(rank == 1) & (size >= 3), test=(rank == 0) & (size >= 3))


@dataclass(frozen=True)
class GlobalTime(SplitRule):
    """One clock for all: everything after a moment is test, a span before it validation.

    Args:
        valid: fraction of all interactions for validation.
        test: fraction of all interactions, the last ones, for test.
    """

    valid: float = 0.1
    test: float = 0.1

    def assign(self, data: Dataset, rng: np.random.Generator) -> Ints:
        """See `SplitRule`; a second never falls into two parts."""
        _share("valid", self.valid)
        _share("test", self.test)
        _share("valid + test", self.valid + self.test)
        time = _time(data)
        clock = np.append(np.sort(time), np.iinfo(np.int64).max)
        start, middle = (clock[len(time) - round(share * len(time))] for share in (self.valid + self.test, self.test))
        return _parts(valid=(time >= start) & (time < middle), test=time >= middle)


@dataclass(frozen=True)
class ColdItems(SplitRule):
    """Some items are never seen in training: half of them for validation, half for test.

    Args:
        share: fraction of all items that is cold, in (0, 1).
        holdout: fraction of each user's interactions with warm items held out, half for validation and half for test,
            so that warm and cold ranking are measured in one run.
    """

    share: float = 0.2
    holdout: float = 0.2

    def assign(self, data: Dataset, rng: np.random.Generator) -> Ints:
        """See `SplitRule`."""
        valid, test = _draw(len(data.items), self.share, rng)
        part = _hold_out(data, ~(valid | test)[data.item], self.holdout, rng)
        part[valid[data.item]], part[test[data.item]] = VALID, TEST
        return part


@dataclass(frozen=True)
class ColdUsers(SplitRule):
    """Some users are never seen in training: half of them for validation, half for test.

    Args:
        share: fraction of all users that is cold, in (0, 1).
        reveal: this many interactions of each cold user (the first by time, or at random where there is none) are shown
            when scoring, never in training.
        holdout: fraction of each warm user's interactions held out, half for validation and half for test.
    """

    share: float = 0.2
    reveal: int = 0
    holdout: float = 0.2

    def assign(self, data: Dataset, rng: np.random.Generator) -> Ints:
        """See `SplitRule`."""
        if self.reveal < 0:
            raise ValueError(f"reveal is a number of interactions, 0 or more, got {self.reveal}.")
        valid, test = _draw(len(data.users), self.share, rng)
        part = _hold_out(data, ~(valid | test)[data.user], self.holdout, rng)
        part[valid[data.user]], part[test[data.user]] = VALID, TEST
        key = _time(data) if "time" in data.interactions.column_names else rng.random(len(data))
        rank, _ = _rank_within(data.user, key)
        part[(valid | test)[data.user] & (rank < self.reveal)] = HISTORY
        return part


def _share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} is a fraction and must lie in [0, 1), got {value}.")


def _time(data: Dataset) -> Ints:
    if "time" not in data.interactions.column_names:
        raise ValueError("this protocol needs the time of each interaction, and the data set has none; "
                         "name the column, e.g. from_frames(..., time='timestamp'), or choose another protocol.")
    return data.interactions["time"].to_numpy()


def _draw(n: int, share: float, rng: np.random.Generator) -> tuple[Bools, Bools]:
    """Two disjoint random masks, each of half the share of n."""
    _share("share", share)
    order, held = rng.permutation(n), round(share * n)
    valid, test = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    valid[order[:held // 2]], test[order[held // 2:held]] = True, True
    return valid, test


def _hold_out(data: Dataset, among: Bools, share: float, rng: np.random.Generator) -> Ints:
    """A random share of each user's interactions in ``among``, halved; at least one of them stays in training."""
    _share("holdout", share)
    part, rows = np.full(len(data), TRAIN), among.nonzero()[0]
    rank, size = _rank_within(data.user[rows], rng.random(len(rows)))
    held = np.floor(share * size + 1e-9).astype(int)
    part[rows[rank < held]] = TEST
    part[rows[rank < held // 2]] = VALID
    return part


def _rank_within(group: Ints, key: Floats | Ints) -> tuple[Ints, Ints]:
    """Rank of each row inside its group by ascending key, and the size of its group."""
    order = np.lexsort((key, group))
    counts = np.bincount(group)
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - starts[group[order]]
    return rank, counts[group]


def _parts(valid: Bools, test: Bools) -> Ints:
    return np.select([valid, test], [VALID, TEST], TRAIN)
