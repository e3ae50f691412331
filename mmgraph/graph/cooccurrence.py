"""Which items are taken by the same users, and which users take the same items; block by block."""

from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch

from mmgraph.data.types import Floats
from mmgraph.graph.relation import Relation
from mmgraph.graph.topk import top_k

BLOCK = 2**24  # entries of a product held at a time, at most


def cooccurrence(interactions: Relation, of: Literal["user", "item"], *, k: int | None = None, shrink: float = 0.0,
                 cosine: bool = True) -> Relation:
    r"""Edges between nodes that share interactions, weighted :math:`n_{st} / (\sqrt{n_s n_t} + h)`.

    Args:
        interactions: the relation (user, interacts, item).
        of: which side's nodes to connect.
        k: keep the k heaviest edges into each node, ties to the smaller number; all by default.
        shrink: :math:`h \ge 0`; damps weights that rest on few shared interactions.
        cosine: if false, the weight is the plain count :math:`n_{st}`.

    Returns:
        Relation (of, together, of) without self-edges; source = the neighbour.
    """
    matrix = interactions.scipy()
    rows = sp.csr_array(matrix if of == "user" else matrix.T)
    columns = sp.csc_array(rows.T)
    degree = np.sqrt(rows.sum(1))
    height = max(1, BLOCK // rows.shape[0])
    parts = [_block(rows, columns, degree, start, min(start + height, rows.shape[0]), k, shrink, cosine)
             for start in range(0, rows.shape[0], height)]
    return Relation.of(of, "together", of, sp.csr_array(sp.vstack(parts).T)).to(interactions.weight.device)


def _block(rows: sp.csr_array, columns: sp.csc_array, degree: Floats, start: int, end: int, k: int | None,
           shrink: float, cosine: bool) -> sp.csr_array:
    """Weights of nodes start … end (rows) with all nodes."""
    shared = sp.coo_array(rows[start:end] @ columns)
    node, other, weight = shared.coords[0] + start, shared.coords[1], shared.data.astype(np.float32)
    if cosine:
        weight = weight / (degree[node] * degree[other] + shrink)
    apart = node != other
    block = sp.csr_array((weight[apart], (node[apart] - start, other[apart])), shape=(end - start, rows.shape[0]))
    return block if k is None or k >= rows.shape[0] else _heaviest(block, k)


def _heaviest(block: sp.csr_array, k: int) -> sp.csr_array:
    dense = torch.from_numpy(block.toarray())
    values, columns = top_k(dense.masked_fill_(dense == 0, -torch.inf), k)
    row, slot = (columns >= 0).nonzero(as_tuple=True)
    ends = (row.numpy(), columns[row, slot].numpy())
    return sp.csr_array((values[row, slot].numpy(), ends), shape=block.shape)
