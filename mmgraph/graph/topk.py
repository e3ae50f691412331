"""Exact top-k with a tie rule."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK = 32  # columns whose maximum is taken at once: four vector registers
PAYS = 16  # a row is cut into chunks if it is this many times as wide as k chunks (measured on one thread)


def top_k(scores: Float[Tensor, "rows columns"],
          k: int) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """The k largest values of each row, largest first, and their columns; ties go to the smaller column.

    Columns of value −∞ are never chosen: where fewer than k are left, the list ends in value −∞, column −1.

    Raises:
        ValueError: if there are fewer than k columns, or a value is NaN.
    """
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k must lie in [1, {scores.shape[1]}], the number of candidates, got {k}.")
    return _of_chunks(scores, k) if scores.shape[1] >= PAYS * CHUNK * k else _of_rows(scores, k)


def _of_chunks(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Only the k chunks with the best maxima (ties: the first) are looked at.

    Were one of the k best in another chunk, each of these k chunks, whose maximum is greater, or equal and further
    left, would hold a better one.
    """
    width = scores.shape[1]
    whole = width // CHUNK
    maxima = scores[:, :whole * CHUNK].unflatten(1, (whole, CHUNK)).amax(2)  # NaN if any is
    if width % CHUNK:
        maxima = torch.cat([maxima, scores[:, whole * CHUNK:].amax(1, keepdim=True)], dim=1)
    chunks = _of_rows(maxima, k)[1]
    chunks = chunks.masked_fill(chunks < 0, whole + 1).sort(dim=1)[0]  # no chunk: lies beyond the last column
    columns = (chunks[:, :, None] * CHUNK + torch.arange(CHUNK, device=scores.device)).flatten(1)
    near = scores.gather(1, columns.clamp(max=width - 1)).masked_fill(columns >= width, -torch.inf)
    values, at = _of_rows(near, k)
    return values, columns.gather(1, at.clamp(min=0)).masked_fill(at < 0, -1)


def _of_rows(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """See `top_k`."""
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
    chosen = above | (equal & (equal.cumsum(1, dtype=torch.int32) <= k - above.sum(1, keepdim=True)))
    return chosen.nonzero()[:, 1].view(-1, k)
