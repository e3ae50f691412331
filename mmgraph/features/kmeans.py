"""k-means, and its residual form: each codebook quantises what those before it have left over."""

import math

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

BLOCK = 8192  # rows per step, so that float64 copies stay small
ROUNDS = 100  # Lloyd steps, at most; usually far fewer
SETTLED = 1e-3  # share of the rows that may still change their centre in the last step; none of fewer than a thousand


def kmeans(x: Float[Tensor, "rows dim"], size: int, generator: Generator) -> Float[Tensor, "size dim"]:
    """The centres of ``size`` clusters: greedy k-means++ and Lloyd's steps; the same for the same draws.

    Where there are fewer distinct rows than clusters, some centres are equal; `nearest_code` uses the first of them.
    Memory: 8 bytes per number of the rows.

    Source: Arthur & Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007.
    """
    rows = x.double()
    length = rows.square().sum(1, keepdim=True)
    centres = spread_out(rows, size, generator)
    code = _nearest(rows, length, centres)
    for _ in range(ROUNDS):
        centres, before = _means(rows, code, centres), code
        code = _nearest(rows, length, centres)
        if int((code != before).sum()) <= SETTLED * len(x):
            break
    return centres.to(x.dtype)


def residual_codebooks(x: Float[Tensor, "rows dim"], levels: int, size: int,
                       generator: Generator) -> Float[Tensor, "levels size dim"]:
    """One codebook per level, each the k-means centres of what the levels before it leave of the rows."""
    books: list[Tensor] = []
    for _ in range(levels):
        books.append(kmeans(x, size, generator))
        x = x - books[-1][nearest_code(x, books[-1])]
    return torch.stack(books)


def residual_codes(x: Float[Tensor, "rows dim"],
                   codebooks: Float[Tensor, "levels size dim"]) -> Int[Tensor, "rows levels"]:
    r"""Greedy residual quantisation, :math:`c_l = \arg\min_c \lVert r_l - e_{lc} \rVert`, :math:`r_{l+1} = r_l - e_l`.

    Source: Lee et al., arXiv:2203.01941, equation 3.
    """
    left, codes = x.double(), []
    for book in codebooks.double():
        codes.append(nearest_code(left, book))
        left = left - book[codes[-1]]
    return torch.stack(codes, dim=1)


def nearest_code(x: Float[Tensor, "rows dim"], codebook: Float[Tensor, "size dim"]) -> Int[Tensor, " rows"]:
    """Number of the centre nearest to each row, the first of equals.

    Computed in float64 and compared in float32, so that a row gets the same code alone as among others.
    """
    return torch.cat([_nearest(block, block.square().sum(1, keepdim=True), codebook.double())
                      for block in (some.double() for some in x.split(BLOCK))])


def _nearest(x: Tensor, length: Tensor, centres: Tensor) -> Tensor:
    """See `nearest_code`; rows and centres float64, with the squared lengths of the rows."""
    return torch.cat([_squares(*block, centres).float().argmin(1)
                      for block in zip(x.split(BLOCK), length.split(BLOCK), strict=True)])


def _squares(x: Tensor, length: Tensor, centres: Tensor) -> Tensor:
    """Squared distances in float64."""
    return (x @ (-2 * centres).T).add_(length).add_(centres.square().sum(1)).clamp_(min=0)


def _means(x: Tensor, code: Tensor, centres: Tensor) -> Tensor:
    """The mean of the rows of each code; a code without rows stays where it is."""
    total = torch.zeros_like(centres).index_add_(0, code, x)
    count = code.bincount(minlength=len(centres))[:, None]
    return torch.where(count > 0, total / count, centres)


def spread_out(x: Float[Tensor, "rows dim"], size: int, generator: Generator) -> Float[Tensor, "size dim"]:
    """Rows far from each other: of a few drawn by squared distance, the one that leaves the least is taken."""
    rows = x.double()
    length = rows.square().sum(1, keepdim=True)
    chosen, trials = torch.randint(len(x), (1,), generator=generator), 2 + int(math.log(size))
    gap = _squares(rows, length, rows[chosen])[:, 0]
    for _ in range(size - 1):
        draw = torch.rand(trials, generator=generator, dtype=torch.float64) * gap.sum()
        candidates = torch.searchsorted(gap.cumsum(0), draw).clamp(max=len(x) - 1)
        gaps = torch.minimum(gap[:, None], _squares(rows, length, rows[candidates]))
        best = gaps.sum(0).argmin()
        chosen, gap = torch.cat([chosen, candidates[best, None]]), gaps[:, best]
    return x[chosen].clone()
