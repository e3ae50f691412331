"""Exact top-k with a tie rule."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def top_k(scores: Float[Tensor, "rows columns"],
          k: int) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """The k largest values of each row, largest first, and their columns; ties go to the smaller column.

    Columns of value −∞ are never chosen: where fewer than k are left, the list ends in value −∞, column −1.

    Raises:
        ValueError: if there are fewer than k columns, or a value is NaN.
    """
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must lie in [1, {scores.shape[1]}], the number of candidates, got {k}.")
    values, columns = scores.topk(min(k + 1, scores.shape[1]), sorted=True)
    if values[:, 0].isnan().any():  # topk ranks NaN above every number
        raise ValueError(f"{int(scores.isnan().any(1).sum())} rows of scores hold NaN; the model has diverged.")
    if values.shape[1] > k:
        tied = ((values[:, k - 1] == values[:, k]) & (values[:, k] > -torch.inf)).nonzero()[:, 0]
        values, columns = values[:, :k].clone(), columns[:, :k].clone()
        if len(tied):
            columns[tied] = _first_of_equals(scores[tied], values[tied, -1:], k)
            values[tied] = scores[tied].gather(1, columns[tied])
    columns, order = columns.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order).masked_fill(values == -torch.inf, -1)


def _first_of_equals(scores: Tensor, threshold: Tensor, k: int) -> Tensor:
    """Columns above the threshold, and as many of the first columns equal to it as are needed for k."""
    above, equal = scores > threshold, scores == threshold
    chosen = above | (equal & (equal.cumsum(1) <= k - above.sum(1, keepdim=True)))
    return chosen.nonzero()[:, 1].view(-1, k)
