"""How protocols draw: what is held out, from which users and items, and in which order."""

import numpy as np

from mmgraph.data.dataset import Dataset
from mmgraph.data.split import TEST, TRAIN, VALID
from mmgraph.data.types import Bools, Floats, Ints


def check_share(name: str, value: float) -> None:
    """Refuse what is no fraction."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} is a fraction and must lie in [0, 1), got {value}.")


def times(data: Dataset) -> Ints:
    """The time of each interaction."""
    if "time" not in data.interactions.column_names:
        raise ValueError("this protocol needs the time of each interaction, and the data set has none; "
                         "name the column, e.g. from_frames(..., time='timestamp'), or choose another protocol.")
    return data.interactions["time"].to_numpy()


def two_of(n: int, share: float, rng: np.random.Generator) -> tuple[Bools, Bools]:
    """Two disjoint random masks, each of half the share of n."""
    check_share("share", share)
    order, held = rng.permutation(n), round(share * n)
    valid, test = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    valid[order[:held // 2]], test[order[held // 2:held]] = True, True
    return valid, test


def hold_out(data: Dataset, among: Bools, share: float, rng: np.random.Generator) -> Ints:
    """A random share of each user's interactions in ``among``, halved; at least one of them stays in training.

    What a share leaves of a whole number is drawn, so that short histories are held out as often as long ones; so is
    the half that gets an odd one, so that validation is like test.
    """
    check_share("holdout", share)
    part, rows = np.full(len(data), TRAIN), among.nonzero()[0]
    rank, size = rank_within(data.user[rows], rng.random(len(rows)))
    more, half = rng.random((2, len(data.users)))[:, data.user[rows]]
    held = np.minimum(np.floor(share * size + more), size - 1)
    part[rows[rank < held]] = TEST
    part[rows[rank < np.floor(held / 2 + half)]] = VALID
    return part


def cold_items(data: Dataset, valid: Bools, test: Bools, holdout: float, rng: np.random.Generator) -> Ints:
    """The parts where two sets of items are cold and a share of each user's other interactions is held out."""
    part = hold_out(data, ~(valid | test)[data.item], holdout, rng)
    part[valid[data.item]], part[test[data.item]] = VALID, TEST
    return part


def rank_within(group: Ints, key: Floats | Ints) -> tuple[Ints, Ints]:
    """Rank of each row inside its group by ascending key, and the size of its group."""
    order = np.lexsort((key, group))
    counts = np.bincount(group)
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - starts[group[order]]
    return rank, counts[group]


def parts(valid: Bools, test: Bools) -> Ints:
    """VALID, TEST, and TRAIN where neither holds."""
    return np.select([valid, test], [VALID, TEST], TRAIN)
