"""Area under the ROC curve of each user, exact, over all candidates."""

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from mmgraph.data.types import Ints

MANY = 48  # from so many held-out items of one user on, sorting his scores once is faster than a pass for each


def auc(scores: Float[Tensor, "users items"], rows: Int[Tensor, " positives"], items: Int[Tensor, " positives"],
        n_candidates: Int[Tensor, " users"]) -> Float[Tensor, " users"]:
    r"""Probability that a held-out item is scored above a candidate that is not held out; a tie counts half.

    .. math:: \frac{\sum_{p} (|\{c : s_c < s_p\}| + |\{c : s_c \le s_p\}|) - n_p^2}{2 n_p (n - n_p)}

    The sums run over all candidates c, held-out ones included: what pairs of held-out items add is :math:`n_p^2`.

    Args:
        scores: −∞ for what is no candidate; a candidate of −∞ ranks last.
        rows: row of each held-out item, ascending.
        items: its column, a candidate.
        n_candidates: candidates of each row.

    Returns:
        Value in [0, 1]; NaN for a user without held-out items, or without other candidates.

    Source: Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    n_items, n_users = scores.shape[1], len(scores)
    n_positives = torch.bincount(rows, minlength=n_users)
    counted = torch.from_numpy(_counted(scores, rows, items, n_positives)).double()
    left_out = (n_items - n_candidates).double()
    finite = torch.bincount(rows[(scores[rows, items] > -torch.inf).cpu()], minlength=n_users)
    twice = counted - left_out * (n_positives + finite) - n_positives.double() ** 2
    return twice / (2 * n_positives * (n_candidates - n_positives)).double()  # 0 / 0 is NaN


def _counted(scores: Tensor, rows: Tensor, items: Tensor, n_positives: Tensor) -> Ints:
    """Columns below plus columns not above each held-out item, summed over the held-out items of a row."""
    table = (scores if scores.dtype == torch.float64 else scores.float()).cpu().numpy()
    of = table[rows.numpy(), items.numpy()]
    ends = n_positives.cumsum(0).numpy()
    found = np.zeros(len(table), dtype=np.int64)
    for row in np.flatnonzero(n_positives.numpy()):
        found[row] = _around(table[row], of[ends[row] - n_positives[row]:ends[row]])
    return found


def _around(row: NDArray[np.floating], values: NDArray[np.floating]) -> int:
    if len(values) < MANY:
        return sum(int(np.count_nonzero(row < value)) + int(np.count_nonzero(row <= value)) for value in values)
    row = np.sort(row)
    return int(np.searchsorted(row, values, side="left").sum() + np.searchsorted(row, values, side="right").sum())
